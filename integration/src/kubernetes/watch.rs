//! What `kubectl get pod -w` sees of a pod.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::{Child, Stdio};

use serde_json::{Deserializer, Value};

use super::error::io_error;
use super::namespace::LONG;
use super::{Error, Kubectl};
use crate::wait::{self, TimedOut};

/// A `kubectl get pod NAME -w`, ended when dropped.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    out: File,
}

impl Watch {
    pub(super) fn start(kubectl: &Kubectl, namespace: &str, pod: &str) -> Result<Self, Error> {
        let out = tempfile::tempfile().map_err(io_error("make", &std::env::temp_dir()))?;
        let copy = out
            .try_clone()
            .map_err(io_error("copy", &kubectl.program))?;
        let name = format!("--field-selector=metadata.name={pod}");
        let words = [
            "--namespace",
            namespace,
            "get",
            "pods",
            &name,
            "--watch",
            "-o",
            "json",
        ];
        let child = kubectl
            .command(&words)
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(Stdio::null())
            .spawn()
            .map_err(io_error("start", &kubectl.program))?;
        Ok(Self { child, out })
    }

    /// The pod in each of its states so far.
    #[must_use]
    pub fn states(&self) -> Vec<Value> {
        let mut bytes = vec![0; self.out.metadata().map_or(0, |file| file.len()) as usize];
        let read = self.out.read_at(&mut bytes, 0).unwrap_or(0);
        // The last may be half written.
        let all = Deserializer::from_slice(&bytes[..read]).into_iter::<Value>();
        all.map_while(Result::ok).collect()
    }

    /// Waits for a state, and gives the first such.
    ///
    /// # Errors
    /// When none comes.
    pub fn wait(
        &self,
        what: &str,
        mut condition: impl FnMut(&Value) -> bool,
    ) -> Result<Value, TimedOut> {
        wait::until(what, LONG, || {
            self.states().into_iter().find(|state| condition(state))
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
