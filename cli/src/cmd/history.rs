//! `podhook history`: what the node's journal tells of hooks, also of containers that are gone.

use std::path::Path;
use std::time::{Duration, SystemTime};

use podhook_hooks::journal::{Entry, Event};
use podhook_hooks::record::{HookResult, Record};
use serde_json::json;

use super::error::Error;
use crate::args::{self, RecordOutput};
use crate::clock;
use crate::node::journal::{self, Follower, Item, Line, Reader};
use crate::node::query::{Query, Reports, is_named};
use crate::node::row::{self, NONE, Width};
use crate::node::state;
use crate::output::table::Table;
use crate::output::{self, escape, print};

const COLUMNS: [&str; 9] = [
    "TIME",
    "NAMESPACE",
    "POD",
    "CONTAINER",
    "HOOK",
    "HANDLER",
    "RESULT",
    "DURATION",
    "CPU",
];
/// The further columns of `-o wide`.
const WIDE_COLUMNS: [&str; 4] = ["MEMORY", "EXIT", "STOP SIGNAL", "CONTAINER ID"];

/// Runs the command.
///
/// # Errors
/// When the journal cannot be read, or lines of it.
pub async fn run(global: &args::Global, args: &args::History) -> Result<(), Error> {
    if args.all_namespaces && global.namespace.is_some() {
        return Err(Error::Refused(
            "--namespace and --all-namespaces exclude each other".to_owned(),
        ));
    }
    if args.watch && args.output == Some(RecordOutput::Yaml) {
        return Err(Error::Refused(
            "--watch prints tables and lines of JSON only".to_owned(),
        ));
    }
    let query = Query {
        state: state::directory(global).await,
        namespace: global.namespace.clone(),
    };
    let folder = journal::folder(args.journal.journal.as_deref(), &query.state)?;
    let mut view = View {
        filter: Filter::new(&query, args),
        args,
        headers: !args.no_headers,
        table: Table::default(),
        found: Vec::new(),
        is_empty: true,
        reports: Reports::default(),
    };
    let mut reader = Reader::new(&folder);
    reader.read_all(|item| view.take(item))?;
    if !args.watch {
        return view.end(&query, &folder);
    }
    view.flush()?;
    let mut follower = Follower::new(reader)?;
    loop {
        follower
            .next()
            .await?
            .into_iter()
            .for_each(|item| view.take(item));
        view.flush()?;
    }
}

/// Which entries are asked for.
struct Filter<'a> {
    query: &'a Query,
    pod: Option<&'a str>,
    failed: bool,
    since: Option<SystemTime>,
}

impl<'a> Filter<'a> {
    fn new(query: &'a Query, args: &'a args::History) -> Self {
        let ago = |since: Duration| {
            let then = SystemTime::now().checked_sub(since);
            then.unwrap_or(SystemTime::UNIX_EPOCH)
        };
        Self {
            query,
            pod: args.pod.as_deref(),
            failed: args.failed,
            since: args.since.map(ago),
        }
    }

    fn wants(&self, entry: &Entry, record: &Record) -> bool {
        let named = |wanted: &str| {
            is_named(record, wanted) || !wanted.is_empty() && entry.id.starts_with(wanted)
        };
        let new = |since| {
            entry
                .time
                .is_some_and(|time| SystemTime::from(time) >= since)
        };
        self.query.wants_record(&entry.namespace, record)
            && self.pod.is_none_or(named)
            && self.since.is_none_or(new)
            && (!self.failed || has_failed(entry))
    }
}

/// Whether something did not go as it should.
fn has_failed(entry: &Entry) -> bool {
    let result = entry.hook.as_ref().and_then(|hook| hook.result.as_ref());
    result.is_some_and(|result| result.known() != Some(HookResult::Succeeded))
        || entry.event.known() == Some(Event::StartFailed)
}

struct View<'a> {
    filter: Filter<'a>,
    args: &'a args::History,
    headers: bool,
    table: Table,
    /// For JSON and YAML.
    found: Vec<serde_json::Value>,
    is_empty: bool,
    reports: Reports,
}

