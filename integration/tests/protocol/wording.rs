//! What clients are told of the OCI runtime's failures: docker, for one, reads the words.

use containerd_shim_protos::api::{CreateTaskRequest, CreateTaskResponse};
use containerd_shim_protos::shim::oci::Options;
use podhook_integration::Outcome;
use serde_json::json;
use ttrpc::Code;

use crate::Test;
use crate::client::{Answer, Client, create_request};
use crate::stage::{Failure, Stage, any};
use crate::tests;

pub fn tests() -> Vec<Test> {
    tests![wording:
        a_runtime_that_logs_its_error,
        a_runtime_that_logs_nothing,
        a_runtime_that_is_not_there,
        a_runtime_that_is_killed,
    ]
}

fn create(stage: &Stage, id: &str, binary_name: &str) -> CreateTaskRequest {
    let options = any(&Options {
        binary_name: binary_name.to_owned(),
        ..Default::default()
    });
    CreateTaskRequest {
        options: Some(options).into(),
        ..create_request(stage, id)
    }
}

/// A runtime that fails where the file it looks at has its verb.
struct Moody<'a> {
    stage: &'a Stage,
    program: String,
}

impl<'a> Moody<'a> {
    fn new(stage: &'a Stage, logs: bool) -> Result<Self, Failure> {
        let log = if logs {
            "log=$(echo \"$*\" | sed 's/.*--log \\([^ ]*\\).*/\\1/'); echo '{\"level\":\"error\",\"msg\":\"logged\"}' >> $log;"
        } else {
            ""
        };
        let verb = stage.dir().join("verb");
        std::fs::write(&verb, "none")?;
        let body = format!(
            "case \" $* \" in *\" $(cat {}) \"*) {log} echo printed >&2; exit 1;; esac",
            verb.display()
        );
        let (program, _) = stage.recording_runtime(&body)?;
        Ok(Self { stage, program })
    }

    /// What is said where `verb` fails.
    fn says<T: std::fmt::Debug>(
        &self,
        verb: &str,
        act: impl FnOnce() -> Answer<T>,
    ) -> Result<String, Failure> {
        let file = self.stage.dir().join("verb");
        std::fs::write(&file, verb)?;
        let refused = act().err().ok_or(format!("{verb} did not fail"))?;
        std::fs::write(&file, "none")?;
        assert_eq!(refused.code, Code::UNKNOWN, "{refused}");
        // Go ends it with the line's end of what was printed.
        Ok(refused.message.trim_end().to_owned())
    }
}

fn a_runtime_that_logs_its_error(stage: &Stage) -> Outcome {
    let moody = Moody::new(stage, true)?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    let request = create(stage, "c1", &moody.program);
    let made = || client.call::<CreateTaskResponse>("Create", &request);
    assert_eq!(
        moody.says("create", made)?,
        "OCI runtime create failed: logged"
    );
    made()?;
    let printed = format!(
        "{} did not terminate successfully: exit status 1: printed",
        moody.program
    );
    check(&moody, &client, "logged", &printed)
}

fn a_runtime_that_logs_nothing(stage: &Stage) -> Outcome {
    let moody = Moody::new(stage, false)?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    let request = create(stage, "c1", &moody.program);
    let made = || client.call::<CreateTaskResponse>("Create", &request);
    let ended = format!(
        "{} did not terminate successfully: exit status 1",
        moody.program
    );
    assert_eq!(
        moody.says("create", made)?,
        format!(
            "OCI runtime create failed: unable to retrieve OCI runtime error (open {}/log.json: no such file or directory): {ended}",
            stage.bundle("c1").display()
        )
    );
    made()?;
    let printed = format!("{ended}: printed");
    check(&moody, &client, &printed, &printed)
}

fn a_runtime_that_is_killed(stage: &Stage) -> Outcome {
    let (program, _) =
        stage.recording_runtime("case \" $* \" in *' create '*) kill -9 $$;; esac")?;
    let client = stage.shim("c1", &["sleep", "600"])?;
    let answer = client.call::<CreateTaskResponse>("Create", &create(stage, "c1", &program));
    let refused = answer.err().ok_or("it was created")?;
    let ended = format!("{program} did not terminate successfully: exit status 137");
    assert!(refused.message.contains(&ended), "{refused}");
    client.shutdown("c1");
    Ok(())
}

fn check(moody: &Moody<'_>, client: &Client, reason: &str, printed: &str) -> Outcome {
    let said = moody.says("start", || client.start("c1", ""))?;
    assert_eq!(said, format!("OCI runtime start failed: {reason}"));
    client.start("c1", "")?;
    let said = moody.says("pause", || client.pause("c1"))?;
    assert_eq!(said, format!("OCI runtime pause failed: {reason}"));
    let said = moody.says("update", || client.update("c1", &json!({})))?;
    assert_eq!(said, printed);
    let said = moody.says("kill", || client.kill("c1", "", 15, true))?;
    assert_eq!(said, format!("unknown error after kill: {printed}"));
    client.pause("c1")?;
    let said = moody.says("resume", || client.resume("c1"))?;
    assert_eq!(said, format!("OCI runtime resume failed: {reason}"));
    client.resume("c1")?;
    client.kill("c1", "", 9, false)?;
    client.wait("c1", "")?;
    let said = moody.says("delete", || client.delete("c1", ""))?;
    assert_eq!(said, format!("failed to delete task: {reason}"));
    client.delete("c1", "")?;
    client.shutdown("c1");
    Ok(())
}

fn a_runtime_that_is_not_there(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    for (name, words) in [
        (
            "/no/such/runtime",
            "fork/exec /no/such/runtime: no such file or directory",
        ),
        (
            "no-such-runtime",
            "exec: \"no-such-runtime\": executable file not found in $PATH",
        ),
    ] {
        let request = create(stage, "c1", name);
        let answer = client.call::<CreateTaskResponse>("Create", &request);
        let refused = answer.err().ok_or("it was created")?;
        assert!(
            refused.message.starts_with("OCI runtime create failed: ")
                && refused.message.ends_with(words),
            "{refused}"
        );
    }
    client.shutdown("c1");
    stage.wait_gone("c1")
}
