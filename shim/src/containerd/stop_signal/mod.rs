//! The signal that a container's client stops it with: the image's STOPSIGNAL, or what the user said. It comes as
//! any other Kill, so that it must be known before. The OCI configuration has it not; the client's own metadata do.

mod docker;
mod labels;

use std::path::Path;
use std::time::Duration;

use podhook_hooks::config_json::ContainerConfig;
use podhook_hooks::deadline;
use podhook_hooks::lifecycle::is_cri;
use podhook_hooks::signal;

/// Nobody waits longer: containerd hangs. A busy one may take seconds.
const LIMIT: Duration = Duration::from_secs(10);

/// The container's own stop signal, where its client is docker (which keeps it in a file) or one of containerd's (ctr,
/// nerdctl: a label of the container). CRI's needs none: every signal of it but SIGKILL is a stop signal.
pub async fn find(
    config: &ContainerConfig,
    id: &str,
    namespace: &str,
    containerd: &str,
) -> Option<i32> {
    if is_cri(&config.spec.annotations) {
        return None;
    }
    let text = match docker::stop_signal(&config.mounts, id) {
        Some(text) => Some(text),
        None => {
            let asked = labels::stop_signal(Path::new(containerd), namespace, id);
            match deadline::within(LIMIT, asked).await {
                Some(Ok(text)) => text,
                Some(Err(e)) => {
                    log::debug!(id = id; "ask containerd for the stop signal: {e}");
                    None
                }
                None => {
                    log::debug!(id = id; "ask containerd for the stop signal: no answer");
                    None
                }
            }
        }
    };
    let number = parse(&text?);
    log::debug!(id = id, signal:? = number; "the container's own stop signal");
    number
}

/// As moby reads it: a number, or a name with or without `SIG`, in any case.
fn parse(text: &str) -> Option<i32> {
    match text.parse() {
        Ok(number) => (1..=signal::SIGRTMAX).contains(&number).then_some(number),
        Err(_) => signal::parse(&text.to_ascii_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_written_in_many_ways() {
        for text in ["SIGWINCH", "WINCH", "sigwinch", "28"] {
            assert_eq!(parse(text), Some(libc::SIGWINCH), "{text}");
        }
        assert_eq!(parse("SIGRTMIN+3"), Some(37));
        for text in ["", "0", "-1", "65", "SIGNONE"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
