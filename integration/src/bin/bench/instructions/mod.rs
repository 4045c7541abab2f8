//! `make bench-check`: the instructions that the shim executes for what each container has, beside those that were written down. They
//! are as many on a busy machine as on a quiet one, which no time is.

mod callgrind;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use containerd_shim_protos::api::{DeleteRequest, ExecProcessRequest, StartRequest, WaitRequest};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use podhook_integration::containerd::scrub;
use podhook_integration::generation::repository;
use serde_json::json;

use crate::Fallible;
use crate::client::Direct;
use crate::direct::{create_request, start_request};
use crate::run_dir;
use crate::shims::Shim;
use crate::spot::Spot;
use crate::verbs::Bare;
use callgrind::Callgrind;

/// What is counted, and how many instructions that takes.
type Counts = BTreeMap<String, u64>;

const START_VERB: &str = "start verb";
const CREATE_AND_START: &str = "Create and Start";
const EXEC: &str = "Exec, Start, Wait, Delete of a process";

/// So much more than was written down is a fault, or meant. Two runs differ by less than a hundredth.
const MORE: f64 = 1.15;
/// So much less makes what was written down of no use.
const LESS: f64 = 0.85;

/// Processes in one container, after one that is not counted.
const EXECS: u64 = 3;

fn written() -> PathBuf {
    repository().join("integration/bench/instructions.json")
}

/// Counts, prints, and compares, or writes down.
///
/// # Errors
/// What takes more than was written down; what cannot be counted.
pub fn check(write: bool) -> Fallible<()> {
    scrub::stale();
    // Before there is a thread: the shim is run from a mount that cannot be written to.
    run_dir::own_mounts()?;
    let counts = count()?;
    if write {
        let text = serde_json::to_string_pretty(&counts)?;
        fs::write(written(), text + "\n")?;
    }
    let before: Counts = serde_json::from_slice(&fs::read(written())?)?;
    println!("instructions of the shim (thousands), and of what was written down");
    let rows = compared(&counts, &before);
    for row in &rows {
        println!("  {row}");
    }
    if rows.iter().any(Row::is_fault) {
        let file = "integration/bench/instructions.json";
        return Err(
            format!("not as {file} has it; where that is meant: make bench-check WRITE=1").into(),
        );
    }
    Ok(())
}

fn count() -> Fallible<Counts> {
    let spot = Spot::named("2.4").ok_or("no containerd 2.4")?;
    let state = tempfile::tempdir()?;
    let bare = Bare::open(spot, state.path().to_owned(), None)?;
    let callgrind = Callgrind::new(&bare, &Shim::Podhook.program(spot.generation)?)?;
    let verb = callgrind.start_verb("verb")?;
    let nothing = callgrind.server("nothing", |_| Ok(()))?;
    let lives = |client: &Direct, id: &str| {
        client.call("Create", &create_request(&bare, id))?;
        client.call("Start", &start_request(id))
    };
    let started = callgrind.server("started", |client| lives(client, "started").map(|_| ()))?;
    let execs = |id: &'static str, count: u64| {
        callgrind.server(id, |client| {
            lives(client, id)?;
            (0..count).try_for_each(|number| exec(client, id, number))
        })
    };
    let (one, more) = (execs("one", 1)?, execs("more", 1 + EXECS)?);
    Ok(Counts::from([
        (START_VERB.to_owned(), verb),
        (CREATE_AND_START.to_owned(), started.saturating_sub(nothing)),
        (EXEC.to_owned(), more.saturating_sub(one) / EXECS),
    ]))
}

/// As every client does it, without stdio.
fn exec(client: &Direct, id: &str, number: u64) -> Fallible<()> {
    let exec_id = format!("exec-{number}");
    let process =
        json!({"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let spec = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
        value: serde_json::to_vec(&process)?,
        ..Default::default()
    };
    let request = ExecProcessRequest {
        id: id.to_owned(),
        exec_id: exec_id.clone(),
        spec: MessageField::some(spec),
        ..Default::default()
    };
    let start = StartRequest {
        id: id.to_owned(),
        exec_id: exec_id.clone(),
        ..Default::default()
    };
    let wait = WaitRequest {
        id: id.to_owned(),
        exec_id: exec_id.clone(),
        ..Default::default()
    };
    let delete = DeleteRequest {
        id: id.to_owned(),
        exec_id,
        ..Default::default()
    };
    let calls: [(&str, &dyn Encoded); 4] = [
        ("Exec", &request),
        ("Start", &start),
        ("Wait", &wait),
        ("Delete", &delete),
    ];
    for (method, request) in calls {
        client.call_bytes(method, request.encoded()?)?;
    }
    Ok(())
}

trait Encoded {
    fn encoded(&self) -> Fallible<Vec<u8>>;
}

impl<M: Message> Encoded for M {
    fn encoded(&self) -> Fallible<Vec<u8>> {
        Ok(self.write_to_bytes()?)
    }
}

/// One of the counts, beside what was written down.
#[derive(Debug, PartialEq)]
struct Row {
    what: String,
    now: u64,
    before: Option<u64>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.before.map(|before| self.now as f64 / before as f64)
    }

    fn is_fault(&self) -> bool {
        self.ratio()
            .is_none_or(|ratio| !(LESS..=MORE).contains(&ratio))
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:40} {:8}", self.what, self.now / 1000)?;
        match (self.before, self.ratio()) {
            (Some(before), Some(ratio)) => write!(f, " {:8} × {ratio:.2}", before / 1000),
            _ => write!(f, "        – not written down"),
        }?;
        match self.is_fault() {
            true => write!(f, "   too far from it"),
            false => Ok(()),
        }
    }
}

fn compared(now: &Counts, before: &Counts) -> Vec<Row> {
    let row = |(what, now): (&String, &u64)| Row {
        what: what.clone(),
        now: *now,
        before: before.get(what).copied(),
    };
    now.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_sixth_more_or_less_is_a_fault_and_what_nobody_wrote_down_too() {
        let of = |count| Counts::from([(EXEC.to_owned(), count)]);
        let fault = |now, before: Counts| compared(&of(now), &before)[0].is_fault();
        assert!(!fault(1_000_000, of(1_000_000)));
        assert!(!fault(1_140_000, of(1_000_000)));
        assert!(fault(1_170_000, of(1_000_000)));
        assert!(fault(830_000, of(1_000_000)));
        assert!(fault(1_000_000, Counts::new()));
    }

    #[test]
    fn what_is_written_down_is_what_is_counted() {
        let before: Counts = serde_json::from_slice(&fs::read(written()).unwrap()).unwrap();
        let names: Vec<_> = before.keys().map(String::as_str).collect();
        assert_eq!(names, [CREATE_AND_START, EXEC, START_VERB]);
    }
}
