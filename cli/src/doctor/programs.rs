//! containerd, the shim, the OCI runtime, and the shims that run.

use std::path::{Path, PathBuf};

use podhook_hooks::config::DEFAULT_PATH;

use super::check::Check;
use super::configuration::{Used, first_line};
use crate::args::NodeKind;
use crate::setup::containerd::section::SHIM;
use crate::setup::place::Place;
use crate::setup::root::Root;
use crate::setup::state::{Now, State};
use crate::setup::version::{self, Program, Version};
use crate::setup::{programs, shims};

/// What docker needs for hooks of its own containers: `docker run --annotation`.
const DOCKER_ANNOTATIONS: Version = Version(24, 0, 0);

/// `said`: containerd's version, where the user says it.
pub(super) fn containerd(place: &Place, said: Option<Version>) -> Check {
    let name = place.kind.name();
    let said = said.filter(|_| place.has_pods());
    let oldest = match place.kind {
        // Runtimes by type are of 23.0.
        NodeKind::Docker => Version(23, 0, 0),
        NodeKind::Nerdctl => Version(1, 0, 0),
        _ => Version(1, 6, 0),
    };
    match (said.or(place.version()), &place.program) {
        (Some(version), _) if version < oldest => Check::fail(
            name,
            format!("{version} is older than {}.{}", oldest.0, oldest.1),
            format!("upgrade it to {}.{} or later", oldest.0, oldest.1),
        ),
        (Some(version), _) if place.kind == NodeKind::Docker && version < DOCKER_ANNOTATIONS => {
            Check::warn(
                name,
                format!(
                    "{version} has no `docker run --annotation`: a container has no hooks of its own"
                ),
                "upgrade it to 24.0 or later; hooks of the node's configuration run without",
            )
        }
        (Some(version), Some(program)) => {
            Check::ok(name, format!("{version}, {}", program.path.display()))
        }
        (Some(version), None) => Check::ok(name, version.to_string()),
        (None, Some(program)) => Check::warn(
            name,
            format!("{} does not say its version", program.path.display()),
            if place.has_pods() {
                "--containerd-version VERSION says it".to_owned()
            } else {
                format!("run it: {} --version", program.path.display())
            },
        ),
        (None, None) => Check::warn(
            name,
            "it is configured, but its program was not found",
            if place.has_pods() {
                "--containerd-version VERSION says its version"
            } else {
                "--for KIND leaves it out where it is used no more"
            },
        ),
    }
}

/// The shim that the configuration names, else the one that was installed, else where one would be.
pub(super) fn shim(root: &Root, used: &Used) -> PathBuf {
    let installed = || State::load(root).ok().flatten().map(|state| state.shim);
    let in_path = || {
        let folders = version::PATH.into_iter();
        folders
            .map(|folder| Path::new(folder).join(SHIM))
            .find(|path| root.real_path(path).is_some())
    };
    let shim = used.shim.clone().or_else(installed).or_else(in_path);
    shim.unwrap_or_else(|| Path::new(programs::FOLDER).join(SHIM))
}

pub(super) fn check_shim(root: &Root, shim: &Path) -> Check {
    let shown = root.outside(shim).display().to_string();
    if root.real_path(shim).is_none() {
        return Check::fail("shim", format!("there is no {shown}"), "podhook install");
    }
    let own = env!("CARGO_PKG_VERSION");
    let said = version::says(root, shim, "-v");
    match said.and_then(|text| Version::find(&text)) {
        None => Check::fail(
            "shim",
            format!("{shown} cannot be run, or does not say its version"),
            "podhook install puts it there again; a file system that is mounted noexec cannot have it",
        ),
        Some(version) if Some(version) != Version::parse(own) => Check::warn(
            "shim",
            format!("{shown} is {version}, this podhook is {own}"),
            "install both from one release: podhook install",
        ),
        Some(version) => Check::ok("shim", format!("{version}, {shown}")),
    }
}

/// Under SELinux a shim without containerd's label starts containers without theirs.
pub(super) fn labels(root: &Root, shim: &Path) -> Option<Check> {
    let enforcing = root.text("/sys/fs/selinux/enforce")?;
    let reference = version::PATH
        .into_iter()
        .map(|folder| Path::new(folder).join("containerd-shim-runc-v2"))
        .find(|path| root.real_path(path).is_some())?;
    let kind = |path: &Path| {
        let label = label(&root.real_path(path)?)?;
        Some(label.split(':').nth(2)?.to_owned())
    };
    let (ours, theirs) = (kind(shim)?, kind(&reference)?);
    if ours == theirs {
        return Some(Check::ok("selinux", format!("the shim is {ours}")));
    }
    let message = format!("the shim is {ours}, the original is {theirs}");
    let mend = format!(
        "chcon --reference={} {}",
        root.outside(&reference).display(),
        root.outside(shim).display()
    );
    Some(if enforcing.trim() == "1" {
        Check::fail("selinux", message, mend)
    } else {
        Check::warn("selinux", message, mend)
    })
}

fn label(path: &Path) -> Option<String> {
    let mut label = [0_u8; 1024];
    let length = rustix::fs::getxattr(path, "security.selinux", &mut label[..]).ok()?;
    let label = String::from_utf8_lossy(label.get(..length)?);
    Some(label.trim_end_matches('\0').to_owned())
}

