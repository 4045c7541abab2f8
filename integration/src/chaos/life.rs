//! One container as its clients have it: what it runs, the calls that are under way, and what they were answered.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::json;

use super::gate::Gate;
use super::reader::Reader;
use super::runtime::{HeldCall, HeldRuntime};
use super::{Error, Phase};
use crate::Node;
use crate::hanging::Hanging;
use crate::node::Container;
use crate::tasks::{self, Tasks};
use crate::trace::{Trace, mark};
use crate::wait;

/// The exec's name.
pub const EXEC: &str = "e";
/// The status that init ends with, by itself, when it has left the mark `exit`.
pub const EXIT: u32 = 7;
/// That of the exec, with the mark `exec-exit`.
pub const EXEC_EXIT: u32 = 5;
/// What init writes last.
pub const LAST_WORDS: &str = "goodbye";

/// The annotation that names the container whose shim serves this one.
pub const GROUP: &str = "io.containerd.runc.v2.group";

/// A call's answer: the exit status, if it is one that has one.
pub type Answer = Result<Option<u32>, tasks::Error>;

/// A container and its clients.
#[derive(Debug)]
pub struct Life<'a> {
    pub node: &'a Node,
    pub runtime: &'a HeldRuntime,
    pub tasks: Arc<Tasks>,
    pub id: String,
    pub trace: Trace,
    pub reader: Reader,
    /// The container in containerd's hands, once it is.
    pub container: Option<Container<'a>>,
    /// Init's process, once a client knows it.
    pub init: Option<u32>,
    /// The call of the OCI runtime that waits.
    pub held: Option<HeldCall>,
    /// The process of the OCI runtime, or of a shim's verb, that was found.
    pub found: Option<i32>,
    pub hanging: Option<Hanging>,
    gates: Vec<Gate>,
    under_way: Vec<(&'static str, JoinHandle<Answer>)>,
    pub answers: Vec<(&'static str, Answer)>,
}

impl<'a> Life<'a> {
    /// A container that is held where `phase` is, if that is one of its own scripts.
    pub fn new(
        node: &'a Node,
        runtime: &'a HeldRuntime,
        id: &str,
        phase: Option<Phase>,
    ) -> Result<Self, Error> {
        Self::in_group(node, runtime, id, phase, None)
    }

    /// The same in the shim of another container, `group`.
    pub fn in_group(
        node: &'a Node,
        runtime: &'a HeldRuntime,
        id: &str,
        phase: Option<Phase>,
        group: Option<&str>,
    ) -> Result<Self, Error> {
        let trace = Trace::new(node)?;
        let reader = Reader::open(trace.dir())?;
        let mut this = Self {
            node,
            runtime,
            tasks: Arc::new(node.tasks()?),
            id: id.to_owned(),
            trace,
            reader,
            container: None,
            init: None,
            held: None,
            found: None,
            hanging: None,
            gates: Vec::new(),
            under_way: Vec::new(),
            answers: Vec::new(),
        };
        let mut builder = node
            .container_called(id)
            .flag(["--mount", &this.trace.mount()]);
        if let Some(group) = group {
            builder = builder.annotation(GROUP, group);
        }
        if node.shim().is_podhook() {
            let hook = |name: &str, held: bool, this: &mut Self| {
                let script = this.script(name, held)?;
                Ok::<_, Error>(json!({"exec": {"command": ["sh", "-c", script]}}))
            };
            let lifecycle = json!({
                "postStart": hook("postStart", phase == Some(Phase::PostStart), &mut this)?,
                "preStop": hook("preStop", phase == Some(Phase::PreStop), &mut this)?,
            });
            builder = builder.lifecycle(&lifecycle.to_string());
        }
        let end = this.script("term", phase == Some(Phase::Signalled))?;
        let exit = mark("exit");
        let script = format!(
            "trap '{end}; echo {LAST_WORDS}; {exit}; exit {EXIT}' TERM; echo ready; {}; \
             while :; do sleep 600 & wait $!; done",
            mark("ready")
        );
        this.container = Some(builder.create(&["sh", "-c", &script])?);
        Ok(this)
    }

    /// Marks its begin and its end, and waits between if it is held. Its processes have the container's id, and `name`, in their arguments.
    pub fn script(&mut self, name: &str, held: bool) -> Result<String, Error> {
        let mut script = format!(": {}; {}", self.token(name), mark(&begin(name)));
        if held {
            let gate = format!("{name}.gate");
            self.gates.push(Gate::close(&self.trace.dir().join(&gate))?);
            script += &format!("; read _ < {}/{gate}", crate::trace::INSIDE);
        }
        Ok(format!("{script}; {}", mark(&format!("{name}-end"))))
    }

    /// What the arguments of that script have.
    pub fn token(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    /// Lets everything go on that is held, for good.
    pub fn release(&mut self) -> Result<(), Error> {
        for gate in &mut self.gates {
            gate.open()?;
        }
        if let Some(held) = &mut self.held {
            held.release()?;
        }
        if let Some(hanging) = self.hanging.take() {
            hanging.answer();
        }
        Ok(())
    }

    /// Makes a call, and waits for its answer.
    pub fn call<T>(
        &mut self,
        call: impl FnOnce(&Tasks, &str) -> Result<T, tasks::Error>,
    ) -> Result<T, Error> {
        Ok(call(&self.tasks, &self.id)?)
    }

    /// Makes a call that may be under way for long.
    pub fn begin(
        &mut self,
        name: &'static str,
        call: impl FnOnce(&Tasks, &str) -> Answer + Send + 'static,
    ) {
        let (tasks, id) = (Arc::clone(&self.tasks), self.id.clone());
        let thread = thread::spawn(move || call(&tasks, &id));
        self.under_way.push((name, thread));
    }

    /// Whether a call is under way that has no answer yet.
    pub fn is_under_way(&self, name: &str) -> bool {
        let mut calls = self.under_way.iter();
        calls.any(|(call, thread)| *call == name && !thread.is_finished())
    }

    /// Waits for the answers of all calls but those that wait for an end, or with `all` of these too.
    pub fn settle(&mut self, all: bool) -> Result<(), Error> {
        for (name, thread) in std::mem::take(&mut self.under_way) {
            if !all && name.starts_with("Wait") {
                self.under_way.push((name, thread));
                continue;
            }
            let answer = thread.join().map_err(|_| format!("{name} panicked"))?;
            self.answers.push((name, answer));
        }
        Ok(())
    }

    pub fn answer(&self, name: &str) -> Option<&Answer> {
        let mut answers = self.answers.iter();
        answers.find_map(|(call, answer)| (*call == name).then_some(answer))
    }

    pub fn bundle(&self) -> PathBuf {
        let namespace = self.node.ctr().namespace().to_owned();
        self.node.containerd().bundle(&namespace, &self.id)
    }

    /// Waits for a mark, unless the container's end comes first.
    pub fn wait_mark(&self, name: &str) -> Result<(), Error> {
        Ok(self.trace.wait(name)?)
    }

    pub fn create(&mut self) -> Result<(), Error> {
        let stdio = self.reader.stdio();
        let pid = self.call(|tasks, id| tasks.create(id, &stdio))?;
        self.init = Some(pid);
        self.begin("Wait", |tasks, id| tasks.wait(id, "").map(Some));
        Ok(())
    }

    pub fn start(&mut self) -> Result<(), Error> {
        self.call(|tasks, id| tasks.start(id, ""))?;
        self.wait_mark("ready")
    }

    /// A line of its own in the marks, by the harness.
    pub fn note(&self, name: &str) -> Result<(), Error> {
        let log = self.trace.dir().join("log");
        let mut file = OpenOptions::new().append(true).open(log)?;
        Ok(writeln!(file, "{name}")?)
    }

    /// Its init as the runtime has made it, when no client knows it yet.
    pub fn init_in_bundle(&self) -> Option<u32> {
        let text = fs::read_to_string(self.bundle().join("init.pid")).ok()?;
        text.trim().parse().ok()
    }

    /// Whether its client was told of its end, or that there is no such task.
    pub fn has_ended(&self) -> bool {
        let state = self.tasks.state(&self.id, "");
        match state {
            Ok(state) => state.status == "STOPPED",
            Err(error) => error.code() == tonic::Code::NotFound,
        }
    }

    pub fn wait_ended(&self) -> Result<(), Error> {
        Ok(wait::until_true("the container's end", wait::SOON, || {
            self.has_ended()
        })?)
    }
}

/// The mark that a script begins with.
pub fn begin(name: &str) -> String {
    format!("{name}-begin")
}
