//! This program as the logger of `binary://`, which counts what it is given.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::thread;

use nix::sys::signal::{SigHandler, Signal, signal};
use podhook_integration::wait;

use crate::Fallible;

/// How much is read until the end.
///
/// # Errors
/// The kernel's.
pub fn count(file: &mut File) -> std::io::Result<usize> {
    let mut buffer = vec![0; 1 << 16];
    let mut all = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(all),
            read => all += read,
        }
    }
}

/// The URI of it, counting into a folder.
///
/// # Errors
/// Where this program has no path.
pub fn uri(dir: &Path) -> Fallible<String> {
    let program = std::env::current_exe()?;
    let _ = fs::remove_file(dir.join("logged"));
    Ok(format!(
        "binary://{}?logger={}",
        program.display(),
        dir.display()
    ))
}

/// How much it was.
///
/// # Errors
/// When it does not say.
pub fn counted(dir: &Path) -> Fallible<usize> {
    let path = dir.join("logged");
    // It may write its count after the shim has told the exit.
    wait::until_true("the logger", wait::SOON, || path.exists())?;
    Ok(fs::read_to_string(path)?.trim().parse()?)
}

/// `bench logger DIR`, as a shim starts it: the outputs are 3 and 4, and what is closed when it is ready 5.
///
/// # Errors
/// Where an output cannot be read.
pub fn serve(dir: &str) -> Fallible<()> {
    // The original ends a logger with it as soon as the process has ended, and what it has written is still in the pipe.
    // SAFETY: no handler runs.
    unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) }?;
    // SAFETY: nobody else in this process has them: the shim passes them on for this.
    let (mut out, err, ready) = unsafe {
        (
            File::from_raw_fd(3),
            File::from_raw_fd(4),
            File::from_raw_fd(5),
        )
    };
    let err = thread::spawn(move || count(&mut { err }));
    drop(ready);
    let written = count(&mut out)?;
    let _ = err.join();
    let new = Path::new(dir).join(".logged");
    fs::write(&new, written.to_string())?;
    Ok(fs::rename(new, Path::new(dir).join("logged"))?)
}
