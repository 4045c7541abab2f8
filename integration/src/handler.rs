//! Which signals a process has handlers for.

/// Whether `/proc/PID/status` is that of such a program with a handler.
#[must_use]
pub fn has_handler(status: &str, name: &str, signal: i32) -> bool {
    let named = status.lines().find_map(|line| line.strip_prefix("Name:"));
    if named.map(str::trim) != Some(name) {
        return false;
    }
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.unwrap_or(0) >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_seen_in_the_mask_of_caught_signals() {
        let status = "Name:\tpause\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000014002\n";
        assert!(has_handler(status, "pause", libc::SIGTERM));
        assert!(!has_handler(status, "pause", libc::SIGHUP));
        assert!(!has_handler("Name:\tpause\n", "pause", libc::SIGTERM));
    }

    #[test]
    fn what_is_still_the_oci_runtime_is_not_ready() {
        let status = "Name:\trunc:[2:INIT]\nSigCgt:\tfffffffdffc1feff\n";
        assert!(!has_handler(status, "pause", libc::SIGTERM));
    }
}
