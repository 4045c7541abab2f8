//! etcd, the API server, the controller manager and the scheduler, each with its flags.
//!
//! They listen on the node's address in the pod network, which belongs to this cluster alone: so the ports are the
//! usual ones.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::identity::Identity;
use super::{Error, Version};
use crate::generation::upstream;

/// The API server's port.
pub(super) const API: u16 = 6443;
const ETCD: u16 = 2379;
const ETCD_PEERS: u16 = 2380;

/// What the API server and the kubelet have switched on that is off by default: the stop signal of a container's spec.
const GATES: [&str; 1] = ["ContainerStopSignals"];

/// The same for the kubelet's configuration.
pub(super) fn gates() -> Value {
    GATES.iter().map(|gate| (*gate, json!(true))).collect()
}

/// What all of them need to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) version: Version,
    pub(super) dir: &'a Path,
    pub(super) address: &'a str,
    pub(super) identity: &'a Identity,
}

impl Plan<'_> {
    /// etcd of one member, without the disk's part: what it has is thrown away.
    pub(super) fn etcd(self, daemon: &Daemon) -> Result<(), Error> {
        let mut command = Command::new(upstream("etcd", "etcd")?);
        let (clients, peers) = (self.url(ETCD), self.url(ETCD_PEERS));
        command
            .args(["--name=node", "--unsafe-no-fsync", "--logger=zap"])
            .arg(self.path("--data-dir", &self.dir.join("etcd")))
            .arg(format!("--listen-client-urls={clients}"))
            .arg(format!("--advertise-client-urls={clients}"))
            .arg(format!("--listen-peer-urls={peers}"))
            .arg(format!("--initial-advertise-peer-urls={peers}"))
            .arg(format!("--initial-cluster=node={peers}"))
            .args(["--client-cert-auth", "--peer-client-cert-auth"]);
        for (certificate, key, authority) in [
            ("--cert-file", "--key-file", "--trusted-ca-file"),
            (
                "--peer-cert-file",
                "--peer-key-file",
                "--peer-trusted-ca-file",
            ),
        ] {
            self.certify(&mut command, certificate, key);
            command.arg(self.path(authority, &self.identity.certificate));
        }
        daemon.start(command, self.dir)
    }

    pub(super) fn api_server(self, daemon: &Daemon) -> Result<(), Error> {
        let mut command = Command::new(self.version.program("kube-apiserver")?);
        self.certify(&mut command, "--tls-cert-file", "--tls-private-key-file");
        self.certify(&mut command, "--etcd-certfile", "--etcd-keyfile");
        self.certify(
            &mut command,
            "--kubelet-client-certificate",
            "--kubelet-client-key",
        );
        self.certify(
            &mut command,
            "--service-account-key-file",
            "--service-account-signing-key-file",
        );
        for authority in [
            "--client-ca-file",
            "--etcd-cafile",
            "--kubelet-certificate-authority",
        ] {
            command.arg(self.path(authority, &self.identity.certificate));
        }
        command
            .arg(format!("--bind-address={}", self.address))
            .arg(format!("--advertise-address={}", self.address))
            .arg(format!("--secure-port={API}"))
            .arg(format!("--etcd-servers={}", self.url(ETCD)))
            .arg(format!(
                "--feature-gates={}",
                GATES.map(|gate| format!("{gate}=true")).join(",")
            ))
            .args([
                "--anonymous-auth=false",
                "--authorization-mode=RBAC",
                "--allow-privileged=true",
                // There is no kube-proxy: the API server asks a webhook's pods, not its Service's address.
                "--enable-aggregator-routing=true",
                "--endpoint-reconciler-type=none",
                "--kubelet-preferred-address-types=InternalIP",
                "--profiling=false",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.96.0.0/24",
            ]);
        daemon.start(command, self.dir)
    }

    pub(super) fn controller_manager(self, daemon: &Daemon) -> Result<(), Error> {
        let mut command = self.client("kube-controller-manager")?;
        command
            .arg(self.path("--root-ca-file", &self.identity.certificate))
            .arg(self.path("--service-account-private-key-file", &self.identity.key))
            // A busy machine's node is no lost one.
            .arg("--node-monitor-grace-period=10m");
        daemon.start(command, self.dir)
    }

    pub(super) fn scheduler(self, daemon: &Daemon) -> Result<(), Error> {
        daemon.start(self.client("kube-scheduler")?, self.dir)
    }

    /// One that talks with the API server, is alone, and listens to nobody.
    fn client(self, name: &str) -> Result<Command, Error> {
        let mut command = Command::new(self.version.program(name)?);
        command
            .arg(self.path("--kubeconfig", &self.identity.kubeconfig))
            .args(["--leader-elect=false", "--secure-port=0"]);
        Ok(command)
    }

    fn certify(self, command: &mut Command, certificate: &str, key: &str) {
        command
            .arg(self.path(certificate, &self.identity.certificate))
            .arg(self.path(key, &self.identity.key));
    }

    fn url(self, port: u16) -> String {
        format!("https://{}:{port}", self.address)
    }

    fn path(self, flag: &str, path: &Path) -> String {
        format!("{flag}={}", path.display())
    }
}
