//! In which state of a container an operation is allowed, and the error of a refused one, in the words of the
//! Go shim.

use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Start,
    Delete,
    Pause,
    Resume,
    Update,
    Checkpoint,
    Exec,
}

/// The state of a container, as far as an operation depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Start was not called.
    Created,
    /// Start was called, and init is not Running yet: the runtime's `start` or postStart is under way.
    Starting,
    Running,
    /// The runtime's `pause` is under way.
    Pausing,
    Paused,
    /// The runtime's `resume` is under way.
    Thawing,
    /// Init has ended before Start was called, and its exit is not published yet.
    CreatedEnding,
    /// The same before it was Running.
    StartingEnding,
    /// The same of one that was Running.
    RunningEnding,
    /// The exit is published.
    Stopped,
    Deleted,
}

/// The table.
///
/// # Errors
/// [`Error::Refused`] where the operation is not allowed.
pub(super) fn check(operation: Operation, state: State) -> Result<()> {
    use Operation as Op;
    use State::*;
    let words = match (operation, state) {
        (Op::Start, Created) => return Ok(()),
        (Op::Start, Starting | Running | Pausing) => "cannot start a running process",
        (Op::Start, Paused | Thawing) => "cannot start a paused process",
        (Op::Start, CreatedEnding | StartingEnding | RunningEnding | Stopped) => {
            "cannot start a stopped process"
        }
        (Op::Start, Deleted) => "cannot start a deleted process",

        (Op::Delete, Created | CreatedEnding | Stopped) => return Ok(()),
        (Op::Delete, Starting | StartingEnding | Running | RunningEnding | Pausing) => {
            "cannot delete a running process"
        }
        (Op::Delete, Paused | Thawing) => "cannot delete a paused process",
        (Op::Delete, Deleted) => {
            return Err(Error::NotFound("container not created".to_owned()));
        }

        // One that ends while it is paused is found out afterwards.
        (Op::Pause, Running | RunningEnding) => return Ok(()),
        (Op::Pause, Created | CreatedEnding | Starting | StartingEnding) => {
            "cannot pause task in created state"
        }
        (Op::Pause, Pausing | Paused | Thawing) => "cannot pause a paused container",
        (Op::Pause, Stopped | Deleted) => "cannot pause a stopped container",

        (Op::Resume, Paused | Thawing) => return Ok(()),
        (Op::Resume, Running | RunningEnding) => "cannot resume a running process",
        (Op::Resume, Created | CreatedEnding | Starting | StartingEnding) => {
            "cannot resume task in created state"
        }
        (Op::Resume, Pausing | Stopped | Deleted) => "cannot resume a stopped container",

        (Op::Update, Stopped | Deleted) => "cannot update a stopped container",
        (Op::Update, _) => return Ok(()),

        (Op::Checkpoint, Running | RunningEnding | Paused | Thawing) => return Ok(()),
        (Op::Checkpoint, Stopped | Deleted) => "cannot checkpoint a stopped container",
        (Op::Checkpoint, Created | CreatedEnding | Starting | StartingEnding | Pausing) => {
            "cannot checkpoint a task in created state"
        }

        (Op::Exec, Created | Starting | Running) => return Ok(()),
        (Op::Exec, Pausing | Paused | Thawing) => "cannot exec in a paused state",
        (Op::Exec, CreatedEnding | StartingEnding | RunningEnding | Stopped | Deleted) => {
            "cannot exec in a stopped state"
        }
    };
    Err(Error::Refused(words))
}

/// What is asked of a process that was made by `Exec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExecOperation {
    Start,
    Delete,
    Resize,
}

/// The state of such a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExecState {
    /// Start was not called.
    Added,
    /// Start makes it.
    Starting,
    Running,
    /// It has ended, or never came to run.
    Stopped,
}

