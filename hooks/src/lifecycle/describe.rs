//! A handler in words, for errors and logs.

use std::fmt;

use super::kind::HandlerKind;
use super::model::{Handler, Scheme};
use super::text;

/// Enough of a command to know it again.
const MAX_DESCRIPTION: usize = 256;

impl Handler {
    /// The kind, see [`HandlerKind`].
    pub fn kind(&self) -> HandlerKind {
        match self {
            Handler::Exec { .. } => HandlerKind::Exec,
            Handler::HttpGet { .. } => HandlerKind::HttpGet,
            Handler::TcpSocket { .. } => HandlerKind::TcpSocket,
            Handler::Sleep { .. } => HandlerKind::Sleep,
        }
    }

    /// What it does, on one short line: `exec ["sh" "-c" "…"]`, `httpGet HTTP :8080/drain`,
    /// `tcpSocket :5432`, `sleep 5s`. Never holds a phrase Docker reads exit codes from.
    pub fn describe(&self) -> String {
        match self {
            Handler::Exec { command } => {
                let command = text::quote_all(command, MAX_DESCRIPTION);
                format!("exec {}", text::neutral(&command))
            }
            Handler::HttpGet {
                path,
                port,
                host,
                scheme,
                ..
            } => {
                let url = format!("{}{path}", authority(host.as_deref(), *port));
                format!("httpGet {scheme} {}", harmless(&url))
            }
            Handler::TcpSocket { host, port } => {
                format!("tcpSocket {}", harmless(&authority(host.as_deref(), *port)))
            }
            Handler::Sleep { seconds } => format!("sleep {seconds}s"),
        }
    }
}

/// Text of the lifecycle as a part of a message.
fn harmless(text: &str) -> String {
    text::neutral(&text::visible(&text::shorten(text, MAX_DESCRIPTION)))
}

/// `host:port` as Go's net.JoinHostPort writes it.
fn authority(host: Option<&str>, port: u16) -> String {
    match host {
        Some(host) if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{}:{port}", host.unwrap_or_default()),
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheme::Http => "HTTP",
            Scheme::Https => "HTTPS",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(command: &[&str]) -> Handler {
        Handler::Exec {
            command: command.iter().map(|arg| (*arg).to_owned()).collect(),
        }
    }

    #[test]
    fn each_kind_is_described_on_one_line() {
        assert_eq!(
            exec(&["sh", "-c", "echo a\nb"]).describe(),
            r#"exec ["sh" "-c" "echo a\nb"]"#
        );
        let mut http = Handler::HttpGet {
            path: "/drain?x=1".to_owned(),
            port: 8080,
            host: None,
            scheme: Scheme::Http,
            headers: Vec::new(),
        };
        assert_eq!(http.describe(), "httpGet HTTP :8080/drain?x=1");
        if let Handler::HttpGet { host, scheme, .. } = &mut http {
            (*host, *scheme) = (Some("::1".to_owned()), Scheme::Https);
        }
        assert_eq!(http.describe(), "httpGet HTTPS [::1]:8080/drain?x=1");
        let tcp = Handler::TcpSocket {
            host: Some("db".to_owned()),
            port: 5432,
        };
        assert_eq!(tcp.describe(), "tcpSocket db:5432");
        assert_eq!(Handler::Sleep { seconds: 5 }.describe(), "sleep 5s");
    }

    #[test]
    fn a_long_command_is_shortened() {
        let described = exec(&["sh", "-c", &"x".repeat(100_000)]).describe();
        assert!(described.len() < 300, "{described}");
        assert!(described.starts_with(r#"exec ["sh" "-c" "xxx"#));
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        let tcp = Handler::TcpSocket {
            host: Some("d\u{9b}2Jb\u{202e}".to_owned()),
            port: 1,
        };
        assert_eq!(tcp.describe(), r"tcpSocket d\u009b2Jb\u202e:1");
        assert_eq!(
            exec(&["a\u{9b}2J\x1b\u{202e}"]).describe(),
            r#"exec ["a\u009b2J\x1b\u202e"]"#
        );
    }

    #[test]
    fn a_command_cannot_forge_dockers_exit_codes() {
        let described = exec(&["echo", "permission denied"]).describe();
        assert_eq!(described, r#"exec ["echo" "permission-denied"]"#);
    }
}
