//! `kubectl podhook ps` and `inspect`: the agents of a cluster are asked what the nodes have recorded.
//!
//! kubectl does all that has to do with the cluster: it is there where a plugin is, and knows every way of proving who one is. What
//! is proved to the agents is in [`proof`](crate::cluster::proof).

mod agents;
mod ask;
mod kubectl;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use podhook_hooks::record::Record;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::Error;
use super::interrupt::Interrupts;
use super::outcome::Outcome;
use crate::args::{InspectAcross, PsAcross, RecordOutput};
use crate::clock;
use crate::cluster::proof::Key;
use crate::cluster::question::Question;
use crate::node::row::{self, Width, header};
use crate::node::{page, query};
use crate::output::table::Table;
use crate::output::{self, print};
use agents::Agents;
use kubectl::{Kubectl, hinted, is};

const KUBECTL: &str = "kubectl";
/// So many agents are asked at once.
const AT_ONCE: usize = 8;
/// What is missing where the cluster refuses.
const RIGHTS: &str =
    "the roles podhook-questions allow it; docs/agent.md says how to give them to somebody";

/// What an agent has told of a container.
struct Found {
    node: String,
    record: Record,
    json: Value,
}

/// Runs `ps`.
///
/// # Errors
/// In kubectl's words, and when an agent does not answer.
pub async fn ps(args: &PsAcross) -> Result<(), Error> {
    let cluster = &args.cluster;
    let kubectl = Kubectl::new(KUBECTL, cluster);
    let mut question = Question {
        pod: args.pod.as_deref().map(pod_name),
        all: args.all,
        ..Question::default()
    };
    if !args.all_namespaces {
        question.namespace = Some(namespace(&kubectl, cluster.namespace.as_ref()).await);
    }
    let agents = Agents::find(&kubectl, &cluster.agent_namespace).await?;
    let nodes = nodes(&kubectl, &question, &agents).await?;
    let (mut found, outcome) = ask_all(&kubectl, &agents, nodes, &question).await?;
    found.sort_by(|a, b| query::order(&a.record).cmp(&query::order(&b.record)));
    match args.output {
        Some(output @ (RecordOutput::Json | RecordOutput::Yaml)) => documents(output, &found)?,
        output => list(args, &question, &found, Width::of(output))?,
    }
    outcome.into_result()
}

/// Runs `inspect`.
///
/// # Errors
/// In kubectl's words, when the agent does not answer, and when nothing is recorded.
pub async fn inspect(args: &InspectAcross) -> Result<(), Error> {
    let cluster = &args.cluster;
    let kubectl = Kubectl::new(KUBECTL, cluster);
    let pod = pod_name(&args.pod);
    let question = Question {
        namespace: Some(namespace(&kubectl, cluster.namespace.as_ref()).await),
        pod: Some(pod.clone()),
        all: false,
    };
    let agents = Agents::find(&kubectl, &cluster.agent_namespace).await?;
    let nodes = nodes(&kubectl, &question, &agents).await?;
    let (mut found, outcome) = ask_all(&kubectl, &agents, nodes, &question).await?;
    outcome.into_result()?;
    if let Some(container) = &args.container {
        found.retain(|found| found.record.container() == container);
    }
    if found.is_empty() {
        let what = args.container.as_ref();
        let what = what.map_or_else(String::new, |name| format!(", container {name}"));
        return Err(Error::Refused(format!(
            "podhook runs no hooks of pod {pod}{what}\n  hint: kubectl podhook ps {pod} -a shows those of containers that are \
             gone; the kubelet runs those of lifecycle in the pod's spec"
        )));
    }
    match args.output {
        Some(output @ (RecordOutput::Json | RecordOutput::Yaml)) => documents(output, &found)?,
        _ => {
            let page = |found: &Found| {
                let more = [("Node:", found.node.clone())];
                page::container("k8s.io", &found.record, &more)
            };
            print(&found.iter().map(page).collect::<Vec<_>>().join("\n"))?;
        }
    }
    Ok(())
}

fn pod_name(word: &str) -> String {
    word.strip_prefix("pod/").unwrap_or(word).to_owned()
}

async fn namespace(kubectl: &Kubectl, given: Option<&String>) -> String {
    match given {
        Some(given) => given.clone(),
        None => kubectl.namespace().await,
    }
}

