//! `podhook delete`: the end of pods, in Kubernetes' order.

use std::ffi::OsString;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::error::Error;
use super::outcome::Outcome;
use crate::args;
use crate::clock;
use crate::manifest::{self, Object};
use crate::output::print;
use crate::pods::context::Context;
use crate::pods::detached::{Report, Worker};
use crate::pods::{self, PodView, Selector};
use crate::store::Deletion;

/// The kubelet gives every container this much between its signal and SIGKILL
/// (`minimumGracePeriodInSeconds`).
const MINIMUM_GRACE_SECONDS: i64 = 2;

/// Runs the command.
///
/// # Errors
/// When something could not be deleted; what, is on stderr already.
pub async fn run(context: &Context, args: &args::Delete) -> Result<(), Error> {
    check(args)?;
    let mut outcome = Outcome::default();
    let mut removals = Vec::new();
    for target in targets(context, args, &mut outcome).await? {
        match target {
            Target::RuntimeClass(name) => {
                outcome.note(delete_runtime_class(context, args, &name));
            }
            Target::Pod(pod) => {
                removals.extend(outcome.note(begin(context, args, *pod)));
            }
        }
    }
    for removal in removals {
        outcome.note(removal.finish(args).await);
    }
    outcome.into_result()
}

fn check(args: &args::Delete) -> Result<(), Error> {
    let refuse = |text: &str| Err(Error::Refused(text.to_owned()));
    if args.now && args.grace_period >= 0 {
        return refuse("--now and --grace-period cannot be specified together");
    }
    if args.force && args.grace_period > 0 {
        return refuse("--force and --grace-period greater than 0 cannot be specified together");
    }
    if args.filenames.is_empty() && args.resources.is_empty() {
        return refuse("You must provide one or more resources by argument or filename");
    }
    Ok(())
}

/// What one argument or document names.
enum Target {
    Pod(Box<PodView>),
    RuntimeClass(String),
}

async fn targets(
    context: &Context,
    args: &args::Delete,
    outcome: &mut Outcome,
) -> Result<Vec<Target>, Error> {
    let (client, store) = (&context.client, &context.store);
    let mut targets = Vec::new();
    let mut find = async |namespace: &str, name: &str, targets: &mut Vec<Target>| match pods::get(
        client, store, namespace, name,
    )
    .await
    {
        Ok(pod) => targets.push(Target::Pod(Box::new(pod))),
        Err(pods::Error::Server {
            code: "NotFound", ..
        }) if args.ignore_not_found => {}
        Err(e) => {
            outcome.note::<()>(Err(e.into()));
        }
    };
    if !args.filenames.is_empty() {
        let objects = manifest::load(&args.filenames, context.global.namespace.as_deref())?;
        for object in objects {
            match object {
                Object::Pod(pod) => {
                    let text = |value: Option<String>| value.unwrap_or_default();
                    let (namespace, name) = (text(pod.metadata.namespace), text(pod.metadata.name));
                    find(&namespace, &name, &mut targets).await;
                }
                Object::RuntimeClass(class) => {
                    targets.push(Target::RuntimeClass(
                        class.metadata.name.unwrap_or_default(),
                    ));
                }
            }
        }
        return Ok(targets);
    }
    let names = pods::pods(&args.resources)?;
    for name in &names {
        find(context.namespace(), name, &mut targets).await;
    }
    if names.is_empty() {
        if !args.all && args.selector.is_none() {
            return Err(Error::Refused(
                "resource(s) were provided, but no name was specified".to_owned(),
            ));
        }
        let selector = Selector::parse(args.selector.as_deref())?;
        let all = pods::list(client, store, Some(context.namespace()), None).await?;
        let selected = all
            .into_iter()
            .filter(|pod| selector.matches(&pod.labels()));
        targets.extend(selected.map(|pod| Target::Pod(Box::new(pod))));
        if targets.is_empty() {
            print("No resources found\n")?;
        }
    }
    Ok(targets)
}

fn delete_runtime_class(context: &Context, args: &args::Delete, name: &str) -> Result<(), Error> {
    if context.store.remove_runtime_class(name)? {
        print(&format!("runtimeclass.node.k8s.io {name:?} deleted\n"))?;
    } else if !args.ignore_not_found {
        return Err(Error::Server {
            code: "NotFound",
            message: format!("runtimeclasses.node.k8s.io {name:?} not found"),
        });
    }
    Ok(())
}

