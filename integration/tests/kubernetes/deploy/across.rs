//! The agent as a pod of its DaemonSet, from the image, and what `kubectl podhook` is told by it.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use podhook_integration::command::{self, Output};
use podhook_integration::kubernetes::{LONG, Namespace};
use podhook_integration::shim::built;
use podhook_integration::{Outcome, wait};
use serde_json::Value;

use super::chart::helm;
use super::stage::{Deployed, NAMESPACE};
use crate::agent::{FLUSH, fall_ill, sick};
use crate::steps::{Error, trace};

/// kubectl with the plugin, as somebody types it.
struct Plugin<'a> {
    kube: &'a Namespace<'a>,
    path: String,
    /// As whom.
    user: Option<String>,
}

impl<'a> Plugin<'a> {
    fn new(kube: &'a Namespace<'a>) -> Result<Self, Error> {
        let folder: PathBuf = trace(kube)?.dir().join("bin");
        fs::create_dir_all(&folder)?;
        let kubectl = kube.cluster().kubectl().command(&[]);
        symlink(kubectl.get_program(), folder.join("kubectl"))?;
        symlink(built("podhook"), folder.join("kubectl-podhook"))?;
        Ok(Self {
            kube,
            path: format!("{}:{}", folder.display(), env::var("PATH")?),
            user: None,
        })
    }

    /// The same for an account of the test's namespace.
    fn of(&self, account: &str) -> Self {
        let user = format!("system:serviceaccount:{}:{account}", self.kube.name());
        Self {
            kube: self.kube,
            path: self.path.clone(),
            user: Some(user),
        }
    }

    fn run(&self, words: &[&str]) -> Result<Output, Error> {
        let mut command = self.kube.cluster().kubectl().command(&["podhook"]);
        command
            .args(words)
            .args(["-n", self.kube.name()])
            .env("PATH", &self.path);
        if let Some(user) = &self.user {
            command.arg(format!("--as={user}"));
        }
        Ok(command::run(&mut command, None, LONG)?)
    }

    fn ok(&self, words: &[&str]) -> Result<String, Error> {
        let output = self.run(words)?;
        assert_eq!(output.status, 0, "{words:?}: {output:?}");
        Ok(output.stdout)
    }

    /// Fails, and says all of this.
    fn refused(&self, words: &[&str], parts: &[&str]) -> Outcome {
        let output = self.run(words)?;
        assert_eq!(output.status, 1, "{words:?}: {output:?}");
        for part in parts {
            assert!(
                output.stderr.contains(part),
                "{words:?}: {part}: {output:?}"
            );
        }
        Ok(())
    }
}

/// Gives an account of the test's namespace a role there, or with `of` podhook's, elsewhere.
fn give(kube: &Namespace<'_>, account: &str, words: &[&str]) -> Outcome {
    let subject = format!("--serviceaccount={}:{account}", kube.name());
    kube.cluster()
        .kubectl()
        .ok(&[words, &[subject.as_str()]].concat())?;
    Ok(())
}

pub fn kubectl_podhook_asks_the_agents_of_all_nodes(kube: &Namespace<'_>) -> Outcome {
    let deployed = Deployed::start(kube, "all")?;
    let (trace, plugin) = (trace(kube)?, Plugin::new(kube)?);
    sick(kube, &trace, "web")?;
    let node = kube.cluster().node();
    let table = plugin.ok(&["ps", "-o", "wide"])?;
    let row = table.lines().find(|line| line.contains(" web "));
    let row = row.ok_or_else(|| format!("no web: {table}"))?;
    assert!(row.contains("Running") && row.contains(node), "{table}");
    let page = plugin.ok(&["inspect", "pod/web"])?;
    assert!(page.contains("web") && page.contains(node), "{page}");
    // Of a container that is gone, and the Event of the agent that is a pod.
    fall_ill(kube, &trace, "web")?;
    let told = kube.wait_event("web", FLUSH);
    told.map_err(|error| {
        let logs = deployed.ok(&["logs", "daemonset/podhook-agent", "--tail=20"]);
        format!("{error}\n{}", logs.unwrap_or_default())
    })?;
    let list: Value = serde_json::from_str(&plugin.ok(&["ps", "web", "-a", "-o", "json"])?)?;
    let failed = |item: &Value| item["node"] == node && item["hooks"][0]["result"] == "Failed";
    let items = list["items"].as_array().ok_or("no items")?;
    assert!(items.len() == 2 && items.iter().any(failed), "{list}");
    plugin.refused(&["inspect", "none"], &["(NotFound)", "\"none\""])?;
    // Nothing is left of who has asked.
    let requests = kube.ok(&["get", "certificatesigningrequests", "-o", "name"])?;
    assert!(!requests.contains("podhook-"), "{requests}");
    only_what_one_may_get(kube, &plugin)?;
    // No agent.
    let nowhere = r#"{"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "true"}}}}}"#;
    deployed.ok(&["patch", "daemonset/podhook-agent", "--patch", nowhere])?;
    wait::until_true("the agent's end", LONG, || {
        let words = [
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=podhook-agent",
            "-o",
            "name",
        ];
        deployed.ok(&words).is_ok_and(|pods| pods.is_empty())
    })?;
    let hint = "hint: kubectl apply -k deploy/kustomize/all";
    plugin.refused(
        &["ps"],
        &["no podhook agent runs in the namespace podhook", hint],
    )
}

