//! A file system in a container that does not answer until it is told to: a FUSE mount of this process.
//!
//! It holds a process that comes to join the container on its way, for as long as a test likes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::Outcome;
use crate::wait::{self, SOON};

/// Why it could not be mounted, or did not ask.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where it is in the container; each name in it is an empty directory.
pub const PLACE: &str = "/hanging";

// linux/fuse.h.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

/// The file system. It ends with this value: requests fail then.
#[derive(Debug)]
pub struct Hanging(File);

impl Hanging {
    /// Mounted in the container of process `pid`.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount(pid: u32) -> Result<Self, Failure> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")?;
        fs::create_dir(format!("/proc/{pid}/root{PLACE}"))?;
        let namespace = File::open(format!("/proc/{pid}/ns/mnt"))?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        // In a thread: a namespace is a thread's, once its file system state is.
        let mounted = thread::spawn(move || {
            unshare(CloneFlags::CLONE_FS)?;
            setns(namespace, CloneFlags::CLONE_NEWNS)?;
            let options = Some(options.as_str());
            mount(
                Some("hanging"),
                PLACE,
                Some("fuse"),
                MsFlags::empty(),
                options,
            )
        });
        mounted.join().map_err(|_| "the thread that mounts")??;
        let hanging = Self(device);
        let (opcode, unique) = hanging.request()?;
        assert_eq!(opcode, INIT);
        // Version 7.31, no options.
        let mut init = [0u8; 64];
        init[..4].copy_from_slice(&7u32.to_ne_bytes());
        init[4..8].copy_from_slice(&31u32.to_ne_bytes());
        init[20..24].copy_from_slice(&4096u32.to_ne_bytes());
        hanging.reply(unique, 0, &init)?;
        Ok(hanging)
    }

    /// Waits until a process waits for an answer.
    ///
    /// # Errors
    /// When none does.
    pub fn wait_for_request(&self) -> Outcome {
        let waiting = || {
            let mut poll = libc::pollfd {
                fd: self.0.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one pollfd that outlives the call, which does not wait.
            unsafe { libc::poll(&mut poll, 1, 0) == 1 }
        };
        Ok(wait::until_true("a process that hangs", SOON, waiting)?)
    }

    /// Answers what is asked from now on; the file system works.
    pub fn answer(self) {
        thread::spawn(move || {
            while let Ok((opcode, unique)) = self.request() {
                let replied = match opcode {
                    LOOKUP => self.reply(unique, 0, &entry()),
                    GETATTR => self.reply(unique, 0, &attributes()),
                    FORGET | INTERRUPT | BATCH_FORGET => Ok(()),
                    _ => self.reply(unique, -libc::ENOSYS, &[]),
                };
                // Who has asked may be dead.
                drop(replied);
            }
        });
    }

    /// The next request: what is asked, and its number.
    fn request(&self) -> std::io::Result<(u32, u64)> {
        // The kernel wants room for the largest.
        let mut request = vec![0u8; 64 * 1024];
        loop {
            match (&self.0).read(&mut request) {
                Ok(_) => {
                    let opcode = request[4..8].try_into().map(u32::from_ne_bytes);
                    let unique = request[8..16].try_into().map(u64::from_ne_bytes);
                    let (opcode, unique) = (opcode.expect("4 bytes"), unique.expect("8 bytes"));
                    return Ok((opcode, unique));
                }
                // The request was given up before it could be read.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn reply(&self, unique: u64, errno: i32, body: &[u8]) -> std::io::Result<()> {
        let length = 16 + body.len() as u32;
        let header = [
            &length.to_ne_bytes()[..],
            &errno.to_ne_bytes(),
            &unique.to_ne_bytes(),
        ];
        let reply = [header.concat(), body.to_vec()].concat();
        (&self.0).write_all(&reply)
    }
}

/// `fuse_attr` of an empty directory.
fn attr() -> Vec<u8> {
    let mut attr = vec![0u8; 88];
    attr[0] = 2;
    attr[60..64].copy_from_slice(&(libc::S_IFDIR | 0o755).to_ne_bytes());
    attr[64] = 2;
    attr
}

/// `fuse_entry_out`, valid for no time: node 2.
fn entry() -> Vec<u8> {
    let mut entry = vec![0u8; 40];
    entry[0] = 2;
    entry.extend(attr());
    entry
}

/// `fuse_attr_out`, valid for no time.
fn attributes() -> Vec<u8> {
    [vec![0u8; 16], attr()].concat()
}
