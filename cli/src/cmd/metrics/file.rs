//! The file for node_exporter's textfile collector.

use std::path::Path;

use podhook_hooks::linux::file;

use super::Error;

/// Replaces `path` as a whole, by a file that the collector does not read: it reads *.prom. Everyone may read the new
/// one: the collector is not root.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Error> {
    file::replace_among_writers(path, text.as_bytes(), 0o644).map_err(|error| Error::Output {
        path: path.to_owned(),
        source: error.source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_replaced_and_readable_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("podhook.prom");
        replace(&path, "a 1\n").unwrap();
        replace(&path, "a 2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a 2\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        let error = replace(&folder.path().join("none/x.prom"), "").unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
    }
}
