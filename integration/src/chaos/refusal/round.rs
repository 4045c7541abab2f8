//! One call that fails, from the container's begin to the next container.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::calls::may_end_the_shim;
use super::tracer::{Calls, Tracer, Wrapper};
use super::{Operation, Refusal};
use crate::Node;
use crate::chaos::clean::{self, Clean};
use crate::chaos::life::{EXEC, EXEC_EXIT, GROUP, Life};
use crate::chaos::round::{new_id, next};
use crate::chaos::{Error, HeldRuntime, Phase, Victim, strike, truth};
use crate::containerd::remains;
use crate::node::Container;
use crate::tasks::Stdio;
use crate::trace::mark;
use crate::wait::{self, SOON};

const SIGTERM: i32 = 15;
/// In which what is on its way ends.
const A_MOMENT: Duration = Duration::from_millis(100);

/// What became of a round.
#[derive(Debug, Clone)]
pub struct Seen {
    pub calls: Calls,
    /// The errors that the client of the operation was told.
    pub told: Vec<String>,
    /// Those that do not say what the kernel said.
    pub unnamed: Vec<String>,
    /// Everything that is not as it should be.
    pub faults: Vec<String>,
}

impl Seen {
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

/// A shim that is kept by a container of its own, and serves those of the rounds.
#[derive(Debug)]
pub struct Keeper<'a> {
    container: Container<'a>,
    shim: i32,
    /// What its shim has when nothing goes on: with the connection for events, which a refusal closes until the next event.
    at_rest: Held,
}

impl<'a> Keeper<'a> {
    /// Starts it.
    ///
    /// # Errors
    /// When the container does not start.
    pub fn start(node: &'a Node) -> Result<Self, Error> {
        let id = new_id();
        let builder = node.container_called(&id).annotation(GROUP, &id);
        let container = builder.start(&["sleep", "100000"])?;
        let shims = remains::shims(&node.containerd().address());
        let shim = shims.iter().find(|shim| shim.id == id);
        let shim = shim.ok_or("the keeper has no shim")?.pid;
        let mut at_rest = Held::by(shim);
        wait::until_true("the shim at rest", SOON, || {
            thread::sleep(A_MOMENT);
            let before = mem::replace(&mut at_rest, Held::by(shim));
            at_rest == before
        })?;
        Ok(Self {
            container,
            shim,
            at_rest,
        })
    }

    fn id(&self) -> &str {
        self.container.id()
    }

    /// Whether its shim is there.
    #[must_use]
    pub fn lives(&self) -> bool {
        fs::read_link(format!("/proc/{}/cwd", self.shim)).is_ok()
    }
}

/// The descriptors of a shim, by what they are of, and how many threads it has.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: Vec<String>,
    threads: usize,
}

impl Held {
    fn by(shim: i32) -> Self {
        let entries = |what| {
            let entries = fs::read_dir(format!("/proc/{shim}/{what}"));
            entries.into_iter().flatten().flatten()
        };
        let targets = entries("fd").filter_map(|entry| fs::read_link(entry.path()).ok());
        Self {
            descriptors: targets.map(|it| it.display().to_string()).collect(),
            threads: entries("task").count(),
        }
    }

    fn is_more_than(&self, before: &Self) -> bool {
        self.descriptors.len() > before.descriptors.len() || self.threads > before.threads
    }

    /// What there was not before.
    fn more_than(&self, before: &Self) -> String {
        let mut descriptors = self.descriptors.clone();
        for known in &before.descriptors {
            if let Some(at) = descriptors.iter().position(|it| it == known) {
                descriptors.swap_remove(at);
            }
        }
        format!(
            "descriptors {} to {}, threads {} to {}, new: {descriptors:?}",
            before.descriptors.len(),
            self.descriptors.len(),
            before.threads,
            self.threads
        )
    }
}

