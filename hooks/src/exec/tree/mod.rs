//! A process and everything it starts, as one.
//!
//! A hook can fork twice and leave its session: only a cgroup holds all of it. So it gets a leaf below
//! the container's cgroup in one hierarchy, the best that the machine has. Its charges stay with the
//! container: a leaf without controllers of its own adds nothing, and on v1 charges go up the tree.

pub mod cgroup;
pub mod leaf;
pub mod session;

use std::path::Path;
use std::time::Duration;

use crate::task;
use cgroup::Membership;
use leaf::Leaf;

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
    /// The tree is the process's session: what calls setsid(2) itself escapes.
    Session {
        leader: Option<libc::pid_t>,
        /// Why there is no leaf; none where none was wanted.
        why: Option<String>,
    },
}

impl Tree {
    /// An empty tree for a process that is about to be made in a container with these cgroups; `moved` is
    /// where its init has gone in cgroup v2, if it has. `is_root`: see [`super::parent::view`].
    pub(super) fn new(cgroups: &Membership, moved: Option<&Path>, is_root: bool) -> Self {
        Self {
            place: match Leaf::new(cgroups, moved, is_root) {
                Ok(leaf) => Place::Leaf(leaf),
                Err(why) => Place::Session {
                    leader: None,
                    why: Some(why),
                },
            },
        }
    }

    /// The tree of a process that leads its own session.
    pub(super) fn session(leader: libc::pid_t) -> Self {
        Self {
            place: Place::Session {
                leader: Some(leader),
                why: None,
            },
        }
    }

    /// The same tree, now that nothing can go to its leaf.
    pub(super) fn lose_leaf(&mut self, why: String) {
        self.place = Place::Session {
            leader: None,
            why: Some(why),
        };
    }

    /// The same tree, now that its first process leads a session and is in the leaf, or is not.
    pub(super) fn settled(self, leader: libc::pid_t, in_leaf: bool) -> Self {
        let why = match self.place {
            // What the new process says of that may be a lie.
            Place::Leaf(leaf) if in_leaf || leaf.contains(leader) => {
                let place = Place::Leaf(leaf);
                return Self { place };
            }
            // Dropped, it is removed.
            Place::Leaf(leaf) => Some(format!("{} took no process", leaf.dir().display())),
            Place::Session { why, .. } => why,
        };
        Self {
            place: Place::Session {
                leader: Some(leader),
                why,
            },
        }
    }

    /// Why only its session can be found and killed, where a cgroup was to hold all of it.
    pub fn session_only(&self) -> Option<&str> {
        match &self.place {
            Place::Leaf(_) => None,
            Place::Session { why, .. } => why.as_deref(),
        }
    }

    /// The directory of the cgroup that its first process goes to.
    pub(super) fn leaf(&self) -> Option<&Path> {
        match &self.place {
            Place::Leaf(leaf) => Some(leaf.dir()),
            Place::Session { .. } => None,
        }
    }

    /// Kills every process of the tree and removes its cgroup. Returns when they are gone, or after two
    /// seconds; what is left to do then goes on in the background.
    pub async fn kill(self) {
        let work = task::spawn(async move {
            match self.place {
                Place::Leaf(leaf) => leaf.kill().await,
                Place::Session { leader, .. } => {
                    if let Some(leader) = leader {
                        session::kill(leader).await;
                    }
                }
            }
        });
        let _ = tokio::time::timeout(KILL_WAIT, work).await;
    }

    /// Leaves what runs to the container, see [`Leaf::release`]. Returns at once; a cgroup that is still busy with a
    /// dying process is removed in the background.
    pub async fn release(self) {
        if let Place::Leaf(leaf) = self.place
            && let Some(rest) = leaf.release()
        {
            task::spawn(rest);
        }
    }
}
