//! Stdio that one process after the other gets, so that even its inode numbers are equal.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use podhook_hooks::exec::{Exit, Stdio};

use super::Ran;
use super::dev_null;
use super::pipe;
use super::temporary_file;

/// What a process is given, and where its output is read.
pub struct Streams {
    given: [OwnedFd; 3],
    /// Reading ends of pipes; `None` where the files themselves are read.
    read: Option<[File; 2]>,
    _stdin: Option<OwnedFd>,
}

impl Streams {
    /// /dev/null and two files without names.
    pub fn files() -> Self {
        Self {
            given: [dev_null(), temporary_file().into(), temporary_file().into()],
            read: None,
            _stdin: None,
        }
    }

    /// Three files without names.
    pub fn only_files() -> Self {
        Self {
            given: [(); 3].map(|()| temporary_file().into()),
            ..Self::files()
        }
    }

    /// Three pipes. What a process prints must fit into one.
    pub fn pipes() -> Self {
        let ((stdin, hold), (out, to_out), (err, to_err)) = (pipe(), pipe(), pipe());
        for reading in [&out, &err] {
            // SAFETY: a valid descriptor, no pointers.
            unsafe { libc::fcntl(reading.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        }
        Self {
            given: [stdin.into(), to_out, to_err],
            read: Some([out, err]),
            _stdin: Some(hold),
        }
    }

    /// The descriptors, the files as empty and as much root's as at first.
    pub fn hand_out(&mut self) -> Stdio {
        for fd in &self.given {
            let mut file = File::from(fd.try_clone().unwrap());
            if file.metadata().unwrap().file_type().is_char_device() {
                continue;
            }
            std::os::unix::fs::fchown(&file, Some(0), Some(0)).unwrap();
            if self.read.is_none() {
                file.set_len(0).unwrap();
                file.rewind().unwrap();
            }
        }
        let [stdin, stdout, stderr] = &self.given;
        Stdio {
            stdin: stdin.try_clone().unwrap(),
            stdout: stdout.try_clone().unwrap(),
            stderr: stderr.try_clone().unwrap(),
        }
    }

    /// What was printed until now.
    pub fn ran(&mut self, exit: Exit) -> Ran {
        let text = |index: usize| {
            let mut text = Vec::new();
            match &self.read {
                // Ends with WouldBlock: the writing ends stay open here.
                Some(pipes) => drop((&pipes[index]).read_to_end(&mut text)),
                None => {
                    let mut file = File::from(self.given[index + 1].try_clone().unwrap());
                    file.rewind().unwrap();
                    file.read_to_end(&mut text).unwrap();
                }
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        Ran {
            exit,
            stdout: text(0),
            stderr: text(1),
        }
    }
}
