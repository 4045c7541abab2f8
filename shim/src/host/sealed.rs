//! Programs in memory that nobody can change.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use podhook_hooks::linux::limit::Asked;

use super::passing;

pub const SEALS: SealFlag = SealFlag::F_SEAL_WRITE
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_SEAL);

/// A file of that name, with what `fill` writes.
///
/// # Errors
/// Where the kernel makes none, or it cannot be written.
pub fn file(name: &CStr, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Where the node has executable ones forbidden by default, it is asked for; before Linux 6.3 the flag is unknown.
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let made = memfd_create(name, flags | executable).or_else(|_| memfd_create(name, flags));
    let made = made.map_err(|e| Asked::Call("memfd_create").explain(e.into()))?;
    let mut file = File::from(made);
    fill(&mut file)?;
    // The kernel has waited for who uses a page of it (itself, for instance), but not for long.
    passing::insist(|| seal(&file), |errno| *errno == Errno::EBUSY)?;
    Ok(file)
}

fn seal(file: &File) -> nix::Result<()> {
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(SEALS)).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_sealed_takes_no_write() {
        let mut file = file(c"test", |file| file.write_all(b"x")).unwrap();
        let error = file.write(b"y").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(file.set_len(0).is_err());
    }

    #[test]
    fn one_that_is_used_for_a_moment_is_sealed_after_it() {
        let mut using = None;
        let sealed = file(c"test", |file| {
            file.write_all(&[1])?;
            let fd = file.try_clone()?;
            let (tell, used) = mpsc::channel();
            let user = thread::Builder::new().spawn(move || {
                let access = libc::PROT_READ | libc::PROT_WRITE;
                let (anywhere, fd) = (std::ptr::null_mut(), fd.as_raw_fd());
                // SAFETY: a new mapping, which is not looked into.
                let page = unsafe { libc::mmap(anywhere, 1, access, libc::MAP_SHARED, fd, 0) };
                assert_ne!(page, libc::MAP_FAILED);
                tell.send(()).unwrap();
                thread::sleep(Duration::from_millis(30));
                // SAFETY: as above.
                assert_eq!(unsafe { libc::munmap(page, 1) }, 0);
            })?;
            used.recv().unwrap();
            using = Some(user);
            Ok(())
        });
        using.unwrap().join().unwrap();
        sealed.unwrap();
    }
}
