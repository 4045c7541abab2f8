//! Raw system calls for the code between clone and execve.
//!
//! Nothing here allocates, locks, logs or panics, and nothing uses a variable of its thread: every call goes
//! straight to the kernel. libc's own wrappers keep errno in the thread's memory, which the joiner
//! unmaps, and for the ids talk to all threads of a process (setxid), which a fork of a threaded process
//! must not try.

use std::arch::asm;

use libc::{c_int, c_long, c_ulong, pid_t};

use super::entry::Resource;

/// An errno or a value.
pub(crate) type Result<T> = std::result::Result<T, i32>;

trait Word {
    fn word(self) -> usize;
}

macro_rules! words {
    ($($type:ty)*) => {
        $(impl Word for $type {
            fn word(self) -> usize {
                self as usize
            }
        })*
    };
}

words! { c_int c_long c_ulong usize }

impl<T> Word for *const T {
    fn word(self) -> usize {
        self as usize
    }
}

impl<T> Word for *mut T {
    fn word(self) -> usize {
        self as usize
    }
}

/// One system call.
///
/// # Safety
/// As the call is.
#[cfg(target_arch = "x86_64")]
unsafe fn raw(number: c_long, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let ret: isize;
    // SAFETY: the call keeps all registers but rax, rcx and r11; the rest is the caller's.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => ret,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

/// The same.
///
/// # Safety
/// As the call is.
#[cfg(target_arch = "aarch64")]
unsafe fn raw(number: c_long, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let ret: isize;
    // SAFETY: the call keeps all registers but x0; the rest is the caller's.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a as isize => ret,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            options(nostack),
        );
    }
    ret
}

fn check(ret: isize) -> Result<c_long> {
    match ret {
        ret @ 0.. => Ok(ret as c_long),
        errno => Err(errno.wrapping_neg() as i32),
    }
}

macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {{
        let mut arguments = [0usize; 6];
        let given = [$(Word::word($argument)),*];
        for (place, argument) in arguments.iter_mut().zip(given) {
            *place = argument;
        }
        // SAFETY: the kernel checks numbers; callers of this macro pass pointers to memory that lives
        // through the call.
        check(unsafe { raw($number, arguments) })
    }};
}

/// clone3(2) without CLONE_VM: the child runs `entry(argument)` on the stack that `args` names, in its own
/// copy of the memory. A Ok(0) does not come.
///
/// # Safety
/// `args` has a stack whose end is aligned to 16 bytes, and no CLONE_VM. In a threaded process `entry` must
/// keep to calls that are safe after fork until it executes or exits.
pub(crate) unsafe fn clone3(
    args: &libc::clone_args,
    entry: unsafe extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
) -> Result<pid_t> {
    let args: *const libc::clone_args = args;
    let ret: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the call keeps all registers but rax, rcx and r11; the child leaves for `entry` and never
    // comes back into this frame.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {entry}",
            "ud2",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            inlateout("rax") libc::SYS_clone3 as isize => ret,
            in("rdi") args,
            in("rsi") size_of::<libc::clone_args>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the call keeps all registers but x0; the child leaves for `entry` and never comes back into
    // this frame.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {argument}",
            "blr {entry}",
            "brk #1",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => ret,
            in("x1") size_of::<libc::clone_args>(),
        );
    }
    check(ret).map(|pid| pid as pid_t)
}

/// clone(2) with CLONE_VM: the child runs `entry(argument)` on the stack that ends at `stack_end` and
/// shares everything else with the caller. Not clone3: seccomp profiles hide that.
///
/// # Safety
/// `flags` has CLONE_VM; `stack_end` is aligned to 16 bytes; the stack and all that `entry` uses live until
/// the child executes or exits.
pub(crate) unsafe fn clone_sharing(
    flags: c_int,
    stack_end: usize,
    parent_tid: *mut pid_t,
    entry: unsafe extern "C" fn(*mut libc::c_void) -> !,
    argument: *mut libc::c_void,
) -> Result<pid_t> {
    let ret: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the call keeps all registers but rax, rcx and r11; the child leaves for `entry` and never
    // comes back into this frame.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {argument}",
            "call {entry}",
            "ud2",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            inlateout("rax") libc::SYS_clone as isize => ret,
            in("rdi") flags as isize,
            in("rsi") stack_end,
            in("rdx") parent_tid,
            in("r10") 0usize,
            in("r8") 0usize,
            out("rcx") _,
            out("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the call keeps all registers but x0; the child leaves for `entry` and never comes back into
    // this frame.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {argument}",
            "blr {entry}",
            "brk #1",
            "2:",
            entry = in(reg) entry,
            argument = in(reg) argument,
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => ret,
            in("x1") stack_end,
            in("x2") parent_tid,
            in("x3") 0usize,
            in("x4") 0usize,
        );
    }
    check(ret).map(|pid| pid as pid_t)
}

