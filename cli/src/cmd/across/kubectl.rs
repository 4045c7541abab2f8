//! kubectl, which knows the cluster and proves who one is there, however that is done.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::args;
use crate::cmd::error::Error;

#[derive(Debug, Clone)]
pub(super) struct Kubectl {
    program: PathBuf,
    words: Vec<OsString>,
}

impl Kubectl {
    pub(super) fn new(program: impl Into<PathBuf>, cluster: &args::Cluster) -> Self {
        let mut words: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: &std::ffi::OsStr| {
            let mut word = OsString::from(name);
            word.push(value);
            words.push(word);
        };
        if let Some(path) = &cluster.kubeconfig {
            flag("--kubeconfig=", path.as_os_str());
        }
        for (name, value) in [("--context=", &cluster.context), ("--as=", &cluster.user)] {
            if let Some(value) = value {
                flag(name, value.as_ref());
            }
        }
        for group in &cluster.groups {
            flag("--as-group=", group.as_ref());
        }
        Self {
            program: program.into(),
            words,
        }
    }

    /// It, with these words; it ends with who waits for it.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// What it prints.
    ///
    /// # Errors
    /// In its own words.
    pub(super) async fn run(&self, words: &[&str], input: &str) -> Result<String, Error> {
        let run = async {
            let mut child = self.command(words).stdin(Stdio::piped()).spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // One that has ended says why.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait_with_output().await
        };
        let output = run.await.map_err(|e| self.not_run(&e))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(said(&output)),
        }
    }

    /// An object, or a list.
    pub(super) async fn get(&self, words: &[&str]) -> Result<Value, Error> {
        let words = [&["get", "--output=json"], words].concat();
        let text = self.run(&words, "").await?;
        let wrong = |e| Error::Refused(format!("kubectl {}: {e}", words.join(" ")));
        serde_json::from_str(&text).map_err(wrong)
    }

    /// The namespace that is meant where none is given.
    pub(super) async fn namespace(&self) -> String {
        let words = [
            "config",
            "view",
            "--minify",
            "--output=jsonpath={..namespace}",
        ];
        let namespace = self.run(&words, "").await.unwrap_or_default();
        match namespace.trim() {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        }
    }

    pub(super) fn not_run(&self, error: &std::io::Error) -> Error {
        let hint = match error.kind() {
            ErrorKind::NotFound => {
                "\n  hint: kubectl reaches the cluster for podhook: put it into a folder of PATH"
            }
            _ => "",
        };
        Error::Refused(format!("{}: {error}{hint}", self.program.display()))
    }
}

fn said(output: &Output) -> Error {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.trim() {
        "" => Error::Refused(format!("kubectl: {}", output.status)),
        text => Error::Said(text.to_owned()),
    }
}

/// The same with what is to be done.
pub(super) fn hinted(error: Error, hint: &str) -> Error {
    match error {
        Error::Said(text) => Error::Said(format!("{text}\n  hint: {hint}")),
        other => other,
    }
}

/// Whether kubectl was told so: `Error from server (Forbidden): …`.
pub(super) fn is(error: &Error, reason: &str) -> bool {
    matches!(error, Error::Said(text) if text.contains(&format!("({reason})")))
}