/// Runs a round; without a refusal it says what the operation calls.
///
/// # Errors
/// When the containerd is beyond use.
pub fn run(
    node: &Node,
    runtime: &HeldRuntime,
    wrapper: &Wrapper,
    keeper: &Keeper<'_>,
    operation: Operation,
    refusal: Option<&Refusal>,
) -> Result<Seen, Error> {
    let group = operation.verb().is_none().then(|| keeper.id());
    let panics = panics(node);
    let id = new_id();
    let mut life = Life::in_group(node, runtime, &id, None, group)?;
    prepare(&mut life, operation)?;
    let calls = match operation.verb() {
        Some(_) => {
            wrapper.plan(operation, &id, refusal)?;
            perform(&mut life, operation)?;
            wrapper.calls(operation, &id, refusal)?
        }
        None => {
            let output = output(node, &id);
            let tracer = Tracer::attach(keeper.shim, refusal, &output)?;
            let performed = perform(&mut life, operation);
            let calls = tracer.detach(refusal)?;
            if calls.unreal && (performed.is_err() || self::panics(node) > panics) {
                // What was to wake it never did: nothing that it does now says anything.
                kill(Pid::from_raw(keeper.shim), Signal::SIGKILL)?;
            } else {
                performed?;
            }
            calls
        }
    };
    let told = told(&life);
    clean::stop(&mut life)?;
    clean::delete(&mut life)?;
    life.settle(true)?;
    let mut faults = left(&life, operation)?;
    let ends = refusal.is_some_and(|refusal| may_end_the_shim(&refusal.call));
    let victim = match ends || operation == Operation::DeleteVerb {
        true => Victim::Shim,
        false => Victim::Reader,
    };
    faults.extend(truth::lies(&mut life, Phase::Running, victim));
    drop(life);
    if group.is_some() && !keeper.lives() {
        if !ends {
            faults.push("the shim has ended".to_owned());
        }
    } else {
        let next = next(node, runtime, &id, group);
        faults.extend(next.err().map(|error| format!("the next one: {error}")));
        let at_rest = wait::until_true("the shim at rest", SOON, || {
            !Held::by(keeper.shim).is_more_than(&keeper.at_rest)
        });
        if group.is_some() && at_rest.is_err() {
            faults.push(Held::by(keeper.shim).more_than(&keeper.at_rest));
        }
    }
    // A thread of the standard library panics where it gets no memory.
    if self::panics(node) > panics && !ends {
        faults.push("the shim has panicked".to_owned());
    }
    if calls.unreal {
        faults.clear();
    }
    Ok(Seen {
        unnamed: refusal.map_or_else(Vec::new, |refusal| unnamed(&told, refusal)),
        calls,
        told,
        faults,
    })
}

fn output(node: &Node, id: &str) -> PathBuf {
    node.containerd()
        .dir()
        .join("refused")
        .join(format!("{id}.out"))
}

/// Brings the container to where the operation begins.
fn prepare(life: &mut Life<'_>, operation: Operation) -> Result<(), Error> {
    if operation <= Operation::Create {
        return Ok(());
    }
    life.create()?;
    if operation == Operation::Start {
        return Ok(());
    }
    life.start()?;
    if operation == Operation::Delete {
        life.call(|tasks, id| tasks.kill(id, "", SIGTERM, false))?;
        life.wait_ended()?;
    }
    Ok(())
}

/// What the client does. An error is an answer like another.
fn perform(life: &mut Life<'_>, operation: Operation) -> Result<(), Error> {
    match operation {
        Operation::StartVerb | Operation::Create => {
            let stdio = life.reader.stdio();
            life.begin("Create", move |tasks, id| {
                tasks.create(id, &stdio).map(|_| None)
            });
            life.settle(false)?;
        }
        Operation::Start => {
            life.begin("Start", |tasks, id| tasks.start(id, "").map(|_| None));
            life.settle(false)?;
        }
        Operation::Exec => exec(life)?,
        Operation::Kill => {
            life.begin("Kill", |tasks, id| {
                tasks.kill(id, "", SIGTERM, false).map(|()| None)
            });
            life.settle(false)?;
            if !matches!(life.answer("Kill"), Some(Err(_))) {
                life.wait_ended()?;
            }
        }
        Operation::Delete => {
            life.begin("Delete", |tasks, id| tasks.delete(id, "").map(Some));
            life.settle(false)?;
        }
        Operation::DeleteVerb => {
            strike::kill9(strike::shim(life)?)?;
            life.wait_ended()?;
            // It was called: what it has called is written.
            let over = || written(life) && remains::calls(&life.id, "delete").is_empty();
            wait::until_true("the verb", SOON, over)?;
        }
    }
    Ok(())
}

