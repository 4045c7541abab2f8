//! The handlers, as Kubernetes validates them (validateLifecycleHandler and what it calls).

use super::error::FieldError;
use super::host::Host;
use super::kind::HandlerKind;
use super::model::{Handler, Header, Scheme};
use super::ports::{self, Ports};
use super::reader::{At, Fields, shown};

/// Seconds beyond this (68 years) are a mistake; so sums of times cannot overflow either.
pub(super) const MAX_SECONDS: u32 = i32::MAX as u32;

/// The longest argument that execve(2) takes on pages of 4 KiB, without its NUL (MAX_ARG_STRLEN).
const MAX_ARGUMENT_BYTES: usize = 128 * 1024 - 1;

/// A handler, and the timeout that stands within it.
pub(super) struct Read {
    pub(super) handler: Handler,
    /// `exec.timeoutSeconds` (KEP-4929), and where it stands.
    pub(super) timeout: Option<(u32, At)>,
}

impl From<Handler> for Read {
    fn from(handler: Handler) -> Read {
        Read {
            handler,
            timeout: None,
        }
    }
}

/// The one handler of a hook.
pub(super) fn read(hook: &mut Fields, ports: &Ports<'_>) -> Result<Read, FieldError> {
    let mut given = Vec::new();
    for kind in HandlerKind::ALL {
        if let Some(at) = hook.take(kind.name()) {
            given.push((*kind, at));
        }
    }
    if given.len() > 1 {
        let names: Vec<&str> = given.iter().map(|(kind, _)| kind.name()).collect();
        return Err(hook.error(format!(
            "has {}, exactly one handler is allowed",
            names.join(" and ")
        )));
    }
    let Some((kind, at)) = given.pop() else {
        let kinds = HandlerKind::listed();
        return Err(hook.error(format!("must specify a handler: {kinds}")));
    };
    match kind {
        HandlerKind::Exec => exec(at),
        HandlerKind::HttpGet => http_get(at, ports).map(Read::from),
        HandlerKind::TcpSocket => tcp_socket(at, ports).map(Read::from),
        HandlerKind::Sleep => sleep(at).map(Read::from),
    }
}

/// A timeout, as it may stand on a hook and in its exec.
pub(super) fn timeout(at: &At) -> Result<u32, FieldError> {
    at.integer(1, MAX_SECONDS)
}

fn exec(at: At) -> Result<Read, FieldError> {
    let mut fields = at.object(&["command", "timeoutSeconds"])?;
    let command = fields.require("command")?;
    let empty = command.error("must not be empty");
    let mut arguments = Vec::new();
    for (index, argument) in command.array()?.into_iter().enumerate() {
        let text = argument.string()?;
        if text.contains('\0') {
            return Err(argument.error("must not contain NUL"));
        }
        if index == 0 && text.is_empty() {
            return Err(argument.error("must not be empty"));
        }
        if text.len() > MAX_ARGUMENT_BYTES {
            return Err(argument.error(format!(
                "has {} bytes, the kernel takes at most {MAX_ARGUMENT_BYTES} in one argument",
                text.len()
            )));
        }
        arguments.push(text.to_owned());
    }
    if arguments.is_empty() {
        return Err(empty);
    }
    let timeout = match fields.take("timeoutSeconds") {
        Some(at) => Some((timeout(&at)?, at)),
        None => None,
    };
    Ok(Read {
        handler: Handler::Exec { command: arguments },
        timeout,
    })
}

fn http_get(at: At, ports: &Ports<'_>) -> Result<Handler, FieldError> {
    let mut fields = at.object(&["path", "port", "host", "scheme", "httpHeaders"])?;
    let path = fields.take("path").map(|at| path(&at)).transpose()?;
    let port = ports::read(&fields.require("port")?, ports)?;
    let host = fields
        .take("host")
        .map(|at| host(&at))
        .transpose()?
        .flatten();
    let schemes = [("HTTP", Scheme::Http), ("HTTPS", Scheme::Https)];
    let scheme = fields
        .take("scheme")
        .map(|at| at.choice(&schemes))
        .transpose()?;
    let headers = match fields.take("httpHeaders") {
        Some(at) => at
            .array()?
            .into_iter()
            .map(header)
            .collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    Ok(Handler::HttpGet {
        path: path.unwrap_or_else(|| "/".to_owned()),
        port,
        host,
        scheme: scheme.unwrap_or_default(),
        headers,
    })
}

/// Kubernetes' default for no path is `/`, and Go's URL puts the leading `/` before a path without.
fn path(at: &At) -> Result<String, FieldError> {
    let path = at.string()?;
    if path.chars().any(char::is_control) {
        return Err(at.error("must not contain control characters"));
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{slash}{path}"))
}

/// Kubernetes checks nothing here; what could not be a host would fail at every run, or end up in a request's
/// other parts.
fn host(at: &At) -> Result<Option<String>, FieldError> {
    let host = at.string()?;
    // Brackets are a URL's.
    if host.starts_with('[') || Host::parse(host).is_none() {
        return Err(at.error(format!(
            "{} must be a host name or an IP address",
            shown(host)
        )));
    }
    Ok((!host.is_empty()).then(|| host.to_owned()))
}

fn header(at: At) -> Result<Header, FieldError> {
    let mut fields = at.object(&["name", "value"])?;
    let name = fields.require("name")?;
    let text = name.string()?;
    if !is_header_name(text) {
        return Err(name.error(format!("{} is not a header name", shown(text))));
    }
    let value = match fields.take("value") {
        Some(at) => {
            let value = at.string()?;
            if value.contains(['\r', '\n', '\0']) {
                return Err(at.error("must not contain CR, LF or NUL"));
            }
            value.to_owned()
        }
        None => String::new(),
    };
    Ok(Header {
        name: text.to_owned(),
        value,
    })
}

/// A token: RFC 7230, 3.2.6.
fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

fn tcp_socket(at: At, ports: &Ports<'_>) -> Result<Handler, FieldError> {
    let mut fields = at.object(&["port", "host"])?;
    let port = ports::read(&fields.require("port")?, ports)?;
    let host = fields
        .take("host")
        .map(|at| host(&at))
        .transpose()?
        .flatten();
    Ok(Handler::TcpSocket { host, port })
}

fn sleep(at: At) -> Result<Handler, FieldError> {
    let mut fields = at.object(&["seconds"])?;
    let seconds = fields.require("seconds")?.integer(0, MAX_SECONDS)?;
    Ok(Handler::Sleep { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_kubernetes_takes_is_taken() {
        let (mut all, mut taken) = (0, 0);
        for line in include_str!("../../../fuzz/go/names.jsonl").lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let ours = is_header_name(row["text"].as_str().unwrap());
            let theirs = row["results"][1] == "true";
            assert!(ours || !theirs, "{row}");
            all += 1;
            taken += usize::from(theirs);
        }
        assert!(taken > 0 && taken < all);
    }
}
