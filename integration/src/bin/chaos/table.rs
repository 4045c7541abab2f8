//! The table of docs/evidence/chaos.md: what became of each victim at each phase.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use podhook_integration::Place;
use podhook_integration::generation::repository;
use podhook_integration::shim::ShimKind;

use crate::Error;
use crate::arguments::Arguments;
use crate::part::Part;

/// Distinct outcomes by cell, and by the containerds that they were seen with.
#[derive(Debug, Default)]
pub struct Table {
    cells: BTreeMap<Place, BTreeMap<Part, BTreeSet<String>>>,
    rounds: usize,
}

impl Table {
    pub fn add(&mut self, place: Place, part: Part, text: String) {
        self.rounds += 1;
        let cells = self.cells.entry(place).or_default();
        cells.entry(part).or_default().insert(text);
    }

    pub fn write(&self, arguments: &Arguments) -> Result<(), Error> {
        let path = repository().join("docs/evidence/chaos.md");
        let mut text = HEAD.to_owned();
        writeln!(
            text,
            "{} rounds, seed {}, by `make chaos SEED={} ROUNDS={} PLACES=\"{}\" WRITE=1`.",
            self.rounds,
            arguments.seed,
            arguments.seed,
            arguments.rounds,
            words(&arguments.places),
        )?;
        for title in [PODHOOK, PODS, ORIGINAL] {
            let places = self.cells.keys().copied();
            let places: Vec<_> = places.filter(|place| title_of(place) == title).collect();
            if !places.is_empty() {
                writeln!(text, "\n## {title}\n\nOn {}.\n", versions(&places))?;
                text += &self.of(&places);
            }
        }
        fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()))?;
        println!("written: {}", path.display());
        Ok(())
    }

    fn of(&self, places: &[Place]) -> String {
        let mut text = "| phase | victim | outcome |\n|---|---|---|\n".to_owned();
        let cells = places.iter().filter_map(|place| self.cells.get(place));
        let mut rows: BTreeMap<Part, BTreeSet<String>> = BTreeMap::new();
        for (part, seen) in cells.flatten() {
            let seen = seen.iter().map(|text| text.replace('|', "\\|"));
            rows.entry(*part).or_default().extend(seen);
        }
        for (part, seen) in rows {
            let seen: Vec<_> = seen.into_iter().collect();
            let (phase, victim) = (part.phase(), part.victim());
            text += &format!("| {phase} | {victim} | {} |\n", seen.join("<br>"));
        }
        text
    }
}

const PODHOOK: &str = "podhook";
const PODS: &str = "podhook, pods without a pause container";
const ORIGINAL: &str = "containerd-shim-runc-v2";

fn title_of(place: &Place) -> &'static str {
    match place.shim {
        ShimKind::Pauseless => PODS,
        shim if shim.is_podhook() => PODHOOK,
        _ => ORIGINAL,
    }
}

fn words(places: &[Place]) -> String {
    let words: Vec<_> = places.iter().map(Place::to_string).collect();
    words.join(" ")
}

fn versions(places: &[Place]) -> String {
    let one = |place: &Place| {
        let containerd = place.generation.version().unwrap_or_default();
        let runtime = place
            .generation
            .oci_version(place.runtime)
            .unwrap_or_default();
        format!(
            "containerd {containerd} with {} {runtime}",
            place.runtime.family()
        )
    };
    let all: Vec<_> = places.iter().map(one).collect();
    all.join(", ")
}

const HEAD: &str = "\
# Chaos: what becomes of a container when something is killed

`make chaos` brings one container to a phase of its life, sends SIGKILL to one part of what runs it, lets the clients go on, and
looks at the node. This file is written by it; nobody edits it.

A row says what the calls under way at that moment were answered, and which exit statuses the client was told. Nothing more in a
row means: every answer is true, no hook ran twice, nothing is left of the container once its client has deleted it (process, shim, mount,
cgroup, socket, bundle, runtime state, temporary file), and the next container with the same id, with hooks of its own, lived and ended as it should.
What is not so stands in **bold**. Several lines in a row are different outcomes of a fault that came a moment earlier or later.

| victim | what is killed |
|---|---|
| shim | the shim; at `bundle-made` its `start`, at `delete-verb` its `delete` |
| containerd | containerd, which is then started again |
| runtime | the process of the OCI runtime that the shim has called |
| joiner | the process of the exec engine that is about to join the container |
| command | the process of the hook, or of the exec |
| init | the container's first process |
| reader | who reads the container's output: it is closed |

Pods without a pause container are made by CRI, and a row of theirs says what the call of that name was answered. The client then does
what the kubelet does: it stops the pod and removes it, until that is done.

| victim of a pod | what is killed |
|---|---|
| shim, containerd | as above |
| holder | the process that holds the pod's namespaces |
| client | nothing: who waits for the answer gives up, as a kubelet that is started again |

A status is the one that the process has ended with (7), or 137 where it was killed. 255 is containerd's own for \"unknown\".
containerd calls the verb `delete` once, and for a container whose verb was killed again when it is started itself. For a `start` that
was killed it calls nothing: the name of its socket may stay, and the next `start` of that id takes it. A containerd of 1.6 that
was killed between `start` and Create keeps that shim until it is started once more (containerd#6860). One that was killed while it made a
snapshot refuses the next with `snapshots/N: file exists`, once: it removes the folder with that answer, and whoever asks again has it.

The kubelet is no victim here. `make test-kubernetes FILTER=restart::` kills it while a container is made, in postStart, while it runs, in
preStop and while it ends.

";
