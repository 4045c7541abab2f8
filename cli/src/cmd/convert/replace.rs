//! A file with a new text.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

/// Replaces the text of a file at once: who reads it meanwhile has the old one or the new one. It keeps mode and, as
/// far as that is allowed, owner; a link stays a link.
///
/// # Errors
/// What keeps it from being written. Then the file is as it was.
pub(super) fn file(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".podhook-{}", std::process::id()));
    let new = path.with_file_name(name);
    let mut file = File::options().write(true).create_new(true).open(&new)?;
    let written = fill(&mut file, text, &metadata).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        // It is of no use to anybody.
        let _ = fs::remove_file(&new);
    }
    written
}

fn fill(file: &mut File, text: &str, like: &fs::Metadata) -> io::Result<()> {
    // Only root may give files away.
    let _ = fchown(&*file, Some(like.uid()), Some(like.gid()));
    file.set_permissions(like.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("a.yaml", &link).unwrap();
        file(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(file(Path::new("/dev/null"), "x").is_err());
    }
}
