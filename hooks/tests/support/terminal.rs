//! The host's end of a terminal: received as runtimes send it, and read to its end.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

/// A console socket at `path`, as an OCI runtime's `--console-socket`; joined, what was printed on the terminal
/// that came.
pub fn listen(path: &Path) -> JoinHandle<String> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || to_end(receive(&listener.accept().unwrap().0)))
}

fn receive(socket: &UnixStream) -> OwnedFd {
    let mut name = [0u8; 256];
    let mut part = libc::iovec {
        iov_base: name.as_mut_ptr().cast(),
        iov_len: name.len(),
    };
    // Room for one descriptor, aligned as a header.
    let mut control = [0u64; 8];
    // SAFETY: `msghdr` is plain data, all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_CMSG_CLOEXEC;
    // SAFETY: `message` names valid buffers with their lengths.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) };
    assert!(length > 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel filled `message`; a header it made is followed by its data.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        assert!(!header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS);
        OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<i32>().read_unaligned())
    }
}

/// All that is printed on a terminal; joined when the last process has closed it.
pub fn read(master: OwnedFd) -> JoinHandle<String> {
    std::thread::spawn(move || to_end(master))
}

fn to_end(master: OwnedFd) -> String {
    let mut text = Vec::new();
    // Ends in EIO.
    let _ = File::from(master).read_to_end(&mut text);
    String::from_utf8_lossy(&text).replace("\r\n", "\n")
}
