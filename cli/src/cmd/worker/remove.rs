//! The worker that stops and removes a pod (kubelet `killPodWithSyncResult`).

use std::time::{Duration, Instant};

use k8s_cri::v1::{ContainerState, ContainerStatus, ImageStatusRequest, StopContainerRequest};
use podhook_hooks::{deadline, signal};
use tokio::task::JoinSet;

use crate::cmd::error::Error;
use crate::cri::{self, Client};
use crate::pods;
use crate::pods::context::Context;
use crate::pods::detached::{self, Report};

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
const POLL: Duration = Duration::from_millis(50);
/// How long the end of a killed container, or of a start under way, may take to be seen.
const SETTLE: Duration = Duration::from_secs(10);

/// Which pod. The UID alone does not say it: a CRI client may give none, or that of another pod.
#[derive(Debug, Clone, Copy)]
pub struct PodId<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

/// Stops the containers of the pod together, then removes everything of it. `grace` 0 kills.
///
/// # Errors
/// When something is left; the report says what.
pub async fn run(context: &Context, pod: PodId<'_>, grace: i64) -> Result<(), Error> {
    let result = remove(context, pod, grace).await;
    let error = result.as_ref().err().map(ToString::to_string);
    detached::print(&Report {
        id: pod.uid.to_owned(),
        error,
    });
    result.map_err(|_| Error::Reported)
}

async fn remove(context: &Context, id: PodId<'_>, grace: i64) -> Result<(), Error> {
    let PodId {
        namespace,
        name,
        uid,
    } = id;
    // Whoever makes the pod sees the mark, and takes back what he has made.
    while context.store.being_made_since(uid)?.is_some() {
        tokio::time::sleep(POLL).await;
    }
    let all = pods::list(&context.client, &context.store, None, None).await?;
    let of_names = |pod: &pods::PodView| (&*pod.namespace, &*pod.name) == (namespace, name);
    let Some(pod) = all.into_iter().find(|pod| pod.uid == uid && of_names(pod)) else {
        // Its maker has taken it back; the mark of the deletion may be younger.
        return Ok(context.store.remove_pod(uid, Some((namespace, name)))?);
    };
    let mut stops = JoinSet::new();
    for container in pod.containers.clone() {
        let client = context.client.clone();
        stops.spawn(async move { stop(&client, &container, grace).await });
    }
    let mut failed = None;
    while let Some(stopped) = stops.join_next().await {
        if let Ok(Err(e)) = stopped {
            failed = Some(e);
        }
    }
    if let Some(e) = failed {
        return Err(e.into());
    }
    for sandbox in &pod.sandboxes {
        remove_sandbox(&context.client, &sandbox.id).await?;
    }
    context.store.remove_pod(uid, Some((namespace, name)))?;
    Ok(())
}

/// Stops one container: signal, grace period, SIGKILL.
async fn stop(client: &Client, container: &ContainerStatus, grace: i64) -> Result<(), cri::Error> {
    let deadline = deadline::after(Instant::now(), seconds(grace));
    let rest = match container.state() {
        ContainerState::ContainerExited => return Ok(()),
        ContainerState::ContainerCreated => {
            if stop_starting(client, container, grace, deadline).await? {
                return Ok(());
            }
            // It came to run after all. What is left of the period is at least a second, since 0
            // would be SIGKILL.
            let left = deadline.saturating_duration_since(Instant::now()).as_secs();
            i64::try_from(left).unwrap_or(i64::MAX).max(grace.min(1))
        }
        _ => grace,
    };
    let request = StopContainerRequest {
        container_id: container.id.clone(),
        timeout: rest,
    };
    match client
        .runtime
        .clone()
        .stop_container(request)
        .await
        .map_err(cri::Error::call("StopContainer"))
    {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}

/// Stops a container whose start is under way, that is while its postStart hook runs: CRI does
/// nothing for it, so the signal goes to the task itself, and the shim aborts the hook. Says
/// whether the container has ended; it has not when the start succeeded meanwhile.
async fn stop_starting(
    client: &Client,
    container: &ContainerStatus,
    grace: i64,
    deadline: Instant,
) -> Result<bool, cri::Error> {
    let signal = if grace == 0 {
        SIGKILL
    } else {
        stop_signal(client, container).await
    };
    if !kill(client, &container.id, signal).await? {
        // No task: it was never started, or has just ended.
        return Ok(true);
    }
    if let Some(ended) = wait(client, &container.id, deadline).await? {
        return Ok(ended);
    }
    kill(client, &container.id, SIGKILL).await?;
    let until = deadline::after(Instant::now(), SETTLE);
    let ended = wait(client, &container.id, until).await?;
    Ok(ended.unwrap_or(false))
}

/// Sends a signal; says whether there was a task.
async fn kill(client: &Client, id: &str, signal: u32) -> Result<bool, cri::Error> {
    match client.kill_task(id, signal).await {
        Ok(()) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Waits until the container has left CREATED: `true` for ended, `false` for running, `None` when
/// it has not until then.
async fn wait(client: &Client, id: &str, until: Instant) -> Result<Option<bool>, cri::Error> {
    loop {
        match pods::container_status(client, id).await?.map(|s| s.state()) {
            None | Some(ContainerState::ContainerExited) => return Ok(Some(true)),
            Some(ContainerState::ContainerCreated) => {}
            Some(_) => return Ok(Some(false)),
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The signal that containerd would send: the image's STOPSIGNAL, else SIGTERM.
async fn stop_signal(client: &Client, container: &ContainerStatus) -> u32 {
    let request = ImageStatusRequest {
        image: container.image.clone(),
        verbose: true,
    };
    let info = match client.images.clone().image_status(request).await {
        Ok(answer) => answer.into_inner().info,
        Err(_) => return SIGTERM,
    };
    let info: Option<serde_json::Value> = info
        .get("info")
        .and_then(|text| serde_json::from_str(text).ok());
    info.as_ref()
        .and_then(|info| info.pointer("/imageSpec/config/StopSignal")?.as_str())
        .and_then(signal::of_image)
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(SIGTERM)
}

/// Stops the sandbox and removes it with its containers. While a start is being answered
/// containerd refuses ("in starting state"); that passes.
async fn remove_sandbox(client: &Client, id: &str) -> Result<(), cri::Error> {
    let until = deadline::after(Instant::now(), SETTLE);
    loop {
        match pods::remove_sandbox(client, id).await {
            Err(_) if Instant::now() < until => tokio::time::sleep(POLL).await,
            Err(e) if e.is_not_found() => return Ok(()),
            result => return result,
        }
    }
}

fn seconds(count: i64) -> Duration {
    // A century is forever, and no overflow of the clock.
    Duration::from_secs(u64::try_from(count).unwrap_or(0).min(100 * 365 * 86_400))
}