/// Where the C library keeps what is the calling thread's.
pub(crate) fn thread_pointer() -> usize {
    let pointer: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the ABI has the pointer's own value at its place.
    unsafe {
        asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads a register.
    unsafe {
        asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags));
    }
    pointer
}

/// munmap(2).
///
/// # Safety
/// Nothing there is used any more.
pub(crate) unsafe fn unmap(start: usize, length: usize) -> Result<()> {
    call!(libc::SYS_munmap, start, length)?;
    Ok(())
}

/// madvise(2) with MADV_DONTNEED: anonymous memory is zero then. Pages that are not mapped do not matter.
///
/// # Safety
/// What is there is not used any more.
pub(crate) unsafe fn empty(start: usize, length: usize) -> Result<()> {
    match call!(
        libc::SYS_madvise,
        start,
        length,
        c_long::from(libc::MADV_DONTNEED)
    ) {
        Ok(_) | Err(libc::ENOMEM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn exit(status: c_int) -> ! {
    loop {
        let _ = call!(libc::SYS_exit_group, c_long::from(status));
    }
}

pub(crate) fn write(fd: c_int, bytes: &[u8]) -> Result<usize> {
    Ok(call!(
        libc::SYS_write,
        c_long::from(fd),
        bytes.as_ptr(),
        bytes.len()
    )? as usize)
}

pub(crate) fn read(fd: c_int, buffer: &mut [u8]) -> Result<usize> {
    Ok(call!(
        libc::SYS_read,
        c_long::from(fd),
        buffer.as_mut_ptr(),
        buffer.len()
    )? as usize)
}

/// openat(2). `path` ends in NUL.
pub(crate) fn open(dir: c_int, path: &std::ffi::CStr, flags: c_int) -> Result<c_int> {
    Ok(call!(
        libc::SYS_openat,
        c_long::from(dir),
        path.as_ptr(),
        c_long::from(flags),
        0 as c_long
    )? as c_int)
}

pub(crate) fn close(fd: c_int) {
    let _ = call!(libc::SYS_close, c_long::from(fd));
}

/// Writes all of `text` to the file in one call, as procfs wants it.
pub(crate) fn write_file(dir: c_int, path: &std::ffi::CStr, text: &[u8]) -> Result<()> {
    let fd = open(dir, path, libc::O_WRONLY | libc::O_CLOEXEC)?;
    let written = write(fd, text);
    close(fd);
    match written? {
        n if n == text.len() => Ok(()),
        _ => Err(libc::EIO),
    }
}

pub(crate) fn dup3(from: c_int, to: c_int, flags: c_int) -> Result<()> {
    call!(
        libc::SYS_dup3,
        c_long::from(from),
        c_long::from(to),
        c_long::from(flags)
    )?;
    Ok(())
}

/// The same file at a number from `first` on, closed at execve.
pub(crate) fn dup_from(fd: c_int, first: c_int) -> Result<c_int> {
    Ok(call!(
        libc::SYS_fcntl,
        c_long::from(fd),
        c_long::from(libc::F_DUPFD_CLOEXEC),
        c_long::from(first)
    )? as c_int)
}

/// openat2(2) from the current directory. `path` ends in NUL.
pub(crate) fn open_resolved(path: &std::ffi::CStr, flags: c_int, resolve: u64) -> Result<c_int> {
    let how: [u64; 3] = [flags as u64, 0, resolve];
    Ok(call!(
        libc::SYS_openat2,
        c_long::from(libc::AT_FDCWD),
        path.as_ptr(),
        how.as_ptr(),
        size_of_val(&how)
    )? as c_int)
}

/// The magic number of the file system that the file is on.
pub(crate) fn file_system(fd: c_int) -> Result<c_long> {
    // SAFETY: `statfs` is plain data, all zeroes is a valid value.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    call!(libc::SYS_fstatfs, c_long::from(fd), &raw mut stat)?;
    #[allow(clippy::unnecessary_cast, reason = "unsigned with musl")]
    Ok(stat.f_type as c_long)
}

/// ioctl(2) with a structure.
pub(crate) fn ioctl<T>(fd: c_int, request: libc::Ioctl, argument: &T) -> Result<()> {
    let argument: *const T = argument;
    call!(libc::SYS_ioctl, c_long::from(fd), request, argument)?;
    Ok(())
}

/// TIOCGPTPEER: the other end of a terminal, without a path.
pub(crate) fn terminal_peer(master: c_int, flags: c_int) -> Result<c_int> {
    Ok(call!(
        libc::SYS_ioctl,
        c_long::from(master),
        libc::TIOCGPTPEER,
        c_long::from(flags)
    )? as c_int)
}

/// The request of [`take_terminal`], as a filter sees it.
#[allow(clippy::unnecessary_cast, reason = "an int with musl")]
pub(crate) const TAKE_TERMINAL: u64 = libc::TIOCSCTTY as u64;

/// TIOCSCTTY: the terminal controls the calling session. It is not stolen from another.
pub(crate) fn take_terminal(fd: c_int) -> Result<()> {
    call!(
        libc::SYS_ioctl,
        c_long::from(fd),
        libc::TIOCSCTTY,
        0 as c_long
    )?;
    Ok(())
}

/// Sends a descriptor, with one byte as unix(7) wants it.
pub(crate) fn send_descriptor(socket: c_int, fd: c_int) -> Result<()> {
    /// cmsg(3) of one descriptor.
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        fd: c_int,
        _padding: c_int,
    }
    let mut byte = 0u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // SAFETY: both are plain data, all zeroes is a valid value.
    let (mut control, mut message): (Control, libc::msghdr) = unsafe { std::mem::zeroed() };
    control.header.cmsg_len = std::mem::offset_of!(Control, _padding) as _;
    control.header.cmsg_level = libc::SOL_SOCKET;
    control.header.cmsg_type = libc::SCM_RIGHTS;
    control.fd = fd;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    call!(
        libc::SYS_sendmsg,
        c_long::from(socket),
        &raw const message,
        c_long::from(libc::MSG_NOSIGNAL)
    )?;
    Ok(())
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: c_int) -> Result<()> {
    call!(
        libc::SYS_close_range,
        c_long::from(first),
        c_long::from(u32::MAX),
        0 as c_long
    )?;
    Ok(())
}

pub(crate) fn unshare(kinds: c_int) -> Result<()> {
    call!(libc::SYS_unshare, c_long::from(kinds))?;
    Ok(())
}

pub(crate) fn setns(fd: c_int, kinds: c_int) -> Result<()> {
    call!(libc::SYS_setns, c_long::from(fd), c_long::from(kinds))?;
    Ok(())
}

pub(crate) fn prctl(option: c_int, a: c_ulong, b: c_ulong) -> Result<c_long> {
    call!(
        libc::SYS_prctl,
        c_long::from(option),
        a,
        b,
        0 as c_ulong,
        0 as c_ulong
    )
}

pub(crate) fn setsid() -> Result<()> {
    call!(libc::SYS_setsid)?;
    Ok(())
}

pub(crate) fn setgroups(groups: &[libc::gid_t]) -> Result<()> {
    call!(libc::SYS_setgroups, groups.len(), groups.as_ptr())?;
    Ok(())
}

pub(crate) fn setgid(gid: libc::gid_t) -> Result<()> {
    call!(libc::SYS_setgid, c_ulong::from(gid))?;
    Ok(())
}

pub(crate) fn setuid(uid: libc::uid_t) -> Result<()> {
    call!(libc::SYS_setuid, c_ulong::from(uid))?;
    Ok(())
}

pub(crate) fn umask(mask: u32) {
    let _ = call!(libc::SYS_umask, c_ulong::from(mask));
}

pub(crate) fn chdir(path: &std::ffi::CStr) -> Result<()> {
    call!(libc::SYS_chdir, path.as_ptr())?;
    Ok(())
}

/// The first byte of getcwd(2): `/`, or `(` where the directory is outside the caller's root.
pub(crate) fn getcwd_first() -> Result<u8> {
    let mut path = [0u8; libc::PATH_MAX as usize];
    call!(libc::SYS_getcwd, path.as_mut_ptr(), path.len())?;
    let [first, ..] = path;
    Ok(first)
}

pub(crate) fn fstat(fd: c_int) -> Result<libc::stat> {
    // SAFETY: `stat` is plain data, all zeroes is a valid value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    call!(libc::SYS_fstat, c_long::from(fd), &raw mut stat)?;
    Ok(stat)
}

/// stat(2), with the call that Go makes for it: a seccomp profile made for runc allows it.
pub(crate) fn stat(path: &std::ffi::CStr) -> Result<libc::stat> {
    // SAFETY: `stat` is plain data, all zeroes is a valid value.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    call!(
        libc::SYS_newfstatat,
        c_long::from(libc::AT_FDCWD),
        path.as_ptr(),
        &raw mut stat,
        0 as c_long
    )?;
    Ok(stat)
}

/// Changes the owner, not the group.
pub(crate) fn fchown(fd: c_int, uid: libc::uid_t) -> Result<()> {
    call!(
        libc::SYS_fchown,
        c_long::from(fd),
        c_ulong::from(uid),
        c_ulong::from(u32::MAX)
    )?;
    Ok(())
}

/// capset(2), version 3, of the calling thread.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let data: [u32; 6] = [
        effective as u32,
        permitted as u32,
        inheritable as u32,
        (effective >> 32) as u32,
        (permitted >> 32) as u32,
        (inheritable >> 32) as u32,
    ];
    call!(libc::SYS_capset, header.as_ptr(), data.as_ptr())?;
    Ok(())
}

