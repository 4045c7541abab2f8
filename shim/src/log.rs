//! The shim's log: containerd's `log` fifo, in its logfmt, never blocking.
//!
//! containerd copies the fifo to its own log. A fifo that nobody reads gets full: lines are then
//! dropped, because a shim that waits for its log hangs its containers.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::OnceLock,
};

use log::{
    Level, LevelFilter, Log, Metadata, Record,
    kv::{self, Key, Value, VisitSource},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

struct FifoLogger {
    file: File,
    id: String,
    namespace: String,
}

static LOGGER: OnceLock<FifoLogger> = OnceLock::new();

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
        .custom_flags(libc::O_NONBLOCK)
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
    let mut pairs = Pairs {
        line,
        has_id: false,
    };
    let _ = record.key_values().visit(&mut pairs);
    let Pairs { mut line, has_id } = pairs;
    if !has_id {
        let _ = write!(line, " id={id}");
    }
    let _ = writeln!(
        line,
        " namespace={namespace} runtime=io.containerd.podhook.v1"
    );
    line
}

struct Pairs {
    line: String,
    has_id: bool,
}

impl<'kvs> VisitSource<'kvs> for Pairs {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.has_id |= key.as_str() == "id";
        let _ = write!(self.line, " {key}=");
        quote(&mut self.line, &value.to_string());
        Ok(())
    }
}

/// Writes a logfmt value: bare where it can be, else quoted.
fn quote(line: &mut String, text: &str) {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-._/@^+:,%".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        line.push_str(text);
    } else {
        let _ = write!(line, "{text:?}");
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
        let name = "log::tests::a_panic_is_logged_before_the_process_ends";
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
