//! strace: at a shim that runs, and around the verbs of its binary.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Operation, Refusal};
use crate::Containerd;
use crate::chaos::Error;
use crate::wait::{self, SOON};

/// How often each call was made, by the process or thread that made it most.
pub type Counts = BTreeMap<String, usize>;

/// Programs that the shim starts are not its own: strace leaves them at `execve`.
const OWN: [&str; 2] = ["--follow-forks", "--detach-on=execve"];
/// Descriptors are shown with what they are.
const SHOWN: [&str; 2] = ["--quiet=all", "--decode-fds=path"];

/// What an operation has called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    pub counts: Counts,
    /// Those that failed, as strace shows them.
    pub refused: Vec<String>,
    /// A call has failed that cannot: to wake a thread by an eventfd is to add to a number; and where strace lets the shim
    /// go before it has put its error in the place of the call's, the call was none (ENOSYS).
    pub unreal: bool,
}

impl Calls {
    fn of(output: &str, refusal: Option<&Refusal>) -> Self {
        let lines = whole(output);
        let refused = lines.into_iter().filter(|line| line.contains("(INJECTED)"));
        let refused: Vec<_> = refused.collect();
        Self {
            counts: counts(output),
            unreal: refused.iter().any(|line| line.contains("[eventfd]"))
                || refusal.is_some_and(|refusal| is_cut_off(output, refusal)),
            refused,
        }
    }
}

