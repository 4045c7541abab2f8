//! What a line of the journal has to say to who looks at the pod.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff;
use podhook_hooks::journal::Entry;
use podhook_hooks::lifecycle::text;
use podhook_hooks::record::{HookRecord, HookResult};
use podhook_hooks::sequence::{HookKind, INIT_EXITED};
use ring::digest;

use crate::manifest::is_subdomain;
use crate::node::row;
use crate::output::duration;

/// What an Event's message may have.
const MAX_MESSAGE: usize = 1000;
/// What an object's name may have.
const MAX_NAME: usize = 253;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Notice {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) container: String,
    /// As the kubelet names it.
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// The same without what differs each time: its duration.
    pub(super) what: String,
    /// ms since the epoch.
    pub(super) time: u64,
    /// Of the Event, the same whenever this line is read: the API server does not take it twice.
    pub(super) name: String,
}

/// None for what went as it should, for a container in no pod of Kubernetes, and for a hook that has ended with its container.
pub(super) fn of(entry: &Entry, with_output: bool) -> Option<Notice> {
    let hook = entry.hook.as_ref()?;
    let result = hook.result.as_ref()?;
    let is_over = hook.message.as_deref() == Some(INIT_EXITED);
    if result.known() == Some(HookResult::Succeeded) || is_over {
        return None;
    }
    let reason = match hook.hook.known()? {
        HookKind::PostStart => "FailedPostStartHook",
        HookKind::PreStop => "FailedPreStopHook",
    };
    let pod = pod(entry)?;
    let time = entry.time.or(hook.finished_at)?;
    Some(Notice {
        uid: pod.uid.unwrap_or_default(),
        container: pod.container,
        reason,
        message: message(hook, with_output, took(hook)),
        what: message(hook, with_output, String::new()),
        time: millis(time.into()),
        name: event_name(&pod.name, entry, hook),
        namespace: pod.namespace,
        pod: pod.name,
    })
}

/// Whose a line is.
#[derive(Debug)]
pub(super) struct PodOf {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: Option<String>,
    pub(super) container: String,
}

/// None for a container in no pod of Kubernetes.
pub(super) fn pod(entry: &Entry) -> Option<PodOf> {
    let pod = entry.pod.as_ref()?;
    // Whoever makes containers can say that one is in a pod, and the names become a path.
    let valid = |name: &Option<String>| name.clone().filter(|name| is_subdomain(name));
    Some(PodOf {
        namespace: valid(&pod.namespace)?,
        name: valid(&pod.name)?,
        uid: pod.uid.clone(),
        container: pod.container.clone().unwrap_or_default(),
    })
}

/// `preStop hook failed (exec, 12ms): exited with status 4: cannot flush`.
fn message(hook: &HookRecord, with_output: bool, took: String) -> String {
    let how = match hook.result.as_ref().map(|result| (result.known(), result)) {
        Some((Some(HookResult::TimedOut), _)) => "timed out".to_owned(),
        Some((_, result)) => result.as_str().to_lowercase(),
        None => String::new(),
    };
    let why = match with_output {
        true => row::message(hook),
        false => hook.message.clone().unwrap_or_default(),
    };
    let colon = if why.is_empty() { "" } else { ": " };
    let text = format!(
        "{} hook {how} ({}{took}){colon}{why}",
        hook.hook, hook.handler
    );
    text::shorten(&text::visible(&text), MAX_MESSAGE)
}

fn took(hook: &HookRecord) -> String {
    let took = hook.duration_ms.map(|ms| duration::short(ms / 1000.0));
    took.map_or_else(String::new, |took| format!(", {took}"))
}

fn event_name(pod: &str, entry: &Entry, hook: &HookRecord) -> String {
    let time = |time: Option<podhook_hooks::record::Timestamp>| {
        time.map_or_else(String::new, |time| time.to_string())
    };
    let line = format!(
        "{}/{}/{}/{}/{}",
        entry.namespace,
        entry.id,
        hook.hook,
        time(hook.started_at),
        time(entry.time),
    );
    let hash = digest::digest(&digest::SHA256, line.as_bytes());
    let bytes = hash.as_ref().iter().take(8);
    let hash: String = bytes.map(|byte| format!("{byte:02x}")).collect();
    let room = MAX_NAME.saturating_sub(hash.len()).saturating_sub(1);
    let pod: String = pod.chars().take(room).collect();
    format!("{}.{hash}", pod.trim_end_matches(['.', '-']))
}

/// As the API server takes it.
pub(super) fn timestamp(millis: u64) -> String {
    let seconds = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds);
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
