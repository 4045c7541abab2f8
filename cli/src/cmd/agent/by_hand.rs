//! What is said to somebody who starts an agent outside of a cluster's pods.

use crate::cluster::{self, Api};
use crate::cmd::error::Error;

/// The error of a process that is in no pod, with what to do.
pub(super) fn outside(error: cluster::Error) -> Error {
    match error {
        cluster::Error::NoPod(_) => Error::Refused(format!(
            "{error}\n  hint: outside of a pod --kubeconfig FILE says where the API server is, and as whom it is asked"
        )),
        other => other.into(),
    }
}

/// That the API server knows no node of this name, where it says so. Events would name it all the same, and `kubectl
/// podhook` would find nobody there.
pub(super) async fn no_such_node(api: &Api, name: &str) -> Option<String> {
    let node = api.get(&format!("/api/v1/nodes/{name}")).await.ok()?;
    node.is_none().then(|| {
        format!(
            "warning: the cluster has no node {name:?}: --node (or NODE_NAME) takes a name that kubectl get nodes shows"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::fake;

    #[tokio::test]
    async fn a_node_that_the_cluster_does_not_have_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (api, server) = fake::start(folder.path()).await;
        let node = json!({"metadata": {"name": "n1"}});
        server
            .lock()
            .unwrap()
            .objects
            .insert("/api/v1/nodes/n1".to_owned(), node);
        assert_eq!(no_such_node(&api, "n1").await, None);
        let doubt = no_such_node(&api, "nonode").await.unwrap();
        assert!(doubt.contains("no node \"nonode\""), "{doubt}");
        // Who may not ask learns nothing.
        std::fs::write(folder.path().join("token"), "another").unwrap();
        assert_eq!(no_such_node(&api, "nonode").await, None);
    }

    #[test]
    fn outside_of_a_pod_the_way_to_the_api_server_is_named() {
        let error = outside(cluster::Error::NoPod("KUBERNETES_SERVICE_PORT"));
        let report = error.report().unwrap();
        assert!(
            report.contains("hint: outside of a pod --kubeconfig"),
            "{report}"
        );
    }
}
