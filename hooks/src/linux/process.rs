//! What procfs tells of a process: `/proc/PID/stat` and `/proc/PID/status` (proc(5)).

use std::{fs, io};

/// `PF_EXITING` of the kernel's `sched.h`: the thread is in `do_exit`. It is never cleared.
const EXITING: u64 = 0x4;

/// `PF_FORKNOEXEC`: it has not executed a program since it was forked.
const FORKED_ONLY: u64 = 0x40;

/// The text of a `stat`.
#[derive(Debug, Clone, Copy)]
pub struct Stat<'a> {
    /// From the third field on, the state.
    fields: &'a str,
}

/// The text of `/proc/PID/stat`.
///
/// # Errors
/// `ENOENT` or `ESRCH` where there is no such process.
pub fn read_stat(pid: libc::pid_t) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/stat"))
}

/// The state of a process, see [`Stat::state`]; `None` where there is none.
pub fn state(pid: libc::pid_t) -> Option<char> {
    Stat::parse(&read_stat(pid).ok()?)?.state()
}

impl<'a> Stat<'a> {
    /// `None` where it is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        // The name, in parentheses, may hold anything: the fields start behind the last one.
        let (_, fields) = text.rsplit_once(") ")?;
        Some(Self { fields })
    }

    /// R, S, D, T, t, Z, X.
    pub fn state(&self) -> Option<char> {
        self.fields.chars().next()
    }

    /// Field `number` as proc(5) counts them, from the third on.
    pub fn field(&self, number: usize) -> Option<u64> {
        let mut fields = self.fields.split_ascii_whitespace();
        fields.nth(number.checked_sub(3)?)?.parse().ok()
    }

    /// Whether it has ended, and waits to be reaped or is just gone.
    pub fn has_ended(&self) -> bool {
        matches!(self.state(), Some('Z' | 'X' | 'x'))
    }

    /// Whether the thread has begun to exit. `None` where the flags cannot be read.
    pub fn is_exiting(&self) -> Option<bool> {
        Some(self.has_ended() || self.field(9)? & EXITING != 0)
    }

    /// Whether it has executed no program since it was forked.
    pub fn is_only_forked(&self) -> bool {
        self.field(9).is_some_and(|flags| flags & FORKED_ONLY != 0)
    }

    /// Whether it has a SIGKILL to take.
    pub fn is_killed(&self) -> bool {
        let kill = 1 << (libc::SIGKILL - 1);
        self.field(31).is_some_and(|pending| pending & kill != 0)
    }
}

/// A line of `/proc/PID/status`, by its name without the colon.
pub fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "7 (a) Z b) S 1 7 7 0 -1 64 1 2 3 4 5 6 7 8 20 0 1 0 9 10 11 12 13 14 15 16 17 256 0 0\n";

    #[test]
    fn a_name_does_not_hide_the_fields() {
        let stat = Stat::parse(STAT).unwrap();
        assert_eq!(stat.state(), Some('S'));
        assert_eq!(stat.field(4), Some(1));
        assert_eq!(stat.field(22), Some(9));
        assert!(stat.is_killed() && stat.is_only_forked() && !stat.has_ended());
        assert_eq!(stat.is_exiting(), Some(false));
        let with = |old: &str, new: &str| STAT.replace(old, new);
        let exiting = with("-1 64", "-1 4");
        assert_eq!(Stat::parse(&exiting).unwrap().is_exiting(), Some(true));
        let dead = with("b) S", "b) Z");
        assert!(Stat::parse(&dead).unwrap().has_ended());
        let terminated = with("256", "16384");
        assert!(
            !Stat::parse(&terminated).unwrap().is_killed(),
            "a SIGTERM may be caught"
        );
    }

    #[test]
    fn what_is_no_stat_says_nothing() {
        assert!(Stat::parse("").is_none());
        let short = Stat::parse("7 (a) R ").unwrap();
        assert_eq!(
            (short.state(), short.field(9), short.is_exiting()),
            (Some('R'), None, None)
        );
        assert_eq!(short.field(2), None);
        // That of the first thread, which may wait for this one.
        assert!(state(std::process::id().cast_signed()).is_some_and(|state| "RS".contains(state)));
        assert_eq!(state(libc::pid_t::MAX), None);
    }

    #[test]
    fn a_name_of_status_is_a_whole_one() {
        let status = "Name:\tx\nSigQ:\t1/2\nSigBlk:\t0001\nTracerPid:\t7\n";
        assert_eq!(status_field(status, "TracerPid"), Some("7"));
        assert_eq!(status_field(status, "SigBlk"), Some("0001"));
        assert_eq!(status_field(status, "Sig"), None);
    }
}
