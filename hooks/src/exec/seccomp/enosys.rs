//! A prologue for seccomp filters: a system call newer than every one the profile names fails with
//! ENOSYS, not with the default action, so that a new libc falls back to the older call (clone3 →
//! clone). runc puts the same in front of every filter that is not permissive.

use libseccomp::{ScmpArch, ScmpSyscall};

const X32_BIT: u32 = 1 << 30;
const AUDIT_X86_64: u32 = 0xC000_003E;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const JUMP_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// The largest system call of a profile on the ABIs of one AUDIT_ARCH.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Largest {
    normal: Option<u32>,
    x32: Option<u32>,
}

/// The prologue; it falls through to the filter that follows.
pub(crate) fn stub<'a, I, F>(architectures: &[ScmpArch], names: F) -> Vec<libc::sock_filter>
where
    I: Iterator<Item = &'a str>,
    F: Fn() -> I,
{
    let mut groups: Vec<(u32, Largest)> = Vec::new();
    for &arch in architectures {
        let arch = match arch {
            ScmpArch::Native => ScmpArch::native(),
            other => other,
        };
        let (Some(audit), Some(number)) = (audit_arch(arch), largest(arch, names())) else {
            continue;
        };
        let mut group = Largest::default();
        let at = groups.iter().position(|(known, _)| *known == audit);
        if let Some(at) = at {
            group = groups.swap_remove(at).1;
        }
        match arch {
            ScmpArch::X32 => group.x32 = Some(number),
            _ => group.normal = Some(number),
        }
        groups.push((audit, group));
    }
    assemble(&groups)
}

fn assemble(groups: &[(u32, Largest)]) -> Vec<libc::sock_filter> {
    if groups.is_empty() {
        return Vec::new();
    }
    let mut program = vec![statement(LOAD, ARCHITECTURE)];
    let sections: Vec<_> = groups
        .iter()
        .map(|&(audit, largest)| section(audit, largest))
        .collect();
    let whole = |section: &Vec<_>| section.len().saturating_add(1);
    let mut left: usize = sections.iter().map(whole).sum();
    for ((audit, _), section) in groups.iter().zip(sections) {
        left = left.saturating_sub(whole(&section));
        // Sections are seven instructions at most.
        program.push(jump(JUMP_EQUAL, *audit, 0, section.len() as u8));
        let mut rest = left.saturating_add(section.len());
        for mut instruction in section {
            rest = rest.saturating_sub(1);
            if instruction.code == JUMP {
                // To the first instruction of the filter.
                instruction.k = rest as u32;
            }
            program.push(instruction);
        }
    }
    program
}

/// The check of one architecture; jumps out of it are filled in by `assemble`.
fn section(audit: u32, largest: Largest) -> Vec<libc::sock_filter> {
    let pass = statement(JUMP, 0);
    let newer = |limit: Option<u32>, skip| match limit {
        Some(limit) => jump(JUMP_GREATER, limit, skip, 0),
        // No such ABI in the profile: its calls go to the filter.
        None => jump(JUMP_GREATER, u32::MAX, 0, 0),
    };
    match audit {
        // The x32 ABI shares the architecture and marks its numbers with a bit.
        AUDIT_X86_64 => vec![
            statement(LOAD, NUMBER),
            jump(JUMP_SET, X32_BIT, 2, 0),
            newer(largest.normal, 3),
            pass,
            newer(largest.x32, 1),
            pass,
            statement(RETURN, ENOSYS),
        ],
        _ => vec![
            statement(LOAD, NUMBER),
            newer(largest.normal, 1),
            pass,
            statement(RETURN, ENOSYS),
        ],
    }
}

fn largest<'a>(arch: ScmpArch, names: impl Iterator<Item = &'a str>) -> Option<u32> {
    names
        .filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok())
        .map(ScmpSyscall::as_raw_syscall)
        .filter(|&number| number > 0)
        .max()
        .map(|number| number as u32)
}

/// AUDIT_ARCH_… of the architectures this project runs on and their 32-bit ABIs.
fn audit_arch(arch: ScmpArch) -> Option<u32> {
    match arch {
        ScmpArch::X8664 | ScmpArch::X32 => Some(AUDIT_X86_64),
        ScmpArch::X86 => Some(0x4000_0003),
        ScmpArch::Aarch64 => Some(0xC000_00B7),
        ScmpArch::Arm => Some(0x4000_0028),
        _ => None,
    }
}

