//! containerd's configuration: read with all that it imports, and given podhook's runtime.
//!
//! What makes the generations different:
//! - the name of CRI's plugin, by the version that a file says it has;
//! - what an imported file does. containerd 1.x takes a plugin's whole section from the last file that has one: a
//!   drop-in for podhook would take away what the main file says of CRI. 2.x adds key to key, arrays as a whole;
//! - no generation reads /etc/containerd/conf.d by itself: a file must import it.

pub mod edit;
pub mod load;
pub mod pauseless;
pub mod section;
pub mod template;

use super::version::Version;

/// What containerd does with its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// The version of containerd.
    pub version: Version,
}

impl Generation {
    /// Whether files are merged key by key; else the last one with a plugin's section has all of it.
    #[must_use]
    pub fn merges(self) -> bool {
        self.version >= Version(2, 0, 0)
    }

    /// The version of a new configuration.
    #[must_use]
    pub fn newest(self) -> i64 {
        match self.version {
            version if version < Version(2, 0, 0) => 2,
            version if version < Version(2, 3, 0) => 3,
            _ => 4,
        }
    }

    /// Whether CRI uses `runtime_path` (containerd#8207).
    #[must_use]
    pub fn has_runtime_path(self) -> bool {
        self.version >= Version(1, 7, 1)
    }

    /// Whether a shim may be a pod's sandbox, without a pause container.
    #[must_use]
    pub fn has_pauseless(self) -> bool {
        self.version >= Version(2, 3, 0)
    }

    /// Whether a runtime can say that it needs no pause image (`disable_pause_image_pull`).
    #[must_use]
    pub fn can_leave_pause_image(self) -> bool {
        self.version >= Version(2, 4, 0)
    }

    /// Whether options reach a runtime that is not named `io.containerd.runc.v2`.
    #[must_use]
    pub fn passes_options(self) -> bool {
        self.version >= Version(1, 7, 0)
    }
}

/// The name of CRI's plugin in a file of that version.
#[must_use]
pub fn plugin(version: i64) -> &'static str {
    match version {
        ..=1 => "cri",
        2 => "io.containerd.grpc.v1.cri",
        _ => "io.containerd.cri.v1.runtime",
    }
}