impl View<'_> {
    fn take(&mut self, item: Item) {
        let line = match item {
            Ok(line) => line,
            Err(e) => return self.reports.add(&e.path, &e),
        };
        let record = line.entry.record();
        if !self.filter.wants(&line.entry, &record) {
            return;
        }
        self.is_empty = false;
        match self.args.output {
            Some(RecordOutput::Json | RecordOutput::Yaml) => self.found.push(line.json),
            output => {
                let width = Width::of(output);
                if std::mem::take(&mut self.headers) {
                    self.table.row(header(width));
                }
                self.table.row(cells(&line, &record, width));
            }
        }
    }

    /// Prints what there is by now: a line each.
    fn flush(&mut self) -> Result<(), Error> {
        let mut text = self.table.take();
        for json in self.found.drain(..) {
            text.push_str(&escape::json(&json.to_string()));
            text.push('\n');
        }
        Ok(print(&text)?)
    }

    fn end(mut self, query: &Query, folder: &Path) -> Result<(), Error> {
        match self.args.output {
            Some(output @ (RecordOutput::Json | RecordOutput::Yaml)) => {
                output::document(output, &json!({ "items": self.found }))?;
            }
            _ if self.is_empty && !folder.exists() => {
                eprintln!(
                    "No results found: there is no journal yet in {}",
                    folder.display()
                );
            }
            _ if self.is_empty => match &query.namespace {
                Some(namespace) => eprintln!("No results found in {namespace} namespace."),
                None => eprintln!("No results found"),
            },
            _ => print(&self.table.take())?,
        }
        Ok(self.reports.end()?)
    }
}

fn header(width: Width) -> Vec<&'static str> {
    let wide = width.wide.then_some(WIDE_COLUMNS).into_iter().flatten();
    COLUMNS.into_iter().chain(wide).chain(["MESSAGE"]).collect()
}

fn cells(line: &Line, record: &Record, width: Width) -> Vec<String> {
    let entry = &line.entry;
    let hook = entry.hook.as_ref();
    let text = |text: Option<&str>| match text {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => NONE.to_owned(),
    };
    let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let time = entry.time.map(|time| {
        let time = clock::timestamp(time.into());
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    });
    let result = hook.map(|hook| hook.result().unwrap_or_default());
    let mut cells = vec![
        or_none(time),
        record.namespace().to_owned(),
        text(record.pod_name()),
        text(Some(record.container())),
        text(hook.map(|hook| hook.hook.as_str())),
        text(hook.map(|hook| hook.handler.as_str())),
        text(Some(result.unwrap_or_else(|| entry.event.as_str()))),
        or_none(hook.and_then(|hook| row::duration(hook, clock::now()))),
        or_none(hook.and_then(row::cpu)),
    ];
    if width.wide {
        let end = entry.termination.as_ref();
        cells.extend([
            or_none(hook.and_then(row::memory)),
            or_none(hook.and_then(row::exit)),
            text(end.and_then(|end| end.signal.as_deref())),
            text(Some(&entry.id)),
        ]);
    }
    let message = hook.map_or_else(|| about(entry), row::message);
    cells.push(width.message(message));
    cells
}

