//! What the shim logs.

use log::LevelFilter;

use crate::config::key::{Key, keys};
use crate::lifecycle::FieldError;
use crate::lifecycle::reader::At;

keys! {
    /// What the shim logs.
    #[derive(Copy)]
    LogKeys {
        log_level: Option<LevelFilter> = LogLevel,
    }
}

/// The level; none leaves it to containerd's debug flag.
struct LogLevel;

impl Key for LogLevel {
    type Value = Option<LevelFilter>;

    const NAME: &'static str = "log_level";
    const MEANING: &'static str = "`error`, `warn`, `info`, `debug`, `trace`";
    const DEFAULT: &'static str = "containerd's";

    fn read(at: At) -> Result<Option<LevelFilter>, FieldError> {
        at.choice(&[
            ("error", Some(LevelFilter::Error)),
            ("warn", Some(LevelFilter::Warn)),
            ("info", Some(LevelFilter::Info)),
            ("debug", Some(LevelFilter::Debug)),
            ("trace", Some(LevelFilter::Trace)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{given, refused};

    #[test]
    fn the_log_level_is_the_nodes_or_containerds() {
        assert_eq!(given("").log.log_level, None);
        let level = given("log_level = 'debug'").log.log_level;
        assert_eq!(level, Some(LevelFilter::Debug));
        refused(
            "log_level = 'loud'",
            "line 1: log_level: \"loud\" must be error, warn, info, debug or trace",
        );
    }
}
