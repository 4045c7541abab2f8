//! The machine's lines as those of a test run on this one.

use std::time::Instant;

use crate::plan::Run;

/// The end of the console that is shown if the machine did not end as it should.
const CONSOLE_LINES: usize = 40;

/// What the runs have said so far.
pub struct Report {
    start: Instant,
    filtered: bool,
    /// The runs that have not begun, first first.
    ahead: Vec<&'static str>,
    current: Option<Current>,
    passed: usize,
    ignored: usize,
    failed: Vec<String>,
    /// Failures that no test's name stands for.
    broken: Vec<String>,
    /// What failed runs printed besides their tests' results.
    texts: Vec<String>,
    over: bool,
}

/// The run under way.
struct Current {
    name: &'static str,
    tests: usize,
    failed: usize,
    text: String,
}

impl Report {
    /// Nothing yet. With a filter a run may be without a test.
    pub fn new(runs: &[Run], filtered: bool) -> Self {
        Self {
            start: Instant::now(),
            filtered,
            ahead: runs.iter().map(|run| run.name).collect(),
            current: None,
            passed: 0,
            ignored: 0,
            failed: Vec::new(),
            broken: Vec::new(),
            texts: Vec::new(),
            over: false,
        }
    }

    /// A line of the machine.
    pub fn line(&mut self, line: &str) {
        if let Some(word) = line.strip_prefix('#') {
            self.mark(word);
        } else if let Some((name, result)) = test(line) {
            self.test(name, result);
        } else if let Some(current) = &mut self.current {
            current.text += line;
            current.text.push('\n');
        } else {
            self.texts.push(format!("{line}\n"));
        }
    }

    fn mark(&mut self, word: &str) {
        let words: Vec<_> = word.split(' ').collect();
        match words[..] {
            ["begin", name] if self.ahead.first() == Some(&name) => {
                self.current = Some(Current {
                    name: self.ahead.remove(0),
                    tests: 0,
                    failed: 0,
                    text: String::new(),
                });
                println!(
                    "\n{name}, after {:.0} s",
                    self.start.elapsed().as_secs_f64()
                );
            }
            ["end", name, status] => self.end(name, status),
            ["over"] => self.over = true,
            _ => self.broken.push(format!("the machine said #{word}")),
        }
    }

    fn end(&mut self, name: &str, status: &str) {
        let Some(current) = self.current.take().filter(|current| current.name == name) else {
            return self.broken.push(format!("{name} ended and had not begun"));
        };
        if current.tests == 0 && !self.filtered {
            self.broken.push(format!("{name}: no test ran"));
        }
        // As a leak that is found at the end, or a crash.
        if status != "0" && current.failed == 0 {
            self.broken.push(format!("{name}: exit status {status}"));
        }
        if status != "0" || current.failed > 0 {
            self.texts
                .push(format!("---- {name} ----\n{}", current.text));
        }
    }

    fn test(&mut self, name: &str, result: &str) {
        let Some(current) = &mut self.current else {
            return self.broken.push(format!("{name} ran in no run"));
        };
        current.tests += 1;
        let name = format!("{}/{name}", current.name);
        println!("test {name} ... {result}");
        match result {
            "ok" => self.passed += 1,
            "ignored" => self.ignored += 1,
            _ => {
                current.failed += 1;
                self.failed.push(name);
            }
        }
    }

    /// Prints what failed and the closing line; true when all is well.
    pub fn close(mut self, console: &str) -> bool {
        if let Some(current) = self.current.take() {
            self.broken.push(format!("{}: never ended", current.name));
            self.texts
                .push(format!("---- {} ----\n{}", current.name, current.text));
        }
        if !self.over {
            let lines: Vec<_> = console.lines().collect();
            let end = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n");
            self.texts.push(format!("---- console ----\n{end}\n"));
            self.broken
                .push("the machine ended before its tests".to_owned());
        }
        if self.passed == 0 && self.failed.is_empty() {
            self.broken.push("no test ran".to_owned());
        }
        let well = self.failed.is_empty() && self.broken.is_empty();
        if !well {
            println!("\nfailures:\n\n{}", self.texts.join("\n"));
            println!("failures:");
            for name in self.failed.iter().chain(&self.broken) {
                println!("    {name}");
            }
        }
        println!(
            "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
            if well { "ok" } else { "FAILED" },
            self.passed,
            self.failed.len() + self.broken.len(),
            self.ignored,
            self.start.elapsed().as_secs_f64()
        );
        well
    }
}

/// `test NAME ... RESULT`
fn test(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let result = result.split_whitespace().next()?;
    let known = ["ok", "FAILED", "ignored"].contains(&result.trim_end_matches(','));
    known.then(|| (name.trim_end(), result.trim_end_matches(',')))
}
