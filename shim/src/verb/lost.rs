//! A container whose shim was killed: the node's journal is told of its end, and of hooks whose result nobody has seen.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use podhook_hooks::counters::ledger;
use podhook_hooks::journal::{Entry, Event, Journal};
use podhook_hooks::record::{FILE_NAME, HookResult, Record};
use podhook_hooks::sequence::Phase;

use super::delete::warn;
use crate::containerd::options::Options;
use crate::error::Error;
use crate::host::exit_status::ExitStatus;

/// More than any record has.
const MAX_RECORD: u64 = 1 << 20;

/// Tells it, where the container had a lifecycle. Waits so long at the most: what is behind the journal may not answer.
pub(super) fn tell(bundle: &Path, options: &Options, exit: &ExitStatus, limit: Duration) {
    let Some(mut record) = record(bundle) else {
        return;
    };
    let entries = end(&mut record, exit);
    // Not twice: this verb may be called again.
    if let Err(e) = record.write(&bundle.join(FILE_NAME)) {
        warn(&e);
    }
    let config = match options.load_config() {
        Ok(config) => config,
        Err(e) => return warn(&e),
    };
    let state = ledger::state_of(bundle);
    let Some(journal) = Journal::of(&config.journal, state.as_deref()) else {
        return;
    };
    let (done, is_done) = mpsc::channel();
    let write = move || {
        let written = entries.iter().try_for_each(|entry| journal.append(entry));
        let _ = done.send(written);
    };
    let thread = thread::Builder::new().name("journal".to_owned());
    match thread.spawn(write).map(|_| is_done.recv_timeout(limit)) {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(e))) => warn(&format_args!("journal: {e}")),
        Ok(Err(e)) => warn(&format_args!("journal: {e}")),
        Err(e) => warn(&Error::sys("make a thread for the journal")(e)),
    }
}

/// The record of a container whose end it does not have.
fn record(bundle: &Path) -> Option<Record> {
    let mut text = Vec::new();
    let file = File::open(bundle.join(FILE_NAME)).ok()?;
    file.take(MAX_RECORD).read_to_end(&mut text).ok()?;
    let record = Record::from_json(&serde_json::from_slice(&text).ok()?).ok()?;
    let termination = record.termination.as_ref();
    let is_told = termination.is_some_and(|end| end.exit_status.is_some());
    (!is_told).then_some(record)
}

/// Brings it to its end, as far as that is known; what is new.
fn end(record: &mut Record, exit: &ExitStatus) -> Vec<Entry> {
    record.phase = Phase::Stopped.into();
    let termination = record.termination.get_or_insert_default();
    termination.exited(exit.at, exit.status);
    let ended = Entry {
        termination: record.termination.clone(),
        ..Entry::now(Event::ContainerEnded, record)
    };
    let about_hook = Entry::now(Event::HookEnded, record);
    let unseen = record.hooks.iter_mut().filter(|hook| hook.result.is_none());
    let mut entries: Vec<_> = unseen
        .map(|hook| {
            hook.result = Some(HookResult::Aborted.into());
            hook.message = Some("aborted: the shim was killed".to_owned());
            Entry {
                hook: Some(hook.clone()),
                ..about_hook.clone()
            }
        })
        .collect();
    entries.push(ended);
    entries
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::Value;

    use super::*;
    use crate::host::exit_status::KILLED;

    const HOOKS: &str = r#""hooks":[{"hook":"postStart","handler":"exec","result":"Succeeded"},{"hook":"preStop","handler":"exec"}]"#;

    /// What the journal has, of a container with this record.
    fn told(record: Option<&str>) -> Vec<Value> {
        let state = tempfile::tempdir().unwrap();
        let bundle = state.path().join(ledger::TASKS).join("default/c1");
        std::fs::create_dir_all(&bundle).unwrap();
        if let Some(record) = record {
            std::fs::write(bundle.join(FILE_NAME), record).unwrap();
        }
        let exit = ExitStatus {
            pid: 7,
            status: KILLED,
            at: SystemTime::now(),
        };
        let config = state.path().join("config.toml");
        std::fs::write(&config, "").unwrap();
        let options = Options {
            podhook_config: Some(config.display().to_string()),
            ..Options::default()
        };
        for _ in 0..2 {
            tell(&bundle, &options, &exit, Duration::from_secs(60));
        }
        let files = std::fs::read_dir(state.path().join("podhook/journal"));
        let files = files.into_iter().flatten().flatten();
        let text: String = files
            .map(|file| std::fs::read_to_string(file.path()).unwrap())
            .collect();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn a_hook_whose_shim_was_killed_is_told_with_the_containers_end() {
        let record =
            format!(r#"{{"version":1,"id":"c1","namespace":"default","phase":"PreStop",{HOOKS}}}"#);
        let told = told(Some(&record));
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0]["hook"]["hook"], "preStop");
        assert_eq!(told[0]["hook"]["result"], "Aborted");
        assert_eq!(told[0]["hook"]["message"], "aborted: the shim was killed");
        assert_eq!(told[1]["event"], "ContainerEnded");
        assert_eq!(told[1]["termination"]["exitStatus"], KILLED);
    }

    #[test]
    fn what_the_shim_has_told_itself_is_not_told_again_and_nothing_of_others() {
        let ended = r#"{"id":"c1","namespace":"default","phase":"Stopped","hooks":[],"termination":{"exitStatus":0}}"#;
        for record in [
            None,
            Some(ended),
            Some("{"),
            Some("[]"),
            Some(r#"{"hooks":7}"#),
        ] {
            assert!(told(record).is_empty(), "{record:?}");
        }
    }
}
