//! What a root filesystem is mounted from: a file, by a program, and what is left to containerd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse, Mount};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Generation, Outcome, command};

use crate::Test;
use crate::client::{Client, Refused, create_request};
use crate::stage::{Failure, Kind, Stage};
use crate::tests;
use crate::unless;

pub fn tests() -> Vec<Test> {
    let mut all = tests![rootfs: a_type_for_containerds_mount_manager_is_refused];
    all.extend(unless(
        tests![rootfs: a_file_is_mounted_by_a_loop_device],
        |kind| {
            if !Path::new("/dev/loop-control").exists() {
                return Some("this machine has no loop devices");
            }
            (kind == Kind::Go(Generation::V1_6)).then_some("loop devices came with containerd 1.7")
        },
    ));
    all.extend(unless(
        tests![rootfs: a_fuse_type_is_mounted_by_its_program],
        |kind| (kind == Kind::Go(Generation::V1_6)).then_some("fuse3 came with containerd 1.7"),
    ));
    all.extend(unless(
        tests![rootfs: an_option_for_containerds_mount_manager_is_refused],
        |kind| match kind {
            Kind::Go(generation) if generation < Generation::V2_4 => {
                Some("the original refuses it from 2.4 on")
            }
            _ => None,
        },
    ));
    all
}

fn create(
    stage: &Stage,
    client: &Client,
    id: &str,
    rootfs: Mount,
) -> Result<CreateTaskResponse, Refused> {
    let request = CreateTaskRequest {
        rootfs: vec![rootfs],
        ..create_request(stage, id)
    };
    client.call("Create", &request)
}

fn mount(kind: &str, source: &Path, options: &[&str]) -> Mount {
    Mount {
        type_: kind.to_owned(),
        source: source.display().to_string(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Default::default()
    }
}

/// The file systems in files that a stage has.
fn image(stage: &Stage) -> Result<PathBuf, Failure> {
    let image = stage.dir().join("image");
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    mkfs.args(["-q", "-F", "-d"])
        .arg(stage.rootfs())
        .arg(&image)
        .arg("32M");
    command::run(&mut mkfs, None, SOON)?.success()?;
    Ok(image)
}

/// The loop devices of a file.
fn devices(image: &Path) -> Result<String, Failure> {
    Ok(command::stdout_of(
        "losetup",
        &[
            "--noheadings",
            "--output",
            "NAME",
            "--associated",
            &image.to_string_lossy(),
        ],
    )?)
}

fn a_file_is_mounted_by_a_loop_device(stage: &Stage) -> Outcome {
    let image = image(stage)?;
    for (id, options, status) in [
        ("c1", &["loop", "rw"][..], 0),
        ("c2", &["loop", "ro", "direct-io"], 1),
    ] {
        let client = stage.shim(id, &["sh", "-c", "echo x > /inside"])?;
        create(stage, &client, id, mount("ext4", &image, options))?;
        assert!(!devices(&image)?.is_empty(), "{options:?}");
        client.start(id, "")?;
        assert_eq!(client.wait(id, "")?.exit_status, status, "{options:?}");
        client.end(id)?;
        stage.wait_gone(id)?;
        // The kernel takes the device back when it is mounted no more.
        wait::until_true("the loop device to be free", SOON, || {
            devices(&image).is_ok_and(|devices| devices.is_empty())
        })?;
    }
    // What was written is in the file.
    let mut debugfs = Command::new("/usr/sbin/debugfs");
    debugfs.args(["-R", "cat /inside"]).arg(&image);
    let read = command::run(&mut debugfs, None, SOON)?.success()?;
    assert_eq!(read.stdout, "x\n");
    Ok(())
}

/// A program in the PATH of the shim; what it mounts is a folder's.
fn helper(stage: &Stage, body: &str) -> Outcome {
    let program = stage.dir().join("mount.fuse3");
    fs::write(
        &program,
        format!(
            "#!/bin/sh\necho \"$*\" >> {}/helped\n{body}\n",
            stage.dir().display()
        ),
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn a_fuse_type_is_mounted_by_its_program(stage: &Stage) -> Outcome {
    let limit = stage.dir().join("limit");
    let mounts = format!(
        "ulimit -Sn > {}; exec mount --bind \"$1\" \"$2\"",
        limit.display()
    );
    helper(stage, &mounts)?;
    let fuse = mount("fuse3.test-fs", stage.rootfs(), &["lowerdir=/a", "ro"]);
    let client = stage.shim("c1", &["true"])?;
    create(stage, &client, "c1", fuse.clone())?;
    client.start("c1", "")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 0);
    client.end("c1")?;
    stage.wait_gone("c1")?;
    let called = fs::read_to_string(stage.dir().join("helped"))?;
    let (source, target) = (stage.rootfs().display(), stage.bundle("c1").join("rootfs"));
    // The original calls it again where its reaper was faster than its wait (containerd#4387).
    let expected = format!(
        "{source} {} -o lowerdir=/a -o ro -t test-fs",
        target.display()
    );
    let mut calls = called.lines();
    assert!(
        !called.is_empty() && calls.all(|call| call == expected),
        "{called}"
    );
    if stage.kind == Kind::Podhook {
        assert_eq!(called.lines().count(), 1, "{called}");
    }

    // A daemon of it has the limit of files that the shim was started with.
    let own = fs::read_to_string("/proc/self/limits")?;
    let own = own.lines().find(|line| line.starts_with("Max open files"));
    let soft = own.and_then(|line| line.split_whitespace().nth(3));
    assert_eq!(Some(fs::read_to_string(limit)?.trim()), soft);

    helper(stage, "echo no such daemon >&2; exit 3")?;
    let client = stage.shim("c2", &["true"])?;
    let error = create(stage, &client, "c2", fuse)
        .err()
        .ok_or("it was mounted")?;
    assert!(error.message.contains("no such daemon"), "{error}");
    assert!(error.message.contains("exit status 3"), "{error}");
    client.shutdown("c2");
    Ok(())
}

/// `mkfs/` and `format/` are for the mount manager: none of them is a shim's.
fn a_type_for_containerds_mount_manager_is_refused(stage: &Stage) -> Outcome {
    for (id, kind) in [
        ("c1", "format/overlay"),
        ("c2", "mkfs/ext4"),
        ("c3", "format/mkdir/bind"),
    ] {
        let client = stage.shim(id, &["true"])?;
        let answer = create(stage, &client, id, mount(kind, stage.rootfs(), &["rw"]));
        let error = answer.err().ok_or("it was mounted")?;
        assert!(
            error
                .message
                .starts_with("failed to mount rootfs component"),
            "{error}"
        );
        let message = error.message.to_lowercase();
        assert!(message.contains("no such device"), "{error}");
        client.shutdown(id);
        stage.wait_gone(id)?;
    }
    Ok(())
}

fn an_option_for_containerds_mount_manager_is_refused(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["true"])?;
    let internal = mount(
        "bind",
        stage.rootfs(),
        &["rbind", "X-containerd.mkdir.path=/a"],
    );
    let error = create(stage, &client, "c1", internal)
        .err()
        .ok_or("it was mounted")?;
    assert!(
        error
            .message
            .contains("internal mount option \"X-containerd.mkdir.path=/a\" was not consumed by the mount manager"),
        "{error}"
    );
    client.shutdown("c1");
    Ok(())
}
