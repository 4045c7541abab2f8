//! The rows of the table of hooks: one per run of a hook, and one for a container whose hooks have yet to run.

use std::io::IsTerminal;

use k8s_openapi::jiff::Timestamp;
use podhook_hooks::record::{self, HookRecord, Record};

use crate::args::RecordOutput;
use crate::clock;
use crate::output::age;
use crate::output::duration::short;

/// The columns; the message is last, since it may hold anything.
const COLUMNS: [&str; 10] = [
    "NAMESPACE",
    "POD",
    "CONTAINER",
    "PHASE",
    "HOOK",
    "HANDLER",
    "RESULT",
    "AGE",
    "DURATION",
    "CPU",
];
/// The further columns of `-o wide`.
const WIDE_COLUMNS: [&str; 4] = ["MEMORY", "EXIT", "STOP SIGNAL", "CONTAINER ID"];
const PHASE: usize = 3;
/// Where a cell says nothing.
pub(crate) const NONE: &str = "<none>";
/// More would break the lines of most terminals.
const MAX_MESSAGE: usize = 60;

/// How much a table shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Width {
    /// With the columns of `-o wide`.
    pub(crate) wide: bool,
    /// A long message is cut: on a terminal, where nobody has asked for more. What reads a pipe gets all of it.
    pub(crate) cut: bool,
}

impl Width {
    /// Of a table on stdout.
    pub(crate) fn of(output: Option<RecordOutput>) -> Self {
        Self::on(output, std::io::stdout().is_terminal())
    }

    fn on(output: Option<RecordOutput>, terminal: bool) -> Self {
        let wide = output == Some(RecordOutput::Wide);
        Self {
            wide,
            cut: terminal && !wide,
        }
    }

    /// A message as a cell has it.
    pub(crate) fn message(self, text: String) -> String {
        match self.cut {
            true => podhook_hooks::lifecycle::text::shorten(&text, MAX_MESSAGE),
            false => text,
        }
    }
}

/// The table's header.
pub(crate) fn header(width: Width) -> Vec<&'static str> {
    let wide = width.wide.then_some(WIDE_COLUMNS).into_iter().flatten();
    COLUMNS.into_iter().chain(wide).chain(["MESSAGE"]).collect()
}

#[derive(Debug)]
pub(crate) struct Row<'a> {
    record: &'a Record,
    hook: Option<&'a HookRecord>,
}

/// The rows of a container.
pub(crate) fn rows(record: &Record) -> Vec<Row<'_>> {
    let mut rows: Vec<_> = record
        .hooks
        .iter()
        .map(|hook| Row {
            record,
            hook: Some(hook),
        })
        .collect();
    if rows.is_empty() {
        rows.push(Row { record, hook: None });
    }
    rows
}

impl Row<'_> {
    /// What tells whether a row is to be printed again: all of it, but what only the time changes, and
    /// on the rows of hooks before the latest the container's phase.
    pub(crate) fn state(&self) -> Vec<String> {
        let all = Width::on(Some(RecordOutput::Wide), false);
        let mut cells = self.cells(all, Timestamp::UNIX_EPOCH);
        let last = self.record.hooks.last();
        if let (Some(hook), Some(last)) = (self.hook, last)
            && !std::ptr::eq(hook, last)
        {
            cells.get_mut(PHASE).map(String::clear);
        }
        cells
    }

    /// The cells at the time `now`.
    pub(crate) fn cells(&self, width: Width, now: Timestamp) -> Vec<String> {
        let (record, hook) = (self.record, self.hook);
        let text = |text: Option<&str>| match text {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => NONE.to_owned(),
        };
        let mut cells = vec![
            record.namespace().to_owned(),
            text(record.pod_name()),
            text(Some(record.container())),
            text(Some(record.phase.as_str())),
            text(hook.map(|hook| hook.hook.as_str())),
            text(hook.map(|hook| hook.handler.as_str())),
            text(hook.map(|hook| hook.result().unwrap_or("Running"))),
            since(hook.and_then(|hook| hook.started_at), now),
            hook.and_then(|hook| duration(hook, now))
                .unwrap_or_else(|| NONE.to_owned()),
            hook.and_then(cpu).unwrap_or_else(|| NONE.to_owned()),
        ];
        if width.wide {
            let memory = hook.and_then(memory);
            let signal = record
                .termination
                .as_ref()
                .and_then(|t| t.signal.as_deref());
            cells.extend([
                text(memory.as_deref()),
                text(hook.and_then(exit).as_deref()),
                text(signal),
                text(Some(&record.id)),
            ]);
        }
        let message = hook.map(message).unwrap_or_default();
        cells.push(width.message(message));
        cells
    }
}

fn since(then: Option<record::Timestamp>, now: Timestamp) -> String {
    match then {
        // A clock that is set back a little is no reason for "<invalid>".
        Some(then) => {
            let then = clock::timestamp(then.into()).as_second();
            age::human(now.as_second().saturating_sub(then).max(0))
        }
        None => NONE.to_owned(),
    }
}

/// How long the hook took, or has run so far.
pub(crate) fn duration(hook: &HookRecord, now: Timestamp) -> Option<String> {
    if let Some(milliseconds) = hook.duration_ms {
        return Some(short(milliseconds / 1000.0));
    }
    let running = hook.result.is_none().then_some(hook.started_at)??;
    let running = clock::timestamp(running.into());
    Some(short(now.duration_since(running).as_secs_f64().max(0.0)))
}

