//! A record as people read it.

use super::{Action, HookRecord, Record};
use crate::lifecycle::text;
use crate::named::OpenEnum;

impl Record {
    /// The pod's namespace; outside of pods containerd's.
    pub fn namespace(&self) -> &str {
        let of_pod = self.pod.as_ref().and_then(|pod| pod.namespace.as_deref());
        of_pod.unwrap_or(&self.namespace)
    }

    pub fn pod_name(&self) -> Option<&str> {
        self.pod.as_ref()?.name.as_deref()
    }

    /// The container's name in the pod; outside of pods its ID.
    pub fn container(&self) -> &str {
        let in_pod = self.pod.as_ref().and_then(|pod| pod.container.as_deref());
        in_pod.unwrap_or(&self.id)
    }

    /// The hook that runs now.
    pub fn running(&self) -> Option<&HookRecord> {
        self.hooks.iter().find(|hook| hook.result.is_none())
    }
}

impl HookRecord {
    /// The name of its result; none while it runs.
    pub fn result(&self) -> Option<&str> {
        self.result.as_ref().map(OpenEnum::as_str)
    }

    /// What it does, on one line: `exec ["sh" "-c" "…"]`, `httpGet HTTP :8080/drain`. The handler's kind alone where
    /// the record does not tell more, or something that this version does not know.
    pub fn what(&self) -> String {
        match self.action.as_ref().and_then(Action::what) {
            Some(what) => format!("{} {what}", self.handler),
            None => self.handler.to_string(),
        }
    }
}

impl Action {
    /// What it does, without the handler's kind.
    fn what(&self) -> Option<String> {
        Some(match self {
            Self::Exec { command } => text::quote_all(command, usize::MAX),
            Self::HttpGet {
                path,
                port,
                host,
                scheme,
                http_headers,
            } => {
                let names: Vec<_> = http_headers.iter().map(|header| &*header.name).collect();
                let headers = match names.is_empty() {
                    true => String::new(),
                    false => format!(" (headers {})", names.join(", ")),
                };
                format!(
                    "{scheme} {}{path}{headers}",
                    authority(host.as_deref(), *port)
                )
            }
            Self::TcpSocket { host, port } => authority(host.as_deref(), *port),
            Self::Sleep { seconds } => format!("{seconds}s"),
            Self::Unknown(_) => return None,
        })
    }
}

fn authority(host: Option<&str>, port: u16) -> String {
    match host {
        Some(host) if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{}:{port}", host.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn what(handler: &str, action: serde_json::Value) -> String {
        let json = json!({"hook": "preStop", "handler": handler, "action": action});
        serde_json::from_value::<HookRecord>(json).unwrap().what()
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