pub(crate) fn setrlimit(resource: Resource, limit: &libc::rlimit64) -> Result<()> {
    let limit: *const libc::rlimit64 = limit;
    call!(
        libc::SYS_prlimit64,
        0 as c_long,
        c_long::from(resource),
        limit,
        std::ptr::null_mut::<libc::rlimit64>()
    )?;
    Ok(())
}

/// Sets the calling process's CPU affinity.
pub(crate) fn setaffinity(mask: &[u64]) -> Result<()> {
    call!(
        libc::SYS_sched_setaffinity,
        0 as c_long,
        size_of_val(mask),
        mask.as_ptr()
    )?;
    Ok(())
}

/// sched_setattr(2). The structure carries its size.
pub(crate) fn setattr(attr: &libc::sched_attr) -> Result<()> {
    let attr: *const libc::sched_attr = attr;
    call!(libc::SYS_sched_setattr, 0 as c_long, attr, 0 as c_long)?;
    Ok(())
}

/// ioprio_set(2) for the calling process.
pub(crate) fn set_io_priority(value: c_int) -> Result<()> {
    const WHO_PROCESS: c_long = 1;
    call!(
        libc::SYS_ioprio_set,
        WHO_PROCESS,
        0 as c_long,
        c_long::from(value)
    )?;
    Ok(())
}

