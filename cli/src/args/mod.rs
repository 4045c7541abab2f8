//! The command line: kubectl's verbs and flags.

mod across;
mod agent;
pub mod duration;
mod examples;
pub mod plugin;
mod setup;
mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use across::{Cluster, InspectAcross, PsAcross};
pub use agent::Agent;
pub use setup::{
    Changed, DefaultRuntime, Doctor, DoctorOutput, Install, NodeKind, NodeRoot, Uninstall,
};
pub use webhook::{Certificate, Namespaced, NodeLabel, ServeWebhook, Webhook, WebhookCommand};

/// containerd's socket where nobody says anything else.
pub const ADDRESS: &str = "/run/containerd/containerd.sock";

/// Runs Kubernetes lifecycle hooks at the runtime: sets podhook's containerd shim up, shows and checks the hooks of a node.
///
/// The shim, containerd-shim-podhook-v1, runs the postStart and preStop hooks of containers, whoever makes them: a kubelet,
/// docker, nerdctl or ctr. This command installs it (install, doctor), shows what became of hooks (ps, history,
/// inspect) and says what is wrong with those of manifests (check). On a containerd without a kubelet it also runs pods
/// from their manifests (apply, get, delete), with kubectl's verbs, flags and columns, and does not restart them.
#[derive(Debug, Parser)]
#[command(name = "podhook", version, max_term_width = 100)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// containerd's socket.
    #[arg(
        long,
        global = true,
        env = "CONTAINERD_ADDRESS",
        default_value = ADDRESS,
        value_name = "PATH"
    )]
    pub address: PathBuf,
    /// The namespace of the pods [default: the manifest's, or "default"; ps, history, inspect: all].
    /// For these also containerd's, as "moby".
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// containerd's state directory, where the hooks' results are [default: as containerd says].
    #[arg(
        long,
        global = true,
        env = "PODHOOK_CONTAINERD_STATE",
        value_name = "DIR"
    )]
    pub state: Option<PathBuf>,
    /// Where podhook keeps manifests, emptyDir volumes and logs.
    #[arg(
        long,
        global = true,
        env = "PODHOOK_ROOT_DIR",
        default_value = "/var/lib/podhook",
        value_name = "DIR"
    )]
    pub root_dir: PathBuf,
    /// Another runtime handler that runs podhook's shim. Known without it: handlers whose name
    /// begins with "podhook", and those that containerd's configuration gives podhook's shim.
    #[arg(long, global = true, value_name = "NAME")]
    pub podhook_handler: Vec<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the pods of manifests.
    ///
    /// Checks or pulls the images, runs the sandbox, creates the containers and starts them, each
    /// without waiting for the others. Returns when every start is answered, that is when every
    /// postStart hook has ended; --wait=false returns before. The starts go on when this command
    /// is interrupted.
    #[command(after_help = examples::APPLY)]
    Apply(Apply),
    /// List pods, or print them as YAML or JSON.
    #[command(after_help = examples::GET)]
    Get(Get),
    /// Show a pod in detail, with the results of its hooks.
    #[command(after_help = examples::DESCRIBE)]
    Describe(Describe),
    /// Execute a command in a container.
    #[command(after_help = examples::EXEC)]
    Exec(Exec),
    /// Print the logs of a container.
    #[command(after_help = examples::LOGS)]
    Logs(Logs),
    /// Stop pods, their preStop hooks first, and remove them.
    #[command(after_help = examples::DELETE)]
    Delete(Delete),
    /// List the hooks of all containers of the node: what runs, since when, how it ended.
    ///
    /// Reads the results that the shims write, whoever made the containers: a kubelet, podhook,
    /// docker, nerdctl, ctr. They are gone with their container; with --all those of containers that are gone
    /// come from the node's journal.
    #[command(after_help = examples::PS)]
    Ps(Ps),
    /// Show how hooks have ended, also of containers that are gone.
    ///
    /// Reads the node's journal, to which the shims append how every hook and every container with hooks has ended. How much it
    /// keeps, and whether it outlives a boot, the node's configuration says (journal, journal_size, journal_age).
    #[command(after_help = examples::HISTORY)]
    History(History),
    /// Show everything recorded of one container's hooks.
    #[command(after_help = examples::INSPECT)]
    Inspect(Inspect),
    /// Print or serve the counters of the node's shims for Prometheus.
    #[command(after_help = examples::METRICS)]
    Metrics(Metrics),
    /// Say what is wrong with the hooks of manifests: file, line, column, and what to do.
    ///
    /// Takes manifests of pods and of what makes pods (Deployment, StatefulSet, CronJob, …), several documents, JSON, and
    /// lists. Says of each container what the shim would when it is created, and what would not be as it looks: an
    /// annotation for a container that is not there, a hook that wants more time than the grace period has, hooks in the
    /// spec and in an annotation, no runtimeClassName. A FILE without -f may also hold the value of one annotation.
    /// Needs no containerd and no cluster.
    #[command(visible_alias = "validate", after_help = examples::CHECK)]
    Check(Check),
    /// Let podhook run the hooks that manifests have for a kubelet, or the other way round.
    ///
    /// Moves the lifecycle of every container into podhook's annotations of its pod, and sets the pod's
    /// runtimeClassName; --back moves them into the containers again. Takes pods and what makes pods (Deployment,
    /// StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob, PodTemplate, List), several documents, and
    /// JSON. Everything else stays as it is written, comments too. Where something cannot be moved, nothing is written.
    /// Needs no containerd and no cluster.
    #[command(after_help = examples::CONVERT)]
    Convert(Convert),
    /// Give this node podhook: the programs, and the runtime in containerd's or docker's configuration.
    ///
    /// Finds out what the node has (containerd, alone or for kubeadm's kubelet; k3s, RKE2, MicroK8s, docker,
    /// nerdctl), changes its configuration, and keeps what was there. Run again it changes nothing.
    /// containerd is restarted only with --restart.
    #[command(after_help = examples::INSTALL)]
    Install(Install),
    /// Take podhook off this node: every file byte for byte as it was before podhook install.
    ///
    /// Refuses while containers run on podhook, and where somebody has changed a file since.
    #[command(after_help = examples::UNINSTALL)]
    Uninstall(Uninstall),
    /// Check this node: kernel, cgroups, containerd, its configuration, the kubelet, versions.
    ///
    /// Says of each check ok, warn or fail, what is wrong, and what mends it. The exit status is 1 when a
    /// check fails; a warning is none.
    #[command(after_help = examples::DOCTOR)]
    Doctor(Doctor),
    /// Print the versions of podhook, of the shims that run, of containerd and the OCI runtime.
    ///
    /// Says what does not fit together: a shim of another release, pods that run on an older one, a containerd that
    /// was upgraded but not restarted. Works without any of them.
    #[command(after_help = examples::VERSION)]
    Version(Version),
    /// Collect what helps to find a fault of this node into one file.
    ///
    /// What doctor and version say, kernel and cgroups, the runtimes of containerd's configuration, the records of hooks,
    /// the lines about podhook in containerd's log. Arguments of commands, paths of URLs, values of headers, environments and
    /// the output of hooks are left out. Nothing is sent anywhere. At most 16 MiB before it is compressed.
    #[command(after_help = examples::BUG_REPORT)]
    BugReport(BugReport),
    /// Serve the admission webhook, by which manifests stay as they are and podhook runs their hooks.
    ///
    /// Moves the lifecycle of pods of podhook's RuntimeClass into podhook's annotations when they are made, and says of
    /// annotations what is wrong with them. Runs in the cluster; it changes no object but the one it is asked about.
    #[command(after_help = webhook::EXAMPLES)]
    Webhook(Webhook),
    /// Tell users of Kubernetes how the hooks on this node have ended: Events on their pods, and metrics.
    ///
    /// Follows the node's journal, and posts a Warning for every hook that has failed, timed out, was cut or was skipped; `kubectl
    /// describe pod` and `kubectl events` show it. Goes on where it was when it is started again.
    #[command(after_help = agent::EXAMPLES)]
    Agent(Agent),
    /// Say on a Kubernetes node's object that podhook is ready there. For the manifests of deploy/.
    #[command(hide = true)]
    NodeLabel(NodeLabel),
    /// Print the completion script of a shell: `source <(podhook completion bash)`.
    #[command(after_help = examples::COMPLETION)]
    Completion(Completion),
    /// What goes on when the command that began it is interrupted.
    #[command(hide = true, subcommand)]
    Worker(Worker),
}

