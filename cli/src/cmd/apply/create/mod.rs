//! Making a pod: images, volumes, sandbox, containers (kubelet `SyncPod`).

#[cfg(test)]
mod tests;

use k8s_cri::v1::{
    CreateContainerRequest, Image, ImageSpec, ImageStatusRequest, ListPodSandboxRequest,
    PodSandboxFilter, PodSandboxStatusRequest, PullImageRequest, RunPodSandboxRequest,
};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::runtime_handler;
use super::volumes;
use crate::args;
use crate::cmd::error::Error;
use crate::cmd::interrupt::Interrupts;
use crate::cri::{self, Client, Handlers};
use crate::manifest::{self, Facts, Placement};
use crate::node::machine;
use crate::pods;
use crate::pods::context::Context;
use crate::store::{Reservation, Store};

/// A pod whose containers exist and are not started.
#[derive(Debug)]
pub(crate) struct Created {
    /// The containers in the manifest's order: IDs and names.
    pub(crate) containers: Vec<(String, String)>,
}

/// A pod of which nothing is there yet but its place in the store.
#[derive(Debug)]
pub(crate) struct Reserved {
    placement: Placement,
    handler: String,
    reservation: Reservation,
}

/// Takes the pod's place: from now on other commands see it. To be called with the store's lock.
pub(crate) fn reserve(
    context: &Context,
    args: &args::Apply,
    handlers: &Handlers,
    pod: &Pod,
) -> Result<Reserved, Error> {
    let chosen = runtime_handler::choose(
        &context.store,
        &context.global.podhook_handler,
        handlers,
        pod,
    )?;
    let (namespace, name) = names(pod);
    let uid = machine::new_uid()?;
    let reservation = context.store.reserve(&uid, pod)?;
    let placement = Placement {
        directory: context.store.pod_dir(&uid),
        log_directory: context.store.log_dir(&namespace, &name, &uid),
        cgroup_parent: args.cgroup_parent.clone().unwrap_or(chosen.cgroup_parent),
        memory_capacity: machine::memory_capacity(),
        resolv_conf: machine::resolv_conf(),
        uid,
    };
    Ok(Reserved {
        placement,
        handler: chosen.name,
        reservation,
    })
}

/// Makes the sandbox and the containers of `pod`. When that fails, or is interrupted, nothing is
/// left.
pub(crate) async fn create(
    context: &Context,
    interrupts: &mut Interrupts,
    pod: &Pod,
    reserved: Reserved,
) -> Result<Created, Error> {
    let made = interrupts.stop(make(context, pod, &reserved)).await;
    let made = made.and_then(
        |made| match context.store.deletion(&reserved.placement.uid)? {
            None => Ok(made),
            Some(_) => Err(Error::Refused(format!(
                "pod {:?} was deleted while it was being made",
                names(pod).1
            ))),
        },
    );
    match made {
        Ok(made) => {
            reserved.reservation.done()?;
            Ok(made)
        }
        Err(e) => {
            let (namespace, name) = names(pod);
            undo(context, &reserved.placement.uid, (&namespace, &name)).await;
            Err(e)
        }
    }
}

fn names(pod: &Pod) -> (String, String) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    (text(&pod.metadata.namespace), text(&pod.metadata.name))
}

async fn make(context: &Context, pod: &Pod, reserved: &Reserved) -> Result<Created, Error> {
    let placement = &reserved.placement;
    for container in pod.spec.iter().flat_map(|s| &s.containers) {
        let image = ensure_image(context, container).await?;
        manifest::check_non_root(pod, container, &image)
            .map_err(|e| Error::Refused(format!("container {:?}: {e}", container.name)))?;
    }
    volumes::prepare(pod, placement)?;
    let config = manifest::sandbox::config(pod, placement);
    let request = RunPodSandboxRequest {
        config: Some(config.clone()),
        runtime_handler: reserved.handler.clone(),
    };
    let id = context
        .client
        .runtime
        .clone()
        .run_pod_sandbox(request)
        .await
        .map_err(|status| {
            Error::Refused(format!(
                "Failed to create pod sandbox: {}\n  hint: podhook doctor checks containerd and its configuration",
                status.message()
            ))
        })?
        .into_inner()
        .pod_sandbox_id;
    let facts = Facts {
        pod_ips: pod_ips(context, &id).await?,
        node_name: machine::name(),
    };
    let mut containers = Vec::new();
    for container in pod.spec.iter().flat_map(|s| &s.containers) {
        let request = CreateContainerRequest {
            pod_sandbox_id: id.clone(),
            config: Some(manifest::container::config(
                pod, container, placement, &facts,
            )),
            sandbox_config: Some(config.clone()),
        };
        let created = context
            .client
            .runtime
            .clone()
            .create_container(request)
            .await;
        let created = created.map_err(|status| {
            Error::Refused(format!(
                "failed to create container {:?}: {}",
                container.name,
                status.message()
            ))
        })?;
        containers.push((created.into_inner().container_id, container.name.clone()));
    }
    Ok(Created { containers })
}

