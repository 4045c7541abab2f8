//! `/etc/podhook/config.toml`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use toml::de::DeTable;

use super::ConfigError;
use crate::lifecycle::reader::{At, Fields};
use crate::lifecycle::tree::{Lines, from_toml};
use crate::lifecycle::{
    DEFAULT_GRACE_PERIOD, FieldError, Lifecycle, Output, Ports, read_lifecycle, read_output,
    read_signal,
};
use crate::signal::Signal;

/// Where the configuration is read from when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/podhook/config.toml";

/// No configuration of a sane node comes near.
const MAX_BYTES: u64 = 1024 * 1024;
/// The longest time a key can set: a day.
const MAX_SECONDS: u32 = 24 * 60 * 60;

/// What the node's operator decided, for every container of this runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `runtime`: the OCI runtime's name or path, where containerd's options name none.
    pub runtime: Option<String>,
    /// `root`: the OCI runtime's state directory, where containerd's options name none.
    pub root: Option<PathBuf>,
    /// `systemd_cgroup`: the systemd cgroup driver, where containerd's options do not say.
    pub systemd_cgroup: Option<bool>,
    /// `exec`: what runs exec hooks and the Exec RPC.
    pub exec: ExecEngine,
    /// `post_start_timeout`, seconds: of a postStart without `timeoutSeconds`.
    pub post_start_timeout: Duration,
    /// `grace_period`, seconds: where neither the lifecycle nor the pod has one.
    pub grace_period: Duration,
    /// `stop_signals`: begin the kill sequence too, outside of CRI.
    pub stop_signals: Vec<Signal>,
    /// `output`: where hook output goes, where the lifecycle does not say.
    pub output: Output,
    /// `log_level`: error, warn, info, debug or trace; none leaves it to containerd's debug flag.
    pub log_level: Option<LevelFilter>,
    /// `[lifecycle]`: fields for containers that do not set them.
    pub lifecycle: Option<Lifecycle>,
}

/// What runs a process in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecEngine {
    /// podhook's engine, the OCI runtime where it must.
    #[default]
    Native,
    /// Always the OCI runtime's `exec`.
    Runtime,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            runtime: None,
            root: None,
            systemd_cgroup: None,
            exec: ExecEngine::default(),
            // 2 min is the kubelet's default for a CRI request (runtimeRequestTimeout): the user is to
            // see "postStart timed out" and not the request's deadline.
            post_start_timeout: Duration::from_secs(110),
            grace_period: DEFAULT_GRACE_PERIOD,
            stop_signals: Vec::new(),
            output: Output::default(),
            log_level: None,
            lifecycle: None,
        }
    }
}

impl Config {
    /// The configuration at `path`. The default file may be missing, one that was named may not.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let read = || {
            let size = fs::metadata(path)?.len();
            match size {
                0..=MAX_BYTES => fs::read_to_string(path),
                _ => Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("larger than {MAX_BYTES} bytes"),
                )),
            }
        };
        match read() {
            Ok(text) => Config::parse(&text, &path.display().to_string()),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && path == Path::new(DEFAULT_PATH) =>
            {
                Ok(Config::default())
            }
            Err(source) => Err(ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Parses a configuration; `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
        let known = [
            "runtime",
            "root",
            "systemd_cgroup",
            "exec",
            "post_start_timeout",
            "grace_period",
            "stop_signals",
            "output",
            "log_level",
            "lifecycle",
        ];
        let fields = root(text, origin)?.object(&known);
        fields
            .and_then(read)
            .map_err(|field| ConfigError::field(origin, field))
    }
}

/// A TOML document's root table.
pub(super) fn root(text: &str, origin: &str) -> Result<At, ConfigError> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| lines.at(span.start));
        ConfigError::syntax(origin, line, error.message())
    })?;
    Ok(At::root("", from_toml(table.get_ref(), &lines)))
}

fn read(mut fields: Fields) -> Result<Config, FieldError> {
    let default = Config::default();
    let seconds = |at: At, min| {
        Ok::<_, FieldError>(Duration::from_secs(at.integer(min, MAX_SECONDS)?.into()))
    };
    let levels = [
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ];
    let engines = [
        ("native", ExecEngine::Native),
        ("runtime", ExecEngine::Runtime),
    ];
    let post_start_timeout = fields
        .take("post_start_timeout")
        .map(|at| seconds(at, 1))
        .transpose()?;
    let grace_period = fields
        .take("grace_period")
        .map(|at| seconds(at, 0))
        .transpose()?;
    Ok(Config {
        runtime: fields
            .take("runtime")
            .map(|at| not_empty(&at))
            .transpose()?,
        root: fields.take("root").map(|at| absolute(&at)).transpose()?,
        systemd_cgroup: fields
            .take("systemd_cgroup")
            .map(|at| at.boolean())
            .transpose()?,
        exec: fields
            .take("exec")
            .map(|at| at.choice(&engines))
            .transpose()?
            .unwrap_or_default(),
        post_start_timeout: post_start_timeout.unwrap_or(default.post_start_timeout),
        grace_period: grace_period.unwrap_or(default.grace_period),
        stop_signals: fields
            .take("stop_signals")
            .map(stop_signals)
            .transpose()?
            .unwrap_or_default(),
        output: fields
            .take("output")
            .map(|at| read_output(&at))
            .transpose()?
            .unwrap_or_default(),
        log_level: fields
            .take("log_level")
            .map(|at| at.choice(&levels))
            .transpose()?,
        lifecycle: fields
            .take("lifecycle")
            .map(|at| read_lifecycle(at, &Ports::Unknown))
            .transpose()?,
    })
}

fn not_empty(at: &At) -> Result<String, FieldError> {
    match at.string()? {
        "" => Err(at.error("must not be empty")),
        text => Ok(text.to_owned()),
    }
}

fn absolute(at: &At) -> Result<PathBuf, FieldError> {
    let path = Path::new(at.string()?);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err(at.error("must be an absolute path"))
    }
}

fn stop_signals(at: At) -> Result<Vec<Signal>, FieldError> {
    let read = |at: At| {
        let signal = read_signal(&at)?;
        match signal.number() {
            libc::SIGKILL => Err(at.error("SIGKILL is always delivered at once")),
            _ => Ok(signal),
        }
    };
    at.array()?.into_iter().map(read).collect()
}