/// `podhook apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// A manifest file, a directory of them, or - for stdin.
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub filenames: Vec<PathBuf>,
    /// Wait until every container has started, its postStart hook included.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub wait: bool,
    /// The cgroup below which the containers' cgroups are made [default: /podhook, or
    /// podhook.slice with the systemd driver].
    #[arg(long, env = "PODHOOK_CGROUP_PARENT", value_name = "CGROUP")]
    pub cgroup_parent: Option<String>,
}

/// How `podhook get` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// More columns.
    Wide,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// pod/NAME.
    Name,
}

/// `podhook get`.
#[derive(Debug, Args)]
pub struct Get {
    /// pods, pod or po; then names. Or pod/NAME.
    #[arg(required = true, value_name = "TYPE[/NAME] [NAME]")]
    pub resources: Vec<String>,
    /// The pods of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Label selector: key=value, key!=value, key, !key, separated by commas.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// Print no header line.
    #[arg(long)]
    pub no_headers: bool,
    /// After listing, print the changes.
    #[arg(short, long)]
    pub watch: bool,
}

/// `podhook describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// pod NAME, or pod/NAME.
    #[arg(required = true, value_name = "TYPE[/NAME] [NAME]")]
    pub resources: Vec<String>,
    /// The pods of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
}

