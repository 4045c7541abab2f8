//! The table of docs/evidence/refusal.md: what became of each call that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use podhook_integration::chaos::refusal::Operation;
use podhook_integration::chaos::refusal::round::Seen;
use podhook_integration::generation::repository;

use crate::Error;
use crate::arguments::Arguments;
use crate::worker::Job;

/// The rounds with one call.
#[derive(Debug, Default)]
struct Row {
    errors: BTreeSet<&'static str>,
    nths: BTreeSet<usize>,
    rounds: usize,
    refused: usize,
    faults: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<(Operation, String), Row>,
    unnamed: BTreeSet<String>,
}

impl Table {
    pub fn add(&mut self, job: &Job, seen: &Seen) {
        let Some(refusal) = &job.refusal else {
            return;
        };
        if seen.calls.unreal {
            return;
        }
        let row = self.rows.entry((job.operation, refusal.call.clone()));
        let row = row.or_default();
        row.errors.insert(refusal.error);
        row.nths.insert(refusal.nth);
        row.rounds += 1;
        row.refused += usize::from(!seen.told.is_empty());
        row.faults.extend(seen.faults.iter().cloned());
        let unnamed = seen.unnamed.iter();
        self.unnamed
            .extend(unnamed.map(|told| format!("{job}: {told}")));
    }

    pub fn rounds(&self) -> usize {
        self.rows.values().map(|row| row.rounds).sum()
    }

    /// Errors that do not say what the kernel said.
    pub fn unnamed(&self) -> impl Iterator<Item = &String> {
        self.unnamed.iter()
    }

    pub fn write(&self, arguments: &Arguments) -> Result<(), Error> {
        let path = repository().join("docs/evidence/refusal.md");
        let mut text = HEAD.to_owned();
        let places: Vec<_> = arguments.places.iter().map(ToString::to_string).collect();
        writeln!(
            text,
            "{} rounds, by `make refusal DEPTH={} PLACES=\"{}\" WRITE=1`.\n",
            self.rounds(),
            arguments.depth,
            places.join(" "),
        )?;
        text += "| operation | call | fails with | which | rounds | an error was told | done all the same |\n|---|---|---|---|---|---|---|\n";
        for ((operation, call), row) in &self.rows {
            let errors: Vec<_> = row.errors.iter().copied().collect();
            let last = row.nths.last().copied().unwrap_or_default();
            let faults: Vec<_> = row
                .faults
                .iter()
                .map(|fault| format!(" **{fault}**"))
                .collect();
            writeln!(
                text,
                "| {operation} | `{call}` | {} | 1–{last} | {} | {} | {}{} |",
                errors.join(", "),
                row.rounds,
                row.refused,
                row.rounds - row.refused,
                faults.concat(),
            )?;
        }
        fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()))?;
        println!("written: {}", path.display());
        Ok(())
    }
}

const HEAD: &str = "\
# Refusal: what becomes of a container when a system call fails

`make refusal` finds out what system calls the shim makes in an operation, and lets each of them fail, the first, the second and so on, with
what Linux answers where something is used up, read-only, broken, interrupted or not there. strace does that; programs that
the shim starts are left alone, the process with which it joins a container is not. This file is written by it; nobody edits it.

A round is good where the shim goes on (where its memory is refused it may end), every call of the client has an answer in time,
no answer says what is not true, no hook runs twice, nothing is left of the container when its client has deleted it, the shim holds no more descriptors
and threads than before, and the next container with the same id lives and ends as it should. What is not so stands in **bold**.

| operation | what is done meanwhile |
|---|---|
| start-verb | the verb `start`, for a shim of its own |
| create, start, delete | the request; Start has a postStart hook |
| exec | Exec, Start, Wait and Delete of a process |
| kill | SIGTERM, with a preStop hook, until the container has ended |
| delete-verb | the verb `delete` of a container whose shim was killed |

";
