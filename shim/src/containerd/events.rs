//! Events to containerd: every one, in order.
//!
//! One task sends one event at a time and keeps it until containerd has taken it, so that nothing
//! overtakes and nothing is lost while containerd restarts. The queue is bounded: what no longer
//! fits is dropped, oldest first, and said in the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use containerd_shim::event::Event;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use containerd_shim_protos::ttrpc::r#async::transport::Socket;
use containerd_shim_protos::ttrpc::{self, context};
use podhook_hooks::deadline;
use podhook_hooks::task;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::message_type::{EVENTS, full_name};
use super::timestamp::timestamp;

/// As many as 4,000 containers' lives while containerd is away: about 5.6 MB.
const QUEUE_LIMIT: usize = 16_384;
/// Events that there is always room for.
const USUAL: usize = 16;
/// How long containerd may take to take one event, as in the Go shim.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How often containerd may refuse the same event (it cannot decode it, say) before it is dropped.
const REFUSALS_MAX: u32 = 5;
/// The pause before the second try.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two tries.
const RETRY_MAX: Duration = Duration::from_secs(2);

pub trait Events: Send + Sync {
    /// Takes an event that goes out after those before it.
    fn take(&self, topic: String, event: Any);
}

impl dyn Events {
    pub fn publish<E: Event + Message>(&self, event: E) {
        let topic = event.topic();
        let Ok(value) = event.write_to_bytes() else {
            log::error!("cannot encode an event for {topic}");
            return;
        };
        let any = Any {
            type_url: full_name::<E>(EVENTS),
            value,
            ..Any::default()
        };
        self.take(topic, any);
    }
}

/// Publishes events of one namespace.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    namespace: String,
    queue: Mutex<VecDeque<Envelope>>,
    changed: Notify,
    drained: Notify,
}

impl Publisher {
    /// Starts the sending task. containerd need not be there.
    pub fn start(address: &str, namespace: &str) -> Self {
        let publisher = Self(Arc::new(Inner {
            namespace: namespace.to_owned(),
            queue: Mutex::default(),
            changed: Notify::new(),
            drained: Notify::new(),
        }));
        task::spawn(Arc::clone(&publisher.0).send_all(address.to_owned()));
        publisher
    }

    /// How many events containerd has not taken yet.
    pub fn pending(&self) -> usize {
        self.0.lock().len()
    }

    /// Waits until everything is sent, but no longer than `limit`.
    pub async fn flush(&self, limit: Duration) {
        let sent = async {
            loop {
                let drained = self.0.drained.notified();
                if self.0.lock().is_empty() {
                    return;
                }
                drained.await;
            }
        };
        if tokio::time::timeout(limit, sent).await.is_err() {
            log::warn!(
                "{} events were not taken by containerd",
                self.0.lock().len()
            );
        }
    }
}

impl Events for Publisher {
    fn take(&self, topic: String, event: Any) {
        let envelope = Envelope {
            timestamp: Some(timestamp(SystemTime::now())).into(),
            namespace: self.0.namespace.clone(),
            topic,
            event: Some(event).into(),
            ..Envelope::default()
        };
        log::debug!(topic = envelope.topic.as_str(); "event");
        let mut queue = self.0.lock();
        if queue.len() >= QUEUE_LIMIT
            // The first is being sent.
            && let Some(dropped) = queue.remove(1)
        {
            log::error!("event queue is full, dropped one for {}", dropped.topic);
        }
        queue.push_back(envelope);
        self.0.changed.notify_one();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Envelope>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one. The room of those that waited for a containerd that was away is not kept.
    fn first(&self) -> Option<Envelope> {
        let mut queue = self.lock();
        let first = queue.front().cloned();
        if first.is_none() {
            queue.shrink_to(USUAL);
        }
        first
    }

    async fn send_all(self: Arc<Self>, address: String) {
        let mut client: Option<EventsClient> = None;
        let (mut pause, mut refusals) = (RETRY_MIN, 0u32);
        loop {
            let Some(envelope) = self.first() else {
                self.drained.notify_waiters();
                self.changed.notified().await;
                continue;
            };
            match send(&mut client, &address, envelope).await {
                Ok(()) => {
                    self.lock().pop_front();
                    (pause, refusals) = (RETRY_MIN, 0);
                    continue;
                }
                Err(PublishError::Refused(reason)) => {
                    refusals = refusals.saturating_add(1);
                    if refusals == REFUSALS_MAX {
                        log::error!("containerd refuses an event, dropped it: {reason}");
                        self.lock().pop_front();
                        refusals = 0;
                    }
                }
                Err(PublishError::Unsent(reason)) => {
                    log::debug!("publish an event: {reason}; trying again");
                    client = None;
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(RETRY_MAX);
        }
    }
}

/// Why an event was not taken.
enum PublishError {
    /// containerd is not there, or did not answer.
    Unsent(String),
    /// containerd answered with an error.
    Refused(String),
}

async fn send(
    client: &mut Option<EventsClient>,
    address: &str,
    envelope: Envelope,
) -> Result<(), PublishError> {
    let client = match client {
        Some(client) => client,
        None => client.insert(connect(address).await?),
    };
    let request = ForwardRequest {
        envelope: Some(envelope).into(),
        ..ForwardRequest::default()
    };
    let context = context::with_duration(SEND_TIMEOUT);
    match deadline::within(SEND_TIMEOUT, client.forward(context, &request)).await {
        Some(Ok(_)) => Ok(()),
        Some(Err(ttrpc::Error::RpcStatus(status))) => Err(PublishError::Refused(status.message)),
        Some(Err(e)) => Err(PublishError::Unsent(e.to_string())),
        None => Err(PublishError::Unsent("timed out".to_owned())),
    }
}

async fn connect(address: &str) -> Result<EventsClient, PublishError> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    let stream = UnixStream::connect(path)
        .await
        .map_err(|e| PublishError::Unsent(format!("connect to {path}: {e}")))?;
    Ok(EventsClient::new(Client::new(Socket::new(stream))))
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::events::task::TaskDelete;
    use containerd_shim_protos::protobuf::Message;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_queue_is_bounded_and_keeps_the_newest() {
        let publisher = Publisher::start("/no/such/containerd", "default");
        let event = |id: usize| TaskDelete {
            container_id: id.to_string(),
            ..TaskDelete::default()
        };
        for id in 0..QUEUE_LIMIT + 5 {
            (&publisher as &dyn Events).publish(event(id));
        }
        assert_eq!(publisher.pending(), QUEUE_LIMIT);
        let last = publisher.0.lock().back().cloned().unwrap();
        let any = last.event.into_option().unwrap();
        let newest = event(QUEUE_LIMIT + 4).write_to_bytes().unwrap();
        assert_eq!(any.value, newest);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_queue_that_is_empty_again_keeps_no_room() {
        let publisher = Publisher::start("/no/such/containerd", "default");
        for _ in 0..1000 {
            (&publisher as &dyn Events).publish(TaskDelete::default());
        }
        publisher.0.lock().clear();
        assert!(publisher.0.first().is_none());
        assert!(publisher.0.lock().capacity() <= USUAL);
    }
}