/// Its peak.
pub(crate) fn memory(hook: &HookRecord) -> Option<String> {
    let bytes = hook.memory_peak_bytes?;
    Some(format!("{}Ki", bytes.div_ceil(1024)))
}

/// The CPU time that it has used.
pub(crate) fn cpu(hook: &HookRecord) -> Option<String> {
    let used = hook.cpu_user_usec?.saturating_add(hook.cpu_system_usec?);
    Some(short(used as f64 / 1e6))
}

/// What it ended with: an exit code, a signal, an HTTP status.
pub(crate) fn exit(hook: &HookRecord) -> Option<String> {
    let code = hook.exit_code.map(|code| code.to_string());
    let status = || hook.http_status.map(|status| format!("HTTP {status}"));
    code.or_else(|| hook.signal.clone()).or_else(status)
}

/// Why it did not succeed, and the last line that it printed.
pub(crate) fn message(hook: &HookRecord) -> String {
    let output = hook.output.as_deref().unwrap_or_default();
    let line = output.trim_end().lines().next_back().unwrap_or_default();
    let message = hook.message.as_deref().unwrap_or_default();
    match (message.is_empty(), line.trim().is_empty()) {
        (false, false) => format!("{message}: {}", line.trim()),
        (false, true) => message.to_owned(),
        (true, _) => line.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use podhook_hooks::record::HookResult;
    use podhook_hooks::sequence::Phase;

    use super::*;
    use crate::output::table::Table;

    fn record(json: &str) -> Record {
        serde_json::from_str(json).unwrap()
    }

    fn table(record: &Record, wide: bool) -> String {
        let width = Width { wide, cut: !wide };
        let now = "2026-11-23T20:01:03.200Z".parse().unwrap();
        let mut table = Table::default();
        table.row(header(width));
        for row in rows(record) {
            table.row(row.cells(width, now));
        }
        table.take()
    }

    const POD: &str = r#"{"version": 1, "id": "0123456789abcdef", "namespace": "k8s.io", "phase": "PreStop",
        "pod": {"namespace": "shop", "name": "web-0", "uid": "u", "container": "nginx"},
        "hooks": [
          {"hook": "postStart", "handler": "exec", "result": "Failed", "startedAt": "2026-11-23T20:00:00.100Z",
           "finishedAt": "2026-11-23T20:00:00.112Z", "durationMs": 12.44, "exitCode": 3,
           "message": "exited with status 3", "cpuUserUsec": 800, "cpuSystemUsec": 300,
           "memoryPeakBytes": 1310720, "output": "one\n\u001b[31mtwo\n"},
          {"hook": "preStop", "handler": "httpGet", "startedAt": "2026-11-23T20:01:00Z"}],
        "termination": {"requestedAt": "2026-11-23T20:01:00Z", "signal": "SIGTERM"}}"#;

    #[test]
    fn a_pod_at_a_glance() {
        let expected = "\
NAMESPACE   POD     CONTAINER   PHASE     HOOK        HANDLER   RESULT    AGE   DURATION   CPU      MESSAGE
shop        web-0   nginx       PreStop   postStart   exec      Failed    63s   12ms       1.1ms    exited with status 3: \\x1b[31mtwo
shop        web-0   nginx       PreStop   preStop     httpGet   Running   3s    3.2s       <none>   
";
        assert_eq!(table(&record(POD), false), expected);
    }

    #[test]
    fn more_with_wide() {
        let text = table(&record(POD), true);
        assert!(
            text.contains("MEMORY   EXIT     STOP SIGNAL   CONTAINER ID       MESSAGE"),
            "{text}"
        );
        assert!(
            text.contains("1280Ki   3        SIGTERM       0123456789abcdef   exited"),
            "{text}"
        );
    }

    #[test]
    fn a_message_is_cut_on_a_terminal_only_and_not_with_wide() {
        let long = "x".repeat(90);
        let said = |output, terminal| Width::on(output, terminal).message(long.clone());
        assert_eq!(said(None, true).chars().count(), 60);
        for whole in [
            said(Some(RecordOutput::Wide), true),
            said(Some(RecordOutput::Wide), false),
            said(None, false),
        ] {
            assert_eq!(whole, long);
        }
    }

    #[test]
    fn a_container_outside_of_pods_whose_hooks_have_yet_to_run() {
        let record = record(r#"{"id": "c1", "namespace": "moby", "phase": "Running"}"#);
        let text = table(&record, false);
        assert!(
            text.contains("moby        <none>   c1          Running   <none>   <none>    <none>"),
            "{text}"
        );
    }

    #[test]
    fn what_only_the_time_changes_is_no_change() {
        let running = record(POD);
        let before: Vec<_> = rows(&running).iter().map(Row::state).collect();
        let mut ended = running.clone();
        assert_eq!(
            before,
            rows(&ended).iter().map(Row::state).collect::<Vec<_>>()
        );
        ended.phase = Phase::Signalled.into();
        ended.hooks[1].result = Some(HookResult::Succeeded.into());
        let after: Vec<_> = rows(&ended).iter().map(Row::state).collect();
        assert_eq!(before[0], after[0]);
        assert_ne!(before[1], after[1]);
    }
}
