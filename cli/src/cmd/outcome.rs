//! The end of a command that is about several objects.

use super::error::Error;

/// Goes on after an error, as kubectl does, and remembers that there was one.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    failed: bool,
}

impl Outcome {
    pub(crate) fn note<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                if let Some(text) = error.report() {
                    eprintln!("{text}");
                }
                self.failed = true;
                None
            }
        }
    }

    /// The end of the command.
    pub(crate) fn into_result(self) -> Result<(), Error> {
        if self.failed {
            Err(Error::Reported)
        } else {
            Ok(())
        }
    }
}
