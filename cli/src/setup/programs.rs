//! The two programs, and where they are to be.

use std::fs;
use std::path::{Path, PathBuf};

use super::change::Change;
use super::containerd::section::SHIM;
use super::error::Error;
use super::root::{Access, Root};
use super::version;

/// Where they go by default: in systemd's PATH, and so in containerd's.
pub const FOLDER: &str = "/usr/local/bin";

/// The name of the runtime handler by default.
pub const RUNTIME: &str = "podhook";

/// What is to be done about them.
#[derive(Debug)]
pub struct Programs {
    /// The shim, as the node has it.
    pub shim: PathBuf,
    pub changes: Vec<Change>,
}

/// The shims that are in PATH, in its order; a folder that is a link to another counts once.
#[must_use]
pub fn shims(root: &Root) -> Vec<PathBuf> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for folder in version::PATH {
        let path = Path::new(folder).join(SHIM);
        let Some(real) = root.real_path(&path) else {
            continue;
        };
        if found.iter().all(|(_, there)| *there != real) {
            found.push((path, real));
        }
    }
    found.into_iter().map(|(path, _)| path).collect()
}

/// Refuses a second installation, which would hide the one that is there, or be hidden by it.
fn check_alone(root: &Root, folder: &Path) -> Result<(), Error> {
    let new = folder.join(SHIM);
    let here = root.real_path(&new);
    let mut there = shims(root).into_iter();
    let Some(other) = there.find(|path| *path != new && root.real_path(path) != here) else {
        return Ok(());
    };
    let beside = other.with_file_name("podhook");
    Err(Error::refused(
        format!(
            "podhook is there already: {}, which programs in {} would hide",
            root.outside(&other).display(),
            folder.display()
        ),
        format!(
            "{} install sets up what is there; or remove that first (apt remove podhook); --bin-dir FOLDER has both side by side",
            root.outside(&beside).display()
        ),
    ))
}

/// Finds them beside the program `own`, or where the user says. What a package has put into a folder of PATH stays there.
///
/// # Errors
/// When the shim is nowhere, or a file cannot be read.
pub fn plan(
    root: &Root,
    own: &Path,
    folder: Option<&Path>,
    shim: Option<&Path>,
) -> Result<Programs, Error> {
    let here = own.parent().unwrap_or(Path::new("/"));
    let is_placed = version::in_path(own);
    if root.is_host() && folder.is_none() && shim.is_none() && is_placed {
        let shim = here.join(SHIM);
        if shim.is_file() {
            let changes = Vec::new();
            return Ok(Programs { shim, changes });
        }
    }
    let source = shim.map_or_else(|| here.join(SHIM), Path::to_owned);
    if !source.is_file() {
        return Err(Error::refused(
            format!("there is no shim at {}", source.display()),
            format!("--shim FILE names {SHIM}; `make install` puts both programs into {FOLDER}"),
        ));
    }
    if folder.is_none() {
        check_alone(root, Path::new(FOLDER))?;
    }
    let folder = folder.unwrap_or(Path::new(FOLDER));
    if !folder.is_absolute() {
        return Err(Error::refused(
            format!("--bin-dir {}: not an absolute path", folder.display()),
            "containerd starts the shim by it, wherever it runs",
        ));
    }
    let shim = folder.join(SHIM);
    let mut changes = Vec::new();
    for (from, to) in [(&*source, shim.clone()), (own, folder.join("podhook"))] {
        let bytes = fs::read(from).map_err(|e| Error::io("read", from, e))?;
        let before = root.read_to_edit(&to)?;
        let access = before.as_ref().map_or(Access::PROGRAM, |before| Access {
            mode: before.access.mode | 0o555,
            ..before.access
        });
        let change = Change {
            path: to,
            before,
            after: bytes,
            access,
            program: true,
            carries: false,
        };
        changes.extend(change.is_needed().then_some(change));
    }
    Ok(Programs { shim, changes })
}
