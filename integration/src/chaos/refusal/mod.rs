//! Every system call of the shim that can fail, made to fail in turn, and what became of what it was for.
//!
//! strace is what fails them. Each container of a worker is one of a group whose shim it keeps from one [`round`] to the
//! next: what a failure has left open or broken in it is seen in the round, or in one after it.

mod calls;
pub mod round;
mod tracer;

use std::fmt;

pub use calls::{ERRORS, errors};
pub use tracer::{Calls, Counts, Wrapper};

/// What the shim is asked for while a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// The verb `start`, of a shim of its own.
    StartVerb,
    Create,
    /// With a postStart hook.
    Start,
    /// An exec from its request to its deletion.
    Exec,
    /// SIGTERM, with a preStop hook, until the container has ended.
    Kill,
    Delete,
    /// The verb `delete`, after the shim was killed.
    DeleteVerb,
}

impl Operation {
    pub const ALL: [Self; 7] = [
        Self::StartVerb,
        Self::Create,
        Self::Start,
        Self::Exec,
        Self::Kill,
        Self::Delete,
        Self::DeleteVerb,
    ];

    /// As it is printed and asked for.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StartVerb => "start-verb",
            Self::Create => "create",
            Self::Start => "start",
            Self::Exec => "exec",
            Self::Kill => "kill",
            Self::Delete => "delete",
            Self::DeleteVerb => "delete-verb",
        }
    }

    /// The verb of the shim's binary that it is, if it is one.
    fn verb(self) -> Option<&'static str> {
        match self {
            Self::StartVerb => Some("start"),
            Self::DeleteVerb => Some("delete"),
            _ => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One call that fails.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub call: String,
    /// `EMFILE`.
    pub error: &'static str,
    /// The first is 1; each process and thread has its own count.
    pub nth: usize,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.call, self.error, self.nth)
    }
}
