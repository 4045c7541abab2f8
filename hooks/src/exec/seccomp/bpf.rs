//! What a seccomp filter says to one system call.

/// An instruction's code: the few that libseccomp and the ENOSYS stub write.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_GREATER_OR_EQUAL: u16 = 0x35;
const IF_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// What `struct seccomp_data` names this machine.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_00b7;

/// Whether the filter lets the call pass. A filter that cannot be read does not.
pub(crate) fn allows(
    program: &[libc::sock_filter],
    number: libc::c_long,
    arguments: &[u64],
) -> bool {
    const ALLOW: u32 = 0x7fff_0000;
    const LOG: u32 = 0x7ffc_0000;
    matches!(run(program, number as u32, arguments), Some(ALLOW | LOG))
}

/// The filter's verdict on a call whose other arguments are 0.
fn run(program: &[libc::sock_filter], number: u32, arguments: &[u64]) -> Option<u32> {
    let argument = |index: u32| arguments.get(index as usize).copied().unwrap_or_default();
    let word = |offset: u32| match offset {
        0 => Some(number),
        4 => Some(ARCHITECTURE),
        // The instruction pointer.
        8 | 12 => Some(0),
        16..64 => {
            let value = argument(offset.saturating_sub(16) / 8);
            match offset % 8 {
                0 => Some(value as u32),
                4 => Some((value >> 32) as u32),
                _ => None,
            }
        }
        _ => None,
    };
    let (mut at, mut a) = (0usize, 0u32);
    loop {
        let i = program.get(at)?;
        let branch = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        // Jumps go forward only: this ends.
        at = at.checked_add(1)?;
        let jump = match i.code {
            LOAD => {
                a = word(i.k)?;
                0
            }
            AND => {
                a &= i.k;
                0
            }
            JUMP => i.k as usize,
            IF_EQUAL => branch(a == i.k),
            IF_GREATER => branch(a > i.k),
            IF_GREATER_OR_EQUAL => branch(a >= i.k),
            IF_BITS => branch(a & i.k != 0),
            RETURN => return Some(i.k),
            _ => return None,
        };
        at = at.checked_add(jump)?;
    }
}

#[cfg(test)]
mod tests {
    use crate::exec::seccomp::compile;

    fn lets_fork(default: &str, rule: &str) -> bool {
        let profile = format!(r#"{{"defaultAction": "{default}", "syscalls": [{rule}]}}"#);
        compile(&profile).unwrap().unwrap().lets_fork
    }

    /// As containerd's default profile has it: clone without new namespaces, and no clone3.
    #[test]
    fn a_profile_of_allowed_calls_lets_fork() {
        let clone = r#"{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]}"#;
        let others = r#"{"names": ["close", "exit_group", "setsid", "ioctl", "rt_sigprocmask", "chdir", "munmap",
            "madvise"],
            "action": "SCMP_ACT_ALLOW"}"#;
        let both = format!("{clone}, {others}");
        assert!(lets_fork("SCMP_ACT_ERRNO", &both));
        assert!(lets_fork("SCMP_ACT_LOG", &both));
        assert!(!lets_fork("SCMP_ACT_ERRNO", clone), "nothing but clone");
        assert!(!lets_fork("SCMP_ACT_ERRNO", others), "no clone");
    }

    #[test]
    fn a_profile_that_forbids_one_call_does_not() {
        for name in ["clone", "close", "exit_group", "setsid", "munmap"] {
            let rule = format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_ERRNO"}}"#);
            assert!(!lets_fork("SCMP_ACT_ALLOW", &rule), "{name}");
        }
        let some = r#"{"names": ["clone"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 131072, "valueTwo": 131072, "op": "SCMP_CMP_MASKED_EQ"}]}"#;
        assert!(lets_fork("SCMP_ACT_ALLOW", some), "CLONE_NEWNS only");
    }

    #[test]
    fn a_profile_without_read_or_write_does_not_let_wait() {
        for (name, waits) in [("read", false), ("write", false), ("openat", true)] {
            let rule = format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_ERRNO"}}"#);
            let profile = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
            let filter = compile(&profile).unwrap().unwrap();
            assert_eq!(
                (filter.lets_wait, filter.lets_fork),
                (waits, true),
                "{name}"
            );
        }
    }
}
