//! Starts and deletes on folders as an OCI runtime leaves them, with processes that stand for its init.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use podhook_hooks::linux::process::{Stat, read_stat};
use tempfile::TempDir;

use super::Direct;
use super::folder::FIFO;
use crate::containerd::options::Options;

#[test]
fn calls_are_the_programs_where_the_node_says_so() {
    let direct = |direct_calls, id: &str| {
        let options = Options {
            direct_calls,
            ..Options::default()
        };
        let root = Path::new("/run/x");
        Direct::new(&options, "runc", root, id, root).map(|direct| direct.folder)
    };
    assert_eq!(direct(true, "c1").as_deref(), Some(Path::new("/run/x/c1")));
    assert_eq!(direct(false, "c1"), None);
    assert_eq!(direct(true, ".."), None);
}

/// A container as the runtime has created it, but for its note.
pub struct Created {
    pub root: TempDir,
    pub direct: Direct,
    init: Child,
}

impl Created {
    /// `init` is what its init does, with the path of the fifo in `$1`; `program` is the runtime's file.
    pub fn new(name: &str, program: &[u8], init: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (folder, binary) = (root.path().join("c1"), root.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::write(&binary, program).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        mkfifo(&folder.join(FIFO), Mode::from_bits_truncate(0o622)).unwrap();
        let init = Command::new("sh")
            .args(["-c", init, "sh"])
            .arg(folder.join(FIFO))
            .spawn()
            .unwrap();
        Self {
            direct: Direct {
                binary: binary.display().to_string(),
                id: "c1".to_owned(),
                folder,
                bundle: root.path().to_owned(),
                has_scope: false,
            },
            root,
            init,
        }
    }

    pub fn pid(&self) -> i32 {
        self.init.id().cast_signed()
    }

    /// When init was started, as the runtimes note it.
    pub fn start_time(&self) -> u64 {
        let stat = read_stat(self.pid()).unwrap();
        Stat::parse(&stat).unwrap().field(22).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.direct.folder.join(name)
    }

    pub async fn unstarted(&self) -> String {
        self.direct
            .start()
            .await
            .expect_err("not started")
            .why
            .to_string()
    }

    pub async fn undeleted(&self) -> String {
        self.direct.delete().await.unwrap_err().to_string()
    }

    pub fn end(&mut self) {
        let _ = self.init.kill();
        self.init.wait().unwrap();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        self.end();
    }
}
