//! What the shims have logged: containerd's own log has it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::redact::{REDACTED, Redaction};
use crate::setup::place::Place;
use crate::setup::root::Root;
use crate::store::regular;

/// How much of a log is read, from its end.
const MAX_READ: u64 = 16 << 20;
/// A journal on a slow disk must not keep the rest from being seen.
const PATIENCE: Duration = Duration::from_secs(20);
/// systemd's.
const JOURNAL: &str = "journalctl";
/// The words by which a line is known to be about podhook.
const OURS: [&str; 2] = ["podhook", "FailedPostStartHook"];
/// What is kept of a line as it is.
const KEYS: [&str; 16] = [
    "time",
    "level",
    "id",
    "namespace",
    "pod",
    "container",
    "attempt",
    "hook",
    "result",
    "phase",
    "signal",
    "pid",
    "bytes",
    "runtime",
    "address",
    "version",
];
/// What is kept as far as it is podhook's.
const TEXTS: [&str; 4] = ["msg", "message", "error", "handler"];

/// What a place's log says of podhook.
///
/// # Errors
/// With why there is none.
pub(super) async fn of(root: &Root, place: &Place, redaction: Redaction) -> Result<String, String> {
    let text = match place.log {
        Some(path) => file(&root.outside(Path::new(path))),
        None => None,
    };
    let text = match text {
        Some(text) => text,
        None if root.is_host() => journal(JOURNAL, place.unit).await?,
        None => return Err("the journal of another root is not read".to_owned()),
    };
    let lines = text
        .lines()
        .filter(|line| OURS.iter().any(|word| line.contains(word)));
    let lines: Vec<String> = lines.map(|line| kept(line, redaction)).collect();
    Ok(lines.join("\n") + "\n")
}

fn file(path: &Path) -> Option<String> {
    let mut file: File = regular::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_READ)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

async fn journal(program: &str, unit: &str) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("{program}: {e}");
    let mut journal = Command::new(program)
        .args(["--unit", unit, "--output=cat", "--no-pager", "--quiet"])
        .args(["--since=-1day", "--lines=50000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let output = journal.stdout.take();
    let mut output = output.ok_or("no output")?.take(MAX_READ);
    let mut bytes = Vec::new();
    let read = output.read_to_end(&mut bytes);
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(read) => read.map_err(failed)?,
        Err(_) => return Err(format!("{program} took too long")),
    };
    if bytes.is_empty() {
        return Err(format!("{program} has no line of the unit {unit}"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is kept of a line.
fn kept(line: &str, redaction: Redaction) -> String {
    if redaction == Redaction::Off {
        return line.to_owned();
    }
    let pairs = pairs(line);
    if pairs.is_empty() {
        return redaction.message(line);
    }
    let mut kept = Vec::new();
    for (key, value) in pairs {
        if KEYS.contains(&&*key) {
            kept.push(format!("{key}={value}"));
        } else if TEXTS.contains(&&*key) {
            // Quotes within are escaped, and end what is podhook's.
            let text = value.trim_matches('"').replace('\\', "");
            kept.push(format!("{key}=\"{}\"", redaction.message(&text)));
        } else {
            kept.push(format!("{key}={REDACTED}"));
        }
    }
    kept.join(" ")
}

/// The pairs of a line of logfmt, their values as they are written; none where it is another line.
fn pairs(line: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else {
            return Vec::new();
        };
        if key.is_empty() || key.contains([' ', '"']) {
            return Vec::new();
        }
        let length = match after.strip_prefix('"') {
            Some(quoted) => closing(quoted).and_then(|at| at.checked_add(2)),
            None => after.find(' ').or(Some(after.len())),
        };
        let Some((value, more)) = length.and_then(|length| after.split_at_checked(length)) else {
            return Vec::new();
        };
        pairs.push((key.to_owned(), value.to_owned()));
        rest = more.trim_start();
    }
    pairs
}

/// Where the closing quote is.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn why_there_is_no_log_is_said() {
        let why = journal("/none/journalctl", "containerd").await.unwrap_err();
        assert!(why.contains("/none/journalctl: No such file"), "{why}");
        let why = journal("true", "containerd").await.unwrap_err();
        assert!(why.contains("no line of the unit containerd"), "{why}");
    }

    #[test]
    fn a_line_is_kept_without_what_hooks_do_and_print() {
        for (line, expected) in [
            (
                r#"time="2026-01-01T00:00:00Z" level=info msg="hook starts" id=c1 hook=preStop handler="exec [\"sh\" \"-c\" \"hunter2\"]" pod=web runtime=io.containerd.podhook.v1"#,
                r#"time="2026-01-01T00:00:00Z" level=info msg="hook starts" id=c1 hook=preStop handler="exec <redacted>" pod=web runtime=io.containerd.podhook.v1"#,
            ),
            (
                r#"time="t" level=error msg="StartContainer for \"c1\" failed" error="FailedPostStartHook: exec [\"x\"]: exited with status 3: hunter2" later="hunter2 podhook""#,
                r#"time="t" level=error msg="StartContainer for <redacted>" error="FailedPostStartHook: <redacted>" later=<redacted>"#,
            ),
            (
                "podhook: something \"hunter2\" else",
                "podhook: something <redacted>",
            ),
            (r#"a="podhook hunter2"#, "a=<redacted>"),
        ] {
            assert_eq!(kept(line, Redaction::On), expected);
            assert_eq!(kept(line, Redaction::Off), line);
        }
    }
}
