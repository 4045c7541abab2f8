//! How a container ended, when its shim is gone: `exit.json` in the bundle.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use podhook_integration::Outcome;

use crate::Test;
use crate::client::Client;
use crate::podhook_only;
use crate::stage::{Failure, Stage};
use crate::tests;
use crate::verbs::kill9;

pub fn tests() -> Vec<Test> {
    // The original does so since containerd 2.4.
    podhook_only(tests![exit_status:
        the_exit_of_a_container_outlives_its_shim,
        each_container_of_a_killed_shim_has_its_own,
        one_that_ran_on_was_killed,
        the_bundle_of_another_shim_has_its_status,
        a_broken_file_is_said_and_the_rest_deleted,
        a_bundle_that_is_used_again_has_no_old_status,
    ])
}

fn deleted(stage: &Stage, id: &str) -> Result<(DeleteResponse, String), Failure> {
    let output = stage.delete_verb(id)?;
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((DeleteResponse::parse_from_bytes(&output.stdout)?, said))
}

fn kill_shim(stage: &Stage, id: &str) -> Outcome {
    kill9(stage.shim_pid(id))?;
    stage.wait_gone(id)
}

fn exits(stage: &Stage, id: &str, status: u8) -> Result<Client, Failure> {
    stage.shim(id, &["sh", "-c", &format!("exit {status}")])
}

fn the_exit_of_a_container_outlives_its_shim(stage: &Stage) -> Outcome {
    let client = exits(stage, "c1", 3)?;
    let pid = client.run(stage, "c1")?;
    let exit = client.wait("c1", "")?;
    assert_eq!(exit.exit_status, 3);
    let file = stage.bundle("c1").join("exit.json");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o7777, 0o600);
    kill_shim(stage, "c1")?;
    let (answer, said) = deleted(stage, "c1")?;
    assert_eq!((answer.pid, answer.exit_status), (pid, 3));
    assert_eq!(answer.exited_at, exit.exited_at);
    assert_eq!(said, "");
    Ok(())
}

fn each_container_of_a_killed_shim_has_its_own(stage: &Stage) -> Outcome {
    let spec = |id, script| {
        let spec = stage.spec(id, &["sh", "-c", script]);
        spec.annotation("io.kubernetes.cri.sandbox-id", "c1")
    };
    let client = stage.shim_of("c1", &spec("c1", "exit 3"))?;
    let first = client.run(stage, "c1")?;
    stage.join(&client, "c2", &spec("c2", "exit 5"))?;
    let second = client.run(stage, "c2")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 3);
    assert_eq!(client.wait("c2", "")?.exit_status, 5);
    kill_shim(stage, "c1")?;
    for (id, pid, status) in [("c1", first, 3), ("c2", second, 5)] {
        let (answer, _) = deleted(stage, id)?;
        assert_eq!((answer.pid, answer.exit_status), (pid, status), "{id}");
    }
    Ok(())
}

fn one_that_ran_on_was_killed(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let pid = client.run(stage, "c1")?;
    kill_shim(stage, "c1")?;
    assert!(!stage.bundle("c1").join("exit.json").exists());
    let (answer, _) = deleted(stage, "c1")?;
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    Ok(())
}

fn the_bundle_of_another_shim_has_its_status(stage: &Stage) -> Outcome {
    stage.make_bundle("c1", &stage.spec("c1", &["true"]))?;
    let text = r#"{"Timestamp":"2026-11-18T13:06:40.5+02:00","Pid":4711,"Status":42}"#;
    fs::write(stage.bundle("c1").join("exit.json"), text)?;
    let (answer, _) = deleted(stage, "c1")?;
    assert_eq!((answer.pid, answer.exit_status), (4711, 42));
    let at = answer.exited_at.unwrap_or_default();
    assert_eq!((at.seconds, at.nanos), (1_795_000_000, 500_000_000));
    Ok(())
}

fn a_broken_file_is_said_and_the_rest_deleted(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let pid = client.run(stage, "c1")?;
    kill_shim(stage, "c1")?;
    let file = stage.bundle("c1").join("exit.json");
    fs::write(&file, "{\"Pid\":")?;
    let (answer, said) = deleted(stage, "c1")?;
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    assert!(said.contains("exit.json"), "{said}");
    assert_eq!(stage.left_of("c1"), Vec::<String>::new());
    Ok(())
}

fn a_bundle_that_is_used_again_has_no_old_status(stage: &Stage) -> Outcome {
    // The root file system is kept; /tmp is not.
    let script = "[ -e /etc/once ] && exec sleep 600; touch /etc/once; exit 3";
    let client = stage.shim("c1", &["sh", "-c", script])?;
    client.run(stage, "c1")?;
    assert_eq!(client.wait("c1", "")?.exit_status, 3);
    client.delete("c1", "")?;
    let pid = client.run(stage, "c1")?;
    kill_shim(stage, "c1")?;
    let (answer, _) = deleted(stage, "c1")?;
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    Ok(())
}