/// The shims that run, and whether their program is the one that is there now.
pub(super) fn shims(root: &Root, shim: &Path) -> Option<Check> {
    let all = shims::all(root);
    let ours: Vec<_> = all.iter().filter(|one| one.runs(root, shim)).collect();
    let replaced = ours.iter().filter(|one| one.replaced).count();
    let count = ours.len();
    if count == 0 {
        return None;
    }
    if replaced == 0 {
        return Some(Check::ok(
            "running shims",
            format!("{count}, none of a program that was replaced since"),
        ));
    }
    Some(Check::warn(
        "running shims",
        format!("{replaced} of {count} run a program that was replaced since"),
        "nothing needs to be done: they go on as they are, and end with their pods; to have it at once, \
         kubectl rollout restart",
    ))
}

/// The OCI runtime that the configuration names, else runc.
pub(super) fn oci_program(root: &Root, used: &Used) -> Option<Program> {
    let name = used.oci();
    if name.starts_with('/') {
        let path = Path::new(name);
        let folder = path.parent().and_then(Path::to_str).unwrap_or("/");
        let file = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        version::program(root, &file.unwrap_or_default(), [folder], "--version")
    } else {
        let folders = used.programs.iter().map(String::as_str);
        version::program(
            root,
            name,
            version::PATH.into_iter().chain(folders),
            "--version",
        )
    }
}

pub(super) fn oci(root: &Root, used: &Used) -> Check {
    let Some(program) = oci_program(root, used) else {
        let name = used.oci();
        let file = Path::new(name).file_name().unwrap_or_default();
        let install = match file.to_str() {
            Some(name @ ("runc" | "crun")) => format!("install {name} (apt-get install {name})"),
            _ => format!("install {name}"),
        };
        let message = if name.starts_with('/') {
            format!("there is no {}", root.outside(Path::new(name)).display())
        } else {
            format!("there is no {name} in PATH")
        };
        let mend = format!(
            "{install}, or name another one: BinaryName of the runtime's options, where it has none runtime in {DEFAULT_PATH}"
        );
        return Check::fail("OCI runtime", message, mend);
    };
    let shown = program.path.display().to_string();
    let oldest = if shown.ends_with("crun") {
        Version(1, 8, 0)
    } else {
        Version(1, 1, 0)
    };
    match program.version {
        Some(version) if version < oldest => Check::fail(
            "OCI runtime",
            format!("{shown} {version} is older than {}.{}", oldest.0, oldest.1),
            format!("upgrade it to {}.{} or later", oldest.0, oldest.1),
        ),
        Some(version) => Check::ok("OCI runtime", format!("{shown} {version}")),
        None => Check::warn(
            "OCI runtime",
            format!("{shown} does not say its version"),
            format!("run it: {shown} --version"),
        ),
    }
}

/// Where a podhook beside the first one hides one of the two: what runs is then not what was installed last.
pub(super) fn twice(root: &Root, used: &Used) -> Option<Check> {
    let mut all = programs::shims(root);
    if let Some(shim) = &used.shim
        && root.real_path(shim).is_some()
        && !all
            .iter()
            .any(|one| root.real_path(one) == root.real_path(shim))
    {
        all.push(shim.clone());
    }
    let [_, _, ..] = &*all else {
        return None;
    };
    let first = used.shim.clone().or_else(|| all.first().cloned())?;
    let shown = |path: &Path| root.outside(path).display().to_string();
    let is_first = |path: &&PathBuf| root.real_path(path) != root.real_path(&first);
    let others: Vec<String> = all.iter().filter(is_first).map(|one| shown(one)).collect();
    let why = match used.shim {
        Some(_) => "the configuration names it",
        None => "it comes first in PATH",
    };
    Some(Check::warn(
        "programs",
        format!(
            "podhook is there more than once: {} counts, since {why}, beside {}",
            shown(&first),
            others.join(", ")
        ),
        "keep one: remove the package (apt remove podhook), or podhook uninstall of the other; then podhook install",
    ))
}

/// Whether what podhook install wrote is as it was written. `is_configured`: whether some configuration has podhook.
pub(super) fn installed(root: &Root, is_configured: bool, shim: &Path) -> Check {
    let state = match State::load(root) {
        Ok(Some(state)) => state,
        Ok(None) if !is_configured && root.real_path(shim).is_none() => {
            return Check::warn(
                "install",
                "podhook install has not been run",
                "podhook install",
            );
        }
        Ok(None) if !is_configured => {
            return Check::ok(
                "install",
                "podhook install has not been run: the programs are there, and no configuration names them",
            );
        }
        Ok(None) => {
            return Check::ok(
                "install",
                "podhook install has not been run: configured by hand",
            );
        }
        Err(e) => {
            let message = first_line(&e.to_string());
            return Check::warn("install", message, "see docs/install.md");
        }
    };
    if state.half {
        return Check::warn(
            "install",
            "half taken off: podhook uninstall --force has left the programs to the containers that ran",
            "podhook uninstall again when those are gone; podhook install brings the rest back",
        );
    }
    let is_changed = |path: &Path, now: Now| now != Now::Written && !path.as_os_str().is_empty();
    let changed: Vec<String> = state
        .files
        .iter()
        .filter(|entry| {
            let found = root.read_to_edit(&entry.path).ok().flatten();
            is_changed(&entry.path, entry.now(found.as_ref()))
        })
        .map(|entry| root.outside(&entry.path).display().to_string())
        .collect();
    if changed.is_empty() {
        return Check::ok(
            "install",
            format!("by podhook {}, unchanged since", state.podhook),
        );
    }
    Check::warn(
        "install",
        format!("changed since podhook install: {}", changed.join(", ")),
        "podhook install writes what is missing; podhook uninstall will ask what is to become of it",
    )
}
