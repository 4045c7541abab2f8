//! What sets a node up, and looks whether it is set up well.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What runs a node's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// containerd itself: for a kubelet (kubeadm's too), ctr.
    #[value(alias = "kubeadm")]
    Containerd,
    /// k3s.
    K3s,
    /// RKE2.
    Rke2,
    /// MicroK8s.
    Microk8s,
    /// docker.
    Docker,
    /// nerdctl, which needs no configuration.
    Nerdctl,
}

impl NodeKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Containerd,
        Self::K3s,
        Self::Rke2,
        Self::Microk8s,
        Self::Docker,
        Self::Nerdctl,
    ];

    /// As --for takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
            Self::Microk8s => "microk8s",
            Self::Docker => "docker",
            Self::Nerdctl => "nerdctl",
        }
    }
}

/// A node's root folder, and its containerd.
#[derive(Debug, Clone, Args)]
pub struct NodeRoot {
    /// The root folder of the node. Nothing outside of it is read or written.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// What the node runs containers with; may be given more than once [default: what is found].
    #[arg(long = "for", value_name = "KIND")]
    pub kinds: Vec<NodeKind>,
    /// containerd's configuration, where it is in no usual place.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// containerd's version, where its program is not found [default: as it says].
    #[arg(long, value_name = "VERSION")]
    pub containerd_version: Option<String>,
}

/// `podhook install`.
#[derive(Debug, Clone, Args)]
pub struct Install {
    /// Where.
    #[command(flatten)]
    pub node: NodeRoot,
    /// The name of the runtime handler [default: as it was installed, else podhook].
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// A second runtime handler, NAME-pauseless, whose pods have no pause container: containerd 2.3 and later.
    #[arg(long)]
    pub pauseless: bool,
    /// Make it the runtime of pods and containers that name none; with =pauseless the one whose pods have no pause container.
    #[arg(long, value_name = "WHICH", num_args = 0..=1, require_equals = true, default_missing_value = "podhook")]
    pub default: Option<DefaultRuntime>,
    /// The shim [default: containerd-shim-podhook-v1 beside this program].
    #[arg(long, value_name = "FILE")]
    pub shim: Option<PathBuf>,
    /// Where the programs go [default: where they were installed, or a package has put them, else /usr/local/bin].
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// Print what would change as a unified diff, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Restart containerd, and check that all containers live through it. COMMAND does it where systemctl does not;
    /// $PODHOOK_RESTART is what podhook itself would run.
    #[arg(long, value_name = "COMMAND", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub restart: Option<String>,
}

/// Which of podhook's runtime handlers is that of pods which name none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DefaultRuntime {
    /// The one of --runtime.
    Podhook,
    /// The one of --pauseless.
    Pauseless,
}

/// What becomes of a file that somebody has changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Changed {
    /// Nothing is uninstalled.
    Refuse,
    /// It stays as it is.
    Keep,
    /// It is as before podhook install again; the other changes are lost.
    Restore,
}

/// `podhook uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// The root folder of the node. Nothing outside of it is read or written.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// Also while containers run on podhook. They go on; the programs stay until they are gone.
    #[arg(long)]
    pub force: bool,
    /// What becomes of a file that somebody has changed since podhook install.
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    pub changed: Changed,
    /// Print what would change as a unified diff, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Restart containerd, and check that all containers live through it. COMMAND does it where systemctl does not;
    /// $PODHOOK_RESTART is what podhook itself would run.
    #[arg(long, value_name = "COMMAND", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub restart: Option<String>,
}

/// How `podhook doctor` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DoctorOutput {
    /// JSON.
    Json,
}

/// `podhook doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Where.
    #[command(flatten)]
    pub node: NodeRoot,
    /// The name of the runtime handler [default: as it was installed, else podhook].
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
    /// Output format [default: a table].
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<DoctorOutput>,
}
