//! kubectl, as a user of the cluster types it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Error;
use crate::command::{self, Output};

/// The longest that a command may take, deletions with their grace period included.
const LIMIT: Duration = Duration::from_secs(180);

/// kubectl with the cluster's configuration.
#[derive(Debug, Clone)]
pub struct Kubectl {
    pub(super) program: PathBuf,
    pub(super) kubeconfig: PathBuf,
    /// Of the API's descriptions.
    pub(super) cache: PathBuf,
}

impl Kubectl {
    /// Its configuration.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// kubectl with these words.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", &self.cache);
        command
    }

    /// Runs it, whatever comes of it.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn run(&self, words: &[&str]) -> Result<Output, Error> {
        Ok(command::run(&mut self.command(words), None, LIMIT)?)
    }

    /// What it prints when it succeeds.
    ///
    /// # Errors
    /// As [`Self::run`], and when it fails.
    pub fn ok(&self, words: &[&str]) -> Result<String, Error> {
        Ok(self.run(words)?.success()?.stdout)
    }

    /// `apply` of a manifest.
    ///
    /// # Errors
    /// As [`Self::ok`].
    pub fn apply(&self, namespace: &str, manifest: &str) -> Result<String, Error> {
        let mut command = self.command(&["--namespace", namespace, "apply", "-f", "-"]);
        let output = command::run(&mut command, Some(manifest.as_bytes()), LIMIT)?;
        Ok(output.success()?.stdout)
    }

    /// What it would send of a manifest.
    ///
    /// # Errors
    /// As [`Self::ok`].
    pub fn read(&self, namespace: &str, manifest: &str) -> Result<Value, Error> {
        let words = [
            "--namespace",
            namespace,
            "create",
            "--dry-run=client",
            "-o",
            "json",
            "-f",
            "-",
        ];
        let output = command::run(&mut self.command(&words), Some(manifest.as_bytes()), LIMIT)?;
        parse(&words, output.success()?.stdout)
    }

    /// An object, or a list, as `get -o json` shows it.
    ///
    /// # Errors
    /// As [`Self::ok`].
    pub fn json(&self, words: &[&str]) -> Result<Value, Error> {
        parse(words, self.ok(&[words, &["-o", "json"]].concat())?)
    }
}

fn parse(words: &[&str], text: String) -> Result<Value, Error> {
    serde_json::from_str(&text).map_err(|source| Error::Json {
        command: words.join(" "),
        text,
        source,
    })
}
