//! containerd's side of the events: takes what the shims publish, and can go away.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::api::Empty;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Events, create_events};
use ttrpc::r#async::{Server, TtrpcContext};

use super::runtime;
use crate::wait;

/// An event as it came.
#[derive(Clone, Debug)]
pub struct Event {
    /// As `/tasks/start`.
    pub topic: String,
    pub any: Any,
}

impl Event {
    /// The event, decoded.
    ///
    /// # Panics
    /// Where it is of another type.
    #[must_use]
    pub fn body<M: Message>(&self) -> M {
        M::parse_from_bytes(&self.any.value).expect("an event of the topic's type")
    }
}

#[derive(Clone, Default)]
struct Taken(Arc<(Mutex<Vec<Event>>, Condvar)>);

#[async_trait]
impl Events for Taken {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope.unwrap_or_default();
        let event = Event {
            topic: envelope.topic.clone(),
            any: envelope.event.clone().unwrap_or_default(),
        };
        let (taken, came) = &*self.0;
        taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
        came.notify_all();
        Ok(Empty::new())
    }
}

/// The service, while it is up.
pub struct Daemon {
    path: PathBuf,
    taken: Taken,
    server: Mutex<Option<Server>>,
}

impl Daemon {
    /// Starts to take events at `path`.
    ///
    /// # Errors
    /// When nothing can listen there.
    pub fn start(path: &Path) -> ttrpc::Result<Self> {
        let daemon = Self {
            path: path.to_owned(),
            taken: Taken::default(),
            server: Mutex::default(),
        };
        daemon.up()?;
        Ok(daemon)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts (again).
    ///
    /// # Errors
    /// When nothing can listen there.
    pub fn up(&self) -> ttrpc::Result<()> {
        let _ = fs::remove_file(&self.path);
        let _guard = runtime().enter();
        let mut server = Server::new()
            .bind(&format!("unix://{}", self.path.display()))?
            .register_service(create_events(Arc::new(self.taken.clone())));
        runtime().block_on(server.start())?;
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }

    /// Goes away.
    pub fn down(&self) {
        let server = self
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut server) = server {
            let _ = runtime().block_on(server.shutdown());
        }
        let _ = fs::remove_file(&self.path);
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let (taken, _) = &*self.taken.0;
        taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes all events so far, after waiting for one with this topic to be among them: without a moment's delay.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub fn take_with(
        &self,
        topic: &str,
        limit: Duration,
    ) -> Result<Vec<Event>, Box<dyn Error + Send + Sync>> {
        let topic = format!("/tasks/{topic}");
        let (taken, came) = &*self.taken.0;
        let events = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |events: &mut Vec<Event>| !events.iter().any(|event| event.topic == topic);
        let waited = came.wait_timeout_while(events, limit, missing);
        let (mut events, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Err(format!("no event {topic} within {limit:?}").into());
        }
        Ok(std::mem::take(&mut *events))
    }

    /// Their topics without `/tasks/`.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let events = self.events();
        let topics = events
            .iter()
            .map(|event| event.topic.trim_start_matches("/tasks/").to_owned());
        topics.collect()
    }

    /// Waits for the first event with this topic.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub fn wait(&self, topic: &str, limit: Duration) -> Result<Event, wait::TimedOut> {
        let topic = format!("/tasks/{topic}");
        wait::until(
            &format!("event {topic}, have {:?}", self.topics()),
            limit,
            || self.events().into_iter().find(|event| event.topic == topic),
        )
    }

    /// Waits until there are so many events.
    ///
    /// # Errors
    /// When there are fewer after `limit`.
    pub fn wait_count(&self, count: usize, limit: Duration) -> Result<Vec<String>, wait::TimedOut> {
        wait::until(&format!("{count} events"), limit, || {
            let topics = self.topics();
            (topics.len() >= count).then_some(topics)
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.down();
    }
}