pub(crate) fn personality(domain: c_ulong) -> Result<()> {
    call!(libc::SYS_personality, domain)?;
    Ok(())
}

/// Joins, or makes, the session keyring of that name.
pub(crate) fn join_session_keyring(name: &std::ffi::CStr) -> Result<()> {
    const JOIN_SESSION_KEYRING: c_long = 1;
    call!(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr())?;
    Ok(())
}

/// Installs a seccomp filter.
pub(crate) fn seccomp(flags: c_ulong, program: &[libc::sock_filter]) -> Result<()> {
    const SET_MODE_FILTER: c_ulong = 1;
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    call!(
        libc::SYS_seccomp,
        SET_MODE_FILTER,
        flags,
        &raw const program
    )?;
    Ok(())
}

/// Gives every signal its default action, or has it ignored where its bit (n - 1) is set.
pub(crate) fn set_signal_actions(ignored: u64) -> Result<()> {
    /// Larger than the kernel's structure on every architecture: the handler, no flags, no mask.
    /// SIG_DFL is 0, SIG_IGN is 1.
    const DEFAULT: [u64; 8] = [0; 8];
    const IGNORE: [u64; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
    for signal in 1..=64u32 {
        if signal == libc::SIGKILL as u32 || signal == libc::SIGSTOP as u32 {
            continue;
        }
        let action = match ignored & 1u64.wrapping_shl(signal.wrapping_sub(1)) {
            0 => &DEFAULT,
            _ => &IGNORE,
        };
        call!(
            libc::SYS_rt_sigaction,
            c_ulong::from(signal),
            action.as_ptr(),
            std::ptr::null_mut::<u64>(),
            8 as c_long
        )?;
    }
    Ok(())
}

/// Sets the calling thread's signal mask and returns the one before.
pub(crate) fn set_signal_mask(mask: u64) -> Result<u64> {
    let mut old = 0u64;
    call!(
        libc::SYS_rt_sigprocmask,
        c_long::from(libc::SIG_SETMASK),
        &raw const mask,
        &raw mut old,
        8 as c_long
    )?;
    Ok(old)
}

/// execve(2). Returns only on failure.
///
/// # Safety
/// `argv` and `envp` end in a null pointer and point to strings that end in NUL.
pub(crate) unsafe fn execve(
    path: &std::ffi::CStr,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> i32 {
    match call!(libc::SYS_execve, path.as_ptr(), argv, envp) {
        Err(errno) => errno,
        Ok(_) => libc::EIO,
    }
}