fn written(life: &Life<'_>) -> bool {
    let output = format!("{}.delete.out", life.id);
    let dir = life.node.containerd().dir().join("refused");
    fs::metadata(dir.join(output)).is_ok_and(|output| output.len() > 0)
}

fn exec(life: &mut Life<'_>) -> Result<(), Error> {
    let script = life.script("exec", false)?;
    let script = format!("{script}; {}; exit {EXEC_EXIT}", mark("exec-exit"));
    life.begin("Exec", move |tasks, id| {
        let command = ["sh", "-c", &script];
        let made = tasks.exec(id, EXEC, &command, &Stdio::default());
        made.map(|()| None)
    });
    life.settle(false)?;
    if matches!(life.answer("Exec"), Some(Err(_))) {
        return Ok(());
    }
    life.begin("Start of the exec", |tasks, id| {
        tasks.start(id, EXEC).map(|_| None)
    });
    life.settle(false)?;
    if !matches!(life.answer("Start of the exec"), Some(Err(_))) {
        let (tasks, id) = (Arc::clone(&life.tasks), life.id.clone());
        life.answers
            .push(("Wait for the exec", tasks.wait(&id, EXEC).map(Some)));
    }
    life.begin("Delete of the exec", |tasks, id| {
        tasks.delete(id, EXEC).map(|_| None)
    });
    life.settle(false)
}

/// What the client was told that was no success.
fn told(life: &Life<'_>) -> Vec<String> {
    let errors = life.answers.iter();
    errors
        .filter_map(|(name, answer)| Some(format!("{name}: {}", answer.as_ref().err()?)))
        .collect()
}

/// The errors without the kernel's words.
fn unnamed(told: &[String], refusal: &Refusal) -> Vec<String> {
    let words = words(refusal.error);
    let has = |text: &str| text.to_lowercase().contains(&words);
    let without = told.iter().filter(|text| !has(text));
    without.cloned().collect()
}

/// What the C library says of it: the shim says the same, in small letters where the OCI runtime would.
fn words(error: &str) -> String {
    let errno = (1..134).find(|number| format!("{:?}", Errno::from_raw(*number)) == error);
    let said = errno.map(|number| io::Error::from_raw_os_error(number).to_string());
    let said = said.unwrap_or_default().to_lowercase();
    said.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// containerd calls `delete` once, and for what failed again when it is started.
fn left(life: &Life<'_>, operation: Operation) -> Result<Vec<String>, Error> {
    let verb = operation.verb().is_some();
    let is_socket = |left: &str| operation == Operation::StartVerb && clean::kind(left) == "socket";
    Ok(match clean::look(life, verb, is_socket)? {
        Clean::Deleted => Vec::new(),
        Clean::Restarted if verb => Vec::new(),
        Clean::Restarted => vec!["clean only when containerd is started again".to_owned()],
        Clean::Never(left) => {
            let left: BTreeSet<_> = left.into_iter().filter(|left| !is_socket(left)).collect();
            left.into_iter()
                .map(|left| format!("left: {left}"))
                .collect()
        }
    })
}

fn panics(node: &Node) -> usize {
    node.containerd().log().matches("shim panicked").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_words() {
        assert_eq!(words("EMFILE"), "too many open files");
        let refusal = Refusal {
            call: "mkdir".to_owned(),
            error: "ENOSPC",
            nth: 1,
        };
        let told = [
            "Create: mkdir x: no space left on device",
            "Start: it failed",
        ];
        let told = told.map(str::to_owned);
        assert_eq!(unnamed(&told, &refusal), ["Start: it failed"]);
    }
}
