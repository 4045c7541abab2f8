//! One file that is to change.

use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::root::{Access, Found, Root};

/// One file that is to be written.
#[derive(Debug, Clone)]
pub struct Change {
    pub path: PathBuf,
    pub before: Option<Found>,
    pub after: Vec<u8>,
    pub access: Access,
    /// A program, and no text.
    pub program: bool,
    /// What is there has podhook's part already.
    pub carries: bool,
}

impl Change {
    /// A file of text; it keeps its mode and owner.
    #[must_use]
    pub fn text(path: &Path, before: Option<Found>, after: String, carries: bool) -> Self {
        let access = before.as_ref().map_or(Access::NEW, |found| found.access);
        Self {
            path: path.to_owned(),
            before,
            after: after.into_bytes(),
            access,
            program: false,
            carries,
        }
    }

    /// Whether anything is different from what is there.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        let same = |found: &Found| found.bytes == self.after && found.access == self.access;
        !self.before.as_ref().is_some_and(same)
    }

    /// As `diff -u` says it.
    #[must_use]
    pub fn diff(&self, root: &Root) -> String {
        let path = root.outside(&self.path).display().to_string();
        if self.program {
            let what = if self.before.is_some() {
                "replaced"
            } else {
                "new"
            };
            let mode = self.access.mode;
            return format!(
                "Program {path}: {what}, {} bytes, mode {mode:o}\n",
                self.after.len()
            );
        }
        let before = self
            .before
            .as_ref()
            .map(|found| String::from_utf8_lossy(&found.bytes));
        let after = String::from_utf8_lossy(&self.after);
        let old = if before.is_some() {
            &*path
        } else {
            "/dev/null"
        };
        TextDiff::from_lines(&*before.unwrap_or_default(), &*after)
            .unified_diff()
            .header(old, &path)
            .to_string()
    }
}
