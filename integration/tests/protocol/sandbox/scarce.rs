//! What a pod's start needs and does not get: descriptors, processes, room for its files, a network, a cgroup that runs.
//! It is refused with the reason, nothing is left, and with enough again the next pod starts.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use podhook_integration::{Outcome, hierarchy};

use super::{ID, Pod, READY, config, in_network};
use crate::scarce::{Descriptors, Processes, wait_alone};
use crate::stage::{Failure, Stage};
use crate::{Test, tests};

pub fn tests() -> Vec<Test> {
    tests![sandbox:
        a_pod_with_too_few_descriptors,
        a_pod_with_too_few_processes,
        a_pod_without_room_for_its_files,
        a_pod_without_inodes_for_its_files,
        a_pod_in_a_full_state_directory_refuses_containers_and_ends,
        a_pod_ends_without_a_process_or_a_descriptor,
        a_network_that_is_none_is_named,
        a_pod_in_a_frozen_cgroup_is_refused,
    ]
}

/// More than a start needs of anything.
const ENOUGH: u64 = 64;

/// Starts a pod with so little of something that `leave` allows, and more each time, until it succeeds. It is refused at
/// least once.
fn at_each_point<T>(
    stage: &Stage,
    words: &str,
    leave: impl Fn(&Stage, u64) -> Result<T, Failure>,
    lift: impl Fn(T) -> Outcome,
) -> Outcome {
    let needed = needed(stage, words, leave, lift)?;
    assert!(needed > 0, "nothing was refused");
    Ok(())
}

/// The same, and how much it needs.
fn needed<T>(
    stage: &Stage,
    words: &str,
    leave: impl Fn(&Stage, u64) -> Result<T, Failure>,
    lift: impl Fn(T) -> Outcome,
) -> Result<u64, Failure> {
    for left in 0..ENOUGH {
        let pod = Pod::of(stage)?;
        // It is let in while it can be.
        assert!(pod.status().is_err());
        let scarce = leave(stage, left)?;
        let created = pod.create(stage, &config(), "");
        let done = created.and_then(|_| pod.start());
        lift(scarce)?;
        match &done {
            Ok(_) => assert_eq!(pod.state()?, READY),
            Err(e) => {
                assert!(e.message.contains(words), "{left} left: {e}");
                let remains = stage.left_of(ID);
                assert!(remains.is_empty(), "{left} left: {e}: {remains:?}");
            }
        }
        pod.leave(stage)?;
        let output = stage.delete_verb(ID)?;
        assert!(output.status.success(), "{left} left: {output:?}");
        assert_eq!(stage.left_of(ID), Vec::<String>::new(), "{left} left");
        fs::remove_dir_all(stage.bundle(ID))?;
        if done.is_ok() {
            return Ok(left);
        }
    }
    Err("no limit was enough".into())
}

fn shim(stage: &Stage) -> Result<i32, Failure> {
    Ok(stage.shim_pid(ID).ok_or("no shim")?)
}

fn a_pod_with_too_few_descriptors(stage: &Stage) -> Outcome {
    let leave = |stage: &Stage, left| {
        let shim = shim(stage)?;
        wait_alone(shim)?;
        let descriptors = Descriptors::of(shim)?;
        descriptors.allow(descriptors.used()? + left)?;
        Ok(descriptors)
    };
    at_each_point(stage, "oo many open files", leave, |all| all.lift())
}

fn a_pod_with_too_few_processes(stage: &Stage) -> Outcome {
    let leave = |stage: &Stage, left| {
        let shim = shim(stage)?;
        wait_alone(shim)?;
        let processes = Processes::around(stage, shim)?;
        processes.allow(processes.used()? + left)?;
        Ok(processes)
    };
    let needed = needed(stage, "temporarily unavailable", leave, |all| {
        all.lift()?;
        // The shim goes with this pod, and its cgroup with the next.
        all.abandon()
    })?;
    // With cgroup v2 the holder is born in the pod's cgroup, and is none of the shim's processes.
    assert_eq!(needed == 0, hierarchy::is_v2());
    Ok(())
}

/// A small file system that has the bundles.
struct Small(PathBuf);

impl Small {
    const PAGE: u64 = 4096;

    fn mount(stage: &Stage) -> Result<Self, Failure> {
        let place = stage.dir().join("state");
        fs::create_dir_all(&place)?;
        let none = None::<&str>;
        mount(
            none,
            &place,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=1m,nr_inodes=100"),
        )?;
        Ok(Self(place))
    }

    fn file(&self) -> PathBuf {
        self.0.join("filling")
    }

    /// So many pages are free.
    fn leave(&self, pages: u64) -> Outcome {
        let mut file = File::create(self.file())?;
        while file.write_all(&[0; Self::PAGE as usize]).is_ok() {}
        let length = file.metadata()?.len();
        Ok(file.set_len(length - pages * Self::PAGE)?)
    }

    fn give_back(&self) -> Outcome {
        Ok(fs::remove_file(self.file())?)
    }

    /// So many files and folders can be made.
    fn leave_inodes(&self, count: u64) -> Outcome {
        let folder = self.0.join("inodes");
        fs::create_dir(&folder)?;
        let named = |number: u64| folder.join(number.to_string());
        let made = (0..).take_while(|&number| File::create(named(number)).is_ok());
        for number in 0..count.min(made.count() as u64) {
            fs::remove_file(named(number))?;
        }
        Ok(())
    }

