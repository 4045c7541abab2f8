//! `podhook apply`: from manifests to running containers.

pub mod create;
pub mod runtime_handler;
pub mod volumes;

use std::ffi::OsString;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;

use super::error::Error;
use super::interrupt::Interrupts;
use super::outcome::Outcome;
use crate::args;
use crate::cri::Handlers;
use crate::manifest::{self, Cause, Object};
use crate::output::print;
use crate::pods;
use crate::pods::context::Context;
use crate::pods::detached::{Report, Worker};
use crate::store::Store;
use create::Created;

/// Runs the command.
///
/// # Errors
/// When an object could not be applied or a container did not start; what went wrong with each of
/// several objects is on stderr already.
pub async fn run(context: &Context, args: &args::Apply) -> Result<(), Error> {
    // Everything is read before anything is done.
    let objects = manifest::load(&args.filenames, context.global.namespace.as_deref())?;
    if objects.is_empty() {
        return Err(manifest::Error::NoObjects { verb: "apply" }.into());
    }
    let handlers = context.client.handlers().await?;
    let mut outcome = Outcome::default();
    for object in &objects {
        if let Object::RuntimeClass(class) = object {
            outcome.note(apply_runtime_class(context, class));
        }
    }
    for object in &objects {
        if let Object::Pod(pod) = object {
            for doubt in manifest::lifecycle_doubts(pod) {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                eprintln!("Warning: pod {name:?}: {doubt}");
            }
        }
    }
    let mut interrupts = Interrupts::new()?;
    let mut starting = Vec::new();
    for object in &objects {
        if let Object::Pod(pod) = object {
            let applied = apply_pod(context, args, &handlers, &mut interrupts, pod).await;
            if matches!(applied, Err(Error::Interrupted)) {
                return Err(Error::Interrupted);
            }
            starting.extend(outcome.note(applied).flatten());
        }
    }
    for starting in starting {
        match interrupts.stop(starting.wait()).await {
            // The starts go on in their own process.
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            result => outcome.note(result),
        };
    }
    outcome.into_result()
}

fn apply_runtime_class(context: &Context, class: &RuntimeClass) -> Result<(), Error> {
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let change = match context.store.save_runtime_class(class)? {
        None => "created",
        Some(true) => "configured",
        Some(false) => "unchanged",
    };
    print(&format!("runtimeclass.node.k8s.io/{name} {change}\n"))?;
    Ok(())
}

/// Applies one pod; its containers start when that has created it.
async fn apply_pod(
    context: &Context,
    args: &args::Apply,
    handlers: &Handlers,
    interrupts: &mut Interrupts,
    pod: &Pod,
) -> Result<Option<Starting>, Error> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let lock = context.store.lock()?;
    sweep(context).await?;
    match pods::get(&context.client, &context.store, &namespace, &name).await {
        // What a command has left that died, or could not take back what it made.
        Ok(existing) if is_left_over(&context.store, &existing)? => {
            let names = (&*namespace, &*name);
            create::take_back(&context.client, &context.store, &existing.uid, names)
                .await
                .map_err(|e| {
                    Error::Refused(format!(
                        "pod {name:?}: cannot remove what an apply that failed has left: {e}\n  hint: podhook delete pod {name} \
                         tries it again"
                    ))
                })?;
        }
        Ok(existing) => {
            compare(&existing, pod)?;
            print(&format!("pod/{name} unchanged\n"))?;
            return Ok(None);
        }
        Err(pods::Error::Server {
            code: "NotFound", ..
        }) => {}
        Err(e) => return Err(e.into()),
    }
    let reserved = create::reserve(context, args, handlers, pod)?;
    drop(lock);
    let Created { containers } = create::create(context, interrupts, pod, reserved).await?;
    let mut arguments: Vec<OsString> = vec!["start".into()];
    arguments.extend(containers.iter().map(|(id, _)| OsString::from(id)));
    let worker = Worker::spawn(&context.global, &arguments, args.wait)?;
    print(&format!("pod/{name} created\n"))?;
    Ok(args.wait.then_some(Starting {
        pod: name,
        containers,
        worker,
    }))
}

