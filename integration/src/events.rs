//! containerd's events, in the order they came, from `ctr events`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use crate::wait::{self, TimedOut};

#[derive(Debug, Clone)]
pub struct Event {
    /// When it arrived here.
    pub received: Instant,
    /// When it was published.
    pub published: Timestamp,
    pub namespace: String,
    /// The topic, as `/tasks/start`.
    pub topic: String,
    pub body: Value,
}

impl Event {
    /// The same event, told twice: a shim (the original, too) sends it again when a busy containerd has not taken it in
    /// five seconds.
    fn is_same(&self, other: &Self) -> bool {
        (self.published, &self.topic, &self.body) == (other.published, &other.topic, &other.body)
    }

    /// The container it is about; empty for events of other things.
    #[must_use]
    pub fn container_id(&self) -> &str {
        self.body["container_id"].as_str().unwrap_or_default()
    }

    /// The process of a `/tasks/exit`: the container's own id for its init, else the exec's.
    #[must_use]
    pub fn process_id(&self) -> &str {
        self.body["id"]
            .as_str()
            .or_else(|| self.body["exec_id"].as_str())
            .unwrap_or_default()
    }

    /// The exit status of a `/tasks/exit` or `/tasks/delete`; 0 is left out on the wire.
    #[must_use]
    pub fn exit_status(&self) -> i64 {
        self.body["exit_status"].as_i64().unwrap_or(0)
    }
}

/// The subscription: everything since it was made.
#[derive(Debug, Default)]
pub struct Events {
    seen: Arc<Mutex<Vec<Event>>>,
    child: Mutex<Option<Child>>,
}

impl Events {
    /// Runs `ctr events`, instead of the one that runs already if any.
    pub(crate) fn subscribe(&self, mut ctr: Command) -> std::io::Result<()> {
        self.stop();
        let mut child = ctr
            .arg("events")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(output) = child.stdout.take() {
            let seen = Arc::clone(&self.seen);
            thread::spawn(move || collect(output, &seen));
        }
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }

    /// Ends the subscription; what it saw stays.
    pub fn stop(&self) {
        if let Some(mut child) = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All events so far.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The task events of one container so far.
    #[must_use]
    pub fn of(&self, container: &str) -> Vec<Event> {
        self.lock()
            .iter()
            .filter(|e| e.topic.starts_with("/tasks/") && e.container_id() == container)
            .cloned()
            .collect()
    }

    /// The topics of one container's task events without the prefix: `["create", "start", "exit", "delete"]`.
    #[must_use]
    pub fn topics(&self, container: &str) -> Vec<String> {
        self.of(container)
            .iter()
            .map(|e| e.topic.trim_start_matches("/tasks/").to_owned())
            .collect()
    }

    /// The container's topics are these, as [`Self::topics`] has them: one may be told a moment later than the answer that it
    /// belongs to.
    ///
    /// # Panics
    /// Where they do not become these.
    #[track_caller]
    pub fn are<const N: usize>(&self, container: &str, topics: [&str; N]) {
        let _ = wait::until_true("its events", wait::SOON, || {
            self.topics(container) == topics
        });
        assert_eq!(self.topics(container), topics);
    }

    /// Waits for an event of `container` with this topic (as `exit`) and gives the first.
    ///
    /// # Errors
    /// When none came within `limit`.
    pub fn wait(&self, container: &str, topic: &str, limit: Duration) -> Result<Event, TimedOut> {
        let topic = format!("/tasks/{topic}");
        wait::until(&format!("event {topic} of {container}"), limit, || {
            self.of(container)
                .into_iter()
                .find(|event| event.topic == topic)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stop();
    }
}

fn collect(output: ChildStdout, seen: &Mutex<Vec<Event>>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(event) = parse(&line) {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if !seen.iter().any(|other| other.is_same(&event)) {
                seen.push(event);
            }
        }
    }
}

/// `2026-01-02 15:04:05.1 +0000 UTC NAMESPACE TOPIC {JSON}`; the namespace may be empty.
fn parse(line: &str) -> Option<Event> {
    let (head, body) = line.split_at(line.find('{')?);
    let (head, topic) = head.trim_end().rsplit_once(' ')?;
    let mut words = head.splitn(5, ' ');
    let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
    Some(Event {
        received: Instant::now(),
        published: format!("{date}T{time}{zone}").parse().ok()?,
        namespace: words.nth(1).unwrap_or_default().to_owned(),
        topic: topic.to_owned(),
        body: serde_json::from_str(body).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_line_of_ctr_events_gives_namespace_topic_and_body() {
        let line = r#"2026-11-23 20:00:00.123 +0000 UTC k8s.io /tasks/exit {"container_id":"c1","id":"e1","exit_status":7}"#;
        let event = parse(line).expect("an event");
        assert_eq!(
            (event.namespace.as_str(), event.topic.as_str()),
            ("k8s.io", "/tasks/exit")
        );
        assert_eq!(
            (
                event.container_id(),
                event.process_id(),
                event.exit_status()
            ),
            ("c1", "e1", 7)
        );
    }

    #[test]
    fn what_is_no_event_is_ignored() {
        assert!(parse("ctr: something failed").is_none());
        assert!(parse("2026-11-23 20:00:00.123 +0000 UTC k8s.io /tasks/exit {not json").is_none());
    }
}
