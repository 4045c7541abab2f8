//! One row with one runtime.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use podhook_hooks::exec::Error;
use serde_json::{Value, json};

use crate::ROWS;
use crate::accepted;
use crate::namespaces::shared_with;
use crate::support::runtime::Runtime;
use crate::support::streams::Streams;
use crate::support::within::{Inherited, OFF_DEFAULT, within};
use crate::support::{Config, Ran, dev_null, program};

/// What a row says should happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The probe runs and sees the same.
    Equal,
    /// Neither starts it; with runc in the same words.
    Refused,
    /// Neither starts it; this runtime says so differently, and why.
    RefusedInOtherWords(&'static str),
    /// The engine does not start it, as runc; this runtime does.
    RefusedAsByRunc,
    /// The engine leaves it to the runtime.
    FallsBack,
    /// As `Equal`, on a kernel with this security module.
    EqualWith(Module),
    /// This runtime makes no such container.
    NotHere(&'static str),
}

/// A security module of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    AppArmor,
    SeLinux,
}

impl Module {
    pub fn name(self) -> &'static str {
        match self {
            Self::AppArmor => "AppArmor",
            Self::SeLinux => "SELinux",
        }
    }

    fn is_here(self) -> bool {
        Path::new(match self {
            Self::AppArmor => "/sys/kernel/security/apparmor",
            Self::SeLinux => "/sys/fs/selinux/enforce",
        })
        .exists()
    }
}

/// A container, and the process to run in it.
pub struct Setup {
    pub config: Config,
    /// The fields in which the process differs from the container's own.
    pub process: Value,
    pub expected: Expected,
    pub pipes: bool,
    /// On a terminal that who runs it makes.
    pub terminal: bool,
    pub program: &'static str,
    /// In the namespaces of another container.
    pub shares: bool,
    /// What runtime and engine are started with.
    pub inherited: Inherited,
    /// As many files more are open in who runs the engine.
    pub open_files: usize,
}

impl From<Config> for Setup {
    fn from(config: Config) -> Self {
        Self {
            config,
            process: json!({}),
            expected: Expected::Equal,
            pipes: false,
            terminal: false,
            program: "probe",
            shares: false,
            inherited: Inherited::Default,
            open_files: 0,
        }
    }
}

/// The test of a row, in a process of its own: what that inherits is the row's affair. crun's run in a mount
/// namespace with cgroup v2 only.
pub async fn row(name: &str, runtime: Runtime, test: &str) {
    let row = ROWS.iter().find(|row| row.name == name).unwrap();
    let setup = (row.setup)(runtime);
    let why = match setup.expected {
        Expected::NotHere(why) => why.to_string(),
        Expected::EqualWith(module) if !module.is_here() => {
            format!("this kernel has no {}", module.name())
        }
        _ => String::new(),
    };
    if !why.is_empty() {
        // Past the capture of what a test that passes prints.
        let _ = writeln!(
            std::io::stderr(),
            "NOT TESTED: {name} with {runtime:?}: {why}"
        );
        return;
    }
    if !within(test, setup.inherited, runtime.is_crun()) {
        return;
    }
    let pause = setup
        .shares
        .then(|| Config::default().runtime(runtime).start());
    let config = match &pause {
        Some(pause) => shared_with(pause, setup.config),
        None => setup.config,
    };
    let container = config
        .runtime(runtime)
        .program("probe", program::build("exec_equality/probe.c"))
        .start();
    let mut process = container.bundle_process();
    for (key, value) in setup.process.as_object().unwrap() {
        process[key] = value.clone();
    }
    let mut streams = match setup.pipes {
        true => Streams::pipes(),
        // crun changes the owner of the host's /dev/null, where that is stdin.
        false if runtime.is_crun() => Streams::only_files(),
        false => Streams::files(),
    };
    let command = [setup.program];
    let _open: Vec<_> = (0..setup.open_files).map(|_| dev_null()).collect();
    match setup.expected {
        Expected::Equal | Expected::EqualWith(_) if setup.terminal => {
            process["terminal"] = json!(true);
            let theirs = container.runtime_exec_on_terminal(&process, &command);
            let ours = container.engine_exec_on_terminal(&process, &command).await;
            equal(name, runtime, &ours.unwrap().ok(), &theirs);
        }
        Expected::Equal | Expected::EqualWith(_) => {
            let theirs = container.runtime_exec(&process, &command, &mut streams);
            let ours = container
                .engine_exec_to(&process, &command, &mut streams)
                .await
                .unwrap();
            assert_eq!(ours.exit.code(), Some(0), "{ours:?}");
            assert_eq!(theirs.exit.code(), Some(0), "{theirs:?}");
            equal(name, runtime, &ours, &theirs);
        }
        Expected::Refused | Expected::RefusedInOtherWords(_) | Expected::RefusedAsByRunc => {
            let theirs = container.runtime_exec(&process, &command, &mut streams);
            let refused = setup.expected != Expected::RefusedAsByRunc;
            assert_eq!(theirs.exit.code() != Some(0), refused, "{}", theirs.stderr);
            let ours = container
                .engine_exec_to(&process, &command, &mut streams)
                .await
                .unwrap_err();
            // What is refused before a process is made has no such beginning.
            let words = match ours {
                Error::Start { .. } => format!("unable to start container process: {ours}"),
                _ => format!("exec failed: {ours}"),
            };
            let said = theirs.stderr.replace("\\\"", "\"");
            let same = !matches!(setup.expected, Expected::RefusedInOtherWords(_));
            assert!(
                runtime.is_crun() || said.contains(&words) == same,
                "{words}\n{said}"
            );
        }
        Expected::FallsBack => {
            let ours = container
                .engine_exec_to(&process, &command, &mut streams)
                .await
                .unwrap_err();
            assert!(ours.is_unsupported(), "{ours}");
        }
        Expected::NotHere(_) => {}
    }
}

