//! The keys of the node's configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use super::{Config, ExecEngine, Rule};
use crate::lifecycle::reader::{At, Fields, shown};
use crate::lifecycle::{
    FieldError, HandlerKind, Policy, Ports, Statuses, read_lifecycle, read_output, read_signal,
};
use crate::signal::Signal;

/// Every key there is.
pub(super) const KEYS: [&str; 14] = [
    "runtime",
    "root",
    "systemd_cgroup",
    "exec",
    "post_start_timeout",
    "grace_period",
    "stop_signals",
    "output",
    "log_level",
    "http_success",
    "allowed_handlers",
    "allowed_hosts",
    "rules",
    "lifecycle",
];

/// The longest time a key can set: a day.
const MAX_SECONDS: u32 = 24 * 60 * 60;

/// Reads the root table.
pub(super) fn config(mut fields: Fields, origin: &str) -> Result<Config, FieldError> {
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
        http_success: fields
            .take("http_success")
            .map(|at| statuses(&at))
            .transpose()?
            .unwrap_or_default(),
        policy: Policy {
            handlers: fields.take("allowed_handlers").map(handlers).transpose()?,
            own_pod_only: fields
                .take("allowed_hosts")
                .map(|at| at.choice(&[("any", false), ("pod", true)]))
                .transpose()?
                .unwrap_or_default(),
            source: origin.to_owned(),
        },
        rules: fields
            .take("rules")
            .map(|at| at.array()?.into_iter().map(Rule::read).collect())
            .transpose()?
            .unwrap_or_default(),
        path: origin.to_owned(),
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

fn statuses(at: &At) -> Result<Statuses, FieldError> {
    let text = at.string()?;
    Statuses::parse(text).ok_or_else(|| {
        at.error(format!(
            "{} must be any, or a range of statuses as 200-399",
            shown(text)
        ))
    })
}

fn handlers(at: At) -> Result<Vec<HandlerKind>, FieldError> {
    let read = |at: At| {
        let name = at.string()?;
        let kinds = HandlerKind::listed();
        HandlerKind::named(name).ok_or_else(|| at.error(format!("{} must be {kinds}", shown(name))))
    };
    at.array()?.into_iter().map(read).collect()
}