/// Removes what a command has left that was killed while it made a pod.
async fn sweep(context: &Context) -> Result<(), Error> {
    for uid in context.store.uids()? {
        if !context.store.is_abandoned(&uid)? {
            continue;
        }
        // With a sandbox it is a pod that `podhook get` shows, and that the next apply of it makes anew.
        let all = pods::list(&context.client, &context.store, None, None).await?;
        if !all.iter().any(|view| view.uid == uid) {
            context.store.remove_pod(&uid, None)?;
        }
    }
    Ok(())
}

/// Whether a pod was never made whole, and nobody is at it any more.
fn is_left_over(store: &Store, pod: &pods::PodView) -> Result<bool, Error> {
    Ok(pod.manifest.is_some() && pod.deletion.is_none() && store.is_abandoned(&pod.uid)?)
}

/// Whether an existing pod is the one of the manifest.
fn compare(existing: &pods::PodView, pod: &Pod) -> Result<(), Error> {
    let name = &existing.name;
    let exists = |what: &str| {
        Err(Error::Server {
            code: "AlreadyExists",
            message: format!("{what}pods {name:?} already exists"),
        })
    };
    if existing.deletion.is_some() {
        return exists("object is being deleted: ");
    }
    let Some(before) = &existing.manifest else {
        return exists("not made by podhook: ");
    };
    let mut paths = Vec::new();
    let json = |pod: &Pod| serde_json::to_value(pod).unwrap_or_default();
    changes(&json(before), &json(pod), "", &mut paths);
    if paths.is_empty() {
        return Ok(());
    }
    let causes = paths
        .into_iter()
        .map(|path| Cause {
            path,
            message:
                "Forbidden: pod updates may not change fields; delete the pod and apply it again"
                    .to_owned(),
        })
        .collect();
    Err(manifest::Error::Invalid {
        kind: "Pod",
        name: name.clone(),
        causes,
    }
    .into())
}

/// The paths in which two documents differ.
fn changes(a: &serde_json::Value, b: &serde_json::Value, path: &str, paths: &mut Vec<String>) {
    use serde_json::Value::{Array, Null, Object};
    match (a, b) {
        (Object(a), Object(b)) => {
            let new = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(new) {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                changes(
                    a.get(key).unwrap_or(&Null),
                    b.get(key).unwrap_or(&Null),
                    &path,
                    paths,
                );
            }
        }
        (Array(a), Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                changes(a, b, &format!("{path}[{i}]"), paths);
            }
        }
        _ if a == b => {}
        _ => paths.push(path.to_owned()),
    }
}

/// A pod whose containers are being started.
struct Starting {
    pod: String,
    /// IDs and names.
    containers: Vec<(String, String)>,
    worker: Worker,
}

impl Starting {
    /// Waits until every start is answered.
    async fn wait(mut self) -> Result<(), Error> {
        let mut outcome = Outcome::default();
        for _ in 0..self.containers.len() {
            let report: Report = self.worker.report().await?;
            let Some(error) = report.error else { continue };
            let name = self.containers.iter().find(|(id, _)| *id == report.id);
            let name = name.map_or(report.id.as_str(), |(_, name)| name);
            outcome.note::<()>(Err(Error::Refused(format!(
                "pod {:?}: failed to start container {name:?}: {error}\n  hint: podhook history {} has the results of its hooks",
                self.pod, self.pod
            ))));
        }
        outcome.into_result()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::changes;

    #[test]
    fn a_change_is_named_by_its_path() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "nginx"}], "x": 1}});
        let new = json!({"spec": {"containers": [{"name": "a", "image": "httpd"}], "y": 2}});
        let mut paths = Vec::new();
        changes(&old, &new, "", &mut paths);
        assert_eq!(paths, ["spec.containers[0].image", "spec.x", "spec.y"]);
        paths.clear();
        changes(&old, &old, "", &mut paths);
        assert!(paths.is_empty());
    }
}
