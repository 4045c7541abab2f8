//! A container's init as an OCI runtime has noted it.

use podhook_hooks::linux::process::{Stat, read_stat};

/// A process, by what no later one has the same of.
#[derive(Debug)]
pub struct Init {
    pub pid: i32,
    /// The time of its start, as in `/proc/PID/stat`.
    pub start: u64,
}

impl Init {
    /// Whether it is alive, as the runtimes see it.
    pub fn is_alive(&self) -> bool {
        let Ok(text) = read_stat(self.pid) else {
            return false;
        };
        let stat = Stat::parse(&text);
        stat.is_some_and(|stat| !stat.has_ended() && stat.field(22) == Some(self.start))
    }
}
