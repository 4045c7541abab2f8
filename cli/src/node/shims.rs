//! Asking the shims for their numbers and their versions.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use podhook_hooks::counters::ledger::Answer;
use podhook_hooks::deadline;
use prost::Message;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use ttrpc::r#async::Client;
use ttrpc::r#async::transport::Socket;
use ttrpc::{Code, Request};

use super::bundles::Bundle;

/// Shims that are asked at the same time; the rest of the file descriptors is for others.
const AT_ONCE: usize = 128;

/// What a shim had to say.
#[derive(Debug, Clone, PartialEq)]
pub enum ShimReply {
    /// Its numbers.
    Counters(Answer),
    /// Nothing listens at its address: it has ended.
    Gone,
    /// It is another shim than podhook's, or an older one that does not count.
    Foreign,
    /// Nothing in time, or nonsense.
    Nothing(String),
}

/// `google.protobuf.BytesValue`.
#[derive(Clone, PartialEq, Message)]
struct BytesValue {
    #[prost(bytes = "vec", tag = "1")]
    value: Vec<u8>,
}

/// Asks all at once: one that hangs holds up nobody. `timeout` is for all of them together.
pub async fn ask_all(
    addresses: BTreeSet<String>,
    timeout: Duration,
) -> BTreeMap<String, ShimReply> {
    let deadline = deadline::after(Instant::now(), timeout).into();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut questions = JoinSet::new();
    for address in &addresses {
        let (address, slots) = (address.clone(), Arc::clone(&slots));
        questions.spawn(async move {
            let slot = tokio::time::timeout_at(deadline, slots.acquire()).await;
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let said = match slot {
                Ok(_slot) => ask(&address, left).await,
                Err(_) => ShimReply::Nothing("not asked in time".to_owned()),
            };
            (address, said)
        });
    }
    let mut all = BTreeMap::new();
    while let Some(answered) = questions.join_next().await {
        all.extend(answered.ok());
    }
    for address in addresses {
        // Its task has panicked.
        all.entry(address)
            .or_insert_with(|| ShimReply::Nothing("not asked".to_owned()));
    }
    all
}

/// Asks the shim at `address`.
async fn ask(address: &str, timeout: Duration) -> ShimReply {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    match tokio::time::timeout(timeout, call(path)).await {
        Ok(said) => said,
        Err(_) => ShimReply::Nothing("no answer in time".to_owned()),
    }
}

async fn call(path: &str) -> ShimReply {
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return ShimReply::Gone;
        }
        Err(e) => return ShimReply::Nothing(e.to_string()),
    };
    let mut request = Request::new();
    "podhook.v1.Shim".clone_into(&mut request.service);
    "Counters".clone_into(&mut request.method);
    let response = match Client::new(Socket::new(stream)).request(request).await {
        Ok(response) => response,
        Err(ttrpc::Error::RpcStatus(status))
            if matches!(status.code(), Code::UNIMPLEMENTED | Code::NOT_FOUND) =>
        {
            return ShimReply::Foreign;
        }
        // Accepted by the kernel for a shim that then ended.
        Err(ttrpc::Error::RemoteClosed | ttrpc::Error::LocalClosed) => return ShimReply::Gone,
        Err(e) => return ShimReply::Nothing(e.to_string()),
    };
    let answer = BytesValue::decode(&*response.payload)
        .map_err(|e| e.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes.value).map_err(|e| e.to_string()));
    match answer {
        Ok(answer) => ShimReply::Counters(answer),
        Err(e) => ShimReply::Nothing(format!("unintelligible: {e}")),
    }
}

/// The address of a bundle's shim. Whose shim it is only the answer tells: podhook's may go by the
/// name of the original.
pub fn address(bundle: &Bundle) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(bundle.path.join(name)).ok();
    let text = read("address").or_else(|| read("bootstrap.json"))?;
    parse_address(&text)
}

/// The plain address, or the JSON that containerd 1.7 and later keep.
fn parse_address(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Bootstrap {
        address: String,
    }
    let text = text.trim();
    let address = match serde_json::from_str::<Bootstrap>(text) {
        Ok(bootstrap) => bootstrap.address,
        Err(_) => text.to_owned(),
    };
    address.starts_with("unix://").then_some(address)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn addresses_in_both_forms() {
        let unix = Some("unix:///run/containerd/s/ab".to_owned());
        assert_eq!(parse_address("unix:///run/containerd/s/ab"), unix);
        let json = r#"{"version":2,"address":"unix:///run/containerd/s/ab","protocol":"ttrpc"}"#;
        assert_eq!(parse_address(json), unix);
        assert_eq!(parse_address("vsock://3:1024"), None);
        assert_eq!(parse_address(""), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_dead_a_hung_and_a_babbling_shim_are_told_apart_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let at = |name: &str| format!("unix://{}", path(name).display());
        let soon = Duration::from_millis(200);
        assert_eq!(ask(&at("none"), soon).await, ShimReply::Gone);
        drop(UnixListener::bind(path("dead")).unwrap());
        assert_eq!(ask(&at("dead"), soon).await, ShimReply::Gone);
        let _hung = UnixListener::bind(path("hung")).unwrap();
        assert!(matches!(
            ask(&at("hung"), soon).await,
            ShimReply::Nothing(_)
        ));
        let babbling = UnixListener::bind(path("babbling")).unwrap();
        let babble = async {
            let (mut stream, _) = babbling.accept().await.unwrap();
            let noise = [0xff; 4096];
            while tokio::io::AsyncWriteExt::write_all(&mut stream, &noise)
                .await
                .is_ok()
            {}
        };
        let address = at("babbling");
        tokio::select! {
            () = babble => panic!("nobody listens"),
            said = ask(&address, soon) => assert!(matches!(said, ShimReply::Nothing(_) | ShimReply::Gone), "{said:?}"),
        }
    }
}