fn statement(code: u16, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use libseccomp::{ScmpAction, ScmpFilterContext};

    use super::*;

    /// A BPF machine for what the prologue uses. `None`: it fell through to the filter.
    fn run(program: &[libc::sock_filter], arch: u32, number: u32) -> Option<u32> {
        let (mut at, mut a) = (0usize, 0u32);
        while let Some(i) = program.get(at) {
            at += 1;
            let branch = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
            match i.code {
                LOAD if i.k == ARCHITECTURE => a = arch,
                LOAD => a = number,
                JUMP => at += i.k as usize,
                JUMP_EQUAL => at += branch(a == i.k),
                JUMP_GREATER => at += branch(a > i.k),
                JUMP_SET => at += branch(a & i.k != 0),
                RETURN => return Some(i.k),
                other => panic!("{other:#x}"),
            }
        }
        assert_eq!(
            at,
            program.len(),
            "jumped past the filter's first instruction"
        );
        None
    }

    #[test]
    fn newer_calls_get_enosys_on_each_abi() {
        let (x64, i386) = (0xC000_003E, 0x4000_0003);
        let groups = [
            (
                x64,
                Largest {
                    normal: Some(300),
                    x32: Some(X32_BIT | 200),
                },
            ),
            (
                i386,
                Largest {
                    normal: Some(400),
                    x32: None,
                },
            ),
        ];
        let program = assemble(&groups);
        for (arch, number, expected) in [
            (x64, 300, None),
            (x64, 301, Some(ENOSYS)),
            (x64, X32_BIT | 200, None),
            (x64, X32_BIT | 201, Some(ENOSYS)),
            (i386, 400, None),
            (i386, 401, Some(ENOSYS)),
            (0x1234, 9999, None),
        ] {
            assert_eq!(
                run(&program, arch, number),
                expected,
                "{arch:#x} {number:#x}"
            );
        }
    }

    #[test]
    fn calls_of_an_abi_that_the_profile_does_not_name_reach_the_filter() {
        // As in runc: the libseccomp filter behind decides about the other ABI.
        let program = assemble(&[(
            0xC000_003E,
            Largest {
                normal: None,
                x32: Some(X32_BIT | 5),
            },
        )]);
        assert_eq!(run(&program, 0xC000_003E, 9999), None);
        assert_eq!(run(&program, 0xC000_003E, X32_BIT | 6), Some(ENOSYS));
        let program = assemble(&[(
            0xC000_003E,
            Largest {
                normal: Some(5),
                x32: None,
            },
        )]);
        assert_eq!(run(&program, 0xC000_003E, X32_BIT | 6), None);
    }

    /// What libseccomp writes into a filter for the architecture is what the kernel will tell it.
    #[test]
    fn architectures_are_named_as_libseccomp_names_them() {
        for arch in [
            ScmpArch::X8664,
            ScmpArch::X86,
            ScmpArch::Aarch64,
            ScmpArch::Arm,
        ] {
            let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
            filter.add_arch(arch).unwrap();
            if arch != ScmpArch::native() {
                filter.remove_arch(ScmpArch::native()).unwrap();
            }
            let call = ScmpSyscall::from_name("getpid").unwrap();
            filter.add_rule(ScmpAction::Errno(1), call).unwrap();
            let program = super::super::export(&filter).unwrap();
            let load = |i: &libc::sock_filter| (i.code, i.k) == (LOAD, ARCHITECTURE);
            let at = program.iter().position(load).unwrap();
            let compared = program[at + 1];
            assert_eq!(compared.code, JUMP_EQUAL);
            assert_eq!(Some(compared.k), audit_arch(arch), "{arch:?}");
        }
        let own = audit_arch(ScmpArch::native());
        assert_eq!(own, Some(super::super::bpf::ARCHITECTURE));
    }

    #[test]
    fn newer_calls_get_enosys_on_arm64() {
        // clone3 is 435 on both, as every call since; 220 is clone there and semtimedop on x86-64.
        let names = || ["clone", "read"].into_iter();
        let program = stub(&[ScmpArch::Aarch64, ScmpArch::Arm], names);
        let (arm64, arm) = (0xC000_00B7, 0x4000_0028);
        for (arch, number, expected) in [
            (arm64, 220, None),
            (arm64, 435, Some(ENOSYS)),
            (arm, 120, None),
            (arm, 121, Some(ENOSYS)),
            // Not an architecture of the profile: the filter behind decides.
            (AUDIT_X86_64, 435, None),
        ] {
            let verdict = run(&program, arch, number);
            assert_eq!(verdict, expected, "{arch:#x} {number}");
        }
    }

    #[test]
    fn the_largest_call_is_looked_up_per_architecture() {
        let names = || ["read", "openat2", "nonsense"].into_iter();
        assert_eq!(largest(ScmpArch::X8664, names()), Some(437));
        assert_eq!(
            largest(ScmpArch::Aarch64, ["open", "read"].into_iter()),
            Some(63)
        );
        assert_eq!(largest(ScmpArch::X8664, ["nonsense"].into_iter()), None);
    }
}