/// The lines, those of one call that strace has cut in two, for another thread's in between, as one.
fn whole(output: &str) -> Vec<String> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut lines = Vec::new();
    for line in output.lines() {
        let thread = line.split_whitespace().next().unwrap_or_default();
        if let Some((begin, _)) = line.split_once(" <unfinished ...>") {
            begun.insert(thread, begin);
        } else if let Some((_, end)) = line.split_once(" resumed>")
            && let Some(begin) = begun.remove(thread)
        {
            lines.push(format!("{begin}{end}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// Whether strace went away while the call was on its way.
fn is_cut_off(output: &str, refusal: &Refusal) -> bool {
    let begin = format!("{}(", refusal.call);
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    output.lines().any(|line| {
        let Some((process, rest)) = line.split_once(&begin) else {
            return false;
        };
        let count = made.entry(process.trim()).or_default();
        *count += 1;
        *count == refusal.nth && rest.contains("<detached")
    })
}

fn options(refusal: Option<&Refusal>) -> Vec<String> {
    let Some(Refusal { call, error, nth }) = refusal else {
        return Vec::new();
    };
    vec![
        format!("--trace={call}"),
        format!("--inject={call}:error={error}:when={nth}"),
    ]
}

/// strace at work.
#[derive(Debug)]
pub(super) struct Tracer {
    strace: Child,
    output: PathBuf,
}

impl Tracer {
    /// Attaches it; the calls fail from now on.
    pub fn attach(pid: i32, refusal: Option<&Refusal>, output: &Path) -> Result<Self, Error> {
        let strace = Command::new("strace")
            .args(OWN)
            .args(SHOWN)
            .args(options(refusal))
            .arg(format!("--attach={pid}"))
            .arg("--output")
            .arg(output)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let this = Self {
            strace,
            output: output.to_owned(),
        };
        wait::until_true("strace", SOON, || is_traced(pid))?;
        Ok(this)
    }

    /// Lets the shim go, and says what it has called.
    pub fn detach(mut self, refusal: Option<&Refusal>) -> Result<Calls, Error> {
        let pid = Pid::from_raw(i32::try_from(self.strace.id())?);
        let _ = kill(pid, Signal::SIGINT);
        let over = wait::until_true("the end of strace", SOON, || {
            self.strace.try_wait().is_ok_and(|ended| ended.is_some())
        });
        if over.is_err() {
            self.strace.kill()?;
            self.strace.wait()?;
        }
        Ok(Calls::of(&fs::read_to_string(&self.output)?, refusal))
    }
}

fn is_traced(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|pid| pid.trim() != "0")
}

/// Of lines as `12 openat(AT_FDCWD, …` or, without the process, `openat(…`. What goes on later (`<... read resumed>`) was counted.
fn counts(output: &str) -> Counts {
    let mut all: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in output.lines() {
        let (process, rest) = match line.split_once(' ') {
            Some((word, rest)) if word.bytes().all(|byte| byte.is_ascii_digit()) => (word, rest),
            _ => ("", line),
        };
        let Some((call, _)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if call
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            *all.entry((process, call)).or_default() += 1;
        }
    }
    let mut counts = Counts::new();
    for ((_, call), count) in all {
        let most = counts.entry(call.to_owned()).or_default();
        *most = count.max(*most);
    }
    counts
}

/// The shim's binary behind a script that runs it under strace where it is told to.
#[derive(Debug)]
pub struct Wrapper {
    dir: PathBuf,
}

impl Wrapper {
    /// Puts the script in the place of the link in containerd's PATH.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn install(containerd: &Containerd) -> io::Result<Self> {
        let link = containerd.dir().join("bin/containerd-shim-podhook-v1");
        let program = link.canonicalize()?;
        let dir = containerd.dir().join("refused");
        fs::create_dir_all(&dir)?;
        let new = dir.join("shim");
        fs::write(&new, script(&program, &dir))?;
        fs::set_permissions(&new, Permissions::from_mode(0o755))?;
        fs::rename(&new, &link)?;
        Ok(Self { dir })
    }

    /// The next call of the operation's verb for `id` has it.
    pub(super) fn plan(
        &self,
        operation: Operation,
        id: &str,
        refusal: Option<&Refusal>,
    ) -> io::Result<()> {
        let path = self.path(operation, id, "plan");
        let _ = fs::remove_file(self.path(operation, id, "out"));
        fs::write(path, options(refusal).join(" "))
    }

    /// What the verb has called.
    pub(super) fn calls(
        &self,
        operation: Operation,
        id: &str,
        refusal: Option<&Refusal>,
    ) -> io::Result<Calls> {
        let output = fs::read_to_string(self.path(operation, id, "out"))?;
        Ok(Calls::of(&output, refusal))
    }

    fn path(&self, operation: Operation, id: &str, what: &str) -> PathBuf {
        let verb = operation.verb().unwrap_or_default();
        self.dir.join(format!("{id}.{verb}.{what}"))
    }
}

/// strace is the verb's child (`-D`), so that containerd waits for the verb alone; a shim that `start` has started is not followed.
fn script(program: &Path, dir: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         id=\n\
         before=\n\
         for word; do [ \"$before\" != -id ] || id=$word; before=$word; done\n\
         plan={dir}/$id.$before.plan\n\
         if mv \"$plan\" \"$plan.taken\" 2>/dev/null; then\n\
         exec strace -D {shown} --output={dir}/$id.$before.out $(cat \"$plan.taken\") {program} \"$@\"\n\
         fi\n\
         exec {program} \"$@\"\n",
        shown = SHOWN.join(" "),
        dir = dir.display(),
        program = program.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_who_makes_most_of_them() {
        let output = "10 openat(AT_FDCWD, \"a\") = 3\n10 openat(AT_FDCWD, \"b\" <unfinished ...>\n\
                      11 openat(AT_FDCWD, \"c\") = -1 EIO (Input/output error) (INJECTED)\n\
                      10 <... openat resumed>) = 4\n11 +++ exited with 0 +++\n\
                      11 --- SIGCHLD {si_signo=SIGCHLD} ---\n";
        let wanted = Counts::from([("openat".to_owned(), 2)]);
        assert!(!Calls::of(output, None).unreal);
        let wakes =
            "10 write(5<anon_inode:[eventfd]>, \"\\1\", 8) = -1 EINTR (Interrupted) (INJECTED)\n";
        assert!(Calls::of(wakes, None).unreal);
        let cut = "10 write(5<anon_inode:[eventfd]>, \"\\1\", 8 <unfinished ...>\n11 read(6, \"\", 1) = 0\n\
                   10 <... write resumed>)              = -1 ENOSPC (No space left on device) (INJECTED)\n";
        assert!(Calls::of(cut, None).unreal);
        assert!(!Calls::of(&cut.replace("eventfd", "signalfd"), None).unreal);
        let leaves =
            "10 epoll_wait(4, [], 1024, 0) = 0\n10 epoll_wait(4, 0x5, 1024, -1 <detached ...>\n";
        let nth = |nth| Refusal {
            call: "epoll_wait".to_owned(),
            error: "EINTR",
            nth,
        };
        assert!(Calls::of(leaves, Some(&nth(2))).unreal);
        assert!(!Calls::of(leaves, Some(&nth(1))).unreal);
        assert_eq!(counts(output), wanted);
        assert_eq!(
            counts("close(3) = 0\n"),
            Counts::from([("close".to_owned(), 1)])
        );
    }
}
