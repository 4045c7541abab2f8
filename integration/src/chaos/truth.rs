//! What a client was told, beside what has happened.

use tonic::Code;

use super::life::{Answer, EXEC_EXIT, EXIT, Life, begin};
use super::{Phase, Victim};

/// SIGKILL's, and containerd's own for a status that nobody knows.
const KILLED: [u32; 2] = [137, 255];

/// Every answer that is not true, every hook that ran twice, every output that is lost.
pub fn lies(life: &mut Life<'_>, phase: Phase, victim: Victim) -> Vec<String> {
    let mut lies = Vec::new();
    for (name, answer) in &life.answers {
        if let Some(lie) = status_lie(life, victim, name, answer) {
            lies.push(lie);
        }
    }
    lies.extend(success_lie(life, phase, victim));
    for hook in ["postStart", "preStop"] {
        let count = life.trace.count(&begin(hook));
        if count > 1 {
            lies.push(format!("{hook} ran {count} times"));
        }
    }
    let reads = !matches!(victim, Victim::Shim | Victim::Reader) && phase != Phase::DeleteVerb;
    let spoke = life.trace.has("exit");
    if reads && spoke && !life.reader.has(super::life::LAST_WORDS) {
        lies.push("its last output is lost".to_owned());
    }
    lies
}

fn status_lie(life: &Life<'_>, victim: Victim, name: &str, answer: &Answer) -> Option<String> {
    let status = match answer {
        Ok(status) => (*status)?,
        Err(error) if matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled) => {
            return Some(format!("{name} was not answered"));
        }
        Err(_) => return None,
    };
    let (own, mark) = match name {
        "Wait for the exec" => (EXEC_EXIT, "exec-exit"),
        _ => (EXIT, "exit"),
    };
    let ended = life.trace.has(mark);
    // The shim alone knows the status, and init may be killed after its mark.
    let known = victim.spares_the_container() && own == EXIT;
    match status {
        _ if status == own && ended => None,
        _ if KILLED.contains(&status) && !(ended && known) => None,
        _ => Some(format!(
            "{name} says {status}, and its process has {}ended by itself",
            if ended { "" } else { "not " }
        )),
    }
}

/// A success that cannot be one.
fn success_lie(life: &Life<'_>, phase: Phase, victim: Victim) -> Option<String> {
    let is_ok = |name| life.answer(name).is_some_and(Result::is_ok);
    // A runtime that was let go may have been done.
    let amid = life.trace.has("amid");
    let killed = |what: Victim| victim == what && !amid;
    let lie = match phase {
        Phase::Create if is_ok("Create") => killed(Victim::Runtime),
        Phase::Start if is_ok("Start") => {
            let runs = victim == Victim::Init || life.trace.has("ready");
            killed(Victim::Runtime) || !runs
        }
        Phase::PostStart if is_ok("Start") => {
            let succeeded = life.trace.has("postStart-end");
            victim == Victim::Command || (!succeeded && victim != Victim::Init)
        }
        Phase::Exec if is_ok("Start of the exec") => {
            victim == Victim::Joiner || killed(Victim::Runtime)
        }
        _ => false,
    };
    lie.then(|| format!("{phase}: a success without its {victim}"))
}
