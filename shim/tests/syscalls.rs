//! The system calls that the shim and the pod's holder make by number exist on every architecture that podhook runs on, under
//! the numbers that they use there. The judge is libseccomp's table, which knows both architectures on each.
//!
//! Those of the exec engine: `hooks/tests/exec_syscalls.rs`.

use std::fs;
use std::io::{Read, Seek};
use std::path::Path;

use libseccomp::{ScmpAction, ScmpArch, ScmpFilterContext, ScmpSyscall};

#[path = "../holder/numbers.rs"]
mod numbers;

fn number(name: &str, architecture: ScmpArch) -> i32 {
    let found = ScmpSyscall::from_name_by_arch(name, architecture);
    i32::from(found.unwrap_or_else(|e| panic!("{name} on {architecture:?}: {e}")))
}

/// What a filter for the architecture compares `seccomp_data.arch` with.
fn audit(architecture: ScmpArch) -> u32 {
    const LOAD_WORD: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
    filter.add_arch(architecture).unwrap();
    if architecture != ScmpArch::native() {
        filter.remove_arch(ScmpArch::native()).unwrap();
    }
    let call = ScmpSyscall::from_name("getpid").unwrap();
    filter.add_rule(ScmpAction::Errno(1), call).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    filter.export_bpf(&file).unwrap();
    let mut program = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut program).unwrap();
    let instructions: Vec<(u16, u32)> = program
        .as_chunks::<8>()
        .0
        .iter()
        .map(|&[a, b, _, _, e, f, g, h]| {
            (u16::from_ne_bytes([a, b]), u32::from_ne_bytes([e, f, g, h]))
        })
        .collect();
    let is_load = |instruction: &(u16, u32)| *instruction == (LOAD_WORD, 4);
    let at = instructions.iter().position(is_load).expect("a load");
    let (code, value) = instructions[at + 1];
    assert_eq!(code, IF_EQUAL, "{instructions:x?}");
    value
}

macro_rules! holders {
    ($arch:ident) => {
        [
            ("write", numbers::$arch::WRITE),
            ("close", numbers::$arch::CLOSE),
            ("rt_sigprocmask", numbers::$arch::SIGPROCMASK),
            ("wait4", numbers::$arch::WAIT4),
            ("rt_sigtimedwait", numbers::$arch::SIGTIMEDWAIT),
            ("prctl", numbers::$arch::PRCTL),
            ("exit_group", numbers::$arch::EXIT_GROUP),
            ("seccomp", numbers::$arch::SECCOMP),
        ]
    };
}

#[test]
fn the_holders_numbers_are_those_of_both_architectures() {
    let source = include_str!("../holder/numbers.rs");
    for (architecture, calls) in [
        (ScmpArch::X8664, holders!(x86_64)),
        (ScmpArch::Aarch64, holders!(aarch64)),
    ] {
        for (name, own) in calls {
            assert_eq!(i32::try_from(own), Ok(number(name, architecture)), "{name}");
        }
        // None is left out.
        assert_eq!(source.matches(": usize").count(), 2 * calls.len());
    }
    assert_eq!(numbers::x86_64::AUDIT, audit(ScmpArch::X8664));
    assert_eq!(numbers::aarch64::AUDIT, audit(ScmpArch::Aarch64));
}

/// The file's calls are by libc's names, which are the right numbers where they exist.
fn check_file(file: &Path, names: &mut Vec<String>) {
    let text = fs::read_to_string(file).unwrap();
    for (at, start) in text.match_indices("libc::SYS_") {
        let rest = &text[at + start.len()..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        names.push(rest[..end.unwrap_or(rest.len())].to_owned());
    }
    for (at, start) in text.match_indices("libc::syscall(") {
        let argument = text[at + start.len()..].trim_start();
        assert!(
            argument.starts_with("libc::SYS_") || argument.starts_with("call, "),
            "{}: a call by something else than libc's number: {}",
            file.display(),
            argument.lines().next().unwrap_or_default()
        );
    }
}

fn check_folder(folder: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => check_folder(&path, names),
            Some(extension) if extension == "rs" => check_file(&path, names),
            _ => {}
        }
    }
}

#[test]
fn the_shims_own_calls_exist_on_both_architectures() {
    let mut names = Vec::new();
    check_folder(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut names,
    );
    for expected in ["clone3", "execveat", "pivot_root", "setresuid"] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    for name in names {
        for architecture in [ScmpArch::X8664, ScmpArch::Aarch64] {
            // Below zero are those that an architecture does not have.
            assert!(number(&name, architecture) >= 0, "{architecture:?}: {name}");
        }
    }
}
