//! A process and everything it starts, as one.
//!
//! A hook can fork twice and leave its session: only a cgroup holds all of it. So it gets a leaf below
//! the container's cgroup in one hierarchy, the best that the machine has. Its charges stay with the
//! container: a leaf without controllers of its own adds nothing, and on v1 charges go up the tree.

use std::path::Path;
use std::time::Duration;

use super::cgroup::Membership;
use super::leaf::Leaf;
use super::session;

/// How long `kill` waits for the last process to be gone. A SIGKILL is pending on every one then; a
/// frozen or uninterruptible process takes it later.
const KILL_WAIT: Duration = Duration::from_secs(2);

/// All processes that one process has started.
#[derive(Debug)]
pub struct Tree {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Leaf(Leaf),
    /// No cgroup of the container can take a leaf (it shares the host's root cgroup in every hierarchy).
    /// The tree is the process's session: what calls setsid(2) itself escapes.
    Session(Option<libc::pid_t>),
}

impl Tree {
    /// An empty tree for a process that is about to be made in a container with these cgroups; `moved` is
    /// where its init has gone in cgroup v2, if it has.
    pub(super) fn new(cgroups: &Membership, moved: Option<&Path>) -> Self {
        Self {
            place: match Leaf::new(cgroups, moved) {
                Some(leaf) => Place::Leaf(leaf),
                None => Place::Session(None),
            },
        }
    }

    /// The tree of a process that leads its own session.
    pub(super) fn session(leader: libc::pid_t) -> Self {
        Self {
            place: Place::Session(Some(leader)),
        }
    }

    /// The directory of the cgroup that its first process goes to.
    pub(super) fn leaf(&self) -> Option<&Path> {
        match &self.place {
            Place::Leaf(leaf) => Some(leaf.dir()),
            Place::Session(_) => None,
        }
    }

    /// Kills every process of the tree and removes its cgroup. Returns when they are gone, or after two
    /// seconds; what is left to do then goes on in the background.
    pub async fn kill(self) {
        let work = tokio::spawn(async move {
            match self.place {
                Place::Leaf(leaf) => leaf.kill().await,
                Place::Session(Some(leader)) => session::kill(leader).await,
                Place::Session(None) => {}
            }
        });
        let _ = tokio::time::timeout(KILL_WAIT, work).await;
    }

    /// Leaves what runs to the container: survivors move to its own cgroup, and the leaf goes. Returns at
    /// once; a cgroup that is still busy with a dying process is removed in the background.
    pub async fn release(self) {
        if let Place::Leaf(leaf) = self.place
            && let Some(rest) = leaf.release()
        {
            tokio::spawn(rest);
        }
    }
}
