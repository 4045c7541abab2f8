//! A program that measures in its own process: lines `what count` go to it, lines of nanoseconds come back.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Fallible;

/// Such a program; it ends when this is dropped.
#[derive(Debug)]
pub struct Measuring {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Measuring {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Fallible<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no pipe")?;
        Ok(Self {
            input: child.stdin.take(),
            output: BufReader::new(output),
            child,
        })
    }

    /// Does `what` so many times.
    ///
    /// # Errors
    /// When the program has ended: it says on stderr why.
    pub fn run(&mut self, what: &str, count: usize) -> Fallible<Vec<Duration>> {
        let input = self.input.as_mut().ok_or("no pipe")?;
        writeln!(input, "{what} {count}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let times = line
            .split_whitespace()
            .map(|word| word.parse().map(Duration::from_nanos))
            .collect::<Result<Vec<_>, _>>()?;
        if times.len() != count {
            return Err(format!("{what}: the measuring process gave up").into());
        }
        Ok(times)
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}
