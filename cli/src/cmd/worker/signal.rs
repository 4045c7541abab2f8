//! Signal names as images have them in STOPSIGNAL.

/// The signal of a polite stop.
pub(crate) const SIGTERM: u32 = 15;
const SIGRTMIN: u32 = 34;
const SIGRTMAX: u32 = 64;

/// Linux' signals from 1 on (x86 and arm).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The number of `SIGQUIT`, `quit`, `3` or `SIGRTMIN+3` (containerd `ParseSignal`).
pub(crate) fn parse(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=SIGRTMAX).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() {
            0
        } else {
            rest.strip_prefix('+')?.parse().ok()?
        };
        let number = SIGRTMIN.checked_add(offset)?;
        return (number <= SIGRTMAX).then_some(number);
    }
    let at = NAMES.iter().position(|n| *n == name)?;
    u32::try_from(at + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

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
            ("RTMIN", Some(34)),
            ("SIGRTMIN+31", None),
            ("0", None),
            ("65", None),
            ("SIGFOO", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }
}
