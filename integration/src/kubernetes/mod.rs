//! A real node with a control plane of its own: etcd, the API server, the controller manager, the scheduler, a kubelet
//! and containerd, private to this process and gone with it.

mod control_plane;
mod daemon;
mod error;
mod identity;
mod kubectl;
mod kubelet;
mod namespace;
mod registry;
mod side;
pub mod suite;
mod version;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::containerd::Containerd;
use crate::containerd::{self, Features, remains};
use crate::generation::{Generation, OciRuntime};
use crate::image::Image;
use crate::place::Place;
use crate::shim::{ShimKind, podhook_shim};
use crate::wait;
use control_plane::Plan;
use daemon::Daemon;
use error::io_error;
use identity::Identity;
use kubelet::Memory;

pub use error::Error;
pub use kubectl::Kubectl;
pub use namespace::{LONG, Namespace, is_ready};
pub use side::{Side, annotated};
pub use version::Version;
pub use watch::Watch;

/// For the whole start: a busy machine takes its time.
const START: Duration = Duration::from_secs(180);

/// The containerd of the node: the newest.
const CONTAINERD: Generation = Generation::V2_4;

/// A running node with its control plane.
#[derive(Debug)]
pub struct Cluster {
    version: Version,
    containerd: Arc<Containerd>,
    dir: PathBuf,
    identity: Identity,
    kubectl: Kubectl,
    etcd: Daemon,
    api_server: Daemon,
    controller_manager: Daemon,
    scheduler: Daemon,
    kubelet: Daemon,
    registry: Daemon,
}

impl Cluster {
    /// Starts one whose pods have the shim `default` unless they name a RuntimeClass. There is one for each shim:
    /// `runc`, `podhook`, `podhook-v1`.
    ///
    /// # Errors
    /// When something is not built (the message says what to run), or does not come up.
    pub fn start(version: Version, default: ShimKind) -> Result<Self, Error> {
        Self::start_featuring(version, default, Features::default())
    }

