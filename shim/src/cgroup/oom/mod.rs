//! OOM kills of a container: v1 by an eventfd on memory.oom_control, v2 by poll on
//! memory.events. Both only say "look again"; what counts is the `oom_kill` counter, which the
//! kernel raises before it sends the SIGKILL (`__oom_kill_process`), so that once the victim has
//! been reaped the counter is right.
//!
//! systemd removes a scope, and the counter with it, as soon as the scope is empty, which it is a little before
//! init can be reaped. The shim may come too late to read the counter (the original loses the event then), and an open
//! descriptor of a removed cgroup's file answers ENODEV. The shim then looks into the kernel's log. The parent's
//! counter would still be there, but it counts all its children.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::error::Error;
use super::file;
use super::kernel_log::KernelLog;
use super::notify::Notifier;
use super::v1;

/// How long to look for the kill that a v1 OOM event announces: 1 ms, 2 ms, … until this.
const LAST_DELAY: Duration = Duration::from_millis(512);
const FIRST_DELAY: Duration = Duration::from_millis(1);
/// How long the event of a removal may take.
const REMOVAL_EVENT: Duration = Duration::from_millis(200);

/// Watches one container for OOM kills.
#[derive(Debug)]
pub struct OomWatch {
    notifier: Notifier,
    source: Source,
    /// The counter as of the last kill reported (or as of the start).
    seen: u64,
    ended: bool,
}

#[derive(Debug)]
enum Source {
    V1(OomControl),
    V2 {
        memory_events: PathBuf,
        cgroup_events: PathBuf,
        /// The `oom` counter, as of the last look and as of the last kill reported (or of the start): the
        /// kernel raises it before it looks for a victim.
        oom: u64,
        explained: u64,
        /// For kills since the last one reported (or the start).
        kernel_log: KernelLog,
    },
}

#[derive(Debug)]
struct OomControl {
    path: PathBuf,
    /// Events that no kill has explained yet.
    unexplained: u64,
    /// When to look again for the kill of the last event; `None`: wait for the next event.
    delay: Option<Duration>,
}

/// What a look at the files says.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Killed,
    Nothing,
    /// The cgroup is not there any more.
    Removed,
    /// That of v2 has no processes left: no kill can come any more.
    End,
}

impl OomWatch {
    /// Watches the memory cgroup `dir` of a v1 hierarchy.
    pub(super) fn v1(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("memory.oom_control");
        let seen = file::parse(dir, "memory.oom_control", v1::parse_oom_control)?;
        let seen = seen.ok_or_else(|| missing(dir))?.oom_kill;
        let notifier = Notifier::eventfd().map_err(Error::io("make an eventfd for", &path))?;
        let control = File::open(&path).map_err(Error::io("open", &path))?;
        // cgroup-v1/memory.rst, section 10. The kernel keeps what it needs of both descriptors.
        let registration = format!("{} {}", notifier.raw(), control.as_raw_fd());
        let event_control = dir.join("cgroup.event_control");
        let written = OpenOptions::new()
            .write(true)
            .open(&event_control)
            .and_then(|mut file| file.write_all(registration.as_bytes()));
        written.map_err(Error::io("write", &event_control))?;
        let source = Source::V1(OomControl {
            path,
            unexplained: 0,
            delay: None,
        });
        Ok(Self {
            notifier,
            source,
            seen,
            ended: false,
        })
    }

    /// Watches the cgroup `dir` of a v2 hierarchy, with the container's first process in it.
    pub(super) fn v2(dir: &Path, init: i32) -> Result<Self, Error> {
        Self::v2_with(dir, KernelLog::from_now(dir, init), Notifier::files)
    }

    fn v2_with(
        dir: &Path,
        kernel_log: KernelLog,
        watch: impl FnOnce([&Path; 2]) -> io::Result<Notifier>,
    ) -> Result<Self, Error> {
        let (memory_events, cgroup_events) = (dir.join("memory.events"), dir.join("cgroup.events"));
        let (oom, seen) = oom_kills(&memory_events)?.ok_or_else(|| missing(dir))?;
        // What changes before this is found by the first look.
        let notifier =
            watch([&memory_events, &cgroup_events]).map_err(Error::io("watch", &memory_events))?;
        let source = Source::V2 {
            memory_events,
            cgroup_events,
            oom,
            explained: oom,
            kernel_log,
        };
        Ok(Self {
            notifier,
            source,
            seen,
            ended: false,
        })
    }

