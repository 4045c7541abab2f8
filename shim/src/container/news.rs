//! What of a container's record the node's journal does not have yet.

use podhook_hooks::journal::{Entry, Event};
use podhook_hooks::record::Record;

#[derive(Default)]
pub struct News {
    /// The hooks whose result stands, but not all that there is to know.
    given_up: Vec<usize>,
    /// The hooks that it has.
    told: Vec<usize>,
    /// It has the container's end.
    end: bool,
}

impl News {
    /// The hook of that place in the record is given up. More may come to be known of it, until the container has ended.
    pub fn given_up(&mut self, hook: usize) {
        self.given_up.push(hook);
    }

    /// All is known of the hook of that place.
    pub fn complete(&mut self, hook: usize) {
        self.given_up.retain(|given_up| *given_up != hook);
    }

    /// What it is to be told now.
    pub fn of(&mut self, record: &Record) -> Vec<Entry> {
        let termination = record.termination.as_ref();
        let ended = termination.is_some_and(|end| end.exit_status.is_some());
        let mut news = Vec::new();
        for (n, hook) in record.hooks.iter().enumerate() {
            let is_late = !ended && self.given_up.contains(&n);
            if hook.result.is_some() && !is_late && !self.told.contains(&n) {
                self.told.push(n);
                news.push(Entry {
                    hook: Some(hook.clone()),
                    ..Entry::now(Event::HookEnded, record)
                });
            }
        }
        if ended && !std::mem::replace(&mut self.end, true) {
            news.push(Entry {
                termination: record.termination.clone(),
                ..Entry::now(Event::ContainerEnded, record)
            });
        }
        news
    }
}
