//! From `-f` to documents: files, directories and stdin, YAML and JSON, several documents each.

#![allow(
    clippy::indexing_slicing,
    reason = "read of a Value: what is not there is null"
)]

use std::io::Read;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::defaults;
use super::error::Error;
use super::fields;
use super::lifecycle;
use super::schema::{self, Rule, SchemaError};
use super::validate;
use super::yaml;

/// A document that podhook acts on.
#[derive(Debug, Clone)]
pub enum Object {
    /// A pod, with Kubernetes' defaults filled in.
    Pod(Box<Pod>),
    /// The name of a runtime handler.
    RuntimeClass(Box<RuntimeClass>),
}

/// Reads all documents of all `paths` (`-` is stdin), strictly.
///
/// `namespace` is the one of the command line; the manifest's own wins when that is unset.
///
/// # Errors
/// The first document that cannot be accepted.
pub fn load(paths: &[PathBuf], namespace: Option<&str>) -> Result<Vec<Object>, Error> {
    let mut objects = Vec::new();
    for path in paths {
        for file in files(path)? {
            let (origin, text) = read(&file)?;
            objects.extend(parse(&text, &origin, namespace)?);
        }
    }
    Ok(objects)
}

/// Reads the documents in `text`; `origin` names it in errors.
///
/// # Errors
/// The first document that cannot be accepted.
pub fn parse(text: &str, origin: &str, namespace: Option<&str>) -> Result<Vec<Object>, Error> {
    let documents = yaml::documents(text).map_err(|message| Error::Yaml {
        origin: origin.to_owned(),
        message,
    })?;
    let mut objects = Vec::new();
    for document in documents.into_iter().flat_map(items) {
        objects.push(object(document, origin, namespace)?);
    }
    Ok(objects)
}

/// A `List` is its items; an empty document (`---` at the end) is none.
fn items(mut document: Value) -> Vec<Value> {
    if document.is_null() {
        return Vec::new();
    }
    if document["kind"] == "List" && document["apiVersion"] == "v1" {
        return match document
            .get_mut("items")
            .map(Value::take)
            .unwrap_or_default()
        {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
    }
    vec![document]
}

/// Why `podhook apply` would not take a document that is a Pod. Of each reason: whether it is podhook's alone, and a
/// kubelet may run the pod; and the field.
pub(crate) fn refusals(document: &Value) -> Vec<(bool, String, String)> {
    match object(document.clone(), "", None) {
        Ok(_) => Vec::new(),
        Err(Error::Fields { errors, .. }) => errors
            .iter()
            .map(|error| {
                (
                    error.is_kubernetes(),
                    error.path().to_owned(),
                    error.to_string(),
                )
            })
            .collect(),
        Err(Error::Invalid { causes, .. }) => causes
            .iter()
            .filter(|cause| !cause.path.starts_with("metadata.annotations["))
            .map(|cause| {
                let podhook_alone = cause.message.contains("by podhook");
                (podhook_alone, cause.path.clone(), cause.to_string())
            })
            .collect(),
        Err(Error::Kind { what, reason, .. }) => {
            let text = format!("{what}: podhook runs Pods, {reason}");
            vec![(false, String::new(), text)]
        }
        Err(error) => vec![(false, String::new(), error.to_string())],
    }
}

/// What Kubernetes does not have in a template of pods, whose place in its object is `path`.
pub(crate) fn unknown_in_template(pod: &Value, path: &str) -> Vec<SchemaError> {
    let mut errors = Vec::new();
    schema::check(pod, &fields::POD, path, &mut errors);
    errors.retain(|error| !error.is_kubernetes());
    errors
}

fn object(document: Value, origin: &str, namespace: Option<&str>) -> Result<Object, Error> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, version) = (text(&document["kind"]), text(&document["apiVersion"]));
    match (version.as_str(), kind.as_str()) {
        ("v1", "Pod") => {
            let mut pod: Pod = typed(&document, &fields::POD, origin)?;
            defaults::pod(&mut pod, namespace);
            validate::pod(&pod)?;
            lifecycle::keep_timeouts(&document, &mut pod)?;
            let own = pod.metadata.namespace.clone().unwrap_or_default();
            match namespace {
                Some(flag) if flag != own => Err(Error::Namespace {
                    object: own,
                    flag: flag.to_owned(),
                }),
                _ => Ok(Object::Pod(Box::new(pod))),
            }
        }
        ("node.k8s.io/v1", "RuntimeClass") => {
            let class: RuntimeClass = typed(&document, &fields::RUNTIME_CLASS, origin)?;
            validate::runtime_class(&class)?;
            Ok(Object::RuntimeClass(Box::new(class)))
        }
        ("", _) | (_, "") => Err(Error::Fields {
            origin: origin.to_owned(),
            errors: [("apiVersion", &version), ("kind", &kind)]
                .into_iter()
                .filter(|(_, value)| value.is_empty())
                .map(|(field, _)| SchemaError::Type {
                    path: field.to_owned(),
                    message: format!("{field} not set"),
                })
                .collect(),
        }),
        _ => Err(Error::Kind {
            origin: origin.to_owned(),
            what: format!(
                "{kind} ({version}) {:?}",
                text(&document["metadata"]["name"])
            ),
            reason: match kind.as_str() {
                "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob" => {
                    "not controllers: write the pod of its spec.template as a Pod"
                }
                "Pod" => "of apiVersion v1",
                _ => "and reads RuntimeClasses",
            },
        }),
    }
}

/// Checks a document along its rules, then converts it.
fn typed<T: DeserializeOwned>(document: &Value, rule: &Rule, origin: &str) -> Result<T, Error> {
    let failed = |errors| Error::Fields {
        origin: origin.to_owned(),
        errors,
    };
    let mut errors = Vec::new();
    schema::check(document, rule, "", &mut errors);
    if !errors.is_empty() {
        return Err(failed(errors));
    }
    serde_path_to_error::deserialize(document).map_err(|e| failed(vec![e.into()]))
}

/// What `-f` names: a file, stdin, or the manifests of a folder, in order.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if path == Path::new("-") || path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if !path.exists() {
        return Err(Error::NoSuchPath {
            path: path.to_owned(),
        });
    }
    if !path.is_dir() {
        // A pipe: `-f <(…)`.
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let extension = file
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if file.is_file() && ["yaml", "yml", "json"].contains(&extension) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// What a file is called in messages, and its text.
pub(crate) fn read(path: &Path) -> Result<(String, String), Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(("STDIN".to_owned(), text));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok((path.display().to_string(), text))
}
