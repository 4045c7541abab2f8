//! `podhook.json`, read as a user's own tool would: by the documented names.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use podhook_integration::node::{Container, PodContainer};
use podhook_integration::wait;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A container's record, or one hook of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record(Value);

impl Record {
    /// The record in a bundle.
    pub fn read(bundle: &Path) -> Result<Self, Error> {
        let path = path(bundle);
        let text = fs::read(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
        Ok(Self(serde_json::from_slice(&text)?))
    }

    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The text at a JSON pointer, as `/termination/signal`; empty where it is absent.
    pub fn text(&self, pointer: &str) -> &str {
        self.0
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub fn phase(&self) -> &str {
        self.text("/phase")
    }

    /// The whole number at a JSON pointer.
    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.0.pointer(pointer)?.as_i64()
    }

    /// The time at a JSON pointer.
    pub fn time(&self, pointer: &str) -> Result<SystemTime, Error> {
        let text = self.text(pointer);
        let time = OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|e| format!("{pointer} is {text:?}: {e} in {}", self.0))?;
        Ok(time.into())
    }

    /// The time from one JSON pointer to another; zero where the second is earlier.
    pub fn between(&self, from: &str, to: &str) -> Result<Duration, Error> {
        let elapsed = self.time(to)?.duration_since(self.time(from)?);
        Ok(elapsed.unwrap_or_default())
    }

    /// Its runs of a hook, `postStart` or `preStop`.
    pub fn runs(&self, hook: &str) -> Vec<Self> {
        let runs = self.0["hooks"].as_array().into_iter().flatten();
        runs.filter(|run| run["hook"] == hook)
            .cloned()
            .map(Self)
            .collect()
    }

    /// The one run of a hook.
    pub fn hook(&self, hook: &str) -> Result<Self, Error> {
        let mut runs = self.runs(hook);
        match (runs.pop(), runs.is_empty()) {
            (Some(run), true) => Ok(run),
            _ => Err(format!("not one {hook} in {}", self.0).into()),
        }
    }

    /// The result of a hook's one run; empty while it runs.
    pub fn result(&self, hook: &str) -> String {
        self.hook(hook)
            .map(|run| run.text("/result").to_owned())
            .unwrap_or_default()
    }
}

/// Where a bundle's record is.
pub fn path(bundle: &Path) -> PathBuf {
    bundle.join("podhook.json")
}

/// A container whose record can be read until it is deleted.
pub trait Recorded {
    fn folder(&self) -> PathBuf;

    /// Its record as it is now.
    fn recorded(&self) -> Result<Record, Error> {
        Record::read(&self.folder())
    }

    /// Waits for the end of a hook, as the record has it: an aborted hook's tree dies a moment later.
    fn wait_hook(&self, hook: &str) -> Result<Record, Error> {
        let ended = |record: &Record| !record.result(hook).is_empty();
        self.wait_record(&format!("the end of {hook}"), wait::SOON, ended)
    }

    /// Waits for the end of the container, as the record has it: a moment after the event.
    fn wait_end(&self) -> Result<Record, Error> {
        self.wait_record("its exit", wait::SOON, |record| {
            record.number("/termination/exitStatus").is_some()
        })
    }

    /// Waits until the record is as `condition` wants it.
    fn wait_record(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Record) -> bool,
    ) -> Result<Record, Error> {
        wait::until(what, limit, || self.recorded().ok().filter(&condition))
            .map_err(|e| format!("{e}: {:?}", self.recorded().map(|r| r.0.to_string())).into())
    }
}

impl Recorded for Container<'_> {
    fn folder(&self) -> PathBuf {
        self.bundle()
    }
}

impl Recorded for PodContainer<'_> {
    fn folder(&self) -> PathBuf {
        self.bundle()
    }
}
