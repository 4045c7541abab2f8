//! A shim whose own cgroup (`ShimCgroup`) is at its limit of memory: the kernel kills what is in it, which are the OCI
//! runtime's processes, the engine's, or the shim itself.

use std::fs;
use std::path::PathBuf;

use containerd_shim_protos::shim::oci::Options;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Outcome, hierarchy};

use crate::Test;
use crate::client::{Answer, Client};
use crate::podhook_only;
use crate::stage::{Failure, Stage, any};
use crate::tests;

pub fn tests() -> Vec<Test> {
    // The original takes more itself than what it starts.
    podhook_only(tests![memory:
        a_limit_of_the_shims_cgroup_hangs_nobody_and_leaves_nothing,
    ])
}

/// More than all that is started for a container takes.
const ENOUGH: u64 = 96;

/// A memory cgroup, gone when dropped.
struct Memory {
    dir: PathBuf,
    name: String,
}

impl Memory {
    fn new(stage: &Stage) -> Result<Self, Failure> {
        let name = format!("{}-shims", stage.namespace());
        let root = hierarchy::of("memory");
        if hierarchy::is_v2() {
            fs::write(root.join("cgroup.subtree_control"), "+memory")?;
        }
        let dir = root.join(&name);
        fs::create_dir(&dir)?;
        Ok(Self { dir, name })
    }

    /// The file that is named so by version 1, or by version 2.
    fn file(&self, v1: &str, v2: &str) -> PathBuf {
        let v1 = self.dir.join(v1);
        if v1.exists() { v1 } else { self.dir.join(v2) }
    }

    /// Allows so many MiB more than are in use.
    fn leave(&self, mebibytes: u64) -> Outcome {
        let used = fs::read_to_string(self.file("memory.usage_in_bytes", "memory.current"))?;
        let limit = used.trim().parse::<u64>()? + (mebibytes << 20);
        let file = self.file("memory.limit_in_bytes", "memory.max");
        Ok(fs::write(file, limit.to_string())?)
    }

    fn lift(&self) -> Outcome {
        let v1 = self.dir.join("memory.limit_in_bytes");
        if v1.exists() {
            return Ok(fs::write(v1, "-1")?);
        }
        Ok(fs::write(self.dir.join("memory.max"), "max")?)
    }

    fn kills(&self) -> Result<u64, Failure> {
        let text = fs::read_to_string(self.file("memory.oom_control", "memory.events"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.ok_or("no oom_kill")?.trim().parse()?)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // A shim that is still there is the failure of another check.
        let _ = wait::until_true("the end of the shims' cgroup", SOON, || {
            fs::remove_dir(&self.dir).is_ok()
        });
    }
}

/// A container's life, until something is refused.
fn live(stage: &Stage, client: &Client, id: &str) -> Answer<()> {
    client.create(stage, id)?;
    client.start(id, "")?;
    client.exec(id, "e", &["true"])?;
    client.start(id, "e")?;
    client.wait(id, "e")?;
    client.delete(id, "e")?;
    client.kill(id, "", 9, false)?;
    client.wait(id, "")?;
    client.delete(id, "").map(drop)
}

fn a_limit_of_the_shims_cgroup_hangs_nobody_and_leaves_nothing(stage: &Stage) -> Outcome {
    let memory = Memory::new(stage)?;
    let options = any(&Options {
        shim_cgroup: format!("/{}", memory.name),
        ..Default::default()
    });
    let lifecycle = r#"{"postStart": {"exec": {"command": ["true"]}}}"#;
    for left in 0..ENOUGH {
        let id = format!("c{left}");
        let spec = stage
            .spec(&id, &["sleep", "600"])
            .annotation("podhook.dev/lifecycle", lifecycle);
        stage.make_bundle(&id, &spec)?;
        let client = stage.start(&id, Some(&options))?;
        let shim = stage.shim_pid(&id).ok_or("no shim")?;
        memory.leave(left)?;
        let lived = live(stage, &client, &id);
        memory.lift()?;
        if let Err(e) = &lived {
            assert!(!e.message.contains("no answer"), "{left} MiB: {e}");
            assert!(memory.kills()? > 0, "{left} MiB: {e}");
        }
        if stage.shim_pid(&id) == Some(shim) {
            // It is as it was: what was refused can be asked for again, or done with.
            client.connect_rpc(&id)?;
            if client.state(&id, "").is_ok() {
                client.remove(&id).map_err(|e| format!("{left} MiB: {e}"))?;
            }
            client.shutdown(&id);
            stage.wait_gone(&id)?;
        } else {
            // Nobody has an answer of it but this one, and containerd calls the verb.
            let deleted = stage.delete_verb(&id)?;
            assert!(deleted.status.success(), "{left} MiB: {deleted:?}");
        }
        let went = wait::until_true("the remains to go", SOON, || stage.left_of(&id).is_empty());
        went.map_err(|e| format!("{left} MiB: {e}: {:?}", stage.left_of(&id)))?;
        if lived.is_ok() {
            assert!(left > 0, "nothing was refused");
            return Ok(());
        }
    }
    Err("no limit was enough".into())
}
