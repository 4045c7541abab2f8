//! What the node's operator allows the annotations to ask for.

use super::error::FieldError;
use super::handlers;
use super::host::Host;
use super::model::{Handler, Hook, Lifecycle};

/// The operator's limits; the default allows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// The handlers, by their fields' names; none for all.
    pub handlers: Option<Vec<&'static str>>,
    /// `httpGet` and `tcpSocket` reach the pod itself and nothing else.
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
        let (Handler::HttpGet { host, .. } | Handler::TcpSocket { host, .. }) = &hook.handler
        else {
            return Ok(());
        };
        if self.own_pod_only && !host.as_deref().is_none_or(is_own_pod) {
            let reason = format!(
                "must be absent, localhost or a loopback address on this node: allowed_hosts of {} is \"pod\"",
                self.source
            );
            return Err(FieldError::new(format!("{name}.{kind}.host"), reason));
        }
        Ok(())
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

fn listed(allowed: &[&str]) -> String {
    match allowed {
        [] => "none".to_owned(),
        _ => allowed.join(", "),
    }
}

/// The name of a handler's field, where there is such a handler.
pub(crate) fn handler_named(name: &str) -> Option<&'static str> {
    handlers::FIELDS.into_iter().find(|field| *field == name)
}
