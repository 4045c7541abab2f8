//! `/etc/podhook/config.toml`.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use log::LevelFilter;
use toml::de::DeTable;

use super::read;
use super::{ConfigError, Rule};
use crate::lifecycle::reader::At;
use crate::lifecycle::tree::{Lines, from_toml};
use crate::lifecycle::{Annotations, DEFAULT_GRACE_PERIOD, Lifecycle, Output, Policy, Statuses};
use crate::sequence::Defaults;
use crate::signal::Signal;

/// Where the configuration is read from when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/podhook/config.toml";

/// No configuration of a sane node comes near.
const MAX_BYTES: u64 = 1024 * 1024;

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
    /// `http_success`: the statuses that are a success of `httpGet`.
    pub http_success: Statuses,
    /// `allowed_handlers` and `allowed_hosts`: what annotations may ask for.
    pub policy: Policy,
    /// `[[rules]]`, in order.
    pub rules: Vec<Rule>,
    /// `[lifecycle]`: fields for containers that do not set them, where no rule is for them.
    pub lifecycle: Option<Lifecycle>,
    /// Where it comes from, for messages.
    pub path: String,
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
            http_success: Statuses::default(),
            policy: Policy::default(),
            rules: Vec::new(),
            lifecycle: None,
            path: DEFAULT_PATH.to_owned(),
        }
    }
}

impl From<&Config> for Defaults {
    fn from(config: &Config) -> Self {
        let numbers = config.stop_signals.iter().map(|signal| signal.number());
        Self {
            grace_period: config.grace_period,
            post_start_timeout: config.post_start_timeout,
            stop_signals: numbers.collect(),
        }
    }
}

impl Config {
    /// The configuration at `path`. The default file may be missing, one that was named may not.
    ///
    /// # Errors
    /// When the file cannot be read, or what is wrong in it.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let read = || {
            let metadata = fs::metadata(path)?;
            // A fifo would be waited for.
            if !metadata.is_file() {
                return Err(io::Error::other("is not a regular file"));
            }
            match metadata.len() {
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
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
        let fields = root(text, origin)?.object(&read::KEYS);
        let config = fields.and_then(|fields| read::config(fields, origin));
        config.map_err(|field| ConfigError::field(origin, field))
    }

    /// What the node gives the container with these annotations: that of the first rule for it, else
    /// `[lifecycle]`.
    pub fn lifecycle_for(&self, annotations: &impl Annotations) -> Option<&Lifecycle> {
        match self.rules.iter().find(|rule| rule.applies(annotations)) {
            Some(rule) => rule.lifecycle.as_ref(),
            None => self.lifecycle.as_ref(),
        }
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
