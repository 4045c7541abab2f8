//! From a value to a [`Lifecycle`], strictly.

use std::time::Duration;

use serde::Deserialize;

use super::error::FieldError;
use super::handlers::{self, MAX_SECONDS};
use super::kind::HandlerKind;
use super::model::{Hook, Lifecycle, OnFailure, Output};
use super::pasted;
use super::ports::Ports;
use super::reader::{At, shown};
use super::text;
use super::tree::Node;
use crate::signal::{self, Signal};
use crate::similar::did_you_mean;

impl Lifecycle {
    /// Parses the JSON text of a lifecycle.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn from_json(text: &str, ports: &Ports<'_>) -> Result<Lifecycle, FieldError> {
        let node: Node = serde_json::from_str(text)
            .map_err(|error| pasted::no_json(text, &text::shorten(&words(text, &error), 160)))?;
        whole(node, ports)
    }

    /// Checks a lifecycle that is already a JSON value, as the field of a pod's manifest; the error's
    /// path is relative to the value.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn from_value(
        value: &serde_json::Value,
        ports: &Ports<'_>,
    ) -> Result<Lifecycle, FieldError> {
        let node = Node::deserialize(value)
            .map_err(|error| FieldError::new("", text::shorten(&error.to_string(), 160)))?;
        whole(node, ports)
    }
}

/// The parser's error in words of somebody who writes JSON by hand.
fn words(text: &str, error: &serde_json::Error) -> String {
    if text.trim().is_empty() {
        return "it is empty".to_owned();
    }
    let said = error.to_string();
    if let Some(inside) = said.strip_prefix("EOF while parsing ") {
        return format!("it ends too early, inside of {inside}");
    }
    match said.strip_prefix("trailing characters ") {
        Some(place) => format!("there is more after its end, {place}"),
        None => said,
    }
}

/// Reads a lifecycle that is a value of its own.
fn whole(node: Node, ports: &Ports<'_>) -> Result<Lifecycle, FieldError> {
    if node.has_field(pasted::FIELD) {
        return Err(pasted::too_much());
    }
    lifecycle(At::root("", node), ports)
}

/// The fields of a lifecycle.
pub(super) const FIELDS: [&str; 5] = [
    "postStart",
    "preStop",
    "stopSignal",
    "terminationGracePeriodSeconds",
    "output",
];

/// Reads a lifecycle that stands anywhere.
pub(crate) fn lifecycle(at: At, ports: &Ports<'_>) -> Result<Lifecycle, FieldError> {
    let mut fields = at.object(&FIELDS)?;
    Ok(Lifecycle {
        post_start: fields
            .take("postStart")
            .map(|at| hook(at, true, ports))
            .transpose()?,
        pre_stop: fields
            .take("preStop")
            .map(|at| hook(at, false, ports))
            .transpose()?,
        stop_signal: fields
            .take("stopSignal")
            .map(|at| signal(&at))
            .transpose()?,
        termination_grace_period: fields
            .take("terminationGracePeriodSeconds")
            .map(|at| at.integer(0, MAX_SECONDS))
            .transpose()?
            .map(|seconds| Duration::from_secs(seconds.into())),
        output: fields.take("output").map(|at| output(&at)).transpose()?,
    })
}

fn hook(at: At, is_post_start: bool, ports: &Ports<'_>) -> Result<Hook, FieldError> {
    let mut known = vec!["timeoutSeconds", "onFailure"];
    known.extend(HandlerKind::ALL.iter().map(|kind| kind.name()));
    let mut fields = at.object(&known)?;
    let handlers::Read { handler, timeout } = handlers::read(&mut fields, ports)?;
    let own = fields.take("timeoutSeconds");
    let own = own.map(|at| handlers::timeout(&at)).transpose()?;
    let timeout = match (own, timeout) {
        (Some(own), Some((inner, at))) if own != inner => {
            return Err(at.error(format!(
                "is {inner}, and timeoutSeconds of the hook is {own}: write one of them"
            )));
        }
        (own, inner) => own.or(inner.map(|(seconds, _)| seconds)),
    };
    let on_failure = match fields.take("onFailure") {
        Some(at) if !is_post_start => return Err(at.error("is allowed on postStart only")),
        Some(at) => at.choice(&[("Kill", OnFailure::Kill), ("Ignore", OnFailure::Ignore)])?,
        None => OnFailure::default(),
    };
    Ok(Hook {
        handler,
        timeout: timeout.map(|seconds| Duration::from_secs(seconds.into())),
        on_failure,
    })
}

/// A signal name.
pub(crate) fn signal(at: &At) -> Result<Signal, FieldError> {
    let name = at.string()?;
    Signal::from_name(name).ok_or_else(|| {
        let meant = did_you_mean(signal::meant(name).as_deref());
        at.error(format!("{} is not a signal name{meant}", shown(name)))
    })
}

/// `capture` or `container`.
pub(crate) fn output(at: &At) -> Result<Output, FieldError> {
    at.choice(&[
        ("capture", Output::Capture),
        ("container", Output::Container),
    ])
}
