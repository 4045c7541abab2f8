//! The packages, and the root folder that they are installed into.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use podhook_integration::command::{self, Output, stdout_of};
use podhook_integration::generation::repository;

use crate::programs;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// cargo may have to build the program that writes the man pages.
const LIMIT: Duration = Duration::from_secs(1200);
const PROGRAMS: [&str; 2] = ["podhook", "containerd-shim-podhook-v1"];
/// The release that is installed, and the one that comes after it.
pub const OLD: &str = "0.0.1";
pub const NEW: &str = "0.0.2";

static PACKAGES: OnceLock<Packages> = OnceLock::new();

/// The packages of this run.
pub struct Packages {
    folder: PathBuf,
}

pub fn remember(packages: Packages) {
    let _ = PACKAGES.set(packages);
}

/// Those of this run.
pub fn packages() -> Result<&'static Packages, Failure> {
    Ok(PACKAGES.get().ok_or("no packages")?)
}

impl Packages {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes both releases of what cargo has built. Without its symbols, as a release is, it is packed in seconds.
    pub fn make(&self) -> Result<(), Failure> {
        fs::create_dir_all(self.programs())?;
        for program in PROGRAMS {
            let from = programs().join(program).display().to_string();
            let to = self.programs().join(program).display().to_string();
            stdout_of("strip", &["-o", &to, &from])?;
        }
        for version in [OLD, NEW] {
            self.make_in(&self.folder, version)?;
        }
        Ok(())
    }

    /// Makes a release in a folder.
    pub fn make_in(&self, folder: &Path, version: &str) -> Result<(), Failure> {
        let mut command = Command::new(repository().join(".ci/package"));
        command
            .arg(self.programs())
            .arg(folder)
            .env("VERSION", version);
        // The time of a commit, which an archive of the source does not have.
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        command::run(&mut command, None, LIMIT)?.success()?;
        Ok(())
    }

    /// The .deb of a release.
    pub fn deb(&self, version: &str) -> PathBuf {
        self.folder.join(format!("podhook_{version}-1_amd64.deb"))
    }

    /// The .rpm of a release.
    pub fn rpm(&self, version: &str) -> PathBuf {
        self.folder.join(format!("podhook-{version}-1.x86_64.rpm"))
    }

    fn programs(&self) -> PathBuf {
        self.folder.join("programs")
    }

    /// The root folder.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
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
        for tool in ["cat", "grep", "head", "rm", "sh", "tr"] {
            symlink("busybox", root.join("bin").join(tool))?;
        }
        let mut libraries = BTreeSet::new();
        for program in PROGRAMS {
            let said = stdout_of("ldd", &[&*programs().join(program).display().to_string()])?;
            let words = said.split_whitespace().filter(|word| word.starts_with('/'));
            libraries.extend(words.map(PathBuf::from));
        }
        for library in libraries {
            let to = root.join(library.strip_prefix("/")?);
            fs::create_dir_all(to.parent().unwrap_or(&root))?;
            fs::copy(&library, to)?;
        }
        self.dpkg(&["--install", &self.deb(OLD).display().to_string()])?
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