    /// Waits for an OOM kill in the container; kills in quick succession are one, as in
    /// containerd. `None` when the cgroup is gone, or nothing in it is left to be killed.
    ///
    /// In v1 a kill at the limit of a parent cgroup (the pod) counts if its victim is in this
    /// container; containerd reports it for every container of the pod. With the OOM killer
    /// disabled, v1 reports every standstill at the limit instead, as containerd does.
    ///
    /// The future may be dropped at any time; nothing is lost.
    pub async fn next(&mut self) -> Option<()> {
        while !self.ended {
            let waited = match self.look() {
                Ok(Look::Killed) => return Some(()),
                Ok(Look::Nothing) => self.wait().await,
                Ok(Look::Removed) => match self.wait_for_removal().await {
                    Ok(()) => return self.killed_before_removal().then_some(()),
                    Err(error) => Err(error),
                },
                Ok(Look::End) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = waited {
                log::warn!("no further OOM events of this container: {error}");
                break;
            }
        }
        self.ended = true;
        None
    }

    /// Whether an OOM kill has happened that [`OomWatch::next`] has not reported; it counts as
    /// reported then. The last look, after init has been reaped and before `/tasks/exit`.
    pub fn poll_now(&mut self) -> bool {
        if self.ended {
            return false;
        }
        match self.take_events().and_then(|()| self.look()) {
            Ok(Look::Killed) => true,
            Ok(Look::Nothing | Look::End) => false,
            Ok(Look::Removed) => {
                self.ended = true;
                self.killed_before_removal()
            }
            Err(error) => {
                log::warn!("cannot tell whether the container was OOM-killed: {error}");
                false
            }
        }
    }

    fn look(&mut self) -> Result<Look, Error> {
        match &mut self.source {
            Source::V1(control) => {
                let path = &control.path;
                let text = file::read(path)?;
                let state = text.map(|text| v1::parse_oom_control(&text)).transpose();
                let Some(state) = state.map_err(Error::parse(path))? else {
                    return Ok(Look::Removed);
                };
                let disabled = state.oom_kill_disable == 1 && state.under_oom == 1;
                if state.oom_kill > self.seen || (disabled && control.unexplained > 0) {
                    control.explained();
                    self.seen = state.oom_kill;
                    return Ok(Look::Killed);
                }
                Ok(Look::Nothing)
            }
            Source::V2 {
                memory_events,
                cgroup_events,
                oom,
                explained,
                kernel_log,
            } => {
                // In this order: kills that come before the end are in the counter then.
                let populated =
                    file::read(cgroup_events)?.map(|text| file::key(&text, "populated"));
                let populated = populated.transpose().map_err(Error::parse(cgroup_events))?;
                let Some((ooms, kills)) = oom_kills(memory_events)? else {
                    return Ok(Look::Removed);
                };
                *oom = ooms;
                if kills > self.seen {
                    *explained = ooms;
                    self.seen = kills;
                    kernel_log.restart();
                    return Ok(Look::Killed);
                }
                Ok(match populated.flatten() {
                    None | Some(0) => Look::End,
                    Some(_) => Look::Nothing,
                })
            }
        }
    }

    /// A removed cgroup has no counter any more. In v1 the removal is one event: with more than that an OOM
    /// came just before it. In v2 the kernel's log tells, or where it cannot be read an OOM that was seen and
    /// had no kill yet.
    fn killed_before_removal(&mut self) -> bool {
        match &mut self.source {
            Source::V1(control) => std::mem::take(&mut control.unexplained) > 1,
            Source::V2 {
                oom,
                explained,
                kernel_log,
                ..
            } => {
                let killed = kernel_log.names_kill().unwrap_or(*oom > *explained);
                *explained = *oom;
                if killed {
                    kernel_log.restart();
                }
                killed
            }
        }
    }

    /// The event of a removal follows it after an RCU grace period or two.
    async fn wait_for_removal(&mut self) -> Result<(), Error> {
        self.take_events()?;
        if let Source::V1(control) = &mut self.source
            && control.unexplained == 1
            && let Ok(taken) = timeout(REMOVAL_EVENT, self.notifier.changed()).await
        {
            let path = &control.path;
            let taken = taken.map_err(Error::io("wait for events of", path))?;
            control.unexplained = control.unexplained.saturating_add(taken);
        }
        self.ended = true;
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), Error> {
        let waited = match &mut self.source {
            Source::V1(control) => control.wait(&self.notifier).await,
            Source::V2 { .. } => self.notifier.changed().await.map(drop),
        };
        waited.map_err(Error::io("wait for events of", self.source.path()))
    }

    fn take_events(&mut self) -> Result<(), Error> {
        let path = self.source.path();
        let taken = self
            .notifier
            .take()
            .map_err(Error::io("read events of", path))?;
        if let Source::V1(control) = &mut self.source {
            control.unexplained = control.unexplained.saturating_add(taken);
        }
        Ok(())
    }
}

impl OomControl {
    async fn wait(&mut self, notifier: &Notifier) -> io::Result<()> {
        // The event comes before the kill: look until it is there.
        if let Some(delay) = self.delay {
            self.delay = Some(delay.saturating_mul(2)).filter(|delay| *delay <= LAST_DELAY);
            sleep(delay).await;
        } else {
            // What is unexplained by now was an OOM of a parent with its victim elsewhere.
            self.unexplained = 0;
            self.unexplained = notifier.changed().await?;
            self.delay = Some(FIRST_DELAY);
        }
        Ok(())
    }

    fn explained(&mut self) {
        self.unexplained = 0;
        self.delay = None;
    }
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::V1(control) => &control.path,
            Self::V2 { memory_events, .. } => memory_events,
        }
    }
}

/// The counters `oom` and `oom_kill`; `None` where there is no such file.
fn oom_kills(memory_events: &Path) -> Result<Option<(u64, u64)>, Error> {
    let Some(text) = file::read(memory_events)? else {
        return Ok(None);
    };
    let counter = |name| {
        let value = file::key(&text, name).map_err(Error::parse(memory_events))?;
        Ok(value.unwrap_or_default())
    };
    Ok(Some((counter("oom")?, counter("oom_kill")?)))
}

/// The files of the memory controller are not there.
fn missing(dir: &Path) -> Error {
    let path = dir.to_owned();
    if dir.exists() {
        Error::NoMemoryController { path }
    } else {
        Error::Gone { path }
    }
}

#[cfg(test)]
mod tests;
