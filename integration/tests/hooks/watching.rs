//! A `podhook` that watches, and the lines that it prints.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use podhook_integration::podhook::Podhook;
use podhook_integration::wait::{SOON, scaled};

use crate::script::Error;

/// `podhook … --watch`, ended when dropped.
pub struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    pub fn start(podhook: &Podhook, words: &[&str]) -> Result<Self, Error> {
        let mut command = podhook.command();
        command.args(words).args(["--watch", "--no-headers"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let out = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The lines up to the one with all these words.
    pub fn until(&self, words: &[&str]) -> Result<Vec<String>, Error> {
        let (began, mut seen) = (Instant::now(), Vec::new());
        loop {
            let left = scaled(SOON).saturating_sub(began.elapsed());
            let line = self.lines.recv_timeout(left);
            let line = line.map_err(|_| format!("no line with {words:?} after {seen:#?}"))?;
            seen.push(line);
            let cells: Vec<_> = seen
                .last()
                .into_iter()
                .flat_map(|l| l.split_whitespace())
                .collect();
            if words.iter().all(|word| cells.contains(word)) {
                return Ok(seen);
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
