//! One line of the journal.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::JournalError;
use crate::lifecycle::{Pod, text};
use crate::named::{OpenEnum, named};
use crate::record::{HookRecord, Record, TerminationRecord, Timestamp};
use crate::sequence::Phase;

/// The version this package writes. Fields may be added within it.
pub const VERSION: u32 = 1;
/// A line is no longer, its end included.
pub const MAX_LINE: usize = 64 * 1024;
/// How many characters of a message are left in a line that would be longer.
const MAX_MESSAGE: usize = 1024;

named! {
    pub enum Event {
        /// A hook has its result: [`Entry::hook`].
        HookEnded = "HookEnded",
        /// The container's process has exited: [`Entry::termination`].
        ContainerEnded = "ContainerEnded",
        /// The container never became Running, because its postStart did not succeed: [`Entry::message`].
        StartFailed = "StartFailed",
    }
}

/// What has happened to a container with a lifecycle. As with a [`Record`], another version's lines can be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// See [`VERSION`].
    pub version: u32,
    /// When it was told, by the wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    pub event: OpenEnum<Event>,
    pub id: String,
    /// containerd's.
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// Where the container was in its life.
    pub phase: OpenEnum<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination: Option<TerminationRecord>,
    /// The error of Start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Entry {
    /// Something that has happened just now to the container of this record.
    pub fn now(event: Event, record: &Record) -> Self {
        Self {
            version: VERSION,
            time: Some(SystemTime::now().into()),
            event: event.into(),
            id: record.id.clone(),
            namespace: record.namespace.clone(),
            pod: record.pod.clone(),
            phase: record.phase.clone(),
            ..Self::default()
        }
    }

    /// Reads a line that is JSON already.
    ///
    /// # Errors
    /// When it is no object, or a field has another type.
    pub fn from_json(json: &serde_json::Value) -> Result<Self, serde_json::Error> {
        if !json.is_object() {
            return Err(serde::de::Error::custom("no object"));
        }
        Self::deserialize(json)
    }

    /// The container as far as this entry tells of it.
    pub fn record(&self) -> Record {
        Record {
            version: self.version,
            hooks: self.hook.iter().cloned().collect(),
            termination: self.termination.clone(),
            phase: self.phase.clone(),
            ..Record::new(&*self.id, &*self.namespace, self.pod.clone())
        }
    }

    /// The line, with its end; nothing in it acts on a terminal. What would be longer than [`MAX_LINE`] loses what the
    /// hook does, the bulk of a long one, and then of its messages all but the beginning.
    ///
    /// # Errors
    /// Where that is not enough.
    pub fn line(&self) -> Result<String, JournalError> {
        let line = self.encoded()?;
        if line.len() <= MAX_LINE {
            return Ok(line);
        }
        let mut less = self.clone();
        let hook = less.hook.as_mut();
        let message = hook.and_then(|hook| {
            hook.action = None;
            hook.message.as_mut()
        });
        for message in message.into_iter().chain(less.message.as_mut()) {
            *message = text::shorten(message, MAX_MESSAGE);
        }
        let line = less.encoded()?;
        match line.len() {
            0..=MAX_LINE => Ok(line),
            length => Err(JournalError::Line(format!(
                "container {}: {length} bytes, at most {MAX_LINE} are allowed",
                text::shorten(&self.id, 100)
            ))),
        }
    }

    fn encoded(&self) -> Result<String, JournalError> {
        let json = serde_json::to_string(self).map_err(|e| JournalError::Line(e.to_string()))?;
        Ok(format!("{}\n", text::visible_json(&json)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Handler;
    use crate::sequence::HookKind;

    fn ended(command: Vec<String>) -> Entry {
        let mut record = Record::new("c1", "k8s.io", None);
        record.phase = Phase::PreStop.into();
        let hook = HookRecord::of(HookKind::PreStop, &Handler::Exec { command });
        Entry {
            hook: Some(hook),
            ..Entry::now(Event::HookEnded, &record)
        }
    }

    fn read(line: &str) -> Entry {
        Entry::from_json(&serde_json::from_str(line).unwrap()).unwrap()
    }

    #[test]
    fn a_line_comes_back_and_has_one_end() {
        let mut entry = ended(vec!["drain".to_owned()]);
        entry.hook.as_mut().unwrap().output = Some("a\nb\u{1b}[2J\u{9b}1m\u{2028}\r\n".to_owned());
        let line = entry.line().unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.trim_end().chars().any(char::is_control), "{line}");
        let back = read(&line);
        assert_eq!(back.hook, entry.hook);
        assert_eq!(back.record().hooks.len(), 1);
        assert_eq!(back.event.known(), Some(Event::HookEnded));
    }

    #[test]
    fn another_versions_line_is_read_and_another_thing_is_not() {
        let line = r#"{"version":2,"event":"HookPaused","id":"c","phase":"Frozen","more":[1]}"#;
        let entry = read(line);
        assert_eq!(
            (entry.event.as_str(), entry.event.known()),
            ("HookPaused", None)
        );
        for wrong in ["[]", "7", r#"{"id":7}"#, r#"{"hook":7}"#] {
            let json = serde_json::from_str(wrong).unwrap();
            assert!(Entry::from_json(&json).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_huge_hook_keeps_its_result_and_output() {
        // Six bytes each in JSON.
        let mut entry = ended(vec!["\u{1}".repeat(16 * 1024)]);
        let hook = entry.hook.as_mut().unwrap();
        hook.output = Some("\u{1}".repeat(4096));
        hook.message = Some("m".repeat(60_000));
        let line = entry.line().unwrap();
        assert!(line.len() <= MAX_LINE, "{}", line.len());
        let back = read(&line).hook.unwrap();
        assert_eq!(
            (back.action, back.output),
            (None, entry.hook.unwrap().output)
        );
        assert!(back.message.unwrap().len() <= MAX_MESSAGE + 4);
        // Names that are no names.
        let record = Record::new("c".repeat(MAX_LINE), "x", None);
        let error = Entry::now(Event::ContainerEnded, &record).line();
        assert!(error.unwrap_err().to_string().len() < 250);
    }
}
