//! What is said where the cluster, or kubectl, does not do what is wanted; kubectl is a script. What they do is shown on a cluster.

use std::process::Command;

use super::*;
use crate::args::Cluster;

const POD: &str = r#"{"metadata": {"name": "podhook-agent-x"}, "spec": {"nodeName": "n1"},
    "status": {"conditions": [{"type": "Ready", "status": "READY"}]}}"#;

fn cluster() -> Cluster {
    Cluster {
        namespace: None,
        kubeconfig: None,
        context: Some("test".to_owned()),
        user: None,
        groups: Vec::new(),
        agent_namespace: "podhook".to_owned(),
    }
}

/// A kubectl that does this.
struct Script(tempfile::TempDir);

impl Script {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // By another process: what is open for writing in this one, while it forks, cannot be run.
        let words = [
            "-c",
            "printf '#!/bin/sh\n%s\n' \"$1\" > \"$2\" && chmod 755 \"$2\"",
            "sh",
            text,
        ];
        let path = folder.path().join("kubectl");
        let written = Command::new("sh").args(words).arg(path).status().unwrap();
        assert!(written.success());
        Self(folder)
    }

    fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.0.path().join("kubectl"), &cluster())
    }

    async fn agents(&self) -> Result<Agents, Error> {
        Agents::find(&self.kubectl(), "podhook").await
    }
}

fn listing(pods: &str) -> Script {
    Script::new(&format!("cat <<'END'\n{{\"items\": [{pods}]}}\nEND"))
}

fn said(error: &Error) -> String {
    error.report().unwrap_or_default()
}

#[tokio::test(flavor = "current_thread")]
async fn without_an_agent_it_says_how_to_get_one() {
    let error = said(&listing("").agents().await.unwrap_err());
    assert!(
        error.contains("no podhook agent runs in the namespace podhook"),
        "{error}"
    );
    assert!(error.contains("hint: kubectl apply -k"), "{error}");
    let ready = listing(&POD.replace("READY", "True"))
        .agents()
        .await
        .unwrap();
    assert_eq!(ready.on("n1").unwrap().pod, "podhook-agent-x");
    let error = said(&ready.on("n2").unwrap_err());
    assert!(
        error.contains("no podhook agent runs on node n2\n  hint: "),
        "{error}"
    );
    let not_ready = listing(&POD.replace("READY", "False"))
        .agents()
        .await
        .unwrap();
    let error = said(&not_ready.on("n1").unwrap_err());
    assert!(
        error.contains("is not ready\n  hint: kubectl -n podhook describe pod podhook-agent-x"),
        "{error}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn of_two_agents_on_a_node_the_one_that_is_ready_is_asked() {
    let old = POD.replace("READY", "False");
    let new = POD.replace("READY", "True").replace("agent-x", "agent-y");
    for pods in [format!("{old}, {new}"), format!("{new}, {old}")] {
        let agents = listing(&pods).agents().await.unwrap();
        assert_eq!(agents.on("n1").unwrap().pod, "podhook-agent-y");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn kubectls_own_words_stand_as_they_are() {
    let forbidden = "Error from server (Forbidden): pods is forbidden";
    let script = Script::new(&format!("echo '{forbidden}' >&2; exit 1"));
    let error = said(&script.agents().await.unwrap_err());
    assert_eq!(error, format!("{forbidden}\n  hint: {RIGHTS}"));
    let question = Question {
        namespace: Some("shop".to_owned()),
        pod: Some("web".to_owned()),
        all: false,
    };
    let agents = listing(&POD.replace("READY", "True"))
        .agents()
        .await
        .unwrap();
    let error = nodes(&script.kubectl(), &question, &agents).await;
    assert_eq!(said(&error.unwrap_err()), forbidden);
    // Who may get a pod and not list them all asks every node.
    let all = Question {
        pod: None,
        ..question
    };
    assert_eq!(
        nodes(&script.kubectl(), &all, &agents).await.unwrap(),
        ["n1"]
    );
}

#[tokio::test(flavor = "current_thread")]
async fn without_kubectl_it_says_so() {
    let nowhere = Kubectl::new("/nowhere/kubectl", &cluster());
    let error = said(&Agents::find(&nowhere, "podhook").await.unwrap_err());
    assert!(
        error.contains("/nowhere/kubectl") && error.contains("hint: "),
        "{error}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_does_not_listen_is_named_with_what_kubectl_says() {
    let script = Script::new(
        "case $1 in\n\
         get) echo '{}' ;;\n\
         port-forward) echo 'lost connection to pod' >&2; echo 'Forwarding from 127.0.0.1:1 -> 9766'; exec sleep 60 ;;\n\
         esac",
    );
    let agents = listing(&POD.replace("READY", "True"))
        .agents()
        .await
        .unwrap();
    let (key, agent) = (Key::new().unwrap(), agents.on("n1").unwrap());
    let error = ask::ask(&script.kubectl(), &key, agent, "{}").await;
    let error = said(&error.unwrap_err());
    for part in [
        "the agent on node n1: ",
        ": lost connection to pod\n",
        "hint: kubectl -n podhook logs podhook-agent-x",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_flags_of_the_cluster_are_kubectls() {
    let script = Script::new("echo \"$@\"");
    let words = script.kubectl().run(&["a"], "").await.unwrap();
    assert_eq!(words, "a --context=test\n");
}
