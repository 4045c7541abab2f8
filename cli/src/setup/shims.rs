//! The shims that run on a node, as its /proc has them, or containerd's state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use podhook_hooks::counters::ledger::{SANDBOXES, TASKS};

use super::root::Root;

/// One shim: a pod's, or a container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    pub pid: u32,
    /// When it began, in the kernel's ticks since the boot: a pid may be another's later.
    pub began: u64,
    /// Its program, as the node has it.
    pub program: PathBuf,
    /// Whether that was replaced or removed since.
    pub replaced: bool,
    /// containerd's namespace and the container's ID.
    pub container: String,
    /// The socket of the containerd that started it.
    pub address: PathBuf,
}

impl Shim {
    /// Whether it is of the program at `path`, by whatever name it was started. A podhook that is elsewhere is another
    /// one.
    #[must_use]
    pub fn runs(&self, root: &Root, path: &Path) -> bool {
        let real = [root.real_path_inside(path), root.real_path(path)];
        self.program == path || real.into_iter().flatten().any(|path| self.program == path)
    }

    /// Whether the same process is still there.
    #[must_use]
    pub fn lives(&self, root: &Root) -> bool {
        began(root, self.pid) == Some(self.began)
    }
}

/// All shims, whosever they are.
#[must_use]
pub fn all(root: &Root) -> Vec<Shim> {
    let names = root.names(Path::new("/proc")).unwrap_or_default();
    let pids = names.iter().filter_map(|name| name.parse().ok());
    let mut found: Vec<Shim> = pids.filter_map(|pid| shim(root, pid)).collect();
    found.sort_by(|a, b| a.container.cmp(&b.container));
    found
}

/// Whether the root has processes to look at: a node's disk that is mounted elsewhere has an empty `/proc`.
#[must_use]
pub fn are_seen(root: &Root) -> bool {
    let names = root.names(Path::new("/proc")).unwrap_or_default();
    names.iter().any(|name| name.parse::<u32>().is_ok())
}

/// The containers and sandboxes that containerd's state directories have, with their bundles.
#[must_use]
pub fn bundles(root: &Root, states: &BTreeSet<&str>) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let names = |path: &Path| root.names(path).unwrap_or_default();
    let kinds = states
        .iter()
        .flat_map(|state| [TASKS, SANDBOXES].map(|kind| Path::new(state).join(kind)));
    let namespaces = kinds.flat_map(|kind| {
        let all = names(&kind).into_iter();
        all.map(move |namespace| (kind.join(&namespace), namespace))
    });
    for (folder, namespace) in namespaces {
        for id in names(&folder) {
            let bundles = found.entry(format!("{namespace}/{id}")).or_default();
            bundles.push(folder.join(id));
        }
    }
    found
}

/// Whether the shim of a bundle is this program, or is not written down.
#[must_use]
pub fn may_be_of(root: &Root, bundle: &Path, program: &Path) -> bool {
    let file = bundle.join("shim-binary-path");
    let Some(named) = file.to_str().and_then(|file| root.text(file)) else {
        return true;
    };
    // As containerd found it in its PATH, where a folder may be a link to another.
    let named = Path::new(named.trim());
    let real = root.real_path_inside(program);
    named == program || (real.is_some() && root.real_path_inside(named) == real)
}

fn shim(root: &Root, pid: u32) -> Option<Shim> {
    let command = root.text(&format!("/proc/{pid}/cmdline"))?;
    let words: Vec<&str> = command
        .split('\0')
        .filter(|word| !word.is_empty())
        .collect();
    let name = Path::new(words.first()?).file_name()?.to_str()?;
    // The verbs are over in a moment.
    let verb = matches!(words.last(), Some(&("start" | "delete" | "-info" | "-v")));
    if !name.starts_with("containerd-shim") || verb {
        return None;
    }
    let link = root.outside(Path::new(&format!("/proc/{pid}/exe")));
    let program = std::fs::read_link(link).ok()?;
    let text = program.to_str()?;
    let (program, replaced) = match text.strip_suffix(" (deleted)") {
        Some(path) => (path, true),
        None => (text, false),
    };
    let value = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at.checked_add(1)?).copied()
    };
    let container = [value("-namespace"), value("-id")];
    Some(Shim {
        pid,
        began: began(root, pid)?,
        program: program.into(),
        replaced,
        container: container.map(|part| part.unwrap_or("?")).join("/"),
        address: value("-address").unwrap_or_default().into(),
    })
}

/// The 22nd field of /proc/PID/stat; the second, a name in brackets, may hold anything.
fn began(root: &Root, pid: u32) -> Option<u64> {
    let stat = root.text(&format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
pub mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A process of a made-up node.
    pub fn process(root: &Path, pid: u32, program: &str, arguments: &[&str]) {
        let folder = root.join("proc").join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        let program_name = program.trim_end_matches(" (deleted)");
        let mut command = vec![program_name];
        command.extend(arguments);
        fs::write(folder.join("cmdline"), command.join("\0") + "\0").unwrap();
        let stat = format!("{pid} (a) b) S 1{} 77 0\n", " 0".repeat(17));
        fs::write(folder.join("stat"), stat).unwrap();
        symlink(program, folder.join("exe")).unwrap();
    }

    #[test]
    fn shims_are_found_with_their_containers_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let shim = "/usr/local/bin/containerd-shim-podhook-v1";
        let arguments = ["-namespace", "k8s.io", "-id", "web", "-address", "/x"];
        process(folder.path(), 10, shim, &arguments);
        process(folder.path(), 11, &format!("{shim} (deleted)"), &arguments);
        process(
            folder.path(),
            12,
            "/usr/bin/containerd-shim-runc-v2",
            &arguments,
        );
        process(folder.path(), 13, shim, &["-id", "web", "delete"]);
        process(folder.path(), 14, "/usr/bin/containerd", &[]);
        let root = Root::open(folder.path()).unwrap();
        let all = all(&root);
        let pids: Vec<_> = all.iter().map(|shim| (shim.pid, shim.replaced)).collect();
        assert_eq!(pids.len(), 3, "{all:?}");
        assert!(pids.contains(&(11, true)), "{all:?}");
        assert_eq!(all[0].container, "k8s.io/web");
        assert_eq!(all[0].began, 77);
        let ours = all.iter().filter(|one| one.runs(&root, Path::new(shim)));
        assert_eq!(ours.count(), 2);
        assert!(all[0].lives(&root));
        fs::remove_dir_all(folder.path().join("proc")).unwrap();
        assert!(!all[0].lives(&root));
    }
}
