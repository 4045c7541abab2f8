//! Follows one pod's container from the outside while the scene goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use podhook::clock;
use podhook_integration::Containerd;
use podhook_integration::cri::{Cri, v1};
use podhook_integration::record::{Record, Watch};
use podhook_integration::wait::{self, SOON};

use crate::stage::Error;
use crate::timeline::Timeline;

/// The observer of a pod with one container.
#[derive(Debug)]
pub struct Observer {
    containerd: Arc<Containerd>,
    pod: String,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    id: Option<String>,
    record: Option<Watch>,
    /// The states of CRI, each when it was first seen.
    states: Vec<(Timestamp, &'static str)>,
}

impl Observer {
    /// Starts before the pod exists.
    pub fn start(containerd: Arc<Containerd>, pod: &str) -> Result<Self, Error> {
        containerd.cri()?;
        let mut observer = Self {
            containerd,
            pod: pod.to_owned(),
            seen: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let (containerd, seen, stop) = (
            Arc::clone(&observer.containerd),
            Arc::clone(&observer.seen),
            Arc::clone(&observer.stop),
        );
        let pod = pod.to_owned();
        observer.thread = Some(thread::spawn(move || {
            while let (false, Ok(cri)) = (stop.load(Ordering::Relaxed), containerd.cri()) {
                look(&containerd, cri, &pod, &seen);
                thread::sleep(Duration::from_millis(3));
            }
        }));
        Ok(observer)
    }

    /// The container's id, once there is one.
    pub fn id(&self) -> Result<String, Error> {
        Ok(wait::until(
            &format!("a container of {}", self.pod),
            SOON,
            || lock(&self.seen).id.clone(),
        )?)
    }

    /// The CRI states seen so far, in order.
    pub fn states(&self) -> Vec<&'static str> {
        lock(&self.seen)
            .states
            .iter()
            .map(|(_, state)| *state)
            .collect()
    }

    /// The latest record of the hooks.
    pub fn record(&self) -> Record {
        lock(&self.seen)
            .record
            .as_ref()
            .map(Watch::latest)
            .unwrap_or_default()
    }

    /// Waits until CRI has said `state`.
    pub fn wait_state(&self, state: &str) -> Result<(), Error> {
        Ok(wait::until_true(
            &format!("{} to be {state}", self.pod),
            SOON,
            || self.states().contains(&state),
        )?)
    }

    /// The exit status, from containerd's event.
    pub fn exit_status(&self) -> Result<i64, Error> {
        Ok(self
            .containerd
            .events()
            .wait(&self.id()?, "exit", SOON)?
            .exit_status())
    }

    /// Everything that was seen, once the pod is gone.
    pub fn timeline(&self) -> Result<Timeline, Error> {
        let id = self.id()?;
        let mut timeline = Timeline::new(&self.pod);
        timeline.events(&self.containerd.events().of(&id));
        timeline.record(&self.record());
        for (at, state) in &lock(&self.seen).states {
            timeline.add(*at, &format!("CRI says {state}"));
        }
        Ok(timeline)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One look at the pod.
fn look(containerd: &Containerd, cri: &Cri, pod: &str, seen: &Mutex<Seen>) {
    let request = v1::ListContainersRequest { filter: None };
    let Ok(answer) = cri.list_containers(request) else {
        return;
    };
    let is_ours = |c: &&v1::Container| {
        c.labels
            .get("io.kubernetes.pod.name")
            .is_some_and(|name| name == pod)
    };
    let Some(container) = answer.containers.iter().find(is_ours) else {
        return;
    };
    let mut seen = lock(seen);
    if seen.id.is_none() {
        seen.id = Some(container.id.clone());
        seen.record = Some(Watch::start(containerd.bundle("k8s.io", &container.id)));
    }
    let state = container.state().as_str_name();
    if seen.states.last().is_none_or(|(_, last)| *last != state) {
        seen.states.push((clock::now(), state));
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
