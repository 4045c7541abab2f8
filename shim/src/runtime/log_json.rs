//! The runtime's `--log-format json` log: where its error messages are.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The most that is read of what one call logged.
const LIMIT: u64 = 64 << 10;

/// The end of the log before a call, so that only this call's errors count.
pub struct Mark {
    path: PathBuf,
    offset: u64,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

impl Mark {
    /// Marks the present end.
    pub fn now(path: &Path) -> Self {
        let offset = path.metadata().map_or(0, |metadata| metadata.len());
        Self {
            path: path.to_owned(),
            offset,
        }
    }

    /// The last error logged since.
    pub fn last_error(&self) -> Option<String> {
        let mut file = File::open(&self.path).ok()?;
        let end = file.metadata().ok()?.len();
        let start = self.offset.min(end).max(end.saturating_sub(LIMIT));
        file.seek(SeekFrom::Start(start)).ok()?;
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes).ok()?;
        last_error(&String::from_utf8_lossy(&bytes))
    }
}

/// The objects begin at a line's start; runc writes a line each, crun from 1.28 on several lines.
pub fn last_error(text: &str) -> Option<String> {
    let mut last = None;
    let mut rest = text;
    loop {
        let mut objects = serde_json::Deserializer::from_str(rest).into_iter::<Line>();
        if let Some(Ok(line)) = objects.next()
            && line.level == "error"
            && !line.msg.is_empty()
        {
            last = Some(line.msg.trim().to_owned());
        }
        let next = rest.find("\n{").map(|at| at.saturating_add(1));
        let Some(objects) = next.and_then(|next| rest.get(next..)) else {
            return last;
        };
        rest = objects;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn objects_over_several_lines_are_read() {
        let text = "cut off\"}\n{\n  \"msg\": \"first\",\n  \"level\": \"error\"\n}\n{\n  \"msg\": \"second\",\n  \"level\": \"error\"\n}\n";
        assert_eq!(last_error(text).as_deref(), Some("second"));
    }

    #[test]
    fn an_error_of_an_earlier_call_is_not_taken_for_this_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        fs::write(&path, "{\"level\":\"error\",\"msg\":\"old\"}\n").unwrap();
        let mark = Mark::now(&path);
        assert_eq!(mark.last_error(), None);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"level\":\"warning\",\"msg\":\"w\"}\nnot json\n{\"level\":\"error\",\"msg\":\"new\\n\"}\n").unwrap();
        assert_eq!(mark.last_error().as_deref(), Some("new"));
    }
}
