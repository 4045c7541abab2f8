//! Why a container ended, in its own words: the termination message (kubelet
//! `getTerminationMessage`).

use std::fs::File;
use std::path::Path;

use k8s_cri::v1::ContainerStatus;
use k8s_openapi::api::core::v1::Container;

use super::log;
use crate::store::regular;

/// kubelet `kubecontainer.MaxContainerTerminationMessageLength`.
const MAX_MESSAGE: u64 = 4096;
/// kubelet `MaxContainerTerminationMessageLogLength` and `…LogLines`.
const MAX_LOG: u64 = 2048;
const MAX_LOG_LINES: usize = 80;

/// The message of an ended container: what the runtime says, what the container wrote to its
/// terminationMessagePath, or the end of its log where the policy says so.
pub(crate) fn message(status: &ContainerStatus, container: &Container) -> Option<String> {
    if !status.message.is_empty() {
        return Some(status.message.clone());
    }
    let path = container.termination_message_path.as_deref()?;
    let written = status
        .mounts
        .iter()
        .find(|m| m.container_path == path)
        .and_then(|m| tail(regular::open(Path::new(&m.host_path)).ok()?, MAX_MESSAGE))
        .filter(|text| !text.is_empty());
    let log_wanted = container.termination_message_policy.as_deref()
        == Some("FallbackToLogsOnError")
        && status.exit_code != 0;
    if written.is_some() || !log_wanted {
        return written;
    }
    let log = regular::open_log(Path::new(&status.log_path)).ok()?;
    let log = tail(log, MAX_LOG)?;
    let lines: Vec<&str> = log.lines().filter_map(log::content).collect();
    let skip = lines.len().saturating_sub(MAX_LOG_LINES);
    let last = lines.get(skip..).unwrap_or_default();
    Some(last.join("\n")).filter(|text| !text.is_empty())
}

/// The last bytes of a file, from a character's start.
fn tail(mut file: File, length: u64) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(length)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
