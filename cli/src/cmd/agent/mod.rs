//! `podhook agent`: what became of hooks, where Kubernetes' users look.
//!
//! [`Agent::follow`] reads the journal: each line is counted ([`counts`]), and where it is a [`notice`] to a pod's users it becomes an
//! Event, or the count of one ([`correlate`]). What is to be posted waits in the [`outbox`], which outlives the agent, and [`post`]
//! tells the API server. Neither waits for the other, unless too much waits. [`questions`] answers who asks from elsewhere.

mod by_hand;
mod conditions;
mod correlate;
mod counts;
mod notice;
mod outbox;
mod post;
mod questions;
mod serve;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::error::Error;
use super::interrupt::Interrupts;
use super::listen;
use crate::args;
use crate::cluster::Api;
use crate::node::journal::{self, Follower, Item, Reader};
use crate::node::{machine, metrics, state};
use crate::output::escape;
use counts::{Counts, Told};
use outbox::Outbox;

/// How long the shims may take to say what they have counted.
const SHIMS: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// When the journal cannot be followed, `--listen` cannot be, or nothing says how to reach the API server.
pub async fn run(global: &args::Global, args: &args::Agent) -> Result<(), Error> {
    let api = match &args.kubeconfig {
        Some(path) => Api::of_kubeconfig(path)?,
        None => Api::of_this_pod().map_err(by_hand::outside)?,
    };
    let directory = state::directory(global).await;
    let folder = journal::folder(args.journal.journal.as_deref(), &directory)?;
    let file = args.position.clone();
    let file = file.unwrap_or_else(|| global.root_dir.join("agent.json"));
    if let Some(above) = file.parent() {
        // What is wrong with it is said when the file is written.
        let _ = std::fs::create_dir_all(above);
    }
    let name = args.node.clone().unwrap_or_else(machine::name);
    // In a pod the name comes from the API itself, and the account may not ask for nodes.
    if args.kubeconfig.is_some() {
        let (api, name) = (api.clone(), name.clone());
        tokio::spawn(async move {
            if let Some(doubt) = by_hand::no_such_node(&api, &name).await {
                eprintln!("{}", escape::visible(&doubt));
            }
        });
    }
    let agent = Arc::new(Agent::new(
        metrics::Node {
            state: directory,
            timeout: SHIMS,
        },
        name,
        &file,
        Tells {
            output: !args.no_output,
            condition: args.pod_condition,
        },
    ));
    let mut interrupts = Interrupts::new()?;
    let listener = match &args.listen {
        Some(address) => Some(listen::bind_local(address, args.allow_remote).await?),
        None => None,
    };
    let serving = async {
        match listener {
            Some(listener) => {
                eprintln!("serving http://{}/metrics", listener.local_addr()?);
                serve::run(Arc::clone(&agent), listener).await;
            }
            None => std::future::pending().await,
        }
        Ok(())
    };
    let desk = match &args.answer {
        Some(address) => Some(questions::bind(address).await?),
        None => None,
    };
    let answering = async {
        match desk {
            Some(listener) => {
                let desk = questions::Desk {
                    agent: Arc::clone(&agent),
                    api: api.clone(),
                    journal: folder.clone(),
                };
                questions::run(Arc::new(desk), listener).await;
            }
            None => std::future::pending().await,
        }
        Ok(())
    };
    eprintln!(
        "{}",
        escape::visible(&format!("following {}", folder.display()))
    );
    let work = async {
        tokio::select! {
            ended = agent.follow(&folder) => ended,
            ended = serving => ended,
            ended = answering => ended,
            never = post::run(&agent, &api) => never,
        }
    };
    match interrupts.stop(work).await {
        // That is how it ends.
        Err(Error::Interrupted) => Ok(()),
        other => other,
    }
}

/// What its parts share.
#[derive(Debug)]
struct Agent {
    node: metrics::Node,
    name: String,
    tells: Tells,
    state: Mutex<State>,
    /// Something waits to be posted.
    written: Notify,
    /// Something waits no more.
    posted: Notify,
}

/// What is told beside Events.
#[derive(Debug, Clone, Copy)]
struct Tells {
    /// What hooks have printed.
    output: bool,
    /// A condition of pods.
    condition: bool,
}

#[derive(Debug)]
struct State {
    file: PathBuf,
    outbox: Outbox,
    counts: Counts,
    /// What was last wrong with the file: said once.
    said: String,
}

impl Agent {
    fn new(node: metrics::Node, name: String, file: &Path, tells: Tells) -> Self {
        let state = State {
            file: file.to_owned(),
            outbox: Outbox::load(file),
            counts: Counts::default(),
            said: String::new(),
        };
        Self {
            node,
            name,
            tells,
            state: Mutex::new(state),
            written: Notify::new(),
            posted: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the journal from where it was read to, for ever.
    async fn follow(&self, folder: &Path) -> Result<(), Error> {
        let position = self.state().outbox.position.clone();
        let reader = match &position {
            Some(position) => Reader::from(folder, position),
            None => Reader::new(folder),
        };
        let mut follower = Follower::new(reader)?;
        loop {
            let items = follower.next().await?;
            self.take(items, &follower);
            while self.state().outbox.is_full() {
                self.posted.notified().await;
            }
        }
    }

    fn take(&self, items: Vec<Item>, follower: &Follower) {
        let mut state = self.state();
        for item in items {
            match item {
                Ok(line) => self.line(&mut state, &line),
                Err(e) => {
                    state.counts.unreadable();
                    eprintln!("warning: {}", escape::lines(&e.to_string()));
                }
            }
        }
        state.outbox.position = follower.reader().position();
        state.save();
        drop(state);
        self.written.notify_one();
    }

    fn line(&self, state: &mut State, line: &journal::Line) {
        state.counts.line(&line.entry);
        let now = notice::millis(SystemTime::now());
        if self.tells.condition {
            let conditions = &mut state.outbox.conditions;
            if let Some(pod) = conditions.take(&line.entry, self.tells.output, now) {
                state.outbox.put_status(pod, now);
            }
        }
        let Some(mut notice) = notice::of(&line.entry, self.tells.output) else {
            return;
        };
        // A clock that was ahead for a while.
        notice.time = notice.time.min(now);
        if now.saturating_sub(notice.time) > correlate::EVENT_AGE {
            return state.counts.told(Told::TooOld);
        }
        match state.outbox.correlator.take(notice) {
            Some(counted) => state.outbox.put(&counted, &self.name),
            None => state.counts.told(Told::Suppressed),
        }
    }
}

impl State {
    /// Without the file the agent goes on: what it posts has its name all the same.
    fn save(&mut self) {
        let said = match self.outbox.save(&self.file) {
            Ok(()) => String::new(),
            Err(e) => {
                format!("warning: cannot keep how far the journal was read: {e} (--position)")
            }
        };
        if said != self.said && !said.is_empty() {
            eprintln!("{}", escape::lines(&said));
        }
        self.said = said;
    }

    fn page(&mut self) -> String {
        let waiting = self.outbox.waiting.len();
        self.counts.page(waiting)
    }
}
