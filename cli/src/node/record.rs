//! What the shim has recorded of a container's hooks: `<bundle>/podhook.json`.
//!
//! The file is the shim's; it goes with the bundle when the container has ended and containerd
//! has cleaned up.

use std::path::Path;

use k8s_openapi::jiff::Timestamp;
use podhook_hooks::lifecycle::text;
use podhook_hooks::record::Action;
use serde::Deserialize;

use super::bundles::{self, Bundle};
use crate::store::folder::Name;

/// The record of a container.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// The container's ID.
    pub id: String,
    /// containerd's namespace.
    pub namespace: String,
    /// Its pod, if it is in one.
    pub pod: Option<Pod>,
    /// Where the container stands: `PostStart`, `Running`, `PreStop`, …
    pub phase: String,
    /// Every hook run so far, in their order.
    pub hooks: Vec<Hook>,
    /// Set from the first stop signal on.
    pub termination: Option<Termination>,
}

/// Which container of which pod it is. containerd 1.6 tells no UID.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Pod {
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub name: Option<String>,
    /// The pod's UID.
    pub uid: Option<String>,
    /// The container's name in the pod.
    pub container: Option<String>,
}

impl Record {
    /// From the file's content. A field of the wrong type is an error, a missing or unknown one is
    /// not: versions of the shim and of this command may differ.
    ///
    /// # Errors
    /// When it is no object, or a field has another type.
    pub fn deserialize_from(json: &serde_json::Value) -> Result<Self, serde_json::Error> {
        if !json.is_object() {
            return Err(serde::de::Error::custom("no object"));
        }
        Self::deserialize(json)
    }

    /// The pod's namespace; outside of pods containerd's.
    #[must_use]
    pub fn namespace(&self) -> &str {
        let of_pod = self.pod.as_ref().and_then(|pod| pod.namespace.as_deref());
        of_pod.unwrap_or(&self.namespace)
    }

    /// The pod's name.
    #[must_use]
    pub fn pod_name(&self) -> Option<&str> {
        self.pod.as_ref()?.name.as_deref()
    }

    /// The container's name in the pod; outside of pods its ID.
    #[must_use]
    pub fn container(&self) -> &str {
        let in_pod = self.pod.as_ref().and_then(|pod| pod.container.as_deref());
        in_pod.unwrap_or(&self.id)
    }

    /// The hook that runs now.
    #[must_use]
    pub fn running(&self) -> Option<&Hook> {
        self.hooks.iter().find(|hook| hook.result.is_none())
    }
}

/// One run of a hook.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Hook {
    /// `postStart` or `preStop`.
    pub hook: String,
    /// `exec`, `httpGet`, `tcpSocket`, `sleep`.
    pub handler: String,
    /// What it does, as the handler of a pod's hook; see [`Hook::what`].
    pub action: Option<serde_json::Value>,
    /// `Succeeded`, `Failed`, …; unset while it runs.
    pub result: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How long it took.
    pub duration_ms: Option<f64>,
    /// Of an exec handler.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<String>,
    /// Of an httpGet handler.
    pub http_status: Option<u16>,
    /// What went wrong.
    pub message: Option<String>,
    /// Microseconds of CPU time in user mode.
    pub cpu_user_usec: Option<u64>,
    /// Microseconds of CPU time in the kernel.
    pub cpu_system_usec: Option<u64>,
    /// Its peak memory.
    pub memory_peak_bytes: Option<u64>,
    /// The end of what it printed.
    pub output: Option<String>,
}

impl Hook {
    /// What it does, on one line: `exec ["sh" "-c" "…"]`, `httpGet HTTP :8080/drain`. The handler's kind alone where
    /// the shim does not tell more, or something that this command does not know.
    #[must_use]
    pub fn what(&self) -> String {
        let action = self.action.clone().map(serde_json::from_value);
        let Some(Ok(action)) = action else {
            return self.handler.clone();
        };
        let authority = |host: Option<String>, port: u16| match host {
            Some(host) if host.contains(':') => format!("[{host}]:{port}"),
            host => format!("{}:{port}", host.unwrap_or_default()),
        };
        let what = match action {
            Action::Exec { command } => text::quote_all(&command, usize::MAX),
            Action::HttpGet {
                path,
                port,
                host,
                scheme,
                http_headers,
            } => {
                let names: Vec<_> = http_headers.into_iter().map(|header| header.name).collect();
                let headers = match names.is_empty() {
                    true => String::new(),
                    false => format!(" (headers {})", names.join(", ")),
                };
                format!("{scheme} {}{path}{headers}", authority(host, port))
            }
            Action::TcpSocket { host, port } => authority(host, port),
            Action::Sleep { seconds } => format!("{seconds}s"),
        };
        format!("{} {what}", self.handler)
    }
}

/// How a container was stopped.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Termination {
    /// When the first stop signal came.
    pub requested_at: Option<Timestamp>,
    /// Which one.
    pub signal: Option<String>,
    /// The grace period.
    pub grace_period_seconds: Option<i64>,
    /// When the container got its signal.
    pub signalled_at: Option<Timestamp>,
    /// When it was killed.
    pub killed_at: Option<Timestamp>,
    /// When it had ended.
    pub exited_at: Option<Timestamp>,
    /// Its exit status.
    pub exit_status: Option<i32>,
}

/// The record of a CRI container; `None` when there is none (no lifecycle, not podhook's shim, or
/// the bundle is gone).
#[must_use]
pub fn record(state: &Path, container_id: &str) -> Option<Record> {
    let id = Name::of(container_id)?;
    let bundle = Bundle {
        namespace: "k8s.io".to_owned(),
        path: bundles::folder(state).join("k8s.io").join(id.as_str()),
        id: container_id.to_owned(),
    };
    Some(bundle.recorded().ok()??.record)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn what(handler: &str, action: serde_json::Value) -> String {
        let json = json!({"hook": "preStop", "handler": handler, "action": action});
        serde_json::from_value::<Hook>(json).unwrap().what()
    }

    #[test]
    fn a_hook_says_what_it_does() {
        assert_eq!(
            what(
                "exec",
                json!({"exec": {"command": ["sh", "-c", "echo \"a b\"\n"]}})
            ),
            r#"exec ["sh" "-c" "echo \"a b\"\n"]"#
        );
        assert_eq!(
            what(
                "httpGet",
                json!({"httpGet": {"path": "/d?x", "port": 80, "host": "::1", "scheme": "HTTPS",
                                   "httpHeaders": [{"name": "A"}, {"name": "B"}]}})
            ),
            "httpGet HTTPS [::1]:80/d?x (headers A, B)"
        );
        assert_eq!(
            what("tcpSocket", json!({"tcpSocket": {"port": 5432}})),
            "tcpSocket :5432"
        );
        assert_eq!(what("sleep", json!({"sleep": {"seconds": 5}})), "sleep 5s");
    }

    #[test]
    fn a_record_of_another_version_is_read_all_the_same() {
        assert_eq!(what("exec", json!(null)), "exec");
        assert_eq!(what("grpc", json!({"grpc": {"port": 1}})), "grpc");
    }
}