/// `podhook exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// The pod: NAME or pod/NAME.
    pub pod: String,
    /// The container [default: the pod's first].
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Pass stdin to the container.
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Stdin is a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `podhook logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The pod: NAME or pod/NAME.
    pub pod: String,
    /// The container, where it is not given with -c.
    pub container_name: Option<String>,
    /// The container [default: the pod's first].
    #[arg(short, long, value_name = "NAME", conflicts_with = "container_name")]
    pub container: Option<String>,
    /// Go on printing until the container ends.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines; -1 prints all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "N")]
    pub tail: i64,
    /// Print the time of each line.
    #[arg(long)]
    pub timestamps: bool,
    /// The logs of the container's previous run.
    #[arg(short, long)]
    pub previous: bool,
}

/// `podhook delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// pod, then names; or pod/NAME.
    #[arg(value_name = "TYPE[/NAME] [NAME]")]
    pub resources: Vec<String>,
    /// Delete what these manifests describe.
    #[arg(
        short,
        long = "filename",
        value_name = "FILE",
        conflicts_with = "resources"
    )]
    pub filenames: Vec<PathBuf>,
    /// Every pod of the namespace.
    #[arg(long)]
    pub all: bool,
    /// Label selector.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Seconds from the stop signal to SIGKILL; preStop hooks run within them. Negative: the
    /// pod's own period. 0 means 1 unless --force is given.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true, value_name = "SECONDS")]
    pub grace_period: i64,
    /// The same as --grace-period=1.
    #[arg(long)]
    pub now: bool,
    /// With --grace-period=0 (the default then): SIGKILL at once, no preStop hook.
    #[arg(long)]
    pub force: bool,
    /// A pod that does not exist is no error.
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Wait until the pods are gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub wait: bool,
}

/// How `podhook ps`, `podhook history` and `podhook inspect` print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordOutput {
    /// More columns, or more lines.
    Wide,
    /// YAML.
    Yaml,
    /// JSON, as docs/podhook.schema.json (history: docs/journal.schema.json) describes it.
    Json,
}

/// `podhook ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// All namespaces; the default unless --namespace names one.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Also containers that are gone, as far as the journal tells.
    #[arg(short, long)]
    pub all: bool,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<RecordOutput>,
    /// Print no header line.
    #[arg(long)]
    pub no_headers: bool,
    /// After listing, print the changes.
    #[arg(short, long)]
    pub watch: bool,
    /// With --all.
    #[command(flatten)]
    pub journal: JournalPlace,
}

/// Where the journal is.
#[derive(Debug, Clone, Args)]
pub struct JournalPlace {
    /// Where the node's journal is [default: as /etc/podhook/config.toml says, or podhook/journal below
    /// containerd's state directory].
    #[arg(long, env = "PODHOOK_JOURNAL", value_name = "DIR")]
    pub journal: Option<PathBuf>,
}

