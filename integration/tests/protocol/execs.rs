//! The process that a client asks for with Exec.

use std::fs;

use containerd_shim_protos::api::Empty;
use podhook_integration::Outcome;
use serde_json::json;

use crate::Test;
use crate::client::{Client, exec_request};
use crate::options::generic;
use crate::podhook_only;
use crate::stage::Stage;
use crate::tests;

pub fn tests() -> Vec<Test> {
    let mut all = tests![execs:
        what_is_no_process_is_refused_at_once,
        the_request_says_whether_there_is_a_terminal,
    ];
    all.extend(podhook_only(tests![execs:
        by_the_runtime_the_request_says_whether_there_is_a_terminal,
        an_error_of_an_environment_does_not_show_its_value,
    ]));
    all
}

fn what_is_no_process_is_refused_at_once(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    for text in ["", "{", "[]", r#"{"args":"true","cwd":"/"}"#] {
        let mut request = exec_request("c1", "e", &["true"]);
        request.spec.mut_or_insert_default().value = text.into();
        let answer = client.call::<Empty>("Exec", &request);
        assert!(answer.is_err(), "{text:?}");
        // Nothing has the id.
        assert!(client.state("c1", "e").is_err(), "{text:?}");
    }
    Ok(client.end("c1")?)
}

/// An exec whose process says that there is one, in a request that does not.
fn asked_without_a_terminal(stage: &Stage, client: &Client) -> Outcome {
    let mut request = exec_request("c1", "e", &["sh", "-c", "! test -t 0"]);
    let process = json!({
        "args": ["sh", "-c", "! test -t 0"], "terminal": true, "cwd": "/", "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0},
    });
    request.spec.mut_or_insert_default().value = process.to_string().into_bytes();
    client.call::<Empty>("Exec", &request)?;
    client.start("c1", "e")?;
    assert_eq!(
        client.wait("c1", "e")?.exit_status,
        0,
        "{}",
        stage.log("c1")
    );
    client.delete("c1", "e")?;
    Ok(client.end("c1")?)
}

fn the_request_says_whether_there_is_a_terminal(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    asked_without_a_terminal(stage, &client)
}

fn by_the_runtime_the_request_says_whether_there_is_a_terminal(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    let path = stage.dir().join("podhook.toml");
    fs::write(&path, "exec = \"runtime\"\n")?;
    client.create_with(stage, "c1", &generic(&path.display().to_string(), ""))?;
    client.start("c1", "")?;
    asked_without_a_terminal(stage, &client)
}

/// It may be a secret; the error is in clients' logs and in the shim's.
fn an_error_of_an_environment_does_not_show_its_value(stage: &Stage) -> Outcome {
    let client = stage.shim("c1", &["sleep", "600"])?;
    client.run(stage, "c1")?;
    let mut request = exec_request("c1", "e", &["true"]);
    let process = json!({
        "args": ["true"], "cwd": "/", "env": ["TOKEN=secret\0"], "user": {"uid": 0, "gid": 0},
    });
    request.spec.mut_or_insert_default().value = process.to_string().into_bytes();
    client.call::<Empty>("Exec", &request)?;
    let error = client.start("c1", "e").expect_err("it started");
    assert!(error.message.contains("\"TOKEN\""), "{error}");
    assert!(!error.message.contains("secret"), "{error}");
    assert!(!stage.log("c1").contains("secret"));
    Ok(client.end("c1")?)
}
