//! What a node runs containers with: where its configuration is, and how it is read again.

use std::path::{Path, PathBuf};

use super::root::Root;
use super::version::{self, Program, Version};
use crate::args::{ADDRESS, NodeKind};

/// Where a k3s or RKE2 has its things.
#[derive(Debug, Clone, Copy)]
struct Rancher {
    /// Below it is the agent.
    data: &'static str,
    /// A folder of files that are read beside its configuration.
    settings: &'static str,
    /// The programs, in it.
    programs: &'static str,
    units: [&'static str; 2],
    state: &'static str,
    socket: &'static str,
    log: &'static str,
}

const K3S: Rancher = Rancher {
    data: "/var/lib/rancher/k3s",
    settings: "/etc/rancher/k3s/config.yaml.d",
    programs: "/var/lib/rancher/k3s/data/current/bin",
    units: ["k3s", "k3s-agent"],
    state: "/run/k3s/containerd",
    socket: "/run/k3s/containerd/containerd.sock",
    log: "/var/lib/rancher/k3s/agent/containerd/containerd.log",
};

const RKE2: Rancher = Rancher {
    data: "/var/lib/rancher/rke2",
    settings: "/etc/rancher/rke2/config.yaml.d",
    programs: "/var/lib/rancher/rke2/bin",
    units: ["rke2-server", "rke2-agent"],
    state: "/run/k3s/containerd",
    socket: "/run/k3s/containerd/containerd.sock",
    log: "/var/lib/rancher/rke2/agent/containerd/containerd.log",
};

/// containerd's configuration.
pub const CONFIG: &str = "/etc/containerd/config.toml";

/// docker's; its folder alone says nothing, others keep certificates there.
const DAEMON: &str = "/etc/docker/daemon.json";

/// How the configuration is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Configuration {
    /// containerd's own.
    Toml(PathBuf),
    /// It is made of a template at every start.
    Template {
        /// What comes of it.
        generated: PathBuf,
        /// The folder of the templates.
        folder: PathBuf,
        /// Where a default runtime is said.
        settings: PathBuf,
    },
    /// docker's.
    Daemon(PathBuf),
    /// Nothing is to be written.
    None,
}

impl Configuration {
    /// The file that containerd itself reads; docker has one of another kind.
    #[must_use]
    pub fn of_containerd(&self) -> Option<&Path> {
        match self {
            Self::Toml(path)
            | Self::Template {
                generated: path, ..
            } => Some(path),
            Self::Daemon(_) | Self::None => None,
        }
    }
}

/// One way in which a node runs containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub kind: NodeKind,
    pub configuration: Configuration,
    /// containerd, or dockerd.
    pub program: Option<Program>,
    /// Its unit.
    pub unit: &'static str,
    /// What makes it read its configuration again.
    pub restart: Vec<&'static str>,
    /// containerd's state directory.
    pub state: &'static str,
    /// containerd's socket.
    pub socket: &'static str,
    /// The file of containerd's log, where its unit's journal does not have it.
    pub log: Option<&'static str>,
}

impl Place {
    /// What the node is known to have of this kind; none where nothing says so.
    #[must_use]
    pub fn find(root: &Root, kind: NodeKind) -> Option<Self> {
        match kind {
            NodeKind::Containerd => containerd(root),
            NodeKind::K3s => rancher(root, kind, &K3S),
            NodeKind::Rke2 => rancher(root, kind, &RKE2),
            NodeKind::Microk8s => microk8s(root),
            NodeKind::Docker => docker(root),
            NodeKind::Nerdctl => nerdctl(root),
        }
    }

