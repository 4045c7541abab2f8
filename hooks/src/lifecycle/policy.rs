//! What the node's operator allows the annotations to ask for.

use super::error::FieldError;
use super::host::Host;
use super::kind::HandlerKind;
use super::model::{Handler, Hook, Lifecycle};

/// The operator's limits; the default allows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The handlers; none for all.
    pub handlers: Option<Vec<HandlerKind>>,
    /// Handlers with a host reach the pod itself and nothing else.
    pub own_pod_only: bool,
    /// The file that says so.
    pub source: String,
}

impl Policy {
    pub(super) fn check(&self, lifecycle: &Lifecycle) -> Result<(), FieldError> {
        let hooks = [
            ("postStart", &lifecycle.post_start),
            ("preStop", &lifecycle.pre_stop),
        ];
        for (name, hook) in hooks {
            if let Some(hook) = hook {
                self.check_hook(name, hook)?;
            }
        }
        Ok(())
    }

    fn check_hook(&self, name: &str, hook: &Hook) -> Result<(), FieldError> {
        let kind = hook.handler.kind();
        if let Some(allowed) = &self.handlers
            && !allowed.contains(&kind)
        {
            let reason = format!(
                "is not allowed on this node: allowed_handlers of {} has {}",
                self.source,
                listed(allowed)
            );
            return Err(FieldError::new(format!("{name}.{kind}"), reason));
        }
        let host = host(&hook.handler);
        if self.own_pod_only && !host.is_none_or(is_own_pod) {
            let reason = format!(
                "must be absent, localhost or a loopback address on this node: allowed_hosts of {} is \"pod\"",
                self.source
            );
            return Err(FieldError::new(format!("{name}.{kind}.host"), reason));
        }
        Ok(())
    }
}

/// The host that a handler sends to, where it names one. A new kind that sends says here whereto.
fn host(handler: &Handler) -> Option<&str> {
    match handler {
        Handler::HttpGet { host, .. } | Handler::TcpSocket { host, .. } => host.as_deref(),
        Handler::Exec { .. } | Handler::Sleep { .. } => None,
    }
}

/// Hosts that are the pod itself whichever address it has. Never a name: what it means is said by the container's
/// files and by DNS, at every run anew, and not by the operator.
fn is_own_pod(host: &str) -> bool {
    match Host::parse(host) {
        Some(Host::Pod | Host::Localhost) => true,
        Some(Host::Address { ip, zone: None }) => ip.is_loopback(),
        _ => false,
    }
}

fn listed(allowed: &[HandlerKind]) -> String {
    let names: Vec<&str> = allowed.iter().map(|kind| kind.name()).collect();
    match &*names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Ports;

    /// A hook of each kind; those that send name a host that is not the pod.
    fn hook(kind: HandlerKind) -> (&'static str, bool) {
        match kind {
            HandlerKind::Exec => (r#"{"exec": {"command": ["x"]}}"#, false),
            HandlerKind::HttpGet => (r#"{"httpGet": {"port": 80, "host": "db"}}"#, true),
            HandlerKind::TcpSocket => (r#"{"tcpSocket": {"port": 80, "host": "db"}}"#, true),
            HandlerKind::Sleep => (r#"{"sleep": {"seconds": 1}}"#, false),
        }
    }

    #[test]
    fn every_kind_that_sends_is_held_by_allowed_hosts() {
        let policy = Policy {
            own_pod_only: true,
            ..Policy::default()
        };
        for kind in HandlerKind::ALL {
            let (json, sends) = hook(*kind);
            let json = format!(r#"{{"preStop": {json}}}"#);
            let lifecycle = Lifecycle::from_json(&json, &Ports::Unknown).unwrap();
            // A field of that name is read as a handler of that kind, and of no other.
            assert_eq!(lifecycle.pre_stop.as_ref().unwrap().handler.kind(), *kind);
            assert_eq!(policy.check(&lifecycle).is_err(), sends, "{kind}");
        }
    }
}