/// Equal but for what is accepted; and that does differ.
fn equal(name: &str, runtime: Runtime, ours: &Ran, theirs: &Ran) {
    assert_eq!((&*ours.stderr, &*theirs.stderr), ("", ""));
    let (ours, theirs) = (seen(&ours.stdout), seen(&theirs.stdout));
    assert!(ours.len() > 300, "the probe saw little: {ours:?}");
    if name == "everything" {
        for (key, value) in OFF_DEFAULT {
            assert_eq!(theirs.get(*key).map(String::as_str), Some(*value), "{key}");
        }
        for signal in 1..32 {
            let action = ours.get(&format!("signals/{signal}")).map(String::as_str);
            assert_eq!(action, Some("default"), "signal {signal}");
        }
    }
    let keys = ours
        .keys()
        .chain(theirs.keys().filter(|k| !ours.contains_key(*k)));
    let different: Vec<_> = keys
        .filter(|key| ours.get(*key) != theirs.get(*key))
        .collect();
    let accepted = accepted::of(name, runtime);
    let mut wrong = String::new();
    for key in &different {
        if !accepted.iter().any(|(_, accepted)| accepted.covers(key)) {
            let value = |side: &BTreeMap<String, String>| side.get(*key).cloned();
            wrong += &format!(
                "{key}\n  engine  {:?}\n  runtime {:?}\n",
                value(&ours),
                value(&theirs)
            );
        }
    }
    assert!(wrong.is_empty(), "{name} with {runtime:?}:\n{wrong}");
    for (_, accepted) in accepted.iter().filter(|(_, accepted)| !accepted.by_chance) {
        let met = different.iter().any(|key| accepted.covers(key));
        assert!(
            met,
            "{name} with {runtime:?} is equal in {:?}: no longer to be accepted",
            accepted.keys
        );
    }
}

/// What the probe printed, by key, without what no two processes have in common.
fn seen(text: &str) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        if accepted::VOLATILE
            .iter()
            .any(|(keys, _)| keys.contains(&key))
        {
            continue;
        }
        let value = match key {
            // Zero: outside of the pid namespace. Else whoever reaps.
            "status/PPid" if value != "0" => "another",
            _ => value,
        };
        let twice = seen.insert(key.to_string(), value.to_string());
        assert!(twice.is_none(), "{key} twice");
    }
    seen
}
