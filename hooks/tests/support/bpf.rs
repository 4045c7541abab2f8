//! The seccomp filter of a running process, and a machine that runs it.

use std::io;

/// One instruction of classic BPF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// What a filter sees of a system call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub arch: u32,
    pub number: u32,
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            8 | 12 => 0,
            offset => {
                let argument = self.args[(offset as usize - 16) / 8];
                match offset % 8 {
                    0 => argument as u32,
                    _ => (argument >> 32) as u32,
                }
            }
        }
    }
}

/// The filter's verdict.
pub fn run(program: &[Instruction], call: Call) -> u32 {
    let (mut at, mut a, mut steps) = (0usize, 0u32, 0);
    loop {
        steps += 1;
        assert!(steps < 10_000);
        let i = program[at];
        at += 1;
        let branch = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            0x20 => a = call.word(i.k),
            0x54 => a &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += branch(a == i.k),
            0x25 => at += branch(a > i.k),
            0x35 => at += branch(a >= i.k),
            0x45 => at += branch(a & i.k != 0),
            0x06 => return i.k,
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
}

/// The filters of a process, newest first.
pub fn filters(pid: libc::pid_t) -> Vec<Vec<Instruction>> {
    const GET_FILTER: libc::c_uint = 0x420c;
    let none = std::ptr::null_mut::<libc::c_void>();
    let check = |result: libc::c_long| match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    };
    // SAFETY: no memory of this process is touched.
    check(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) }).unwrap();
    // SAFETY: as above.
    check(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none) }).unwrap();
    // SAFETY: `siginfo_t` is plain data, all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WSTOPPED | libc::__WALL;
    // SAFETY: a valid place to write to.
    let stopped = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, options) };
    assert_eq!(stopped, 0);
    let mut all = Vec::new();
    loop {
        let index = all.len();
        // SAFETY: without a buffer only the length is asked for.
        let length = match check(unsafe { libc::ptrace(GET_FILTER, pid, index, none) }) {
            Ok(length) => length as usize,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
            // No filter at all.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => panic!("PTRACE_SECCOMP_GET_FILTER: {error}"),
        };
        let empty = libc::sock_filter {
            code: 0,
            jt: 0,
            jf: 0,
            k: 0,
        };
        let mut program = vec![empty; length];
        // SAFETY: the buffer has room for as many instructions as the kernel said.
        check(unsafe { libc::ptrace(GET_FILTER, pid, index, program.as_mut_ptr()) }).unwrap();
        all.push(
            program
                .into_iter()
                .map(|i| Instruction {
                    code: i.code,
                    jt: i.jt,
                    jf: i.jf,
                    k: i.k,
                })
                .collect(),
        );
    }
    // SAFETY: no memory of this process is touched.
    check(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, none, none) }).unwrap();
    all
}
