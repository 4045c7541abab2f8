//! `kubectl podhook ps` and `inspect`: the hooks of a cluster's pods.

use std::path::PathBuf;

use clap::Args;

use super::RecordOutput;

/// Which cluster, and as whom: kubectl's flags, and what its configuration says.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// The pods' namespace [default: the context's].
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// kubectl's configuration.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// One of its contexts.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Another user, whom one may impersonate.
    #[arg(long = "as", value_name = "USER")]
    pub user: Option<String>,
    /// Another user's groups.
    #[arg(long = "as-group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Where podhook's agents are.
    #[arg(long, default_value = "podhook", value_name = "NAME")]
    pub agent_namespace: String,
}

/// `kubectl podhook ps`.
#[derive(Debug, Args)]
pub struct PsAcross {
    /// One pod: NAME or pod/NAME [default: all].
    pub pod: Option<String>,
    /// The pods of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "pod"])]
    pub all_namespaces: bool,
    /// Also containers that are gone, as far as the nodes' journals tell.
    #[arg(short, long)]
    pub all: bool,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<RecordOutput>,
    /// Print no header line.
    #[arg(long)]
    pub no_headers: bool,
    /// Where.
    #[command(flatten)]
    pub cluster: Cluster,
}

/// `kubectl podhook inspect`.
#[derive(Debug, Args)]
pub struct InspectAcross {
    /// The pod: NAME or pod/NAME.
    pub pod: String,
    /// One container [default: all of the pod].
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Output format [default: a page to read].
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<RecordOutput>,
    /// Where.
    #[command(flatten)]
    pub cluster: Cluster,
}

pub(super) const PS_EXAMPLES: &str = "\
Examples:
  # The hooks of this namespace's pods, on whatever node
  kubectl podhook ps

  # One pod's, of containers that are gone too
  kubectl podhook ps web-0 -n shop -a

  # What failed in the cluster
  kubectl podhook ps -A -o json | jq '.items[] | select(.hooks[].result == \"Failed\")'";

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  # All that is recorded of a pod's hooks, with their output
  kubectl podhook inspect web-0 -n shop

  # One container of several, for a program
  kubectl podhook inspect web-0 -c nginx -o json";
