//! The process of a pod without a pause container: it holds the pod's namespaces, and where they share one, reaps for
//! its PID namespace. `build.rs` compiles it by itself; the shim has it as bytes and starts it from memory.
//!
//! It is started in its namespaces with no right to anything, and gives up what it still could do: to be read or traced,
//! every descriptor, every signal but SIGKILL, and every system call but those of its loop.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

mod numbers;

#[cfg(target_arch = "aarch64")]
use numbers::aarch64 as arch;
#[cfg(target_arch = "x86_64")]
use numbers::x86_64 as arch;

/// Where `shim/src/sandbox/holder` hears that it runs, and what has failed.
const REPORT_FD: usize = 3;
/// As there.
const READY: u32 = u32::MAX;
const SECCOMP_FAILED: u32 = 100;

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit()
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {hold}",
    hold = sym hold,
);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "bl {hold}", hold = sym hold);

#[cfg(target_arch = "x86_64")]
fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let ret: isize;
    // SAFETY: the kernel checks numbers, and every pointer that is passed is to memory that lives through the call.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => ret, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    ret
}

#[cfg(target_arch = "aarch64")]
fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let ret: isize;
    // SAFETY: as above.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a as isize => ret, in("x1") b, in("x2") c, in("x3") d,
            options(nostack));
    }
    ret
}

fn exit() -> ! {
    loop {
        call(arch::EXIT_GROUP, 1, 0, 0, 0);
    }
}

fn report(what: u32, value: i32) {
    let message = [what, value as u32];
    call(arch::WRITE, REPORT_FD, message.as_ptr() as usize, 8, 0);
}

#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

const fn instruction(code: u16, if_true: u8, if_false: u8, value: u32) -> Instruction {
    Instruction { code, if_true, if_false, value }
}

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// What the rest of its life needs; anything else ends it.
static FILTER: [Instruction; 10] = [
    instruction(LOAD, 0, 0, 4),
    instruction(EQUAL, 0, 6, arch::AUDIT),
    instruction(LOAD, 0, 0, 0),
    instruction(EQUAL, 5, 0, arch::SIGTIMEDWAIT as u32),
    instruction(EQUAL, 4, 0, arch::WAIT4 as u32),
    instruction(EQUAL, 3, 0, arch::WRITE as u32),
    instruction(EQUAL, 2, 0, arch::CLOSE as u32),
    instruction(EQUAL, 1, 0, arch::EXIT_GROUP as u32),
    instruction(RETURN, 0, 0, KILL_PROCESS),
    instruction(RETURN, 0, 0, ALLOW),
];

extern "C" fn hold() -> ! {
    const SET_DUMPABLE: usize = 4;
    const SET_NAME: usize = 15;
    const BLOCK: usize = 0;
    const SET_MODE_FILTER: usize = 1;
    const WNOHANG_WALL: usize = 1 | 0x4000_0000;

    call(arch::PRCTL, SET_DUMPABLE, 0, 0, 0);
    call(arch::PRCTL, SET_NAME, c"podhook-pause".as_ptr() as usize, 0, 0);
    let all = u64::MAX;
    call(arch::SIGPROCMASK, BLOCK, &raw const all as usize, 0, 8);
    for fd in 0..REPORT_FD {
        call(arch::CLOSE, fd, 0, 0, 0);
    }
    let program = Program { len: FILTER.len() as u16, filter: FILTER.as_ptr() };
    let filtered = call(arch::SECCOMP, SET_MODE_FILTER, 0, &raw const program as usize, 0);
    if filtered != 0 {
        report(SECCOMP_FAILED, -filtered as i32);
        exit();
    }
    report(READY, 0);
    call(arch::CLOSE, REPORT_FD, 0, 0, 0);
    let child: u64 = 1 << 16;
    loop {
        call(arch::SIGTIMEDWAIT, &raw const child as usize, 0, 0, 8);
        while call(arch::WAIT4, usize::MAX, 0, WNOHANG_WALL, 0) > 0 {}
    }
}
