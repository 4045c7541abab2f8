//! The lifecycle of one container, parsed and valid.

use std::time::Duration;

use crate::signal::Signal;

/// The Kubernetes core/v1 `Lifecycle` with podhook's own fields; every field may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Runs as soon as the container has started; the container is not Running before it succeeds.
    pub post_start: Option<Hook>,
    /// Runs before the stop signal.
    pub pre_stop: Option<Hook>,
    /// Replaces the signal that came with Kill. As in Kubernetes it may be SIGKILL, then the
    /// container is killed at the end of preStop, or SIGSTOP.
    pub stop_signal: Option<Signal>,
    /// `terminationGracePeriodSeconds`: from the stop signal's arrival to SIGKILL.
    pub termination_grace_period: Option<Duration>,
    /// Where the hooks' output goes.
    pub output: Option<Output>,
}

impl Lifecycle {
    /// Whether it says nothing at all, as Kubernetes' `lifecycle: {}`.
    pub fn is_empty(&self) -> bool {
        *self == Lifecycle::default()
    }

    /// Takes from `lower` every top-level field that this one does not have.
    pub(crate) fn or(self, lower: Lifecycle) -> Lifecycle {
        Lifecycle {
            post_start: self.post_start.or(lower.post_start),
            pre_stop: self.pre_stop.or(lower.pre_stop),
            stop_signal: self.stop_signal.or(lower.stop_signal),
            termination_grace_period: self
                .termination_grace_period
                .or(lower.termination_grace_period),
            output: self.output.or(lower.output),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// What it does.
    pub handler: Handler,
    /// `timeoutSeconds`, at least 1 s.
    pub timeout: Option<Duration>,
    /// `onFailure`; always `Kill` on preStop, where it means nothing.
    pub on_failure: OnFailure,
}

/// What a failed postStart does to the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is stopped, as Kubernetes does.
    #[default]
    Kill,
    /// A warning, then it runs as if the hook had succeeded.
    Ignore,
}

/// Where hook output goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    /// Its end is kept for messages and the record.
    #[default]
    Capture,
    /// Also to the container's own stdout and stderr.
    Container,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// A process in the container.
    Exec {
        /// argv; not empty, no NUL in it, `command[0]` not empty.
        command: Vec<String>,
    },
    /// A GET from the container's network namespace.
    HttpGet {
        /// Path and query as written, with a leading `/`. It holds no control characters; it may hold
        /// what a request line must have percent-encoded (spaces, non-ASCII) and a fragment.
        path: String,
        /// Port number; a port name is already resolved.
        port: u16,
        /// Host name or IP address (IPv6 without brackets), none for the container's own.
        host: Option<String>,
        /// HTTP or HTTPS.
        scheme: Scheme,
        /// In order; names may repeat. Names are tokens, values hold no CR, LF, NUL.
        headers: Vec<Header>,
    },
    /// A TCP connection from the container's network namespace.
    TcpSocket {
        /// As in `HttpGet`.
        host: Option<String>,
        /// As in `HttpGet`.
        port: u16,
    },
    /// Nothing, for a time.
    Sleep {
        /// May be 0.
        seconds: u32,
    },
}

/// One request header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// An RFC 7230 token.
    pub name: String,
    /// May be empty.
    pub value: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// TLS, certificate not verified.
    Https,
}