/// The table of execs.
///
/// # Errors
/// [`Error::Refused`] where the operation is not allowed.
pub(super) fn check_exec(operation: ExecOperation, state: ExecState) -> Result<()> {
    use ExecOperation as Op;
    use ExecState::*;
    let words = match (operation, state) {
        (Op::Start, Added) => return Ok(()),
        (Op::Start, Starting | Running | Stopped) => "cannot start a running process",
        // One that is being made is waited for first.
        (Op::Delete, Added | Starting | Stopped) => return Ok(()),
        (Op::Delete, Running) => "cannot delete a running process",
        (Op::Resize, Added | Starting | Running) => return Ok(()),
        (Op::Resize, Stopped) => "cannot resize a stopped container",
    };
    Err(Error::Refused(words))
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::*;

    const STATES: [State; 11] = [
        Created,
        Starting,
        Running,
        Pausing,
        Paused,
        Thawing,
        CreatedEnding,
        StartingEnding,
        RunningEnding,
        Stopped,
        Deleted,
    ];

    /// One letter for each state, in their order: `+` is allowed, the others stand for an error.
    type Row = (Operation, &'static str, &'static [(char, &'static str)]);
    const TABLE: [Row; 7] = [
        (
            Operation::Start,
            "+rrrppssssd",
            &[
                ('r', "cannot start a running process"),
                ('p', "cannot start a paused process"),
                ('s', "cannot start a stopped process"),
                ('d', "cannot start a deleted process"),
            ],
        ),
        (
            Operation::Delete,
            "+rrrpp+rr+n",
            &[
                ('r', "cannot delete a running process"),
                ('p', "cannot delete a paused process"),
                ('n', "container not created"),
            ],
        ),
        (
            Operation::Pause,
            "cc+pppcc+ss",
            &[
                ('c', "cannot pause task in created state"),
                ('p', "cannot pause a paused container"),
                ('s', "cannot pause a stopped container"),
            ],
        ),
        (
            Operation::Resume,
            "ccrs++ccrss",
            &[
                ('c', "cannot resume task in created state"),
                ('r', "cannot resume a running process"),
                ('s', "cannot resume a stopped container"),
            ],
        ),
        (
            Operation::Update,
            "+++++++++ss",
            &[('s', "cannot update a stopped container")],
        ),
        (
            Operation::Checkpoint,
            "cc+c++cc+ss",
            &[
                ('c', "cannot checkpoint a task in created state"),
                ('s', "cannot checkpoint a stopped container"),
            ],
        ),
        (
            Operation::Exec,
            "+++pppsssss",
            &[
                ('p', "cannot exec in a paused state"),
                ('s', "cannot exec in a stopped state"),
            ],
        ),
    ];

    #[test]
    fn every_operation_in_every_state_is_allowed_or_refused_in_the_originals_words() {
        for (operation, row, words) in TABLE {
            assert_eq!(row.len(), STATES.len(), "{operation:?}");
            for (state, letter) in STATES.into_iter().zip(row.chars()) {
                let told = check(operation, state).err().map(|e| e.to_string());
                let expected = words.iter().find(|(known, _)| *known == letter);
                let expected = expected.map(|(_, words)| (*words).to_owned());
                assert!(letter == '+' || expected.is_some(), "{operation:?}");
                assert_eq!(told, expected, "{operation:?} of {state:?}");
            }
        }
    }

    #[test]
    fn every_operation_on_an_exec_in_every_state_too() {
        use ExecState::*;
        let told = |operation| {
            [Added, Starting, Running, Stopped]
                .map(|state| check_exec(operation, state).err().map(|e| e.to_string()))
        };
        let no = |words: &str| Some(words.to_owned());
        let (twice, runs) = (
            no("cannot start a running process"),
            no("cannot delete a running process"),
        );
        assert_eq!(
            told(ExecOperation::Start),
            [None, twice.clone(), twice.clone(), twice]
        );
        assert_eq!(told(ExecOperation::Delete), [None, None, runs, None]);
        let ended = no("cannot resize a stopped container");
        assert_eq!(told(ExecOperation::Resize), [None, None, None, ended]);
    }
}