    fn give_back_inodes(&self) -> Outcome {
        Ok(fs::remove_dir_all(self.0.join("inodes"))?)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

const FULL: &str = "No space left on device";

fn a_pod_without_room_for_its_files(stage: &Stage) -> Outcome {
    let small = Small::mount(stage)?;
    let leave = |_: &Stage, left| small.leave(left);
    at_each_point(stage, FULL, leave, |()| small.give_back())
}

fn a_pod_without_inodes_for_its_files(stage: &Stage) -> Outcome {
    let small = Small::mount(stage)?;
    let leave = |_: &Stage, left| small.leave_inodes(left);
    at_each_point(stage, FULL, leave, |()| small.give_back_inodes())
}

/// A container of a pod for which there is no room, or no inode, and more of it each time; and the pod's end.
fn a_pod_in_a_full_state_directory_refuses_containers_and_ends(stage: &Stage) -> Outcome {
    let small = Small::mount(stage)?;
    for inodes in [false, true] {
        let mut left = 0;
        loop {
            let (pod, _) = Pod::run(stage, &config(), "")?;
            stage.make_bundle("c1", &stage.spec("c1", &["sleep", "600"]))?;
            fs::write(stage.bundle("c1").join("sandbox"), ID)?;
            match inodes {
                true => small.leave_inodes(left)?,
                false => small.leave(left)?,
            }
            let created = pod.tasks.create(stage, "c1");
            match &created {
                Ok(_) => drop(pod.tasks.remove("c1")?),
                Err(e) => {
                    let said = e.message.to_lowercase();
                    assert!(said.contains(&FULL.to_lowercase()), "{left} left: {e}");
                    let remains = stage.left_of("c1");
                    assert!(remains.is_empty(), "{left} left: {e}: {remains:?}");
                }
            }
            assert_eq!(pod.state()?, READY);
            pod.stop()?;
            assert_eq!(stage.left_of(ID), Vec::<String>::new(), "{left} left");
            pod.leave(stage)?;
            let output = stage.delete_verb(ID)?;
            assert!(output.status.success(), "{left} left: {output:?}");
            match inodes {
                true => small.give_back_inodes()?,
                false => small.give_back()?,
            }
            fs::remove_dir_all(stage.bundle(ID))?;
            fs::remove_dir_all(stage.bundle("c1"))?;
            if created.is_ok() {
                break;
            }
            left += 1;
        }
        assert!(left > 0, "nothing was refused");
    }
    Ok(())
}

fn a_pod_ends_without_a_process_or_a_descriptor(stage: &Stage) -> Outcome {
    let (pod, holder) = Pod::run(stage, &config(), "")?;
    let descriptors = Descriptors::of(shim(stage)?)?;
    let processes = Processes::around(stage, shim(stage)?)?;
    descriptors.allow(0)?;
    processes.allow(0)?;
    pod.stop()?;
    assert!(super::is_gone(holder));
    assert_eq!(pod.wait()?.exit_status, 137);
    descriptors.lift()?;
    processes.lift()?;
    pod.end(stage)
}

fn a_network_that_is_none_is_named(stage: &Stage) -> Outcome {
    let [gone, file, fifo] = ["gone", "file", "fifo"].map(|name| stage.dir().join(name));
    fs::write(&file, "")?;
    mkfifo(&fifo, Mode::S_IRWXU)?;
    for users in [false, true] {
        for path in [&gone, &file, &fifo] {
            let mut config = in_network();
            if users {
                super::own_users(&mut config);
            }
            let path = path.display().to_string();
            let pod = Pod::of(stage)?;
            pod.create(stage, &config, &path)?;
            let error = pod.start().err().ok_or("started")?;
            let said = error.message.contains("the pod's network namespace");
            assert!(said && error.message.contains(&path), "{error}");
            assert_eq!(stage.left_of(ID), Vec::<String>::new());
            pod.leave(stage)?;
            fs::remove_dir_all(stage.bundle(ID))?;
        }
    }
    Ok(())
}

/// A process that joins one waits there, SIGKILL or not, as long as that lasts.
fn a_pod_in_a_frozen_cgroup_is_refused(stage: &Stage) -> Outcome {
    let (file, frozen, thawed) = match hierarchy::is_v2() {
        true => ("cgroup.freeze", "1", "0"),
        false => ("freezer.state", "FROZEN", "THAWED"),
    };
    let parent = hierarchy::of("freezer").join(stage.namespace());
    fs::create_dir_all(&parent)?;
    fs::write(parent.join(file), frozen)?;
    let pod = Pod::of(stage)?;
    pod.create(stage, &config(), "")?;
    let error = pod.start().err().ok_or("started")?;
    fs::write(parent.join(file), thawed)?;
    assert!(error.message.contains("is frozen"), "{error}");
    assert_eq!(stage.left_of(ID), Vec::<String>::new());
    pod.shutdown()?;
    stage.wait_gone(ID)?;
    fs::remove_dir_all(stage.bundle(ID))?;
    let (pod, _) = Pod::run(stage, &config(), "")?;
    pod.end(stage)
}
