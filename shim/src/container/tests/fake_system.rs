//! A kernel without processes: those are the fakes'.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::mount::Mount;
use podhook_hooks::config_json::ContainerConfig;
use podhook_hooks::exec::spec::Spec;
use podhook_hooks::exec::{self as engine, Children, Exit};
use podhook_hooks::handler::{HookRun, Outcome};
use podhook_hooks::lifecycle::Hook;
use podhook_hooks::moment::Moment;
use tokio::sync::{mpsc, oneshot};

use super::fakes::{Does, Fakes};
use crate::cgroup;
use crate::container::Container;
use crate::container::deps::{Cgroup, Held, Joined, Made, OomListener, OomLooks, System};
use crate::error::{Error, Result};

pub struct FakeSystem(pub Fakes);

struct FakeHeld(Fakes, i32);

struct FakeCgroup(Fakes, String);

struct FakeJoined(Fakes, String);

impl Children for Fakes {
    fn hold(&self) -> Box<dyn Send + Sync> {
        Box::new(())
    }

    fn wait(&self, pid: libc::pid_t) -> oneshot::Receiver<Exit> {
        Fakes::wait(self, pid)
    }
}

/// The hook that a test names by its command: `c1 post`.
fn name(container: &Container, hook: &Hook) -> String {
    let described = hook.handler.describe();
    let kind = if described.contains("post") {
        "post"
    } else {
        "pre"
    };
    format!("{} {kind}", container.id)
}

#[async_trait]
impl System for FakeSystem {
    fn hold(&self, pid: libc::pid_t) -> Result<Option<Arc<dyn Held>>> {
        let there = self.0.is_there(pid);
        Ok(there.then(|| Arc::new(FakeHeld(self.0.clone(), pid)) as Arc<dyn Held>))
    }

    fn signal_session(&self, _: libc::pid_t, signal: i32) {
        self.0.note(format!("signal {signal} session"));
    }

    fn cgroup(&self, pid: i32) -> Result<Box<dyn Cgroup>, cgroup::Error> {
        if !self.0.is_alive(pid) {
            return Err(cgroup::Error::Exited { pid });
        }
        Ok(Box::new(FakeCgroup(self.0.clone(), self.0.name(pid))))
    }

    fn open(
        &self,
        id: &str,
        pid: libc::pid_t,
        _: &Spec,
        _: bool,
    ) -> Result<Arc<dyn Joined>, engine::Error> {
        if !self.0.is_alive(pid) {
            return Err(engine::Error::NotRunning(id.to_owned()));
        }
        Ok(Arc::new(FakeJoined(self.0.clone(), id.to_owned())))
    }

    async fn run_hook(
        &self,
        container: &Arc<Container>,
        hook: &Hook,
        aborted: oneshot::Receiver<()>,
    ) -> HookRun {
        let name = name(container, hook);
        let began = Moment::now();
        let ended = self.0.hook_runs(&name);
        let result = {
            let mut aborted = pin!(aborted);
            tokio::select! {
                biased;
                Ok(result) = ended => result,
                _ = &mut aborted => {
                    self.0.note(format!("hook {name} aborted"));
                    let (dies, output) = {
                        let state = self.0.lock();
                        (state.hooks_die_after, state.hook_output)
                    };
                    match dies {
                        Some(dies) => tokio::time::sleep(dies).await,
                        None => std::future::pending().await,
                    }
                    let mut result = HookRun::new(Outcome::Aborted, began);
                    result.output = output.as_bytes().to_vec();
                    result
                }
            }
        };
        let takes = self.0.lock().results_take;
        if let Some(takes) = takes {
            tokio::time::sleep(takes).await;
        }
        self.0.note(format!("hook {name} ends"));
        result
    }

    fn quick_moves(&self) -> Option<cgroup::QuickMoves> {
        None
    }

    async fn mount_rootfs(&self, _: &[Mount], _: &Path, _: &dyn Children) -> Result<()> {
        self.0.note("mount");
        match self.0.lock().mounts_fail {
            true => Err(Error::failed("mount")(io::Error::from_raw_os_error(
                libc::EPERM,
            ))),
            false => Ok(()),
        }
    }

    async fn unmount_rootfs(&self, _: &Path) -> Result<()> {
        self.0.note("unmount");
        Ok(())
    }

    async fn remove_cgroups(&self, _: String, _: bool) -> bool {
        let mut state = self.0.lock();
        state.trace.push("remove cgroups".to_owned());
        let left = state.cgroups_stay > 0;
        state.cgroups_stay = state.cgroups_stay.saturating_sub(1);
        !left
    }

    async fn stop_signal(&self, _: &ContainerConfig, _: &str, _: &str) -> Option<i32> {
        None
    }
}

impl Held for FakeHeld {
    fn signal(&self, signal: i32) -> io::Result<()> {
        self.0.signal(self.1, signal)
    }

    fn is_ending(&self, _: u32) -> bool {
        self.0.is_ending(self.1)
    }

    fn pidfd(&self) -> Option<OwnedFd> {
        None
    }
}

impl Cgroup for FakeCgroup {
    fn is_frozen(&self) -> bool {
        false
    }

    fn pids(&self) -> Result<Vec<i32>, cgroup::Error> {
        Ok(self.0.alive_in(&self.1))
    }

    fn stats(&self) -> Result<Any, cgroup::Error> {
        Err(cgroup::Error::Gone {
            path: self.1.clone().into(),
        })
    }

    fn watch_oom(&self, listener: Weak<dyn OomListener>) -> Result<OomLooks, cgroup::Error> {
        self.0.lock().oom = Some(listener);
        let (looks, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<bool>>();
        let fakes = self.0.clone();
        tokio::spawn(async move {
            while let Some(answer) = asked.recv().await {
                let killed = std::mem::take(&mut fakes.lock().oom_killed);
                let _ = answer.send(killed);
            }
        });
        Ok(looks)
    }
}

#[async_trait]
impl Joined for FakeJoined {
    async fn spawn(
        &self,
        _: &engine::Process,
        _: engine::Stdio,
        _: &Arc<dyn Children>,
    ) -> Result<Made, engine::Error> {
        let Self(fakes, id) = self;
        fakes.note(format!("engine {id}"));
        match fakes.next_plan("engine") {
            Does::Unsupported => return Err(engine::Error::Unsupported("this".to_owned())),
            Does::Fails(words) => return Err(engine::Error::Invalid(words.to_owned())),
            Does::Hangs => std::future::pending().await,
            Does::Takes(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        let pid = fakes.make(&format!("{id}/exec"));
        Ok(Made {
            pid,
            held: Some(Arc::new(FakeHeld(fakes.clone(), pid))),
            exit: fakes.wait(pid),
        })
    }

    async fn spawn_on_terminal(
        &self,
        _: &engine::Process,
        _: &Arc<dyn Children>,
    ) -> Result<(Made, OwnedFd), engine::Error> {
        Err(engine::Error::Unsupported("a terminal".to_owned()))
    }

    fn engine(self: Arc<Self>) -> Option<Arc<engine::Container>> {
        None
    }
}