/// `podhook history`.
#[derive(Debug, Args)]
pub struct History {
    /// POD, CONTAINER, POD/CONTAINER, NAMESPACE/POD/CONTAINER, or the beginning of a container's ID.
    pub pod: Option<String>,
    /// Only what did not succeed: hooks that failed, timed out, were aborted or skipped.
    #[arg(long)]
    pub failed: bool,
    /// Only what is no older, as 30m, 1h30m or 7d.
    #[arg(long, value_name = "DURATION", value_parser = duration::since)]
    pub since: Option<Duration>,
    /// All namespaces; the default unless --namespace names one.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<RecordOutput>,
    /// Print no header line.
    #[arg(long)]
    pub no_headers: bool,
    /// After listing, print what comes; with -o json a line each.
    #[arg(short, long)]
    pub watch: bool,
    /// Its place.
    #[command(flatten)]
    pub journal: JournalPlace,
}

/// `podhook inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// The container's ID or the beginning of it, POD, POD/CONTAINER or NAMESPACE/POD/CONTAINER.
    pub container: String,
    /// Output format [default: a page to read].
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<RecordOutput>,
}

/// `podhook metrics`.
#[derive(Debug, Args)]
pub struct Metrics {
    /// Write the file instead of stdout, replaced as a whole: for node_exporter's textfile collector.
    #[arg(short, long, value_name = "FILE", conflicts_with = "listen")]
    pub output: Option<PathBuf>,
    /// Serve http://ADDRESS:PORT/metrics until interrupted, as 127.0.0.1:9764; port 0: any.
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Let --listen take an address that is not loopback.
    #[arg(long, requires = "listen")]
    pub allow_remote: bool,
    /// How long to wait for the shims' answers, all of them together.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: f64,
}

/// `podhook check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Files: manifests, or the value of an annotation; - for stdin.
    #[arg(required_unless_present = "filenames", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A manifest file, a directory of them, or - for stdin.
    #[arg(short, long = "filename", value_name = "FILE")]
    pub filenames: Vec<PathBuf>,
    /// The node's configuration, as /etc/podhook/config.toml: what its allowed_handlers and allowed_hosts do not
    /// allow is refused.
    #[arg(long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Another RuntimeClass that runs podhook's shim; may be given more than once. Known without it: those whose name
    /// begins with "podhook".
    #[arg(long, value_name = "NAME")]
    pub runtime_class: Vec<String>,
    /// Warn of what `podhook apply` does not do, too, as a probe.
    #[arg(long)]
    pub apply: bool,
    /// Warnings count as errors.
    #[arg(long)]
    pub strict: bool,
    /// Output format [default: lines to read].
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<CheckOutput>,
}

/// How `podhook check` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// JSON.
    Json,
}

/// `podhook convert`.
#[derive(Debug, Args)]
pub struct Convert {
    /// A manifest file, a directory of them, or - for stdin.
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub filenames: Vec<PathBuf>,
    /// The RuntimeClass that pods get, or with --back lose [default: podhook]. '' leaves the field alone.
    #[arg(long, value_name = "NAME")]
    pub runtime_class: Option<String>,
    /// Write the files themselves instead of stdout.
    #[arg(short, long)]
    pub in_place: bool,
    /// From podhook's annotations to the containers.
    #[arg(long)]
    pub back: bool,
}

/// `podhook completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// How `podhook version` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VersionOutput {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// `podhook version`.
#[derive(Debug, Args)]
pub struct Version {
    /// Where.
    #[command(flatten)]
    pub node: NodeRoot,
    /// Output format [default: a table].
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<VersionOutput>,
}

/// `podhook bug-report`.
#[derive(Debug, Args)]
pub struct BugReport {
    /// Where.
    #[command(flatten)]
    pub node: NodeRoot,
    /// The file, or - for stdout [default: podhook-bug-report-NODE-TIME.tar.gz here].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Leave nothing out: commands with their arguments, paths of URLs, the output of hooks.
    #[arg(long)]
    pub unredacted: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("want seconds from 0.01 to 60".to_owned()),
    }
}

/// The part of a command that must not end with the terminal it was typed in.
#[derive(Debug, Subcommand)]
pub enum Worker {
    /// Start containers; print one JSON line for each.
    Start {
        /// Container IDs.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Stop and remove a pod; print one JSON line.
    Remove {
        /// The pod's namespace.
        #[arg(long)]
        pod_namespace: String,
        /// Its name.
        #[arg(long)]
        pod_name: String,
        /// Its UID, which may be anything for a pod that podhook did not make.
        #[arg(long)]
        pod_uid: String,
        /// Seconds to SIGKILL; 0: at once.
        #[arg(long)]
        grace: i64,
    },
}