/// Where there may be something.
async fn nodes(
    kubectl: &Kubectl,
    question: &Question,
    agents: &Agents,
) -> Result<Vec<String>, Error> {
    let scope = match &question.namespace {
        Some(namespace) => format!("--namespace={namespace}"),
        None => "--all-namespaces".to_owned(),
    };
    if let Some(pod) = &question.pod {
        return match kubectl.get(&["pod", pod, &scope]).await {
            Ok(pod) => match pod.pointer("/spec/nodeName").and_then(Value::as_str) {
                Some(node) => Ok(vec![node.to_owned()]),
                None => Err(Error::Refused(format!(
                    "pod {} is on no node yet\n  hint: kubectl describe pod {0} {scope} says why",
                    question.pod.as_deref().unwrap_or_default()
                ))),
            },
            // Some node may remember it.
            Err(error) if question.all && is(&error, "NotFound") => Ok(agents.nodes()),
            Err(error) => Err(error),
        };
    }
    if question.all {
        return Ok(agents.nodes());
    }
    let names = "--output=jsonpath={.items[*].spec.nodeName}";
    match kubectl.run(&["get", "pods", &scope, names], "").await {
        Ok(names) => {
            let nodes: BTreeSet<_> = names.split_whitespace().map(str::to_owned).collect();
            Ok(nodes.into_iter().collect())
        }
        // Who may not list them may get some.
        Err(error) if is(&error, "Forbidden") => Ok(agents.nodes()),
        Err(error) => Err(error),
    }
}

/// Asks the agents of these nodes. The errors of those that do not answer are printed.
async fn ask_all(
    kubectl: &Kubectl,
    agents: &Agents,
    nodes: Vec<String>,
    question: &Question,
) -> Result<(Vec<Found>, Outcome), Error> {
    let mut outcome = Outcome::default();
    if nodes.is_empty() {
        return Ok((Vec::new(), outcome));
    }
    let mut interrupts = Interrupts::new()?;
    let failed = |e: &dyn std::fmt::Display| Error::Refused(format!("cannot make a key: {e}"));
    let key = Arc::new(Key::new().map_err(|e| failed(&e))?);
    let request = key.request();
    let manifest = request.to_string();
    let made = kubectl.run(&["create", "--filename=-"], &manifest).await;
    made.map_err(|error| hinted(error, RIGHTS))?;
    let question = serde_json::to_string(question).map_err(|e| failed(&e))?;
    let work = async {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut asking = JoinSet::new();
        for node in nodes {
            let Some(agent) = outcome.note(agents.on(&node).cloned()) else {
                continue;
            };
            let (kubectl, key) = (kubectl.clone(), Arc::clone(&key));
            let (question, slots) = (question.clone(), Arc::clone(&slots));
            asking.spawn(async move {
                let _slot = slots.acquire_owned().await;
                let items = ask::ask(&kubectl, &key, &agent, &question).await?;
                items
                    .into_iter()
                    .map(|json| found(&agent.node, json))
                    .collect()
            });
        }
        let mut all = Vec::new();
        while let Some(answer) = asking.join_next().await {
            let answer = answer.unwrap_or_else(|e| Err(Error::Refused(e.to_string())));
            all.extend(outcome.note::<Vec<Found>>(answer).into_iter().flatten());
        }
        Ok(all)
    };
    let all = interrupts.stop(work).await;
    // Who may not delete it leaves it to the cluster, which does within a day.
    let name = request.pointer("/metadata/name").and_then(Value::as_str);
    let name = name.unwrap_or_default();
    let _ = kubectl
        .run(&["delete", "certificatesigningrequest", name], "")
        .await;
    Ok((all?, outcome))
}

fn found(node: &str, mut json: Value) -> Result<Found, Error> {
    let wrong = |e| Error::Refused(format!("the agent on node {node} has told no record: {e}"));
    let record = Record::from_json(&json).map_err(wrong)?;
    if let Some(object) = json.as_object_mut() {
        object.insert("node".to_owned(), node.into());
    }
    Ok(Found {
        node: node.to_owned(),
        record,
        json,
    })
}

fn documents(output: RecordOutput, found: &[Found]) -> Result<(), Error> {
    let items: Vec<_> = found.iter().map(|found| &found.json).collect();
    Ok(output::document(output, &json!({ "items": items }))?)
}

fn list(args: &PsAcross, question: &Question, found: &[Found], width: Width) -> Result<(), Error> {
    if found.is_empty() {
        match &question.namespace {
            Some(namespace) => eprintln!("No hooks found in {namespace} namespace."),
            None => eprintln!("No hooks found"),
        }
        return Ok(());
    }
    let mut table = Table::default();
    // The message stays last.
    let with_node = |mut cells: Vec<String>, node: &str| {
        if width.wide {
            cells.insert(cells.len().saturating_sub(1), node.to_owned());
        }
        cells
    };
    if !args.no_headers {
        let header = header(width).into_iter().map(str::to_owned);
        table.row(with_node(header.collect(), "NODE"));
    }
    let now = clock::now();
    for found in found {
        for row in row::rows(&found.record) {
            table.row(with_node(row.cells(width, now), &found.node));
        }
    }
    Ok(print(&table.take())?)
}
