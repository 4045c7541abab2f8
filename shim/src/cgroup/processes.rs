//! The processes of a tree of cgroups.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{Error, Malformed};
use super::file;

/// A container that may write its cgroup can make cgroups without end (cgroup.max.descendants is
/// `max` by default), and walking them holds up every other RPC of the shim.
const MAX_CGROUPS: usize = 4096;

/// Reads cgroup.procs of `root` and of everything below it.
pub(super) fn list(root: &Path) -> Result<Vec<i32>, Error> {
    list_within(root, MAX_CGROUPS)
}

/// The same without a bound on the cgroups: for a process that serves nothing else meanwhile.
pub(super) fn list_all(root: &Path) -> Result<Vec<i32>, Error> {
    list_within(root, usize::MAX)
}

fn list_within(root: &Path, most: usize) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    let mut todo = vec![root.to_owned()];
    let mut seen = 0usize;
    while let Some(dir) = todo.pop() {
        seen = seen.saturating_add(1);
        if todo.len().saturating_add(seen) > most {
            let (path, limit) = (root.to_owned(), most as u64);
            return Err(Error::TooLarge {
                path,
                limit,
                unit: "cgroups",
            });
        }
        let path = dir.join("cgroup.procs");
        // No such file: the cgroup was removed meanwhile, or it is threaded (EOPNOTSUPP), then its
        // processes are those of the domain above it.
        match file::read_bounded(&path, file::MAX_PROCS_FILE)? {
            Some(text) => pids.extend(parse(&text).map_err(Error::parse(&path))?),
            None if dir == root && !root.exists() => {
                return Err(Error::Gone {
                    path: root.to_owned(),
                });
            }
            None => {}
        }
        children(&dir, most, &mut todo)?;
    }
    // In v1 the file is neither sorted nor free of duplicates.
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn children(dir: &Path, most: usize, todo: &mut Vec<PathBuf>) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("list", dir)(e)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("list", dir))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            todo.push(entry.path());
            if todo.len() > most {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// One pid per line; 0 is a process of another pid namespace, which has no number here.
fn parse(text: &str) -> Result<Vec<i32>, Malformed> {
    let pid = |line: &str| line.parse::<i32>().map_err(|_| Malformed::new(line));
    text.lines().map(pid).filter(|pid| *pid != Ok(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(dir: &Path, procs: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("cgroup.procs"), procs).unwrap();
    }

    #[test]
    fn processes_of_cgroups_below_are_listed_once_and_in_order() {
        let root = tempfile::tempdir().unwrap();
        cgroup(root.path(), "812\n7\n812\n0\n");
        cgroup(&root.path().join("init.scope"), "9\n");
        cgroup(
            &root.path().join("system.slice/sshd.service"),
            "1000000\n7\n",
        );
        assert_eq!(list(root.path()).unwrap(), [7, 9, 812, 1_000_000]);
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_gone_not_empty() {
        let root = tempfile::tempdir().unwrap();
        let gone = root.path().join("c1");
        assert!(matches!(list(&gone), Err(Error::Gone { path }) if path == gone));
    }

    #[test]
    fn a_forest_of_cgroups_is_refused() {
        let root = tempfile::tempdir().unwrap();
        cgroup(root.path(), "");
        for i in 0..=MAX_CGROUPS {
            fs::create_dir(root.path().join(i.to_string())).unwrap();
        }
        assert!(matches!(
            list(root.path()),
            Err(Error::TooLarge {
                unit: "cgroups",
                ..
            })
        ));
        cgroup(&root.path().join("7"), "7\n");
        assert_eq!(list_all(root.path()).unwrap(), [7]);
    }

    #[test]
    fn garbage_is_an_error_that_names_the_file() {
        let root = tempfile::tempdir().unwrap();
        cgroup(root.path(), "12\nx\n");
        let error = list(root.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("/cgroup.procs: cannot parse \"x\""),
            "{error}"
        );
    }
}