/// A pod on its way out.
struct Removal {
    pod: PodView,
    worker: Worker,
}

/// Marks the pod and lets a worker stop it: all pods of a command stop at the same time.
fn begin(context: &Context, args: &args::Delete, pod: PodView) -> Result<Removal, Error> {
    let grace = grace_period(args, &pod);
    let end = clock::now().saturating_add(SignedDuration::from_secs(grace));
    let deletion = Deletion {
        deletion_timestamp: end.unwrap_or(Timestamp::MAX),
        grace_period_seconds: grace,
    };
    let names = (pod.namespace.as_str(), pod.name.as_str());
    context.store.mark_deleting(&pod.uid, names, &deletion)?;
    let arguments: Vec<OsString> = vec![
        "remove".into(),
        format!("--pod-namespace={}", pod.namespace).into(),
        format!("--pod-name={}", pod.name).into(),
        format!("--pod-uid={}", pod.uid).into(),
        format!("--grace={grace}").into(),
    ];
    let worker = Worker::spawn(&context.global, &arguments, args.wait)?;
    Ok(Removal { pod, worker })
}

/// Seconds between stop signal and SIGKILL; 0 only when forced.
fn grace_period(args: &args::Delete, pod: &PodView) -> i64 {
    let asked = if args.now {
        1
    } else if args.force {
        return 0;
    } else if args.grace_period >= 0 {
        args.grace_period
    } else {
        own_grace_period(pod)
    };
    asked.max(MINIMUM_GRACE_SECONDS)
}

/// The pod's own grace period: of the manifest, else of the annotation that the kubelet wrote.
fn own_grace_period(pod: &PodView) -> i64 {
    let manifest = pod.manifest.as_ref().and_then(|m| m.spec.as_ref());
    let annotated = || {
        let annotations = pod.containers.iter().map(|c| &c.annotations);
        annotations
            .filter_map(|a| a.get(manifest::GRACE_PERIOD)?.parse().ok())
            .max()
    };
    manifest
        .and_then(|s| s.termination_grace_period_seconds)
        .or_else(annotated)
        .unwrap_or(manifest::GRACE_PERIOD_SECONDS)
}

impl Removal {
    async fn finish(mut self, args: &args::Delete) -> Result<(), Error> {
        let name = &self.pod.name;
        if args.wait {
            let report: Report = self.worker.report().await?;
            if let Some(error) = report.error {
                return Err(Error::Refused(format!("pod {name:?}: {error}")));
            }
        }
        let how = if args.force {
            "force deleted"
        } else {
            "deleted"
        };
        print(&format!("pod {name:?} {how}\n"))?;
        if let Some(warning) = comes_again(&self.pod) {
            eprintln!("{warning}");
        }
        Ok(())
    }
}

/// What is to be said of a pod that somebody makes again.
fn comes_again(pod: &PodView) -> Option<String> {
    // The kubelet writes it on every sandbox.
    const SOURCE: &str = "kubernetes.io/config.source";
    let annotations = &pod.sandboxes.first()?.annotations;
    let source = annotations.get(SOURCE).filter(|_| pod.manifest.is_none())?;
    let mend = match source.as_str() {
        "api" => format!("kubectl -n {} delete pod {}", pod.namespace, pod.name),
        _ => "take its manifest out of the kubelet's staticPodPath".to_owned(),
    };
    Some(format!(
        "warning: pod {:?} is a kubelet's: that still has the pod's object, and makes it again\n  hint: {mend}",
        pod.name
    ))
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::PodSandbox;

    use super::*;

    #[test]
    fn a_pod_that_a_kubelet_makes_again_is_named() {
        let mut pod = PodView {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
            sandboxes: vec![PodSandbox::default()],
            status: None,
            containers: Vec::new(),
            manifest: None,
            deletion: None,
            created: None,
        };
        assert_eq!(comes_again(&pod), None);
        for (source, hint) in [
            ("api", "\n  hint: kubectl -n shop delete pod web"),
            ("file", "staticPodPath"),
        ] {
            let annotation = ("kubernetes.io/config.source".to_owned(), source.to_owned());
            pod.sandboxes[0].annotations = [annotation].into();
            let says = comes_again(&pod).unwrap();
            assert!(says.contains(hint), "{says}");
        }
    }
}
