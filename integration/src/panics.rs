//! A test's panic, kept for its report instead of a backtrace amid the others' lines.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use crate::Outcome;

thread_local! {
    /// Where and why the test on this thread panicked; none on threads that run no test.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on the message of a panic in [`caught`] is kept.
pub(crate) fn keep() {
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|l| format!("{}:{}", l.file(), l.line()))
            .unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("panic");
        PANIC.with_borrow_mut(|kept| match kept {
            Some(text) => *text = format!("{place}: {message}"),
            None => eprintln!("{place}: {message}"),
        });
    }));
}

/// What comes of a test: its error, or its panic, as a text.
pub(crate) fn caught(test: impl FnOnce() -> Outcome) -> Result<(), String> {
    PANIC.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(test));
    let panicked = PANIC.take().unwrap_or_default();
    result.map_or(Err(panicked), |outcome| {
        outcome.map_err(|error| error.to_string())
    })
}
