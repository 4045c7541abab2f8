//! The kinds of handlers: the one list that parser, policy, configuration, runner, record and command line read.
//!
//! A kind is one line here. Then the compiler leads through the rest: every `match` on [`HandlerKind`] and on
//! [`Handler`](super::Handler) names each kind, and none has an arm for "any other".

use crate::named::named;

named! {
    /// What kind of handler a hook has. Its name is that of its field in a hook.
    pub enum HandlerKind {
        /// A process in the container.
        Exec = "exec",
        /// A GET from the container's network namespace.
        HttpGet = "httpGet",
        /// A TCP connection from there.
        TcpSocket = "tcpSocket",
        /// Nothing, for a time.
        Sleep = "sleep",
    }
}

impl HandlerKind {
    /// Whether it waits for the container's entrypoint: what acts on the container must not meet the OCI
    /// runtime's own init.
    pub fn acts_on_container(self) -> bool {
        match self {
            Self::Exec | Self::HttpGet | Self::TcpSocket => true,
            Self::Sleep => false,
        }
    }

    /// Whether it runs processes in the container: their CPU time, memory and output are in the record.
    pub fn runs_processes(self) -> bool {
        match self {
            Self::Exec => true,
            Self::HttpGet | Self::TcpSocket | Self::Sleep => false,
        }
    }

    /// All names for a message: `a, b or c`.
    pub(crate) fn listed() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|kind| kind.name()).collect();
        match names.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_name_and_no_other_name_is_one() {
        for kind in HandlerKind::ALL {
            assert_eq!(HandlerKind::named(kind.name()), Some(*kind));
        }
        for name in ["", "Exec", "grpc", "httpget"] {
            assert_eq!(HandlerKind::named(name), None, "{name}");
        }
        assert_eq!(HandlerKind::listed(), "exec, httpGet, tcpSocket or sleep");
    }
}
