//! An OCI runtime that records its calls and does with its containers what a test has planned.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::fakes::{Does, Fakes};
use crate::containerd::options::Options;
use crate::error::Result;
use crate::runtime::{
    CheckpointArgs, ExecArgs, OciRuntime, RestoreArgs, RuntimeFactory, Stdio, call_failed,
};

pub struct FakeRuntimes(pub Fakes);

struct FakeRuntime {
    fakes: Fakes,
    id: String,
    bundle: PathBuf,
}

/// Notes a call that is dropped before its end: the real one is killed.
struct Running<'a>(&'a FakeRuntime, &'static str, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.2 {
            self.0
                .fakes
                .note(format!("dropped {} {}", self.1, self.0.id));
        }
    }
}

impl RuntimeFactory for FakeRuntimes {
    fn runtime(&self, _: &Options, _: &str, id: &str, bundle: &Path) -> Arc<dyn OciRuntime> {
        Arc::new(FakeRuntime {
            fakes: self.0.clone(),
            id: id.to_owned(),
            bundle: bundle.to_owned(),
        })
    }
}

impl FakeRuntime {
    /// What becomes of a call; the rest is to be done where it is `Some`, and lied about where that says so.
    async fn call(&self, verb: &'static str, details: &str) -> Result<Done> {
        self.fakes.note(format!("call {verb} {}{details}", self.id));
        let mut running = Running(self, verb, false);
        let done = match self.fakes.next_plan(verb) {
            Does::Well | Does::Unsupported => Ok(Done::Work),
            Does::Takes(time) => {
                tokio::time::sleep(time).await;
                Ok(Done::Work)
            }
            Does::Lies => Ok(Done::Nothing),
            Does::NamesAStranger => Ok(Done::Stranger),
            Does::LosesInit(status) => Ok(Done::WorkWithoutInit(status)),
            Does::Hangs => std::future::pending().await,
            Does::Fails(words) => Err(self.failed(verb, words, false)),
            Does::Dies => {
                Err(self.failed(verb, "runc did not terminate successfully: killed", true))
            }
        };
        running.2 = true;
        done
    }

    fn failed(&self, verb: &'static str, words: &str, died: bool) -> crate::error::Error {
        call_failed(verb, format!("OCI runtime {verb} failed: {words}"), died).into()
    }

    /// Makes a process and writes its pid.
    fn make(&self, name: &str, pid_file: &Path, done: Done) -> Option<i32> {
        let pid = match done {
            Done::Nothing => return None,
            Done::Stranger => 7_654_321,
            Done::Work | Done::WorkWithoutInit(_) => self.fakes.make(name),
        };
        std::fs::write(pid_file, pid.to_string()).unwrap();
        Some(pid)
    }

    fn make_init(&self, done: Done) {
        let pid_file = super::fakes::pid_file(&self.bundle);
        let _ = std::fs::remove_file(&pid_file);
        if let Some(pid) = self.make(&self.id, &pid_file, done) {
            self.fakes.set_init(&self.id, pid);
        }
        self.lose_init(done);
    }

    fn lose_init(&self, done: Done) {
        if let (Done::WorkWithoutInit(status), Some(init)) = (done, self.fakes.init(&self.id)) {
            self.fakes.end(init, status);
        }
    }

    fn init_is_alive(&self) -> bool {
        let init = self.fakes.init(&self.id);
        init.is_some_and(|init| self.fakes.is_alive(init))
    }
}

#[derive(Debug, Clone, Copy)]
enum Done {
    Work,
    WorkWithoutInit(i32),
    Nothing,
    Stranger,
}

#[async_trait]
impl OciRuntime for FakeRuntime {
    async fn create(&self, _: &Path, _: &Options, _: Option<&Path>, _: Stdio) -> Result<()> {
        match self.call("create", "").await {
            Ok(done) => {
                self.make_init(done);
                Ok(())
            }
            Err(e) => {
                if matches!(&e, crate::error::Error::Runtime(failed) if failed.died) {
                    // As far as it came.
                    self.make_init(Done::Work);
                }
                Err(e)
            }
        }
    }

    async fn start(&self) -> Result<()> {
        let done = self.call("start", "").await?;
        self.lose_init(done);
        Ok(())
    }

    async fn exec(&self, args: ExecArgs<'_>, _: Stdio) -> Result<()> {
        let done = self.call("exec", "").await?;
        let name = format!("{}/by-runtime", self.id);
        self.make(&name, args.pid_file, done);
        Ok(())
    }

    async fn kill_all(&self, signal: i32) -> Result<()> {
        self.call("kill-all", &format!(" {signal}")).await?;
        for pid in self.fakes.alive_in(&self.id) {
            self.fakes.deliver(pid, signal, false);
        }
        Ok(())
    }

    async fn kill(&self, signal: i32) -> Result<()> {
        if let Done::Nothing = self.call("kill", &format!(" {signal}")).await? {
            return Ok(());
        }
        let Some(init) = self.fakes.init(&self.id) else {
            return Err(self.failed("kill", "container does not exist", false));
        };
        self.fakes.set_frozen(&self.id, false);
        self.fakes.deliver(init, signal, false);
        Ok(())
    }

    async fn delete(&self, force: bool) -> Result<()> {
        let done = self
            .call("delete", if force { " force" } else { "" })
            .await?;
        if let Done::Nothing = done {
            return Ok(());
        }
        if force {
            for pid in self.fakes.alive_in(&self.id) {
                self.fakes.end(pid, libc::SIGKILL);
            }
        } else if self.init_is_alive() {
            return Err(self.failed(
                "delete",
                "cannot delete container that is not stopped",
                false,
            ));
        }
        self.fakes.forget(&self.id);
        Ok(())
    }

    async fn pause(&self) -> Result<()> {
        let done = self.call("pause", "").await?;
        self.lose_init(done);
        self.fakes.set_frozen(&self.id, true);
        Ok(())
    }

    async fn resume(&self) -> Result<()> {
        let done = self.call("resume", "").await?;
        self.fakes.set_frozen(&self.id, false);
        self.lose_init(done);
        Ok(())
    }

    async fn update(&self, resources: OwnedFd) -> Result<()> {
        let mut text = Vec::new();
        std::fs::File::from(resources)
            .read_to_end(&mut text)
            .unwrap();
        let text = String::from_utf8_lossy(&text);
        self.call("update", &format!(" {text}")).await.map(drop)
    }

    async fn checkpoint(&self, args: CheckpointArgs<'_>) -> Result<()> {
        std::fs::create_dir_all(args.work).unwrap();
        std::fs::write(args.work.join("dump.log"), "why").unwrap();
        self.call("checkpoint", "").await?;
        if !args.leave_running
            && let Some(init) = self.fakes.init(&self.id)
        {
            self.fakes.end(init, 0);
        }
        Ok(())
    }

    async fn restore(&self, _: RestoreArgs<'_>, _: Stdio) -> Result<()> {
        let done = self.call("restore", "").await?;
        self.make_init(done);
        Ok(())
    }
}
