//! One fault from its begin to the next container.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use super::clean::{self, Clean};
use super::life::{EXIT, LAST_WORDS, Life, begin};
use super::runtime::HeldRuntime;
use super::{Error, Phase, Seed, Victim, approach, strike, truth};
use crate::wait::{self, SOON};
use crate::{Generation, Node};

/// What became of a round.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What the client was answered, in a few words.
    pub answers: String,
    pub clean: Clean,
    /// Whether only a start of containerd can clean up.
    may_need_restart: bool,
    /// Every answer that was not true, and every hook that ran twice.
    pub lies: Vec<String>,
    /// Why the next container of that id did not work, if so.
    pub next: Option<String>,
}

impl Seen {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_good(&self, phase: Phase, victim: Victim) -> bool {
        let clean = match &self.clean {
            Clean::Deleted => true,
            Clean::Restarted => self.may_need_restart,
            Clean::Never(left) => left.iter().all(|left| is_excused(phase, victim, left)),
        };
        clean && self.lies.is_empty() && self.next.is_none()
    }

    /// The cell of a table.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut words = vec![self.answers.clone()];
        match &self.clean {
            Clean::Deleted => {}
            Clean::Restarted => words.push("clean when containerd is started again".to_owned()),
            Clean::Never(left) => {
                let kinds: BTreeSet<_> = left.iter().map(|left| clean::kind(left)).collect();
                let kinds: Vec<_> = kinds.into_iter().collect();
                words.push(format!("**left: {}**", kinds.join(", ")));
            }
        }
        words.extend(self.lies.iter().map(|lie| format!("**{lie}**")));
        if self.next.is_some() {
            words.push("**the next one fails**".to_owned());
        }
        words.retain(|word| !word.is_empty());
        words.join("; ")
    }
}

/// containerd calls `delete` once, and again when it is started. That of 1.6, started again, keeps a shim that was started and has no
/// task (containerd#6860).
fn needs_restart(phase: Phase, victim: Victim, generation: Generation) -> bool {
    match (phase, victim) {
        (Phase::DeleteVerb, Victim::Shim) => true,
        (Phase::BundleMade, Victim::Containerd) => generation == Generation::V1_6,
        _ => false,
    }
}

/// For a `start` that was killed containerd calls nothing: the name of its socket stays for the next `start` of the id.
fn is_excused(phase: Phase, victim: Victim, left: &str) -> bool {
    phase == Phase::BundleMade && victim == Victim::Shim && clean::kind(left) == "socket"
}

/// How often a moment may be missed that nothing holds.
const TRIES: usize = 20;

/// Runs a round.
///
/// # Errors
/// When the phase could not be reached, or the containerd is beyond use.
pub fn run(
    node: &Node,
    runtime: &HeldRuntime,
    phase: Phase,
    victim: Victim,
    seed: &mut Seed,
) -> Result<Seen, Error> {
    for _ in 0..TRIES {
        if let Some(seen) = attempt(node, runtime, phase, victim, seed)? {
            return Ok(seen);
        }
    }
    Err(format!("{phase} was missed {TRIES} times").into())
}

fn attempt(
    node: &Node,
    runtime: &HeldRuntime,
    phase: Phase,
    victim: Victim,
    seed: &mut Seed,
) -> Result<Option<Seen>, Error> {
    let id = new_id();
    let mut life = Life::new(node, runtime, &id, Some(phase))?;
    if !approach::to(&mut life, phase, victim, seed)? {
        strike::release(&mut life)?;
        life.settle(false)?;
        clean::delete(&mut life)?;
        return Ok(None);
    }
    strike::kill_victim(&mut life, phase, victim, seed)?;
    strike::release(&mut life)?;
    life.settle(false)?;
    if phase == Phase::Create && node.containerd().generation() == Generation::V1_6 {
        // A containerd of 1.6 that was started again says that there is no such task, until there is one (containerd#6860).
        strike::wait_for_runtime(&life)?;
    }
    if victim.spares_the_container() || victim == Victim::Containerd {
        clean::stop(&mut life)?;
    }
    clean::delete(&mut life)?;
    life.settle(true)?;
    let _ = wait::until_true("the last output", SOON / 6, || {
        life.reader.has(LAST_WORDS) || !life.trace.has("exit")
    });
    let excused = |left: &str| is_excused(phase, victim, left);
    let may_need_restart = needs_restart(phase, victim, node.containerd().generation());
    let clean = clean::look(&life, may_need_restart, excused)?;
    let lies = truth::lies(&mut life, phase, victim);
    Ok(Some(Seen {
        answers: answers(&life),
        clean,
        may_need_restart,
        lies,
        next: next(node, runtime, &id, None)
            .err()
            .map(|error| error.to_string()),
    }))
}

/// No part of another one, here or of another run.
pub(super) fn new_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("chaos-{}-{count}-x", std::process::id())
}

/// What the calls that were under way were answered, and the statuses.
fn answers(life: &Life<'_>) -> String {
    let mut words = Vec::new();
    let mut statuses = BTreeSet::new();
    for (name, answer) in &life.answers {
        match answer {
            Ok(Some(status)) if *name == "Wait for the exec" => {
                words.push(format!("exec: {status}"));
            }
            Ok(Some(status)) => drop(statuses.insert(*status)),
            Ok(None) => words.push(format!("{name}: done")),
            Err(_) if *name == "Wait" => {}
            Err(_) if *name == "Wait for the exec" => words.push("exec: error".to_owned()),
            Err(_) => words.push(format!("{name}: error")),
        }
    }
    let statuses: Vec<_> = statuses.iter().map(u32::to_string).collect();
    match statuses.is_empty() {
        false => words.push(format!("status {}", statuses.join(" and "))),
        // Its shim is gone before it can say.
        true if words.is_empty() => words.push("Wait: error".to_owned()),
        true => {}
    }
    words.join(", ")
}

/// The next container of that id lives as if nothing had been.
pub(super) fn next(
    node: &Node,
    runtime: &HeldRuntime,
    id: &str,
    group: Option<&str>,
) -> Result<(), Error> {
    let mut life = Life::in_group(node, runtime, id, None, group)?;
    life.create()?;
    life.start()?;
    clean::stop(&mut life)?;
    clean::delete(&mut life)?;
    life.settle(true)?;
    let wanted = |answer: &(&str, super::life::Answer)| matches!(answer, (_, Ok(Some(EXIT))));
    if let Some((name, answer)) = life.answers.iter().find(|answer| !wanted(answer)) {
        return Err(format!("{name}: {answer:?}").into());
    }
    let read = wait::until_true("its output", SOON, || life.reader.has(LAST_WORDS));
    read?;
    let hooks = ["postStart", "preStop"].map(|hook| life.trace.count(&begin(hook)));
    let once = if node.shim().is_podhook() {
        [1, 1]
    } else {
        [0, 0]
    };
    if hooks != once {
        return Err(format!("its hooks ran {hooks:?} times").into());
    }
    match clean::look(&life, false, |_| false)? {
        Clean::Deleted => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
