//! docs/pictures/lifecycle.dot is the state machine of `sequence`: every change of phase that there is, and what brings it.
//! `make pictures` writes it anew.

#[allow(dead_code)]
mod simulator;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::time::Duration;

use podhook_hooks::sequence::{Event, HookKind, HookTiming, Phase, Settings, Timing};

use simulator::{SIGKILL, World};

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/pictures/lifecycle.dot"
);

/// As many events as lead from the first phase to the last by every way.
const LENGTH: usize = 5;

/// What happens, in the words of the picture.
const EVENTS: [(&str, Option<Event>); 9] = [
    (
        "started",
        Some(Event::Started {
            rpc_deadline: Some(Duration::from_secs(120)),
        }),
    ),
    ("postStart succeeds", done(HookKind::PostStart, true)),
    ("postStart fails", done(HookKind::PostStart, false)),
    ("preStop ends", done(HookKind::PreStop, true)),
    ("preStop ends", done(HookKind::PreStop, false)),
    ("stop signal", kill(libc::SIGTERM)),
    ("SIGKILL", kill(SIGKILL)),
    ("init exits", Some(Event::InitExited)),
    ("a limit is over", None),
];

const fn done(hook: HookKind, succeeded: bool) -> Option<Event> {
    Some(Event::HookEnded {
        hook,
        succeeded,
        init_ending: false,
    })
}

const fn kill(signal: i32) -> Option<Event> {
    Some(Event::KillRequested {
        signal,
        paused: false,
    })
}

type Changes = BTreeMap<(usize, usize), BTreeSet<&'static str>>;

fn number(phase: Phase) -> usize {
    Phase::ALL.iter().position(|other| *other == phase).unwrap()
}

fn explore(world: &World, length: usize, changes: &mut Changes) {
    if length == LENGTH {
        return;
    }
    for (name, event) in EVENTS {
        let mut next = world.clone();
        next.sleep(Duration::from_millis(100));
        let before = next.clone();
        match event {
            // A hook ends that runs.
            Some(Event::HookEnded { hook, .. })
                if next.hook.is_none_or(|(kind, _)| kind != hook) =>
            {
                continue;
            }
            Some(event) => next.event(event),
            None => match next.machine.next_timer() {
                Some(at) => next.sleep(at - next.now),
                None => continue,
            },
        }
        if next == before {
            continue;
        }
        let phases = [&before, &next].map(|world| number(world.machine.phase()));
        if phases[0] != phases[1] {
            changes.entry(phases.into()).or_default().insert(name);
        }
        explore(&next, length + 1, changes);
    }
}

/// With both hooks, with neither; a client that counts the grace period, and none.
fn containers() -> impl Iterator<Item = Settings> {
    let hook = Some(HookTiming {
        timeout: None,
        ignore_failure: false,
    });
    let all = [
        (hook, hook, true),
        (hook, hook, false),
        (None, None, true),
        (None, hook, false),
        (hook, None, false),
    ];
    all.into_iter().map(|(post_start, pre_stop, cri)| Settings {
        lifecycle: Some(Timing {
            post_start,
            pre_stop,
            stop_signal: None,
            grace: Duration::from_secs(30),
            grace_is_ours: false,
            own_stop_signal: None,
            stop_signals: Vec::new(),
            post_start_timeout: Duration::from_secs(110),
        }),
        cri,
    })
}

fn picture() -> String {
    let mut changes = Changes::new();
    for settings in containers() {
        explore(&World::new(settings), 0, &mut changes);
    }
    let mut text = "// The phases of a container with a lifecycle, and what changes them. Written by hooks/tests/sequence_picture.rs:\n\
        // do not edit. `make pictures` draws it.\n\
        digraph lifecycle {\n    rankdir = TB;\n    nodesep = 0.6;\n\
        \x20   node [shape = box, style = rounded, fontname = \"sans-serif\", fontsize = 11];\n\
        \x20   edge [fontname = \"sans-serif\", fontsize = 9];\n\n"
        .to_owned();
    for phase in Phase::ALL {
        writeln!(text, "    {phase:?};").unwrap();
    }
    text.push('\n');
    for ((from, to), names) in changes {
        let names: Vec<_> = names.into_iter().collect();
        let (from, to) = (Phase::ALL[from], Phase::ALL[to]);
        let label = names.join("\\n");
        writeln!(text, "    {from:?} -> {to:?} [label = \"{label}\"];").unwrap();
    }
    text + "}\n"
}

#[test]
fn the_picture_of_the_state_machine_is_true() {
    let picture = picture();
    if std::env::var_os("PODHOOK_WRITE_DOCS").is_some() {
        fs::write(FILE, &picture).unwrap();
    }
    let written = fs::read_to_string(FILE).unwrap_or_default();
    assert!(written == picture, "make pictures\n{picture}");
}
