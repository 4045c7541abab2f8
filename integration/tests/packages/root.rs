//! The root folder that the packages are installed into.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use podhook_integration::command::{self, Output, stdout_of};
use podhook_integration::packages::{LIMIT, OLD, PROGRAMS, Packages};
use podhook_integration::shim::built;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const DEBIANS: [&str; 2] = ["/bin/rm", "/bin/sh"];

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// The packages of this run, and where they are installed.
pub struct Installed {
    pub packages: Packages,
    root: PathBuf,
}

pub fn remember(installed: Installed) {
    let _ = INSTALLED.set(installed);
}

/// That of this run.
pub fn installed() -> Result<&'static Installed, Failure> {
    Ok(INSTALLED.get().ok_or("no packages")?)
}

/// The packages of this run.
pub fn packages() -> Result<&'static Packages, Failure> {
    Ok(&installed()?.packages)
}

impl Installed {
    /// With packages and root below a folder.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            root: folder.join("root"),
            packages: Packages::new(folder),
        }
    }

    /// The root folder.
    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// The shim that is installed there.
    pub fn shim(&self) -> PathBuf {
        self.root().join("usr/bin/containerd-shim-podhook-v1")
    }

    /// Its file.
    pub fn inode(&self) -> Result<u64, Failure> {
        Ok(fs::metadata(self.shim())?.ino())
    }

    /// Makes the root, and installs the old release.
    pub fn install_old(&self) -> Result<(), Failure> {
        let root = self.root();
        for folder in [
            "bin",
            "dev",
            "proc",
            "tmp",
            "usr/bin",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
        ] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("var/lib/dpkg/status"), "")?;
        fs::copy("/bin/busybox", root.join("bin/busybox"))?;
        for tool in ["cat", "grep", "head", "tr"] {
            symlink("busybox", root.join("bin").join(tool))?;
        }
        // Debian's own: busybox's rm knows no file systems, and its shell takes that one before any other.
        for tool in DEBIANS {
            fs::copy(tool, root.join(tool.trim_start_matches('/')))?;
        }
        let mut libraries = BTreeSet::new();
        let debians = DEBIANS.map(PathBuf::from);
        for program in PROGRAMS.map(built).into_iter().chain(debians) {
            let said = stdout_of("ldd", &[&*program.display().to_string()])?;
            let words = said.split_whitespace().filter(|word| word.starts_with('/'));
            libraries.extend(words.map(PathBuf::from));
        }
        for library in libraries {
            let to = root.join(library.strip_prefix("/")?);
            fs::create_dir_all(to.parent().unwrap_or(&root))?;
            fs::copy(&library, to)?;
        }
        self.dpkg(&["--install", &self.packages.deb(OLD).display().to_string()])?
            .success()?;
        Ok(())
    }

    /// dpkg on the root, which sees the processes of this machine as a node does.
    pub fn dpkg(&self, words: &[&str]) -> Result<Output, Failure> {
        let root = self.root().display().to_string();
        let script = "mount --rbind /proc \"$1/proc\" && root=$1 && shift && \
            exec dpkg --root=\"$root\" --force-depends --log=/dev/null \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation=private",
                "sh",
                "-c",
                script,
                "sh",
                &root,
            ])
            .args(words);
        Ok(command::run(&mut command, None, LIMIT)?)
    }
}
