//! `podhook node-label`: a node of Kubernetes on which podhook is ready, or no more.

use serde_json::json;

use super::error::Error;
use super::interrupt::Interrupts;
use crate::args;
use crate::cluster::{Api, Change};
use crate::output::print;

/// Runs the command.
///
/// # Errors
/// When the API server does not take it.
pub async fn run(args: &args::NodeLabel) -> Result<(), Error> {
    let mut interrupts = Interrupts::new()?;
    let api = Api::of_this_pod()?;
    interrupts.stop(label(&api, args)).await?;
    if !args.stay {
        return Ok(());
    }
    match interrupts
        .stop(std::future::pending::<Result<(), Error>>())
        .await
    {
        // A new release of the installer ends the old one. What it has installed stays.
        Err(Error::Interrupted) => Ok(()),
        other => other,
    }
}

async fn label(api: &Api, args: &args::NodeLabel) -> Result<(), Error> {
    let (value, verb) = match args.remove {
        true => (json!(null), "unlabeled"),
        false => (json!("true"), "labeled"),
    };
    let patch = json!({"metadata": {"labels": {&args.label: value}}});
    let path = format!("/api/v1/nodes/{}", args.node);
    api.change(Change::MergePatch, &path, &patch).await?;
    Ok(print(&format!(
        "node/{} {verb}: {}\n",
        args.node, args.label
    ))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake;

    #[tokio::test(flavor = "current_thread")]
    async fn a_node_has_the_label_and_keeps_its_others() {
        let folder = tempfile::tempdir().unwrap();
        let (api, fake) = fake::start(folder.path()).await;
        let path = "/api/v1/nodes/n1".to_owned();
        let node = json!({"metadata": {"labels": {"a": "b"}}});
        fake.lock()
            .unwrap()
            .objects
            .insert(path.clone(), node.clone());
        let mut args = args::NodeLabel {
            node: "n1".to_owned(),
            label: "podhook.dev/ready".to_owned(),
            remove: false,
            stay: false,
        };
        label(&api, &args).await.unwrap();
        let labels = fake.lock().unwrap().objects[&path]["metadata"]["labels"].clone();
        assert_eq!(labels, json!({"a": "b", "podhook.dev/ready": "true"}));
        args.remove = true;
        label(&api, &args).await.unwrap();
        assert_eq!(fake.lock().unwrap().objects[&path], node);
    }
}
