//! `podhook agent`.

use std::path::PathBuf;

use clap::Args;

use super::JournalPlace;

/// `podhook agent`.
#[derive(Debug, Args)]
pub struct Agent {
    /// How to reach the API server and as whom [default: the account of the pod this runs in].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The node's name in Kubernetes [default: the host's name].
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node: Option<String>,
    /// Plain HTTP for /healthz and /metrics, as 127.0.0.1:9765 [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Let --listen take an address that others can reach.
    #[arg(long, requires = "listen")]
    pub allow_remote: bool,
    /// Keep the condition podhook.dev/HooksSucceeded on pods. The account must be allowed to patch pods/status.
    #[arg(long)]
    pub pod_condition: bool,
    /// Answer kubectl podhook ps and inspect there, for pods that who asks may get: a loopback address, as 127.0.0.1:9766, which
    /// kubectl port-forward reaches [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub answer: Option<String>,
    /// Where the agent keeps how far it has come [default: agent.json below --root-dir].
    #[arg(long, value_name = "FILE")]
    pub position: Option<PathBuf>,
    /// Leave out of Events what hooks have printed, which may be secret.
    #[arg(long)]
    pub no_output: bool,
    /// Its place.
    #[command(flatten)]
    pub journal: JournalPlace,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  # In a cluster, on every node
  kubectl apply -k deploy/kustomize/all

  # By hand on a node
  podhook agent --kubeconfig /etc/kubernetes/admin.conf --listen 127.0.0.1:9765";
