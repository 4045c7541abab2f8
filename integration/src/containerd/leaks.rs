//! The check that containers leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::remains;
use super::{Containerd, Error};
use crate::command::stdout_of;
use crate::driver;
use crate::shim::ShimKind;
use crate::wait::{self, SOON};

impl Containerd {
    /// Every container that ever had a task here.
    #[must_use]
    pub fn known_containers(&self) -> BTreeSet<remains::Key> {
        let created = self
            .events
            .all()
            .into_iter()
            .filter(|event| event.topic == "/tasks/create");
        created
            .map(|event| (event.namespace.clone(), event.container_id().to_owned()))
            .collect()
    }

    /// Waits until nothing of `containers` is left: bundle, shim, socket, cgroup, runc state.
    ///
    /// # Errors
    /// [`Error::Leak`] with what is still there after [`SOON`].
    pub fn expect_gone(&self, containers: &BTreeSet<remains::Key>) -> Result<(), Error> {
        let mut left = Vec::new();
        let gone = wait::until_true("clean-up", SOON, || {
            left = self.left_of(containers);
            left.is_empty()
        });
        if gone.is_ok() {
            return Ok(());
        }
        for cgroup in containers.iter().flat_map(|key| self.forgotten(key)) {
            eprintln!("systemd has stopped the unit and left its cgroup, empty: {cgroup}");
            left.retain(|line| *line != cgroup);
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(Error::Leak(left))
        }
    }

    /// The same of containers of one shim. The original at times gives up on a cgroup whose last process is about to
    /// leave it.
    ///
    /// # Errors
    /// As [`Self::expect_gone`].
    pub fn expect_gone_of(
        &self,
        containers: &BTreeSet<remains::Key>,
        shim: ShimKind,
    ) -> Result<(), Error> {
        let outcome = self.expect_gone(containers);
        if outcome.is_ok() || shim.is_podhook() {
            return outcome;
        }
        let cgroups = containers
            .iter()
            .flat_map(|key| driver::cgroups(self.id(), key));
        for cgroup in cgroups {
            if fs::remove_dir(&cgroup).is_ok() {
                eprintln!(
                    "the original has left a cgroup, empty: {}",
                    cgroup.display()
                );
            }
        }
        let left = self.left_of(containers);
        if left.is_empty() {
            Ok(())
        } else {
            Err(Error::Leak(left))
        }
    }

    /// Sends SIGKILL to a shim. The original's `delete` leaves its sockets: they are removed.
    ///
    /// # Errors
    /// When it has ended.
    pub fn kill_shim(&self, shim: &remains::Shim, kind: ShimKind) -> nix::Result<()> {
        kill(Pid::from_raw(shim.pid), Signal::SIGKILL)?;
        if kind == ShimKind::Runc {
            let key = (shim.namespace.clone(), shim.id.clone());
            remains::remove_sockets(&self.address(), &key);
        }
        Ok(())
    }

    /// Empty cgroups of scopes that systemd does not run (any more): a reload of systemd that meets the end of
    /// a scope can make its cgroup anew, which is nobody's then.
    fn forgotten(&self, key: &remains::Key) -> Vec<String> {
        if !driver::is_systemd() {
            return Vec::new();
        }
        let ended = |path: &PathBuf| {
            let unit = path.file_name().unwrap_or_default().to_string_lossy();
            let state = stdout_of("systemctl", &["show", "--property=ActiveState", &unit]);
            let ended = state.as_deref().is_ok_and(|state| {
                matches!(state.trim(), "ActiveState=inactive" | "ActiveState=failed")
            });
            ended && !described(path).contains('\n')
        };
        driver::cgroups(self.id(), key)
            .iter()
            .filter(|path| ended(path))
            .map(|path| described(path))
            .collect()
    }

    /// The cgroups of a container, of ctr's as of CRI's, in all hierarchies, with those below.
    #[must_use]
    pub fn cgroups(&self, id: &str) -> Vec<PathBuf> {
        let key = (self.id().to_owned(), id.to_owned());
        let own = driver::cgroups(self.id(), &key);
        own.iter().flat_map(|own| remains::tree(own)).collect()
    }

    /// What is left of `containers` now: bundle, mounts, shim, socket, cgroup, runc state.
    #[must_use]
    pub fn left_of(&self, containers: &BTreeSet<remains::Key>) -> Vec<String> {
        let mut left = Vec::new();
        let mut shims = remains::shims(&self.address());
        shims.extend(remains::watchers(&self.address()));
        for key in containers {
            let (namespace, id) = key;
            let bundle = self.bundle(namespace, id);
            left.extend(
                self.mounts_below(&bundle)
                    .iter()
                    .map(|mount| format!("mount {}", mount.display())),
            );
            let [socket, debug] = remains::sockets(&self.address(), key);
            let members = bundle.with_file_name(format!(".{id}+members"));
            let sandbox = self.sandbox_bundle(namespace, id);
            let state = remains::runc_state(key);
            for path in [bundle, members, sandbox, state, socket, debug] {
                if path.symlink_metadata().is_ok() {
                    left.push(path.display().to_string());
                }
            }
            left.extend(
                driver::cgroups(self.id(), key)
                    .iter()
                    .map(|path| described(path)),
            );
            left.extend(
                shims
                    .iter()
                    .filter(|shim| shim.namespace == *namespace && shim.id == *id)
                    .map(|shim| format!("process {} {}", shim.pid, shim.command)),
            );
        }
        left
    }

    /// Checks that nothing is left of any container it ever had, and stops it.
    ///
    /// # Errors
    /// [`Error::Leak`] when something is left.
    pub fn close(&self) -> Result<(), Error> {
        self.stop_docker();
        self.expect_gone(&self.known_containers())?;
        let mut left: Vec<_> = remains::shims(&self.address())
            .iter()
            .chain(&remains::watchers(&self.address()))
            .map(|s| format!("process {} {}", s.pid, s.command))
            .collect();
        let state = self.dir.join("state");
        left.extend(
            self.mounts_below(&state)
                .iter()
                .map(|mount| format!("mount {}", mount.display())),
        );
        if left.is_empty() {
            self.stop()
        } else {
            Err(Error::Leak(left))
        }
    }
}

/// A cgroup with what keeps it: the cgroups below and every process.
fn described(cgroup: &Path) -> String {
    let mut text = format!("cgroup {}", cgroup.display());
    for below in remains::tree(cgroup) {
        let pids = fs::read_to_string(below.join("cgroup.procs")).unwrap_or_default();
        if below != cgroup {
            text += &format!("\n    {}", below.display());
        }
        for pid in pids.split_whitespace() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            text += &format!("\n    process {pid} {line}");
        }
    }
    text
}
