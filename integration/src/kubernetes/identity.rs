//! Who may do what in a cluster: one certificate and its key, which every program has, and nobody else.
//!
//! It is its own authority, a server's for the node's address and a client's in the group `system:masters`. It lives
//! as long as the cluster, in a folder of root's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::error::io_error;
use crate::command::stdout_of;

/// The files of the certificate, and kubectl's configuration with them.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) kubeconfig: PathBuf,
}

impl Identity {
    /// Makes them in `dir`, for a cluster named `name` whose API server is at `address` and `port`.
    pub(super) fn new(dir: &Path, name: &str, address: &str, port: u16) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(io_error("make", dir))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .map_err(io_error("protect", dir))?;
        let this = Self {
            certificate: dir.join("certificate.pem"),
            key: dir.join("key.pem"),
            kubeconfig: dir.join("kubeconfig"),
        };
        let names = format!("subjectAltName=IP:{address}");
        // openssl's own configuration makes an authority of it, which some clients take for no server's.
        let settings = dir.join("openssl.cnf");
        fs::write(&settings, "[req]\ndistinguished_name = name\n[name]\n")
            .map_err(io_error("write", &settings))?;
        stdout_of(
            "openssl",
            &[
                "req",
                "-x509",
                "-config",
                &settings.to_string_lossy(),
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/O=system:masters/CN=podhook-node",
                "-addext",
                &names,
                "-addext",
                "basicConstraints=CA:FALSE",
                "-keyout",
                &this.key.to_string_lossy(),
                "-out",
                &this.certificate.to_string_lossy(),
            ],
        )?;
        fs::write(&this.kubeconfig, this.render(name, address, port))
            .map_err(io_error("write", &this.kubeconfig))?;
        Ok(this)
    }

    fn render(&self, name: &str, address: &str, port: u16) -> String {
        format!(
            "apiVersion: v1
kind: Config
current-context: {name}
clusters:
- name: {name}
  cluster:
    server: https://{address}:{port}
    certificate-authority: {certificate}
users:
- name: root
  user:
    client-certificate: {certificate}
    client-key: {key}
contexts:
- name: {name}
  context: {{cluster: {name}, user: root}}
",
            certificate = self.certificate.display(),
            key = self.key.display(),
        )
    }
}
