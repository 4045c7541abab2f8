//! The shim's log: containerd's `log` fifo, in its logfmt, never blocking.
//!
//! containerd copies the fifo to its own log. A fifo without a reader gets full: lines are then
//! dropped, because a shim that waits for its log hangs its containers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use podhook_hooks::lifecycle::text;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

struct FifoLogger {
    file: File,
    id: String,
    namespace: String,
}

static LOGGER: OnceLock<FifoLogger> = OnceLock::new();

/// The fields that the log lines of a container have besides its id, by that id.
static LABELS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

tokio::task_local! {
    /// The container that a task works for.
    static CONTAINER: String;
}

/// A container's labels: every line with its id has them for as long as this lives.
pub struct Labels(String);

impl Labels {
    /// Labels the lines of container `id`; absent values are left out.
    pub fn new(id: &str, labels: &[(&str, Option<String>)]) -> Self {
        let mut text = String::new();
        for (key, value) in labels {
            if let Some(value) = value {
                let _ = write!(text, " {key}=");
                quote(&mut text, value);
            }
        }
        all_labels().insert(id.to_owned(), text);
        Self(id.to_owned())
    }
}

impl Drop for Labels {
    fn drop(&mut self) {
        all_labels().remove(&self.0);
    }
}

fn all_labels() -> MutexGuard<'static, BTreeMap<String, String>> {
    LABELS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work`; what it logs without an id is of container `id`.
pub async fn of_container<F: Future>(id: String, work: F) -> F::Output {
    CONTAINER.scope(id, work).await
}

/// Logs to the fifo at `path` from now on, and a panic too before the process ends.
pub fn init(path: &Path, namespace: &str, id: &str, debug: bool) -> io::Result<()> {
    let file = open(path)?;
    let logger = LOGGER.get_or_init(|| FifoLogger {
        file,
        id: id.to_owned(),
        namespace: namespace.to_owned(),
    });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(if debug {
            LevelFilter::Debug
        } else {
            LevelFilter::Info
        });
    }
    std::panic::set_hook(Box::new(|panic| log::error!("shim panicked: {panic}")));
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    // For reading too: the open must not wait for containerd, nor fail while it restarts.
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)
}

impl Log for FifoLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // ttrpc reports every failed RPC as an error; containerd does so itself.
        !metadata.target().starts_with("ttrpc")
            || metadata.level() <= Level::Warn && log::max_level() >= Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = format_line(record, &self.id, &self.namespace);
        // One write, so that lines of several shims do not mix (below PIPE_BUF).
        let _ = (&self.file).write(line.as_bytes());
    }

    fn flush(&self) {}
}

fn format_line(record: &Record<'_>, id: &str, namespace: &str) -> String {
    let time = OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default();
    let level = match record.level() {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    };
    let mut line = format!("time=\"{time}\" level={level} msg=");
    quote(&mut line, &record.args().to_string());
    let mut pairs = Pairs { line, id: None };
    let _ = record.key_values().visit(&mut pairs);
    let Pairs {
        mut line,
        id: container,
    } = pairs;
    let container = container.unwrap_or_else(|| {
        let id = CONTAINER
            .try_with(String::clone)
            .unwrap_or_else(|_| id.to_owned());
        line.push_str(" id=");
        quote(&mut line, &id);
        id
    });
    if let Some(labels) = all_labels().get(&container) {
        line.push_str(labels);
    }
    line.push_str(" namespace=");
    quote(&mut line, namespace);
    line.push_str(" runtime=io.containerd.podhook.v1\n");
    line
}

struct Pairs {
    line: String,
    id: Option<String>,
}

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value = value.to_string();
        let _ = write!(self.line, " {key}=");
        quote(&mut self.line, &value);
        if key.as_str() == "id" {
            self.id = Some(value);
        }
        Ok(())
    }
}

/// Writes a logfmt value: bare where it can be, else quoted as Go quotes, which is what reads logfmt.
fn quote(line: &mut String, text: &str) {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-._/@^+:,%".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        line.push_str(text);
    } else {
        line.push_str(&text::quote(text, usize::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_it_says() {
        let record = Record::builder()
            .args(format_args!("two\nlines and \"quotes\""))
            .level(Level::Warn)
            .build();
        let line = format_line(&record, "c1", "default");
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(
            line.contains(
                r#"level=warning msg="two\nlines and \"quotes\"" id=c1 namespace=default"#
            ),
            "{line}"
        );
    }

    #[test]
    fn a_container_cannot_write_to_the_terminal_of_who_reads_the_log() {
        let evil = "\x1b]0;owned\x07\u{9b}2J\u{202e}\x7f\0\r";
        let pairs = [("id", "c1"), ("message", evil)];
        let mut record = Record::builder();
        let args = format_args!("{evil}");
        record.args(args).key_values(&pairs);
        let line = format_line(&record.build(), "c1", "default");
        let escaped = r#""\x1b]0;owned\a\u009b2J\u202e\x7f\x00\r""#;
        assert!(line.contains(&format!("msg={escaped} ")), "{line:?}");
        assert!(line.contains(&format!("message={escaped} ")), "{line:?}");
    }

    #[test]
    fn the_lines_of_a_container_have_its_labels() {
        let line = |id: Option<&str>| {
            let pairs = id.map(|id| [("id", id)]);
            let mut record = Record::builder();
            let args = format_args!("hook ends");
            record.level(Level::Info).args(args);
            match &pairs {
                Some(pairs) => format_line(&record.key_values(pairs).build(), "shim", "k8s.io"),
                None => format_line(&record.build(), "shim", "k8s.io"),
            }
        };
        let labels = [
            ("pod", Some("web 0".to_owned())),
            ("container", None),
            ("attempt", Some("2".to_owned())),
        ];
        let labels = Labels::new("labelled-1", &labels);
        let labelled = " id=labelled-1 pod=\"web 0\" attempt=2 namespace=k8s.io";
        assert!(line(Some("labelled-1")).contains(labelled));
        assert!(line(Some("labelled-2")).contains(" id=labelled-2 namespace=k8s.io"));
        // What knows no id says it of the container that its task works for.
        let inside = CONTAINER.sync_scope("labelled-1".to_owned(), || line(None));
        assert!(inside.contains(labelled), "{inside}");
        drop(labels);
        assert!(line(Some("labelled-1")).contains(" id=labelled-1 namespace=k8s.io"));
    }

    /// A process of its own, because the logger and the panic hook are the process's.
    #[test]
    fn a_panic_is_logged_before_the_process_ends() {
        const LOG: &str = "PODHOOK_TEST_PANIC_LOG";
        if let Some(path) = std::env::var_os(LOG) {
            init(Path::new(&path), "default", "c1", false).unwrap();
            panic!("something\nimpossible");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "").unwrap();
        let name = "containerd::log::tests::a_panic_is_logged_before_the_process_ends";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(LOG, &path)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("level=error msg=\"shim panicked: "), "{text}");
        assert!(text.contains("something\\nimpossible\" id=c1"), "{text}");
    }

    #[test]
    fn a_full_fifo_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let logger = FifoLogger {
            file: open(&path).unwrap(),
            id: "c1".into(),
            namespace: "default".into(),
        };
        for _ in 0..2000 {
            let record = Record::builder()
                .args(format_args!("a line that nobody reads"))
                .level(Level::Warn)
                .build();
            logger.log(&record);
        }
    }
}
