//! The OCI runtime behind a script that waits, where it is told to, before it does anything.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::Error;
use super::gate::Gate;
use crate::Containerd;
use crate::wait::{self, SOON};

/// In the place of an id: whichever comes next.
const NEXT: &str = "next";

/// The `runc` in the shims' PATH of one containerd.
#[derive(Debug)]
pub struct HeldRuntime {
    dir: PathBuf,
}

/// One call that waits.
#[derive(Debug)]
pub struct HeldCall {
    begun: PathBuf,
    gate: Gate,
}

impl HeldRuntime {
    /// Puts the script in the place of the link.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn install(containerd: &Containerd) -> io::Result<Self> {
        let link = containerd.dir().join("bin/runc");
        let dir = containerd.dir().join("held");
        fs::create_dir_all(&dir)?;
        // Where the script is there already, the link is the script.
        let program = dir.join("program");
        if !program.exists() {
            symlink(link.canonicalize()?, &program)?;
        }
        let script = script(&program, &dir);
        // A script that is open for writing in any process cannot be executed: a new file.
        let new = dir.join("runc");
        fs::write(&new, script)?;
        fs::set_permissions(&new, Permissions::from_mode(0o755))?;
        fs::rename(&new, &link)?;
        Ok(Self { dir })
    }

    /// The next call of `verb`, for whatever container, waits.
    ///
    /// # Errors
    /// When the fifo that it waits at cannot be made.
    pub fn hold_next(&self, verb: &str) -> io::Result<HeldCall> {
        self.hold(NEXT, verb)
    }

    /// The next call of `verb` for `id` waits.
    pub(super) fn hold(&self, id: &str, verb: &str) -> io::Result<HeldCall> {
        let path = self.dir.join(format!("{id}.{verb}"));
        let taken = path.with_added_extension("taken");
        let begun = path.with_added_extension("begun");
        for old in [&path, &taken, &begun] {
            match fs::remove_file(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // The script renames it, so that one call waits and no other: opened by its later name, it has to be that.
        let gate = Gate::close_as(&path, taken)?;
        Ok(HeldCall { begun, gate })
    }
}

impl HeldCall {
    /// Waits until the call is there; gives its process.
    ///
    /// # Errors
    /// When it does not come soon.
    pub fn wait(&self) -> Result<i32, Error> {
        let pid = wait::until("the OCI runtime", SOON, || self.pid())?;
        Ok(pid)
    }

    /// Its process, once it is there.
    pub(super) fn pid(&self) -> Option<i32> {
        let text = fs::read_to_string(&self.begun).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When the fifo cannot be opened.
    pub fn release(&mut self) -> io::Result<()> {
        self.gate.open()
    }
}

fn script(program: &Path, dir: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         for id; do :; done\n\
         for verb in create start exec delete; do\n\
         case \" $* \" in *\" $verb \"*) ;; *) continue;; esac\n\
         for gate in {dir}/$id.$verb {dir}/{NEXT}.$verb; do\n\
         if [ -p \"$gate\" ] && mv \"$gate\" \"$gate.taken\" 2>/dev/null; then\n\
         echo $$ > \"$gate.begun\"\n\
         read _ < \"$gate.taken\"\n\
         fi\n\
         done\n\
         done\n\
         exec {program} \"$@\"\n",
        dir = dir.display(),
        program = program.display(),
    )
}