    /// The same with more of containerd than the tests of behaviour need.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_featuring(
        version: Version,
        default: ShimKind,
        features: Features,
    ) -> Result<Self, Error> {
        podhook_shim()?;
        let place = Place {
            generation: CONTAINERD,
            shim: default,
            runtime: OciRuntime::Runc,
        };
        let features = Features {
            registry: true,
            ..features
        };
        let containerd = Containerd::start_featuring(place, default, features)?;
        let containerd = Arc::new(containerd);
        let dir = containerd.dir().join("kubernetes");
        fs::create_dir(&dir).map_err(io_error("make", &dir))?;
        let address = containerd.node_address();
        let identity = Identity::new(
            &dir.join("pki"),
            containerd.id(),
            address,
            control_plane::API,
        )?;
        let kubectl = Kubectl {
            program: version.program("kubectl")?,
            kubeconfig: identity.kubeconfig.clone(),
            cache: dir.join("kubectl"),
        };
        let this = Self {
            version,
            kubectl,
            identity,
            etcd: Daemon::new("etcd", &dir),
            api_server: Daemon::new("kube-apiserver", &dir),
            controller_manager: Daemon::new("kube-controller-manager", &dir),
            scheduler: Daemon::new("kube-scheduler", &dir),
            kubelet: Daemon::new("kubelet", &dir),
            registry: Daemon::new("registry", &dir),
            containerd,
            dir,
        };
        this.up()?;
        Ok(this)
    }

    fn up(&self) -> Result<(), Error> {
        let plan = self.plan();
        plan.etcd(&self.etcd)?;
        plan.api_server(&self.api_server)?;
        kubelet::prepare(plan, &self.containerd)?;
        thread::scope(|scope| -> Result<(), Error> {
            let importing = scope.spawn(|| {
                self.containerd.import("k8s.io", Image::Nginx)?;
                self.containerd.import("k8s.io", Image::Busybox)?;
                registry::start(&self.registry, &self.containerd)
            });
            self.until("the API server to be ready", &self.api_server, || {
                self.kubectl.ok(&["get", "--raw", "/readyz"]).is_ok()
            })?;
            plan.controller_manager(&self.controller_manager)?;
            plan.scheduler(&self.scheduler)?;
            kubelet::start(plan, &self.containerd, &self.kubelet, Memory::Enough)?;
            for shim in ShimKind::ALL {
                self.kubectl.apply("default", &runtime_class(shim))?;
            }
            self.wait_ready()?;
            self.wait_account("default")?;
            importing.join().unwrap_or(Ok(()))?;
            Ok(())
        })
    }

    fn plan(&self) -> Plan<'_> {
        Plan {
            version: self.version,
            dir: &self.dir,
            address: self.containerd.node_address(),
            identity: &self.identity,
        }
    }

    /// Waits until the node is ready and takes pods.
    ///
    /// # Errors
    /// When it does not get so.
    pub fn wait_ready(&self) -> Result<(), Error> {
        self.until("the node to be ready", &self.kubelet, || {
            let node = self.kubectl.json(&["get", "node", self.containerd.id()]);
            node.is_ok_and(|node| {
                let conditions = node["status"]["conditions"].as_array();
                let ready = conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
                ready && node["spec"]["taints"].is_null()
            })
        })
    }

    /// Waits until pods can be made in a namespace.
    pub(super) fn wait_account(&self, namespace: &str) -> Result<(), Error> {
        self.until("the namespace's account", &self.controller_manager, || {
            let words = ["--namespace", namespace, "get", "serviceaccount", "default"];
            self.kubectl.ok(&words).is_ok()
        })
    }

    /// Waits for something that `daemon` brings about.
    fn until(
        &self,
        what: &str,
        daemon: &Daemon,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        let daemons = [
            &self.etcd,
            &self.api_server,
            &self.controller_manager,
            &self.scheduler,
            &self.kubelet,
            &self.registry,
        ];
        let come = wait::until(what, START, || {
            let ended = daemons.iter().find_map(|daemon| daemon.check().err());
            match ended {
                Some(error) => Some(Err(error)),
                None => condition().then_some(Ok(())),
            }
        });
        come.map_err(|what| Error::TooSlow {
            what,
            more: daemon.log_end(),
        })?
    }

    /// Its Kubernetes.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The containerd of its node.
    #[must_use]
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        self.containerd.id()
    }

    /// kubectl for it.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The kubelet's process, and those of the control plane with the registry.
    #[must_use]
    pub fn processes(&self) -> (Option<u32>, Vec<u32>) {
        let others = [
            &self.etcd,
            &self.api_server,
            &self.controller_manager,
            &self.scheduler,
            &self.registry,
        ];
        let others = others.into_iter().filter_map(Daemon::pid);
        (self.kubelet.pid(), others.collect())
    }

    /// kubectl's configuration.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.identity.kubeconfig
    }

    /// The folder whose manifests are static pods.
    #[must_use]
    pub fn static_pods(&self) -> PathBuf {
        kubelet::static_pods(&self.dir)
    }

    /// Kills the kubelet and starts it again.
    ///
    /// # Errors
    /// When it does not end or does not start.
    pub fn restart_kubelet(&self) -> Result<(), Error> {
        self.restart_kubelet_with(Memory::Enough)
    }

    /// The same with a configuration by which the node has little memory: the kubelet evicts its pods one after the other, each
    /// within its own grace period. [`Self::restart_kubelet`] ends that.
    ///
    /// # Errors
    /// When it does not end or does not start.
    pub fn restart_kubelet_short_of_memory(&self) -> Result<(), Error> {
        self.restart_kubelet_with(Memory::Short)
    }

    fn restart_kubelet_with(&self, memory: Memory) -> Result<(), Error> {
        self.kubelet.end(Signal::SIGKILL)?;
        kubelet::start(self.plan(), &self.containerd, &self.kubelet, memory)
    }

    /// Kills containerd and starts it again; the shims and their containers go on.
    ///
    /// # Errors
    /// When it does not end or does not start.
    pub fn restart_containerd(&self) -> Result<(), Error> {
        Ok(self.containerd.crash()?)
    }

    /// The ends of the logs, for the message of a failure.
    #[must_use]
    pub fn logs(&self) -> String {
        self.kubelet.log_end()
    }

    /// Checks that nothing is left of any pod, and ends everything.
    ///
    /// # Errors
    /// [`containerd::Error::Leak`] when something is left.
    pub fn close(&self) -> Result<(), Error> {
        let mut left = Vec::new();
        let gone = wait::until_true("the pods' clean-up", START, || {
            left = self.left();
            left.is_empty()
        });
        if gone.is_err() {
            return Err(containerd::Error::Leak(left).into());
        }
        self.end();
        kubelet::remove_ended_sandboxes(&self.containerd)?;
        Ok(self.containerd.close()?)
    }

    /// The cgroups and volumes of pods.
    fn left(&self) -> Vec<String> {
        let all = remains::cgroups(self.containerd.id());
        let cgroups = all.iter().flat_map(|all| remains::tree(all));
        let volumes = remains::mounts(&kubelet::root(&self.dir).join("pods"));
        let of_pod = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("pod")
        };
        let cgroups = cgroups.filter(of_pod);
        cgroups
            .chain(volumes)
            .map(|path| path.display().to_string())
            .collect()
    }

    /// Ends every program of Kubernetes, the kubelet first.
    fn end(&self) {
        for daemon in [
            &self.kubelet,
            &self.scheduler,
            &self.controller_manager,
            &self.api_server,
            &self.etcd,
            &self.registry,
        ] {
            let _ = daemon.end(Signal::SIGKILL);
        }
    }

    /// Ends it with everything it runs and removes every trace, now. Dropping does the same.
    pub fn destroy(&self) {
        self.end();
        self.containerd.destroy();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.destroy();
    }
}

fn runtime_class(shim: ShimKind) -> String {
    let handler = shim.handler();
    format!(
        "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {handler}}}\nhandler: {handler}\n"
    )
}