    /// A containerd in the usual places, of which nothing else is known.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            kind: NodeKind::Containerd,
            configuration: Configuration::Toml(CONFIG.into()),
            program: None,
            unit: "containerd",
            restart: vec!["systemctl", "restart", "containerd"],
            state: "/run/containerd",
            socket: ADDRESS,
            log: None,
        }
    }

    /// All that the node has.
    #[must_use]
    pub fn all(root: &Root) -> Vec<Self> {
        let kinds = NodeKind::ALL.into_iter();
        kinds.filter_map(|kind| Self::find(root, kind)).collect()
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.program.as_ref()?.version
    }

    /// containerd's socket: `named` where that is not the default, else the usual place's.
    #[must_use]
    pub fn socket(&self, root: &Root, named: &Path) -> PathBuf {
        if named == Path::new(ADDRESS) {
            root.outside(Path::new(self.socket))
        } else {
            named.to_owned()
        }
    }

    /// Whether it has pods, and so runtime handlers in CRI's configuration.
    #[must_use]
    pub fn has_pods(&self) -> bool {
        !matches!(self.kind, NodeKind::Docker | NodeKind::Nerdctl)
    }

    /// The folder of its program.
    #[must_use]
    pub fn programs(&self, root: &Root) -> Option<PathBuf> {
        let program = root.real_path_inside(&self.program.as_ref()?.path)?;
        Some(program.parent()?.to_owned())
    }

    /// Whether its containerd finds the program by the runtime's type: in its PATH, or beside itself.
    #[must_use]
    pub fn finds(&self, root: &Root, program: &Path) -> bool {
        // A snap's PATH is its own.
        let by_path = self.kind != NodeKind::Microk8s && version::in_path(program);
        by_path || self.programs(root).as_deref() == program.parent()
    }

    /// The command that makes it read its configuration again, as a user types it.
    #[must_use]
    pub fn restart_command(&self) -> String {
        self.restart.join(" ")
    }
}

/// What a kubelet, kubeadm's or another one, and ctr use.
fn containerd(root: &Root) -> Option<Place> {
    let program = version::program(root, "containerd", version::PATH, "--version");
    if program.is_none() && !root.has(CONFIG) {
        return None;
    }
    Some(Place {
        program,
        ..Place::plain()
    })
}

fn rancher(root: &Root, kind: NodeKind, at: &Rancher) -> Option<Place> {
    if !root.has(at.data) {
        return None;
    }
    let folder = Path::new(at.data).join("agent/etc/containerd");
    let [server, agent] = at.units;
    let has_unit = |unit: &str| {
        let folders = [
            "/etc/systemd/system",
            "/usr/local/lib/systemd/system",
            "/usr/lib/systemd/system",
        ];
        folders
            .iter()
            .any(|folder| root.has(&format!("{folder}/{unit}.service")))
    };
    // Both units may be there, as RKE2's are: the one that is enabled is linked.
    let wanted = |unit: &str| {
        root.has(&format!(
            "/etc/systemd/system/multi-user.target.wants/{unit}.service"
        ))
    };
    let is_agent = wanted(agent) || (has_unit(agent) && !has_unit(server));
    let unit = if is_agent && !wanted(server) {
        agent
    } else {
        server
    };
    Some(Place {
        kind,
        configuration: Configuration::Template {
            generated: folder.join("config.toml"),
            folder,
            settings: at.settings.into(),
        },
        program: version::program(root, "containerd", [at.programs], "--version"),
        unit,
        restart: vec!["systemctl", "restart", unit],
        state: at.state,
        socket: at.socket,
        log: Some(at.log),
    })
}

/// The snap's template is TOML with variables in its strings.
fn microk8s(root: &Root) -> Option<Place> {
    const DATA: &str = "/var/snap/microk8s/current";
    if !root.has(DATA) {
        return None;
    }
    let programs = ["/snap/microk8s/current/bin"];
    Some(Place {
        kind: NodeKind::Microk8s,
        configuration: Configuration::Toml(Path::new(DATA).join("args/containerd-template.toml")),
        program: version::program(root, "containerd", programs, "--version"),
        unit: "snap.microk8s.daemon-containerd",
        restart: vec!["snap", "restart", "microk8s.daemon-containerd"],
        state: "/var/snap/microk8s/common/run/containerd",
        socket: "/var/snap/microk8s/common/run/containerd.sock",
        log: None,
    })
}

fn docker(root: &Root) -> Option<Place> {
    let program = version::program(root, "dockerd", version::PATH, "--version");
    if program.is_none() && !root.has(DAEMON) {
        return None;
    }
    Some(Place {
        kind: NodeKind::Docker,
        configuration: Configuration::Daemon(DAEMON.into()),
        program,
        unit: "docker",
        // It reads its runtimes again without being started again.
        restart: vec!["systemctl", "reload", "docker"],
        state: "/run/containerd",
        socket: ADDRESS,
        log: None,
    })
}

fn nerdctl(root: &Root) -> Option<Place> {
    let program = version::program(root, "nerdctl", version::PATH, "--version")?;
    Some(Place {
        kind: NodeKind::Nerdctl,
        configuration: Configuration::None,
        program: Some(program),
        unit: "containerd",
        restart: Vec::new(),
        state: "/run/containerd",
        socket: ADDRESS,
        log: None,
    })
}
