//! The agents of a cluster.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kubectl::{Kubectl, hinted, is};
use crate::cmd::error::Error;

const SELECTOR: &str = "--selector=app.kubernetes.io/name=podhook-agent";

/// A pod of the DaemonSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) node: String,
    is_ready: bool,
}

/// By their nodes.
#[derive(Debug)]
pub(super) struct Agents {
    namespace: String,
    by_node: BTreeMap<String, Agent>,
}

impl Agents {
    pub(super) async fn find(kubectl: &Kubectl, namespace: &str) -> Result<Self, Error> {
        let list = kubectl
            .get(&["pods", "--namespace", namespace, SELECTOR])
            .await;
        let list = list.map_err(|error| match is(&error, "Forbidden") {
            true => hinted(error, super::RIGHTS),
            false => error,
        })?;
        let mut by_node = BTreeMap::new();
        for agent in items(&list).filter_map(|pod| Agent::of(namespace, pod)) {
            // During an update there may be two.
            let known = by_node.get(&agent.node);
            if known.is_none_or(|known: &Agent| !known.is_ready) {
                by_node.insert(agent.node.clone(), agent);
            }
        }
        if by_node.is_empty() {
            return Err(Error::Refused(format!(
                "no podhook agent runs in the namespace {namespace}\n  hint: kubectl apply -k deploy/kustomize/all brings it to \
                 the nodes; --agent-namespace says where it is"
            )));
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            by_node,
        })
    }

    pub(super) fn nodes(&self) -> Vec<String> {
        self.by_node.keys().cloned().collect()
    }

    /// That of a node.
    pub(super) fn on(&self, node: &str) -> Result<&Agent, Error> {
        let namespace = &self.namespace;
        let Some(agent) = self.by_node.get(node) else {
            return Err(Error::Refused(format!(
                "no podhook agent runs on node {node}\n  hint: kubectl -n {namespace} get pods -o wide {SELECTOR}"
            )));
        };
        match agent.is_ready {
            true => Ok(agent),
            false => Err(Error::Refused(format!(
                "the agent on node {node} is not ready\n  hint: kubectl -n {namespace} describe pod {}",
                agent.pod
            ))),
        }
    }
}

impl Agent {
    fn of(namespace: &str, pod: &Value) -> Option<Self> {
        let text = |pointer| Some(pod.pointer(pointer)?.as_str()?.to_owned());
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|one| one["type"] == "Ready" && one["status"] == "True");
        Some(Self {
            namespace: namespace.to_owned(),
            pod: text("/metadata/name")?,
            node: text("/spec/nodeName")?,
            is_ready,
        })
    }
}

/// A list's.
fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}
