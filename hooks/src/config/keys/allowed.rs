//! What annotations may ask for: `lifecycle::Policy`.

use crate::config::key::{Key, keys};
use crate::lifecycle::reader::{At, shown};
use crate::lifecycle::{FieldError, HandlerKind, Policy};

keys! {
    /// What annotations may ask for.
    PolicyKeys {
        handlers: Option<Vec<HandlerKind>> = AllowedHandlers,
        own_pod_only: bool = AllowedHosts,
    }
}

impl PolicyKeys {
    /// The same as the limits that `source` sets.
    pub(in crate::config) fn policy(&self, source: &str) -> Policy {
        Policy {
            handlers: self.handlers.clone(),
            own_pod_only: self.own_pod_only,
            source: source.to_owned(),
        }
    }
}

/// The handlers; none for all.
struct AllowedHandlers;

impl Key for AllowedHandlers {
    type Value = Option<Vec<HandlerKind>>;

    const NAME: &'static str = "allowed_handlers";
    const MEANING: &'static str =
        "the handlers that annotations may ask for: of `exec`, `httpGet`, `tcpSocket`, `sleep`";
    const DEFAULT: &'static str = "all";

    fn read(at: At) -> Result<Option<Vec<HandlerKind>>, FieldError> {
        let read = |at: At| {
            let name = at.string()?;
            let kinds = HandlerKind::listed();
            HandlerKind::named(name)
                .ok_or_else(|| at.error(format!("{} must be {kinds}", shown(name))))
        };
        let kinds: Result<_, _> = at.array()?.into_iter().map(read).collect();
        kinds.map(Some)
    }
}

/// Whether handlers with a host reach the pod itself and nothing else.
struct AllowedHosts;

impl Key for AllowedHosts {
    type Value = bool;

    const NAME: &'static str = "allowed_hosts";
    const MEANING: &'static str = "`any`, or `pod`: `httpGet` and `tcpSocket` of annotations without `host`, or with \
        `localhost` or a loopback address, and no other: no name either, whatever it means, since the pod's own files and \
        name servers say that. A pod with the node's network is the node";
    const DEFAULT: &'static str = "`any`";

    fn read(at: At) -> Result<bool, FieldError> {
        at.choice(&[("any", false), ("pod", true)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{given, refused};

    #[test]
    fn allowed_handlers_are_some_none_or_all() {
        let handlers = |text| given(text).policy().handlers;
        assert_eq!(handlers(""), None);
        assert_eq!(handlers("allowed_handlers = []"), Some(Vec::new()));
        assert_eq!(
            handlers("allowed_handlers = ['exec', 'sleep']"),
            Some(vec![HandlerKind::Exec, HandlerKind::Sleep])
        );
        refused(
            "allowed_handlers = ['exec', 'grpc']",
            "line 1: allowed_handlers[1]: \"grpc\" must be exec, httpGet, tcpSocket or sleep",
        );
        refused(
            "allowed_handlers = 'exec'",
            "line 1: allowed_handlers: must be an array",
        );
        for kind in HandlerKind::ALL {
            assert!(AllowedHandlers::MEANING.contains(&format!("`{kind}`")));
        }
    }

    #[test]
    fn allowed_hosts_are_any_or_the_pod() {
        assert!(!given("").policy().own_pod_only);
        assert!(!given("allowed_hosts = 'any'").policy().own_pod_only);
        assert!(given("allowed_hosts = 'pod'").policy().own_pod_only);
        refused(
            "allowed_hosts = 'own'",
            "line 1: allowed_hosts: \"own\" must be any or pod",
        );
    }
}