fn only_what_one_may_get(kube: &Namespace<'_>, plugin: &Plugin<'_>) -> Outcome {
    for account in ["stranger", "asker"] {
        kube.ok(&["create", "serviceaccount", account])?;
    }
    plugin.of("stranger").refused(
        &["ps"],
        &["(Forbidden)", "hint: the roles podhook-questions"],
    )?;
    let name = format!("asks-{}", kube.name());
    let cluster = [
        "create",
        "clusterrolebinding",
        &name,
        "--clusterrole=podhook-questions",
    ];
    let role = [
        "-n",
        NAMESPACE,
        "create",
        "rolebinding",
        &name,
        "--role=podhook-questions",
    ];
    give(kube, "asker", &cluster)?;
    give(kube, "asker", &role)?;
    let asker = plugin.of("asker");
    // The agents are asked, and tell nothing.
    wait::until_true("the binding's effect", LONG, || {
        asker.run(&["ps"]).is_ok_and(|said| said.status == 0)
    })?;
    let said = asker.run(&["ps", "-a"])?;
    assert!(
        said.stdout.is_empty() && said.stderr.contains("No hooks found"),
        "{said:?}"
    );
    asker.refused(&["inspect", "web"], &["(Forbidden)"])?;
    let view = [
        "-n",
        kube.name(),
        "create",
        "rolebinding",
        &name,
        "--clusterrole=view",
    ];
    give(kube, "asker", &view)?;
    wait::until_true("the pod's row", LONG, || {
        asker
            .run(&["ps"])
            .is_ok_and(|said| said.stdout.contains(" web "))
    })?;
    assert!(asker.ok(&["inspect", "web"])?.contains("web"));
    kube.ok(&["delete", "clusterrolebinding", &name])?;
    Ok(())
}

/// With the condition of pods, which is off by default.
pub fn helm_installs_it_with_the_agent_and_takes_it_away(kube: &Namespace<'_>) -> Outcome {
    let mut deployed = Deployed::prepare(kube)?;
    let values = [
        "--set",
        "agent.enabled=true",
        "--set",
        "agent.podCondition=true",
    ];
    deployed.install(&values)?;
    deployed.wait_mutating()?;
    let trace = trace(kube)?;
    sick(kube, &trace, "web")?;
    fall_ill(kube, &trace, "web")?;
    let condition = |pod: &Value, key: &str| {
        let all = pod["status"]["conditions"].as_array();
        let of_podhook = |one: &&Value| one["type"] == "podhook.dev/HooksSucceeded";
        let found = all.into_iter().flatten().find(of_podhook);
        found.map_or(Value::Null, |found| found[key].clone())
    };
    let told = kube.wait("web", "its condition", |pod| {
        condition(pod, "status") == "False"
    });
    let pod = told.map_err(|error| {
        let logs = deployed.ok(&["logs", "daemonset/podhook-agent", "--tail=20"]);
        format!("{error}\n{}", logs.unwrap_or_default())
    })?;
    assert_eq!(condition(&pod, "reason"), "FailedPreStopHook");
    assert!(
        condition(&pod, "message").to_string().contains(FLUSH),
        "{pod}"
    );
    helm(kube, &["uninstall", "podhook", "--wait"])?.success()?;
    let left = deployed.ok(&[
        "get",
        "daemonsets,deployments,serviceaccounts",
        "-o",
        "name",
    ])?;
    assert!(!left.contains("podhook"), "{left}");
    Ok(())
}
