//! SIGKILL of every part of a container's machinery at every phase of its life, and what became of it.
//!
//! A [`round`](round::run) brings one container to a [`Phase`], kills one [`Victim`], lets the clients go on as they would, and
//! looks: at what they were answered, at what is left on the node, and at the next container with the same id.

mod approach;
mod clean;
mod gate;
mod life;
pub mod pods;
mod reader;
pub mod refusal;
pub mod round;
mod runtime;
mod seed;
mod strike;
mod truth;

use std::fmt;

pub use runtime::HeldRuntime;
pub use seed::Seed;

/// Any error of a round.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Where in its life the container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// containerd has made the bundle; the shim's `start` runs.
    BundleMade,
    /// The OCI runtime's `create` runs.
    Create,
    Created,
    /// The OCI runtime's `start` runs.
    Start,
    PostStart,
    Running,
    /// A further process is being made, or runs.
    Exec,
    PreStop,
    /// Init has the signal and has not ended.
    Signalled,
    Exited,
    /// `Delete` is under way: the OCI runtime's `delete` runs.
    Deleting,
    /// The shim was killed, and containerd runs its `delete`.
    DeleteVerb,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Victim {
    /// The shim, or the process of the verb that runs.
    Shim,
    Containerd,
    /// The process of the OCI runtime.
    Runtime,
    /// The engine's process that joins the container.
    Joiner,
    /// The process of a hook or of an exec.
    Command,
    Init,
    /// Who reads the output: it is closed.
    Reader,
}

impl Phase {
    pub const ALL: [Self; 12] = [
        Self::BundleMade,
        Self::Create,
        Self::Created,
        Self::Start,
        Self::PostStart,
        Self::Running,
        Self::Exec,
        Self::PreStop,
        Self::Signalled,
        Self::Exited,
        Self::Deleting,
        Self::DeleteVerb,
    ];

    /// As it is printed and asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BundleMade => "bundle-made",
            Self::Create => "create",
            Self::Created => "created",
            Self::Start => "start",
            Self::PostStart => "postStart",
            Self::Running => "running",
            Self::Exec => "exec",
            Self::PreStop => "preStop",
            Self::Signalled => "signalled",
            Self::Exited => "exited",
            Self::Deleting => "deleting",
            Self::DeleteVerb => "delete-verb",
        }
    }
}

impl Victim {
    pub const ALL: [Self; 7] = [
        Self::Shim,
        Self::Containerd,
        Self::Runtime,
        Self::Joiner,
        Self::Command,
        Self::Init,
        Self::Reader,
    ];

    /// As it is printed and asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shim => "shim",
            Self::Containerd => "containerd",
            Self::Runtime => "runtime",
            Self::Joiner => "joiner",
            Self::Command => "command",
            Self::Init => "init",
            Self::Reader => "reader",
        }
    }

    /// Whether there is one at that phase.
    #[must_use]
    pub fn is_at(self, phase: Phase, podhook: bool) -> bool {
        let hook = matches!(phase, Phase::PostStart | Phase::PreStop);
        if hook && !podhook {
            return false;
        }
        match self {
            Self::Shim | Self::Containerd => true,
            Self::Runtime => match phase {
                Phase::Create | Phase::Start | Phase::Deleting | Phase::DeleteVerb => true,
                // podhook's engine makes the process.
                Phase::Exec => !podhook,
                _ => false,
            },
            Self::Joiner => phase == Phase::Exec && podhook,
            Self::Command => hook || phase == Phase::Exec,
            Self::Init => (Phase::Create..=Phase::Signalled).contains(&phase),
            Self::Reader => (Phase::Create..=Phase::Signalled).contains(&phase),
        }
    }

    /// Whether the container can go on without it, and everybody is told so.
    fn spares_the_container(self) -> bool {
        matches!(
            self,
            Self::Runtime | Self::Joiner | Self::Command | Self::Reader
        )
    }
}

/// Every pair of a phase and a victim there is with a shim.
#[must_use]
pub fn pairs(podhook: bool) -> Vec<(Phase, Victim)> {
    let all = Phase::ALL
        .into_iter()
        .flat_map(|phase| Victim::ALL.map(|victim| (phase, victim)));
    all.filter(|(phase, victim)| victim.is_at(*phase, podhook))
        .collect()
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_loses_its_shim_and_its_containerd_and_every_victim_dies_somewhere() {
        for podhook in [false, true] {
            let pairs = pairs(podhook);
            let hooks = [Phase::PostStart, Phase::PreStop];
            for phase in Phase::ALL
                .iter()
                .filter(|it| podhook || !hooks.contains(it))
            {
                assert!(pairs.contains(&(*phase, Victim::Shim)));
                assert!(pairs.contains(&(*phase, Victim::Containerd)));
            }
            for victim in Victim::ALL {
                let dies = pairs.iter().any(|(_, other)| *other == victim);
                assert_eq!(dies, podhook || victim != Victim::Joiner, "{victim}");
            }
        }
    }
}
