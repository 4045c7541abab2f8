//! A state directory, where the bundles are, that takes nothing more: it is full, has no inodes, or is read-only.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podhook_integration::Outcome;
use podhook_integration::containerd::remains;
use podhook_integration::wait::{self, SOON};

use crate::Test;
use crate::client::Client;
use crate::podhook_only;
use crate::stage::{Failure, Stage};
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![storage:
        a_full_state_directory_refuses_new_containers_and_ends_the_others,
        a_state_directory_without_inodes_refuses_new_containers_and_ends_the_others,
    ];
    all.extend(podhook_only(tests![storage:
        // The original kills by the OCI runtime, which must write its log.
        a_read_only_state_directory_refuses_new_containers_and_kills_the_others,
        // The one of 1.6 leaves a file that is in the way of the next start; the later ones write none.
        a_start_in_a_full_state_directory_leaves_no_shim,
        a_start_in_a_state_directory_without_inodes_leaves_no_shim,
        a_start_in_a_read_only_state_directory_leaves_no_shim,
        a_start_whose_answer_nobody_gets_leaves_no_shim,
        hooks_and_execs_need_no_room_in_a_full_state_directory,
        hooks_and_execs_need_no_inode_of_the_state_directory,
    ]));
    all
}

/// What the state directory lacks, once [`State::take`] has taken it.
#[derive(Debug, Clone, Copy)]
enum Lack {
    Room,
    Inodes,
    Writing,
}

/// A file system of its own in the place of the state directory.
struct State {
    dir: PathBuf,
    lack: Lack,
}

impl State {
    fn mount(stage: &Stage, lack: Lack) -> Result<Self, Failure> {
        let dir = stage.dir().join("state");
        fs::create_dir_all(&dir)?;
        let options = "size=2m,nr_inodes=200,mode=711";
        let none = MsFlags::empty();
        mount(Some("tmpfs"), &dir, Some("tmpfs"), none, Some(options))?;
        Ok(Self { dir, lack })
    }

    fn take(&self) -> Outcome {
        match self.lack {
            Lack::Room => {
                let mut file = File::create(self.dir.join("room"))?;
                let error = loop {
                    // By one page: less would be room again.
                    if let Err(error) = file.write_all(&[1; 4096]) {
                        break error;
                    }
                };
                assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
            }
            Lack::Inodes => {
                let taken = self.dir.join("inodes");
                fs::create_dir(&taken)?;
                let made = (0..1000).map(|n| File::create(taken.join(n.to_string())));
                let error = made.filter_map(Result::err).next();
                let error = error.ok_or("there are inodes without end")?;
                assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
            }
            Lack::Writing => self.remount(MsFlags::MS_RDONLY)?,
        }
        Ok(())
    }

    fn give_back(&self) -> Outcome {
        match self.lack {
            Lack::Room => fs::remove_file(self.dir.join("room"))?,
            Lack::Inodes => fs::remove_dir_all(self.dir.join("inodes"))?,
            Lack::Writing => self.remount(MsFlags::empty())?,
        }
        Ok(())
    }

    fn remount(&self, flags: MsFlags) -> Outcome {
        let flags = MsFlags::MS_REMOUNT | flags;
        let none = None::<&str>;
        // It is not made read-only while somebody writes a file in it.
        let remounted = wait::until("the end of all writes", SOON, || {
            match mount(none, &self.dir, none, flags, none) {
                Err(Errno::EBUSY) => None,
                done => Some(done),
            }
        });
        Ok(remounted??)
    }

    /// What an error says.
    fn words(&self) -> &'static str {
        match self.lack {
            Lack::Room | Lack::Inodes => "no space left on device",
            Lack::Writing => "read-only file system",
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // A shim that is left, which is the failure of another check, holds it.
        let _ = umount2(&self.dir, MntFlags::MNT_DETACH);
    }
}

fn says(state: &State, text: &str) {
    let said = text.to_lowercase().contains(state.words());
    assert!(said, "{:?}: {text}", state.lack);
}

/// A container that runs, and one to be made in its shim, for which there is nothing left.
fn refused(stage: &Stage, lack: Lack) -> Outcome {
    let state = State::mount(stage, lack)?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    stage.make_bundle("c2", &stage.spec("c2", &["sleep", "600"]))?;
    state.take()?;
    let created = client.create(stage, "c2");
    says(&state, &created.err().ok_or("made from nothing")?.message);
    let went = wait::until_true("the remains to go", SOON, || stage.left_of("c2").is_empty());
    went.map_err(|e| format!("{e}: {:?}", stage.left_of("c2")))?;
    // Nothing that is there needs more.
    client.kill("c1", "", 9, false)?;
    assert_eq!(client.wait("c1", "")?.exit_status, 128 + 9);
    let deleted = client.delete("c1", "");
    state.give_back()?;
    match (lack, deleted) {
        // The OCI runtime's log is there.
        (Lack::Writing, Err(e)) => {
            says(&state, &e.message);
            client.delete("c1", "")?;
        }
        (_, deleted) => drop(deleted?),
    }
    client.run(stage, "c2")?;
    client.end("c2")?;
    stage.wait_gone("c1")
}