/// What there is to say of an entry that is about no hook.
fn about(entry: &Entry) -> String {
    if let Some(message) = &entry.message {
        return message.clone();
    }
    let Some(end) = &entry.termination else {
        return String::new();
    };
    let status = end
        .exit_status
        .map(|status| format!("exit status {status}"));
    let asked = end
        .signal
        .as_ref()
        .map(|signal| format!("asked by {signal}"));
    let killed = end.killed_at.map(|_| "killed".to_owned());
    let parts = [status, asked, killed].into_iter().flatten();
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: serde_json::Value) -> Line {
        Line {
            entry: serde_json::from_value(json.clone()).unwrap(),
            json,
        }
    }

    fn table(lines: &[Line], wide: bool) -> String {
        let width = Width { wide, cut: !wide };
        let mut table = Table::default();
        table.row(header(width));
        for line in lines {
            table.row(cells(line, &line.entry.record(), width));
        }
        table.take()
    }

    fn lines() -> [Line; 3] {
        let pod = json!({"namespace": "shop", "name": "web-0", "uid": "u", "container": "nginx"});
        let of = |event: &str, fields: serde_json::Value| {
            let mut json = json!({"version": 1, "time": "2026-11-23T20:00:01.100Z", "event": event,
                                  "id": "0123456789abcdef", "namespace": "k8s.io", "pod": pod, "phase": "Stopped"});
            for (name, value) in fields.as_object().unwrap() {
                json[name] = value.clone();
            }
            line(json)
        };
        let hook = json!({"hook": "preStop", "handler": "exec", "result": "Failed", "durationMs": 12.44,
                          "exitCode": 3, "message": "exited with status 3", "cpuUserUsec": 800,
                          "cpuSystemUsec": 300, "memoryPeakBytes": 4096, "output": "a\nno \u{1b}[2J\n"});
        [
            of("HookEnded", json!({"hook": hook})),
            of(
                "ContainerEnded",
                json!({"termination": {"signal": "SIGTERM", "exitStatus": 143}}),
            ),
            of(
                "StartFailed",
                json!({"message": "FailedPostStartHook: no\nway"}),
            ),
        ]
    }

    #[test]
    fn a_table_of_everything_that_has_happened() {
        let expected = "\
TIME                   NAMESPACE   POD     CONTAINER   HOOK      HANDLER   RESULT           DURATION   CPU      MESSAGE
2026-11-23T20:00:01Z   shop        web-0   nginx       preStop   exec      Failed           12ms       1.1ms    exited with status 3: no \\x1b[2J
2026-11-23T20:00:01Z   shop        web-0   nginx       <none>    <none>    ContainerEnded   <none>     <none>   exit status 143, asked by SIGTERM
2026-11-23T20:00:01Z   shop        web-0   nginx       <none>    <none>    StartFailed      <none>     <none>   FailedPostStartHook: no\\nway
";
        assert_eq!(table(&lines(), false), expected);
        let wide = table(&lines(), true);
        assert!(
            wide.contains("4Ki      3        <none>        0123456789abcdef   exited"),
            "{wide}"
        );
    }

    fn filter(query: &Query) -> Filter<'_> {
        Filter {
            query,
            pod: None,
            failed: false,
            since: None,
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_shown() {
        let [hook, end, start] = lines();
        let query = |namespace: Option<&str>| Query {
            state: "/nowhere".into(),
            namespace: namespace.map(str::to_owned),
        };
        let all = query(None);
        let wants =
            |filter: &Filter<'_>, line: &Line| filter.wants(&line.entry, &line.entry.record());
        for line in [&hook, &end, &start] {
            assert!(wants(&filter(&all), line));
        }
        for (namespace, wanted) in [("shop", true), ("k8s.io", true), ("default", false)] {
            assert_eq!(wants(&filter(&query(Some(namespace))), &hook), wanted);
        }
        for (pod, wanted) in [
            ("web-0", true),
            ("web-0/nginx", true),
            ("shop/web-0/nginx", true),
            ("0123", true),
            ("web", false),
            ("", false),
        ] {
            let pod = Some(pod);
            assert_eq!(
                wants(
                    &Filter {
                        pod,
                        ..filter(&all)
                    },
                    &hook
                ),
                wanted,
                "{pod:?}"
            );
        }
        let failed = Filter {
            failed: true,
            ..filter(&all)
        };
        assert!(wants(&failed, &hook) && !wants(&failed, &end) && wants(&failed, &start));
        let mut skipped = hook.clone();
        for (result, wanted) in [("Skipped", true), ("Succeeded", false), ("Lost", true)] {
            let text = serde_json::from_value(json!(result)).unwrap();
            skipped.entry.hook.as_mut().unwrap().result = Some(text);
            assert_eq!(wants(&failed, &skipped), wanted, "{result}");
        }
        let since = |since| Filter {
            since: Some(since),
            ..filter(&all)
        };
        assert!(wants(&since(SystemTime::UNIX_EPOCH), &hook));
        // A clock that was set back: what is from the future is new.
        assert!(!wants(
            &since(SystemTime::now() + Duration::from_secs(1 << 31)),
            &hook
        ));
        let mut timeless = hook.clone();
        timeless.entry.time = None;
        assert!(!wants(&since(SystemTime::UNIX_EPOCH), &timeless));
    }
}
