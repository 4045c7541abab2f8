//! Signal names and numbers as Linux has them on x86-64 and arm64.

use std::fmt;

use crate::similar::similar;

/// The first real-time signal a program may use: the C library keeps 32 and 33 for its threads, and
/// Go, Kubernetes and Docker count from 34 as glibc does.
pub const SIGRTMIN: i32 = 34;
/// The last real-time signal.
pub const SIGRTMAX: i32 = 64;

/// How far the name counts up from SIGRTMIN, and down from SIGRTMAX: Kubernetes' list (core/v1
/// `Signal`) names each number once.
const RTMIN_NAMES: i32 = 15;
const RTMAX_NAMES: i32 = 14;

const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// A signal that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// The signal of that name, see [`parse`].
    pub fn from_name(name: &str) -> Option<Signal> {
        parse(name).map(Signal)
    }

    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(self.0))
    }
}

/// The number of a signal name, with or without `SIG`, in upper case, as Kubernetes writes it:
/// `SIGTERM`, `TERM`, `SIGRTMIN`, `SIGRTMIN+1` to `+15`, `SIGRTMAX-14` to `-1`, `SIGRTMAX`. Numbers
/// are not names.
pub fn parse(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+', RTMIN_NAMES).and_then(|n| SIGRTMIN.checked_add(n));
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, '-', RTMAX_NAMES).and_then(|n| SIGRTMAX.checked_sub(n));
    }
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// The number of a signal as images have it in STOPSIGNAL: `SIGQUIT`, `quit`, `3` or `SIGRTMIN+3` (containerd
/// `ParseSignal`, which knows one name of each signal and no SIGRTMAX).
pub fn of_image(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = short.strip_prefix("RTMIN") {
        let offset: i32 = match rest {
            "" => 0,
            _ => rest.strip_prefix('+')?.parse().ok()?,
        };
        let number = SIGRTMIN.checked_add(offset)?;
        return (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number);
    }
    let (_, number) = NAMES.iter().find(|(known, _)| *known == short)?;
    let first = NAMES.iter().find(|(_, other)| other == number);
    first.filter(|(known, _)| *known == short).map(|_| *number)
}

/// What somebody may have meant who wrote something that is no name: `SIGQUIT` for `SIGQIT`, `sigquit` or `3`.
pub fn meant(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<i32>() {
        return Some(name(number)).filter(|name| parse(name).is_some());
    }
    let upper = text.to_ascii_uppercase();
    if let Some(number) = parse(&upper) {
        return Some(name(number));
    }
    let long = match upper.strip_prefix("SIG") {
        Some(_) => upper,
        None => format!("SIG{upper}"),
    };
    let known: Vec<String> = NAMES
        .iter()
        .map(|(name, _)| format!("SIG{name}"))
        .chain(["SIGRTMIN".to_owned(), "SIGRTMAX".to_owned()])
        .collect();
    similar(&long, known.iter().map(String::as_str)).map(str::to_owned)
}

/// What follows `RTMIN` or `RTMAX`: nothing, or the sign and 1 to `max` without leading zeros.
fn offset(rest: &str, sign: char, max: i32) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.strip_prefix(sign)?;
    if digits.starts_with('0') || digits.len() > 2 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|n| *n <= max)
}

/// The name of a signal number: `SIGTERM`, `SIGRTMIN+3`; `signal 99` for a number without a name.
pub fn name(number: i32) -> String {
    match number {
        SIGRTMIN => "SIGRTMIN".to_owned(),
        SIGRTMAX => "SIGRTMAX".to_owned(),
        n if (SIGRTMIN..=SIGRTMIN + RTMIN_NAMES).contains(&n) => {
            format!("SIGRTMIN+{}", n.saturating_sub(SIGRTMIN))
        }
        n if (SIGRTMAX - RTMAX_NAMES..SIGRTMAX).contains(&n) => {
            format!("SIGRTMAX-{}", SIGRTMAX.saturating_sub(n))
        }
        n => match NAMES.iter().find(|(_, number)| *number == n) {
            Some((name, _)) => format!("SIG{name}"),
            None => format!("signal {n}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_has_a_name_comes_back_from_it() {
        for number in (1..=31).chain(SIGRTMIN..=SIGRTMAX) {
            let long = name(number);
            assert!(long.starts_with("SIG"), "{number}: {long}");
            assert_eq!(parse(&long), Some(number), "{long}");
            assert_eq!(parse(&long[3..]), Some(number), "{long} without SIG");
        }
    }

    #[test]
    fn numbers_are_those_of_linux_and_glibc() {
        let known = [
            ("SIGTERM", 15),
            ("SIGUSR1", 10),
            ("CHLD", 17),
            ("CLD", 17),
            ("IOT", 6),
            ("POLL", 29),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("SIGRTMAX", 64),
        ];
        for (name, number) in known {
            assert_eq!(parse(name), Some(number), "{name}");
        }
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        let bad = [
            "",
            "SIG",
            "9",
            "SIG9",
            "sigterm",
            "Term",
            "SIGSIGTERM",
            "SIGTERM ",
            "SIGRTMIN+0",
            "SIGRTMIN+16",
            "SIGRTMIN+03",
            "SIGRTMIN-1",
            "SIGRTMAX+1",
            "SIGRTMAX-15",
            "SIGRTMIN+",
            "SIGRTMIN++1",
            "SIGRTMIN+１",
            "SIGRTMIN+99999999999",
            "SIGEMT",
        ];
        for name in bad {
            assert_eq!(parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn what_is_like_a_name_is_proposed() {
        for (text, name) in [
            ("SIGQIT", Some("SIGQUIT")),
            ("sigterm", Some("SIGTERM")),
            ("Term", Some("SIGTERM")),
            ("SIGTRM", Some("SIGTERM")),
            ("15", Some("SIGTERM")),
            ("37", Some("SIGRTMIN+3")),
            ("0", None),
            ("99", None),
            ("", None),
            ("stop the server", None),
        ] {
            assert_eq!(meant(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn stop_signals_of_images() {
        for (text, number) in [
            ("SIGQUIT", Some(3)),
            ("quit", Some(3)),
            ("SIGTERM", Some(15)),
            ("SIGWINCH", Some(28)),
            ("SIGSYS", Some(31)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMIN+30", Some(64)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+31", None),
            ("SIGPOLL", None),
            ("0", None),
            ("65", None),
            ("SIGFOO", None),
        ] {
            assert_eq!(of_image(text), number, "{text}");
        }
    }

    #[test]
    fn a_number_without_a_name_is_still_shown() {
        assert_eq!(name(0), "signal 0");
        assert_eq!(name(32), "signal 32");
        assert_eq!(name(-1), "signal -1");
        assert_eq!(name(65), "signal 65");
    }
}