/// Nobody has the address of a shim whose start has failed, and nobody calls `delete` for it.
fn start(stage: &Stage, lack: Lack) -> Outcome {
    let state = State::mount(stage, lack)?;
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    state.take()?;
    let started = stage.try_start("c1", b"")?;
    assert!(!started.status.success(), "{started:?}");
    let text = [started.stdout, started.stderr].concat();
    says(&state, &String::from_utf8_lossy(&text));
    assert_eq!(stage.shim_pid("c1"), None, "a shim that nobody knows");
    let key = (stage.namespace().to_owned(), "c1".to_owned());
    assert!(!remains::socket(&stage.address(), &key).exists());
    state.give_back()?;
    let client = stage.start("c1", None)?;
    client.run(stage, "c1")?;
    client.end("c1")?;
    stage.wait_gone("c1")
}

fn a_start_whose_answer_nobody_gets_leaves_no_shim(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
    let mut command = stage.command("c1")?;
    command.arg("start").stdin(Stdio::null());
    let status = command
        .stdout(File::options().write(true).open("/dev/full")?)
        .status()?;
    assert!(!status.success());
    assert_eq!(stage.shim_pid("c1"), None, "a shim that nobody knows");
    Ok(())
}

fn a_start_in_a_full_state_directory_leaves_no_shim(stage: &Stage) -> Outcome {
    start(stage, Lack::Room)
}

fn a_start_in_a_state_directory_without_inodes_leaves_no_shim(stage: &Stage) -> Outcome {
    start(stage, Lack::Inodes)
}

fn a_start_in_a_read_only_state_directory_leaves_no_shim(stage: &Stage) -> Outcome {
    start(stage, Lack::Writing)
}

fn a_full_state_directory_refuses_new_containers_and_ends_the_others(stage: &Stage) -> Outcome {
    refused(stage, Lack::Room)
}

fn a_state_directory_without_inodes_refuses_new_containers_and_ends_the_others(
    stage: &Stage,
) -> Outcome {
    refused(stage, Lack::Inodes)
}

fn a_read_only_state_directory_refuses_new_containers_and_kills_the_others(
    stage: &Stage,
) -> Outcome {
    refused(stage, Lack::Writing)
}

/// A container with hooks, created while there was room, lives as if there were: only its record is late.
fn lives(stage: &Stage, lack: Lack) -> Outcome {
    let lifecycle = r#"{"postStart": {"exec": {"command": ["touch", "/tmp/post"]}},
                        "preStop": {"exec": {"command": ["sh", "-c", "until [ -e /tmp/go ]; do usleep 10000; done"]}}}"#;
    let script = "trap 'exit 7' TERM; while :; do sleep 600 & wait $!; done";
    let state = State::mount(stage, lack)?;
    let spec = stage
        .spec("c1", &["sh", "-c", script])
        .annotation("podhook.dev/lifecycle", lifecycle);
    let client = stage.shim_of("c1", &spec)?;
    client.create(stage, "c1")?;
    state.take()?;
    client.start("c1", "")?;
    run(&client, "e1", &["stat", "/tmp/post"])?;
    client.kill("c1", "", 15, false)?;
    run(&client, "e2", &["touch", "/tmp/go"])?;
    assert_eq!(client.wait("c1", "")?.exit_status, 7);
    state.give_back()?;
    let record = stage.bundle("c1").join("podhook.json");
    wait::until_true("the record to be there", 3 * SOON, || {
        let text = fs::read_to_string(&record).unwrap_or_default();
        text.matches("\"Succeeded\"").count() == 2
    })
    .map_err(|e| format!("{e}: {}", fs::read_to_string(&record).unwrap_or_default()))?;
    client.end("c1")?;
    stage.wait_gone("c1")
}

/// An exec that must succeed.
fn run(client: &Client, exec_id: &str, args: &[&str]) -> Outcome {
    client.exec("c1", exec_id, args)?;
    client.start("c1", exec_id)?;
    assert_eq!(client.wait("c1", exec_id)?.exit_status, 0, "{args:?}");
    client.delete("c1", exec_id)?;
    Ok(())
}

fn hooks_and_execs_need_no_room_in_a_full_state_directory(stage: &Stage) -> Outcome {
    lives(stage, Lack::Room)
}

fn hooks_and_execs_need_no_inode_of_the_state_directory(stage: &Stage) -> Outcome {
    lives(stage, Lack::Inodes)
}
