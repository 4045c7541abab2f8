//! Lines for the node's journal, which a container's hooks do not wait for: they are written apart, in their order, one at a
//! time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podhook_hooks::journal::{Entry, Journal};
use podhook_hooks::task;
use tokio::sync::Notify;

use crate::host::{apart, memory};

/// How many may wait for a disk that does not answer. What comes then is lost.
const MAX_WAITING: usize = 64;

#[derive(Default)]
pub struct Journaling {
    queue: Mutex<Queue>,
    idle: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<Journal>, Entry)>,
    /// Somebody writes them.
    is_written: bool,
    /// The last line could not be written, or had no place.
    is_failing: bool,
}

impl Journaling {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes this soon, and not before whoever waits for the caller has its answer.
    pub fn append(self: &Arc<Self>, journal: &Arc<Journal>, entry: Entry) {
        let mut queue = self.lock();
        if queue.waiting.len() >= MAX_WAITING {
            drop(queue);
            self.failed(&"a line is lost: those before it are not written yet");
            return;
        }
        queue.waiting.push_back((Arc::clone(journal), entry));
        if std::mem::replace(&mut queue.is_written, true) {
            return;
        }
        drop(queue);
        let own = Arc::clone(self);
        task::spawn(async move {
            // Nobody waits for it but `flush`.
            drop(apart::start(move || own.write()));
        });
    }

    /// Waits until all is written, so long at the most.
    pub async fn flush(&self, limit: Duration) {
        let written = async {
            loop {
                let idle = self.idle.notified();
                if !self.lock().is_written {
                    return;
                }
                idle.await;
            }
        };
        if tokio::time::timeout(limit, written).await.is_err() {
            let lost = self.lock().waiting.len();
            log::warn!("journal: the shim ends, and {lost} lines and one under way are lost");
        }
    }

    fn write(&self) {
        while let Some((journal, entry)) = self.next() {
            match journal.append(&entry) {
                Ok(()) => self.worked(&journal),
                Err(e) => self.failed(&e),
            }
        }
        memory::worked();
    }

    fn next(&self) -> Option<(Arc<Journal>, Entry)> {
        let mut queue = self.lock();
        let next = queue.waiting.pop_front();
        if next.is_none() {
            // Not an empty one with room, for the days to come.
            queue.waiting = VecDeque::new();
            queue.is_written = false;
            self.idle.notify_waiters();
        }
        next
    }

    /// Says so once, until a line is written again.
    fn failed(&self, why: &dyn std::fmt::Display) {
        match std::mem::replace(&mut self.lock().is_failing, true) {
            false => log::warn!("journal: {why}: results of hooks go with their containers"),
            true => log::debug!("journal: {why}"),
        }
    }

    fn worked(&self, journal: &Journal) {
        if std::mem::take(&mut self.lock().is_failing) {
            log::info!("journal: {} is written again", journal.folder().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use podhook_hooks::config::JournalKeys;
    use podhook_hooks::journal::Event;
    use podhook_hooks::record::Record;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn journal(state: &Path) -> Arc<Journal> {
        Arc::new(Journal::of(&JournalKeys::default(), Some(state)).unwrap())
    }

    fn entry(id: usize) -> Entry {
        Entry::now(
            Event::ContainerEnded,
            &Record::new(id.to_string(), "default", None),
        )
    }

    /// The ids of the lines.
    fn written(journal: &Journal) -> Vec<usize> {
        let files = std::fs::read_dir(journal.folder()).unwrap();
        let text = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let text: String = text.collect();
        let id = |line: &str| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            json["id"].as_str().unwrap().parse().unwrap()
        };
        text.lines().map(id).collect()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn lines_are_written_in_order_and_flush_waits_for_them() {
        let state = tempfile::tempdir().unwrap();
        let (journaling, journal) = (Arc::<Journaling>::default(), journal(state.path()));
        for id in 0..MAX_WAITING {
            journaling.append(&journal, entry(id));
        }
        journaling.flush(LIMIT).await;
        assert_eq!(written(&journal), (0..MAX_WAITING).collect::<Vec<_>>());
        assert_eq!(journaling.lock().waiting.capacity(), 0);
        // There is nothing to wait for.
        journaling.flush(LIMIT).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_disk_that_does_not_answer_holds_up_nobody_and_costs_little() {
        let state = tempfile::tempdir().unwrap();
        let (journaling, journal) = (Arc::<Journaling>::default(), journal(state.path()));
        // As if somebody wrote.
        journaling.lock().is_written = true;
        for id in 0..MAX_WAITING * 2 {
            journaling.append(&journal, entry(id));
        }
        assert_eq!(journaling.lock().waiting.len(), MAX_WAITING);
        assert!(journaling.lock().is_failing);
        journaling.flush(Duration::from_millis(1)).await;
        journaling.write();
        assert_eq!(written(&journal).len(), MAX_WAITING);
        assert!(!journaling.lock().is_failing);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_journal_that_cannot_be_written_fails_nothing() {
        let (journaling, journal) = (
            Arc::<Journaling>::default(),
            journal(Path::new("/nowhere/at/all")),
        );
        journaling.append(&journal, entry(1));
        journaling.flush(LIMIT).await;
        assert!(journaling.lock().is_failing);
    }
}
