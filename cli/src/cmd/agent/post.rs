//! Tells the API server, one Event after the other, and waits for it as long as it takes.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Agent;
use super::correlate::EVENT_AGE;
use super::counts::Told;
use super::notice::millis;
use super::outbox::Outgoing;
use crate::cluster::{Api, Change, Error};
use crate::output::escape;

/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

pub(super) async fn run(agent: &Agent, api: &Api) -> ! {
    let mut pause = PAUSES.0;
    loop {
        let next = agent.state().outbox.waiting.front().cloned();
        let Some(next) = next else {
            agent.written.notified().await;
            continue;
        };
        let told = match too_old(&next) {
            true => Ok(Told::TooOld),
            false => post(api, &next).await,
        };
        let told = match told {
            Ok(told) => told,
            Err(e) if may_come(&e) => {
                {
                    let mut state = agent.state();
                    state.counts.attempt_failed();
                    // What is wrong may be that one's namespace's, as a webhook that fails: it keeps no other waiting.
                    let failed = state.outbox.waiting.pop_front();
                    state.outbox.waiting.extend(failed);
                }
                warn(&format!("{e}; tries again in {} s", pause.as_secs()));
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSES.1);
                continue;
            }
            Err(e) => {
                let what = match next.kind() {
                    "Pod" => "a pod's condition",
                    _ => "an Event",
                };
                warn(&format!("{what} was refused: {e}"));
                Told::Refused
            }
        };
        pause = PAUSES.0;
        let mut state = agent.state();
        if next.kind() == "Event" {
            state.counts.told(told);
        }
        // With a new count it is to be told again.
        match state.outbox.waiting.front_mut() {
            Some(front) if *front != next => front.is_new = false,
            _ => drop(state.outbox.waiting.pop_front()),
        }
        state.save();
        drop(state);
        agent.posted.notify_one();
    }
}

fn too_old(outgoing: &Outgoing) -> bool {
    millis(SystemTime::now()).saturating_sub(outgoing.time) > EVENT_AGE
}

/// Whether it may be taken later.
fn may_come(error: &Error) -> bool {
    match error {
        Error::Refused { code, .. } => matches!(code, 401 | 408 | 429 | 500..),
        _ => true,
    }
}

async fn post(api: &Api, outgoing: &Outgoing) -> Result<Told, Error> {
    let event = &outgoing.event;
    let of = |pointer: &str| {
        let text = event.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default()
    };
    if outgoing.kind() == "Pod" {
        return status(api, event, of("/metadata/namespace"), of("/metadata/name")).await;
    }
    let folder = format!("/api/v1/namespaces/{}/events", of("/metadata/namespace"));
    let path = format!("{folder}/{}", of("/metadata/name"));
    let create = || api.change(Change::Create, &folder, event);
    let patch = || async {
        let patch = patch(event);
        api.change(Change::MergePatch, &path, &patch).await
    };
    if outgoing.is_new {
        return match create().await {
            // An agent before this one has.
            Err(error) if error.is_conflict() => patch().await.map(|_| Told::Updated),
            result => result.map(|_| Told::Posted),
        };
    }
    match patch().await {
        // The API server has forgotten it.
        Err(Error::Refused { code: 404, .. }) => create().await.map(|_| Told::Posted),
        result => result.map(|_| Told::Updated),
    }
}

/// With its uid: another pod of that name is not meant.
async fn status(api: &Api, pod: &Value, namespace: &str, name: &str) -> Result<Told, Error> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
    let uid = pod.pointer("/metadata/uid");
    let patch = json!({"metadata": {"uid": uid}, "status": pod["status"]});
    match api.change(Change::StrategicMerge, &path, &patch).await {
        // The pod is gone.
        Err(Error::Refused {
            code: 404 | 409, ..
        }) => Ok(Told::Updated),
        result => result.map(|_| Told::Updated),
    }
}

fn patch(event: &Value) -> Value {
    json!({
        "count": event["count"],
        "lastTimestamp": event["lastTimestamp"],
        "message": event["message"],
    })
}

fn warn(text: &str) {
    eprintln!("warning: {}", escape::lines(text));
}
