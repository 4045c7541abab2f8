//! Port numbers and names.

use serde::Deserialize;

use super::error::FieldError;
use super::reader::{At, shown};

/// The annotation in which the kubelet writes a container's ports (JSON array of ContainerPort).
pub const PORTS_ANNOTATION: &str = "io.kubernetes.container.ports";

/// Where a port name is looked up.
#[derive(Debug, Clone, Copy)]
pub enum Ports<'a> {
    /// In the value of the annotation `io.kubernetes.container.ports`, if there is one.
    Annotation(Option<&'a str>),
    /// In a manifest's list of port names and numbers.
    Listed(&'a [(String, u16)]),
    /// Nowhere: no container is at hand.
    Unknown,
}

#[derive(Deserialize)]
struct ContainerPort {
    #[serde(default)]
    name: Option<String>,
    #[serde(rename = "containerPort")]
    number: u16,
}

impl Ports<'_> {
    /// The number of a name; else why there is none.
    fn resolve(&self, name: &str) -> Result<u16, String> {
        let found = match self {
            Ports::Unknown => {
                return Err(format!(
                    "port name {name:?} cannot be used here, give a number"
                ));
            }
            Ports::Listed(ports) => ports
                .iter()
                .find(|(port, _)| port == name)
                .map(|(_, number)| *number),
            Ports::Annotation(None) => None,
            Ports::Annotation(Some(value)) => serde_json::from_str::<Vec<ContainerPort>>(value)
                .map_err(|_| {
                    format!(
                        "port name {name:?}: annotation {PORTS_ANNOTATION} is not an array of ports"
                    )
                })?
                .into_iter()
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.number),
        };
        match (found, self) {
            (Some(number), _) if number > 0 => Ok(number),
            (_, Ports::Annotation(_)) => Err(format!(
                "port name {name:?} is not in annotation {PORTS_ANNOTATION}"
            )),
            _ => Err(format!("port name {name:?} is not a port of the container")),
        }
    }
}

pub(super) fn annotation_value(annotations: &impl super::Annotations) -> Option<&str> {
    annotations.value(PORTS_ANNOTATION)
}

/// A number from 1 to 65535, or a name; as in Kubernetes a string is always a name.
pub(super) fn read(at: &At, ports: &Ports<'_>) -> Result<u16, FieldError> {
    if at.is_integer() {
        let number = at.integer(1, 65535)?;
        return u16::try_from(number)
            .map_err(|_| at.error("must be between 1 and 65535, inclusive"));
    }
    if !at.is_string() {
        return Err(at.error("must be an integer or a string"));
    }
    let name = at.string()?;
    if !is_port_name(name) {
        let hint = if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            "not a port name (a port number is written without quotes)"
        } else {
            "not a port name (at most 15 characters of a-z, 0-9 and -, at least one letter)"
        };
        return Err(at.error(format!("{} is {hint}", shown(name))));
    }
    ports.resolve(name).map_err(|reason| at.error(reason))
}

/// IANA_SVC_NAME as Kubernetes checks it (validation.IsValidPortName).
fn is_port_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.contains("--")
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_iana_as_kubernetes_has_it() {
        for name in ["http", "a", "a-1", "1a", "abcdefghijklmno"] {
            assert!(is_port_name(name), "{name}");
        }
        for name in [
            "",
            "80",
            "HTTP",
            "-a",
            "a-",
            "a--b",
            "abcdefghijklmnop",
            "a_b",
            "a.b",
            "é",
            "a\n",
        ] {
            assert!(!is_port_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_name_is_one_where_kubernetes_takes_it_for_one() {
        for line in include_str!("../../../fuzz/go/names.jsonl").lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let theirs = row["results"][0] == "true";
            assert_eq!(is_port_name(row["text"].as_str().unwrap()), theirs, "{row}");
        }
    }

    #[test]
    fn a_name_is_found_in_what_the_kubelet_writes() {
        let value = r#"[{"containerPort":81},{"name":"web","hostPort":1,"containerPort":80,"protocol":"TCP"}]"#;
        let ports = Ports::Annotation(Some(value));
        assert_eq!(ports.resolve("web"), Ok(80));
        assert!(ports.resolve("other").is_err());
        assert!(
            Ports::Annotation(Some(r#"[{"name":"web","containerPort":0}]"#))
                .resolve("web")
                .is_err()
        );
        for bad in [
            "",
            "{}",
            "[1]",
            r#"[{"name":"web"}]"#,
            r#"[{"name":"web","containerPort":65536}]"#,
        ] {
            let reason = Ports::Annotation(Some(bad)).resolve("web").unwrap_err();
            assert!(
                reason.contains("is not an array of ports"),
                "{bad}: {reason}"
            );
        }
    }
}