async fn pod_ips(context: &Context, sandbox: &str) -> Result<Vec<String>, Error> {
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.to_owned(),
        verbose: false,
    };
    let answer = context
        .client
        .runtime
        .clone()
        .pod_sandbox_status(request)
        .await;
    let status = answer
        .map_err(cri::Error::call("PodSandboxStatus"))?
        .into_inner()
        .status;
    let Some(network) = status.and_then(|s| s.network) else {
        return Ok(Vec::new());
    };
    let more = network.additional_ips.into_iter().map(|ip| ip.ip);
    Ok(std::iter::once(network.ip)
        .chain(more)
        .filter(|ip| !ip.is_empty())
        .collect())
}

/// Takes back what was made of a pod that could not be made whole. Errors here would hide the
/// one that matters; what remains is shown by `podhook get`, and taken away by the next `podhook apply` of the pod, or
/// by `podhook delete`.
async fn undo(context: &Context, uid: &str, names: (&str, &str)) {
    let _ = take_back(&context.client, &context.store, uid, names).await;
}

/// Removes the sandboxes of a pod that podhook was making, and then what the store keeps of it. containerd is asked
/// for them: it keeps a sandbox whose network could not be set up, and says no ID of it.
pub(super) async fn take_back(
    client: &Client,
    store: &Store,
    uid: &str,
    (namespace, name): (&str, &str),
) -> Result<(), Error> {
    let labels = [
        (manifest::POD_UID, uid),
        (manifest::POD_NAMESPACE, namespace),
        (manifest::POD_NAME, name),
    ];
    let filter = PodSandboxFilter {
        label_selector: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    };
    let request = ListPodSandboxRequest {
        filter: Some(filter),
    };
    let sandboxes = client
        .runtime
        .clone()
        .list_pod_sandbox(request)
        .await
        .map_err(cri::Error::call("ListPodSandbox"))?
        .into_inner()
        .items;
    for sandbox in sandboxes {
        pods::remove_sandbox(client, &sandbox.id).await?;
    }
    Ok(store.remove_pod(uid, None)?)
}

/// The image of a container, pulled where its policy says so (kubelet `EnsureImageExists`).
async fn ensure_image(context: &Context, container: &Container) -> Result<Image, Error> {
    let name = container.image.clone().unwrap_or_default();
    let spec = ImageSpec {
        image: manifest::normalize_image(&name),
        ..Default::default()
    };
    let policy = container.image_pull_policy.as_deref().unwrap_or_default();
    let present = image_status(context, &spec).await?;
    match (present, policy) {
        (Some(image), "IfNotPresent" | "Never") => return Ok(image),
        (None, "Never") => {
            return Err(Error::Refused(format!(
                "Container image {name:?} is not present with pull policy of Never\n  hint: ctr -n k8s.io images import FILE brings \
                 it; or imagePullPolicy: IfNotPresent"
            )));
        }
        _ => {}
    }
    let request = PullImageRequest {
        image: Some(spec.clone()),
        ..Default::default()
    };
    let pulled = context.client.images.clone().pull_image(request).await;
    pulled.map_err(|status| {
        Error::Refused(format!(
            "Failed to pull image {name:?}: {}\n  hint: containerd pulls it, as its own configuration says and without \
             imagePullSecrets; ctr -n k8s.io images pull or import brings it, too",
            status.message()
        ))
    })?;
    image_status(context, &spec)
        .await?
        .ok_or_else(|| Error::Refused(format!("image {name:?} is not there after its pull")))
}

async fn image_status(context: &Context, spec: &ImageSpec) -> Result<Option<Image>, Error> {
    let request = ImageStatusRequest {
        image: Some(spec.clone()),
        verbose: false,
    };
    let answer = context.client.images.clone().image_status(request).await;
    Ok(answer
        .map_err(cri::Error::call("ImageStatus"))?
        .into_inner()
        .image)
}
