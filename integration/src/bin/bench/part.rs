//! The parts of the report, and what measures each.

use crate::arguments::Sizes;
use crate::sheet::Sheet;
use crate::stage::Stage;
use crate::{
    Fallible, answers, cold, ctr_run, direct, hooks, hot, kubelet, memory, output, phases,
};
use crate::{probes, saturation, ways};

/// A part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Calls of a pod's life by CRI, and `ctr run`.
    Cold,
    /// Pods of many containers, many pods at once, as many containers as the machine can.
    Crowd,
    /// The shim without containerd.
    Direct,
    /// Execs and hooks one a second.
    Alone,
    /// The same in a tight loop.
    Loop,
    /// Calls at 1, 10, 100 at once.
    Hot,
    Output,
    Hooks,
    Memory,
    Probes,
    /// The same under a kubelet.
    Kubelet,
    /// Whose the time of a call is.
    Phases,
}

impl Part {
    /// In the order of the report.
    pub const ALL: [Self; 12] = [
        Self::Cold,
        Self::Crowd,
        Self::Direct,
        Self::Alone,
        Self::Loop,
        Self::Hot,
        Self::Output,
        Self::Hooks,
        Self::Memory,
        Self::Probes,
        Self::Kubelet,
        Self::Phases,
    ];

    /// As it is chosen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Crowd => "crowd",
            Self::Direct => "direct",
            Self::Alone => "alone",
            Self::Loop => "loop",
            Self::Hot => "hot",
            Self::Output => "output",
            Self::Hooks => "hooks",
            Self::Memory => "memory",
            Self::Probes => "probes",
            Self::Kubelet => "kubelet",
            Self::Phases => "phases",
        }
    }

    /// Over its table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Cold => "A container from its making to its end",
            Self::Crowd => "Pods of many containers, and many at once",
            Self::Direct => "The shim asked directly, without containerd",
            Self::Alone => "`/bin/true` in a running container, one a second",
            Self::Loop => "The same in a tight loop",
            Self::Hot => "Calls at 1, 10 and 100 at once",
            Self::Output => "Output at full speed",
            Self::Hooks => "Hooks",
            Self::Memory => "Memory at rest",
            Self::Probes => "Pods with an exec probe a second each",
            Self::Kubelet => "The same under a kubelet",
            Self::Phases => "Whose the time of a call is",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }

    /// All names.
    #[must_use]
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Measures it.
    ///
    /// # Errors
    /// When something cannot be measured; what was measured until then is on the sheet.
    pub fn run(self, stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
        match self {
            Self::Cold => {
                cold::run(stage, sizes, sheet)?;
                ctr_run::run(stage, sizes, sheet)
            }
            Self::Crowd => {
                cold::of_many(stage, sizes, sheet)?;
                cold::at_once(stage, sizes, sheet)?;
                saturation::run(stage, sizes, sheet)
            }
            Self::Direct => direct::run(stage, sizes, sheet),
            Self::Alone => ways::alone(stage, sizes, sheet),
            Self::Loop => ways::in_a_loop(stage, sizes, sheet),
            Self::Hot => hot::run(stage, sizes, sheet),
            Self::Output => output::run(stage, sizes, sheet),
            Self::Hooks => {
                hooks::run(stage, sizes, sheet)?;
                answers::run(stage, sizes, sheet)
            }
            Self::Memory => memory::run(stage, sizes, sheet),
            Self::Probes => probes::run(stage, sizes, sheet),
            Self::Kubelet => kubelet::run(stage.spot, sizes, sheet),
            Self::Phases => phases::run(stage, sizes, sheet),
        }
    }
}
