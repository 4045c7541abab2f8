//! What a hook does, as the lifecycle has it.

use serde::{Deserialize, Serialize};

use crate::lifecycle::{Handler, Header};

/// A record holds no more than this of a handler's text: annotations may have 256 KiB.
const MAX_BYTES: usize = 16 * 1024;

/// The handler in Kubernetes' own form. What is beyond the first 16 KiB of its text is cut, with `…` where it was.
///
/// Headers have no value: it is where a request's credentials are, and records are shown to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    Exec {
        command: Vec<String>,
    },
    #[serde(rename_all = "camelCase")]
    HttpGet {
        path: String,
        /// The number, also where the lifecycle has a name.
        port: u16,
        /// Absent: the pod itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// `HTTP` or `HTTPS`.
        scheme: String,
        /// In order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        http_headers: Vec<HeaderName>,
    },
    TcpSocket {
        /// Absent: the pod itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The number, also where the lifecycle has a name.
        port: u16,
    },
    /// A pause.
    Sleep {
        /// Its length.
        seconds: u32,
    },
    /// What another version of podhook does, as it has written it.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

/// A header without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderName {
    pub name: String,
}

impl From<&Handler> for Action {
    fn from(handler: &Handler) -> Self {
        let mut room = Room(MAX_BYTES);
        match handler {
            Handler::Exec { command } => Self::Exec {
                command: room.all(command, |arg| arg.as_str()),
            },
            Handler::HttpGet {
                path,
                port,
                host,
                scheme,
                headers,
            } => Self::HttpGet {
                host: host.as_deref().map(|host| room.take(host)),
                path: room.take(path),
                port: *port,
                scheme: scheme.to_string(),
                http_headers: room
                    .all(headers, |header: &Header| header.name.as_str())
                    .into_iter()
                    .map(|name| HeaderName { name })
                    .collect(),
            },
            Handler::TcpSocket { host, port } => Self::TcpSocket {
                host: host.as_deref().map(|host| room.take(host)),
                port: *port,
            },
            Handler::Sleep { seconds } => Self::Sleep { seconds: *seconds },
        }
    }
}

/// How many bytes may follow.
struct Room(usize);

impl Room {
    fn take(&mut self, text: &str) -> String {
        if text.len() <= self.0 {
            self.0 = self.0.saturating_sub(text.len());
            return text.to_owned();
        }
        let end = text.floor_char_boundary(self.0);
        self.0 = 0;
        format!("{}…", text.get(..end).unwrap_or_default())
    }

    /// Many; each costs a byte more, so that their number is bounded too.
    fn all<T>(&mut self, items: &[T], text: impl Fn(&T) -> &str) -> Vec<String> {
        let mut out = Vec::new();
        for item in items {
            if self.0 == 0 {
                // What was cut within the last one is marked already.
                if !out.last().is_some_and(|last: &String| last.ends_with('…')) {
                    out.push("…".to_owned());
                }
                break;
            }
            out.push(self.take(text(item)));
            self.0 = self.0.saturating_sub(1);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lifecycle::{Lifecycle, Ports};

    fn action(hook: &str) -> serde_json::Value {
        let json = format!(r#"{{"preStop": {hook}}}"#);
        let lifecycle = Lifecycle::from_json(&json, &Ports::Annotation(None)).unwrap();
        serde_json::to_value(Action::from(&lifecycle.pre_stop.unwrap().handler)).unwrap()
    }

    #[test]
    fn each_kind_is_as_in_a_pod() {
        for hook in [
            r#"{"exec": {"command": ["sh", "-c", "echo \"a b\""]}}"#,
            r#"{"httpGet": {"path": "/a?b", "port": 80, "host": "::1", "scheme": "HTTPS"}}"#,
            r#"{"tcpSocket": {"port": 5432}}"#,
            r#"{"sleep": {"seconds": 5}}"#,
        ] {
            let given: serde_json::Value = serde_json::from_str(hook).unwrap();
            assert_eq!(action(hook), given);
            let read: Action = serde_json::from_value(given.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), given);
        }
        assert_eq!(
            action(r#"{"httpGet": {"port": 80}}"#),
            json!({"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}})
        );
    }

    #[test]
    fn a_token_in_a_header_is_not_recorded() {
        let hook = r#"{"httpGet": {"port": 80, "httpHeaders": [{"name": "Authorization", "value": "Bearer s3cret"}]}}"#;
        let action = action(hook);
        assert_eq!(
            action["httpGet"]["httpHeaders"],
            json!([{"name": "Authorization"}])
        );
        assert!(!action.to_string().contains("s3cret"));
    }

    #[test]
    fn a_huge_command_does_not_make_a_huge_record() {
        let size = |command: &[String]| {
            let command = command.to_vec();
            match Action::from(&Handler::Exec { command }) {
                Action::Exec { command } => command,
                other => panic!("{other:?}"),
            }
        };
        let long = size(&["sh".to_owned(), "ü".repeat(100_000), "last".to_owned()]);
        assert_eq!(long.len(), 2);
        assert!(long[1].len() <= MAX_BYTES + 4 && long[1].ends_with("ü…"));
        let many = size(&vec!["x".to_owned(); 200_000]);
        assert_eq!(many.len(), MAX_BYTES / 2 + 1);
        assert_eq!(many.last().unwrap(), "…");
        let empty = size(&vec![String::new(); 200_000]);
        assert_eq!(empty.len(), MAX_BYTES + 1);
        let fits = vec!["x".repeat(1000); 10];
        assert_eq!(size(&fits), fits);
    }
}
