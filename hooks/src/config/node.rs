//! `/etc/podhook/config.toml`.

use std::path::Path;
use std::{fs, io};

use super::key::{Row, Topic};
use super::keys::{
    HookKeys, JournalKeys, LifecycleKeys, LogKeys, OciKeys, PolicyKeys, SequenceKeys,
};
use super::{ConfigError, read};
use crate::lifecycle::Policy;

/// Where the configuration is read from when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/podhook/config.toml";

/// No configuration of a sane node comes near.
const MAX_BYTES: u64 = 1024 * 1024;

/// What the node's operator decided, for every container of this runtime: the keys by topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which OCI runtime.
    pub oci: OciKeys,
    /// How hooks and execs run.
    pub hooks: HookKeys,
    /// Times and signals.
    pub sequence: SequenceKeys,
    /// What annotations may ask for; see [`Config::policy`].
    pub allowed: PolicyKeys,
    /// What is kept when a container is gone.
    pub journal: JournalKeys,
    /// What the shim logs.
    pub log: LogKeys,
    /// Which container gets which lifecycle.
    pub lifecycles: LifecycleKeys,
    /// Where it comes from, for messages.
    pub path: String,
}

/// What every key is called.
pub(super) fn names() -> Vec<&'static str> {
    [
        OciKeys::NAMES,
        HookKeys::NAMES,
        SequenceKeys::NAMES,
        PolicyKeys::NAMES,
        JournalKeys::NAMES,
        LogKeys::NAMES,
        LifecycleKeys::NAMES,
    ]
    .concat()
}

/// What the table has of every key.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    [
        OciKeys::ROWS,
        HookKeys::ROWS,
        SequenceKeys::ROWS,
        PolicyKeys::ROWS,
        JournalKeys::ROWS,
        LogKeys::ROWS,
        LifecycleKeys::ROWS,
    ]
    .into_iter()
    .flatten()
}

impl Default for Config {
    fn default() -> Config {
        Config {
            oci: OciKeys::default(),
            hooks: HookKeys::default(),
            sequence: SequenceKeys::default(),
            allowed: PolicyKeys::default(),
            journal: JournalKeys::default(),
            log: LogKeys::default(),
            lifecycles: LifecycleKeys::default(),
            path: DEFAULT_PATH.to_owned(),
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
        read(text, origin, &names(), |fields| {
            Ok(Config {
                oci: OciKeys::read(fields)?,
                hooks: HookKeys::read(fields)?,
                sequence: SequenceKeys::read(fields)?,
                allowed: PolicyKeys::read(fields)?,
                journal: JournalKeys::read(fields)?,
                log: LogKeys::read(fields)?,
                lifecycles: LifecycleKeys::read(fields)?,
                path: origin.to_owned(),
            })
        })
    }

    /// What annotations may ask for.
    pub fn policy(&self) -> Policy {
        self.allowed.policy(&self.path)
    }
}
