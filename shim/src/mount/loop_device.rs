//! Loop devices, for a file system in a file: what containerd's blockfile snapshotter has.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

const CONTROL: &str = "/dev/loop-control";

// linux/loop.h.
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;
const NAME_SIZE: usize = 64;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; NAME_SIZE],
    crypt_name: [u8; NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// How often a device is looked for: others may take the free one.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// A device that is cleared by the kernel when nobody has it open or mounted any more.
#[derive(Debug)]
pub(super) struct LoopDevice {
    pub(super) path: PathBuf,
    /// Until it is mounted.
    _open: File,
}

impl LoopDevice {
    /// One with `file` behind it. (Linux ≥ 5.8.)
    pub(super) fn new(file: &Path, read_only: bool, direct: bool) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().read(true).write(!read_only).open(path);
        let backing = open(file)?;
        let fd = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let mut name = [0; NAME_SIZE];
        // The last byte stays zero.
        for (to, from) in name
            .iter_mut()
            .zip(file.as_os_str().as_bytes())
            .take(NAME_SIZE - 1)
        {
            *to = *from;
        }
        let config = Config {
            fd,
            block_size: 0,
            info: Info {
                device: 0,
                inode: 0,
                rdevice: 0,
                offset: 0,
                size_limit: 0,
                number: 0,
                encrypt_type: 0,
                encrypt_key_size: 0,
                flags: AUTOCLEAR | flag(read_only, READ_ONLY) | flag(direct, DIRECT_IO),
                file_name: name,
                crypt_name: [0; NAME_SIZE],
                encrypt_key: [0; 32],
                init: [0; 2],
            },
            reserved: [0; 8],
        };
        let mut last = io::Error::from(io::ErrorKind::TimedOut);
        for _ in 0..TRIES {
            let path = PathBuf::from(format!("/dev/loop{}", free()?));
            let device = open(&path)?;
            // SAFETY: LOOP_CONFIGURE reads a `struct loop_config`.
            match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } {
                0 => {
                    return Ok(Self {
                        path,
                        _open: device,
                    });
                }
                _ => last = io::Error::last_os_error(),
            }
            if last.raw_os_error() != Some(libc::EBUSY) {
                break;
            }
            thread::sleep(PAUSE);
        }
        Err(last)
    }
}

/// The number of a device that nobody uses, made if there is none.
fn free() -> io::Result<i32> {
    let control = OpenOptions::new().read(true).write(true).open(CONTROL)?;
    // SAFETY: it takes no argument.
    match unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) } {
        -1 => Err(io::Error::last_os_error()),
        number => Ok(number),
    }
}
