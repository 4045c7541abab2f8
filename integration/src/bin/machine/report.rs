//! The machines' lines as those of a test run on this one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use podhook_integration::again::FLAKY;
use podhook_integration::suite::MARK;

use crate::plan::Run;
use crate::qemu::End;

/// The end of the console that is shown if the machine did not end as it should.
const CONSOLE_LINES: usize = 40;

/// What the machines have said so far.
pub struct Report {
    start: Instant,
    filtered: bool,
    machines: BTreeMap<usize, Progress>,
    passed: usize,
    ignored: usize,
    failed: Vec<String>,
    /// Failures that no test's name stands for.
    broken: Vec<String>,
}

/// How far a machine is.
struct Progress {
    /// The runs that have not begun, first first.
    ahead: VecDeque<&'static str>,
    current: Option<Current>,
    over: bool,
}

/// The run under way.
struct Current {
    name: &'static str,
    tests: usize,
    failed: usize,
    /// What it printed besides its tests' results.
    text: String,
    /// Its failures have been printed when they happened.
    explained: bool,
}

impl Current {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            tests: 0,
            failed: 0,
            text: String::new(),
            explained: false,
        }
    }

    fn print(&self) {
        println!("\n---- {} ----\n{}", self.name, self.text);
    }
}

impl Report {
    /// Nothing yet. With a filter a run may be without a test.
    pub fn new(machines: &[(usize, Vec<Run>)], filtered: bool) -> Self {
        let progress = |(number, runs): &(usize, Vec<Run>)| {
            let ahead = runs.iter().map(|run| run.name).collect();
            let progress = Progress {
                ahead,
                current: None,
                over: false,
            };
            (*number, progress)
        };
        Self {
            start: Instant::now(),
            filtered,
            machines: machines.iter().map(progress).collect(),
            passed: 0,
            ignored: 0,
            failed: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// A line of a machine.
    pub fn line(&mut self, machine: usize, line: &str) {
        let Some(progress) = self.machines.get_mut(&machine) else {
            return;
        };
        if let Some(word) = line.strip_prefix('#') {
            self.mark(machine, word);
        } else if let Some((name, result)) = test(line) {
            self.test(machine, name, result);
        } else if line.starts_with(FLAKY) {
            println!("{line}");
        } else if line.starts_with(MARK) {
            println!("{line}");
            if let Some(current) = &mut progress.current {
                current.explained = true;
            }
        } else if let Some(current) = &mut progress.current {
            current.text += line;
            current.text.push('\n');
        } else {
            println!("{line}");
        }
    }

    /// No machine has said anything for a while: says what each is at.
    pub fn silence(&self) {
        let at = |progress: &Progress| match &progress.current {
            Some(current) => format!("{}: {} tests done", current.name, current.tests),
            None if progress.over => "over".to_owned(),
            None => "to come".to_owned(),
        };
        let all: Vec<_> = self.machines.values().map(at).collect();
        println!("after {:.0} s: {}", self.seconds(), all.join("; "));
    }

    fn mark(&mut self, machine: usize, word: &str) {
        let Some(progress) = self.machines.get_mut(&machine) else {
            return;
        };
        let words: Vec<_> = word.split(' ').collect();
        match words[..] {
            ["begin", name] if progress.ahead.front() == Some(&name) => {
                let before = progress.current.take();
                progress.current = progress.ahead.pop_front().map(Current::new);
                self.never_ended(before);
                println!("{name} begins after {:.0} s", self.seconds());
            }
            ["end", name, status] => {
                let ended = progress.current.take();
                self.end(ended, name, status);
            }
            ["over"] => progress.over = true,
            _ => self.broken.push(format!("machine {machine} said #{word}")),
        }
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// A run under way that will not say how it ended.
    fn never_ended(&mut self, current: Option<Current>) {
        if let Some(current) = current {
            self.broken.push(format!("{}: never ended", current.name));
            current.print();
        }
    }

    fn end(&mut self, ended: Option<Current>, name: &str, status: &str) {
        let Some(current) = ended.filter(|current| current.name == name) else {
            return self.broken.push(format!("{name} ended and had not begun"));
        };
        println!("{name} ends after {:.0} s", self.seconds());
        if current.tests == 0 && !self.filtered {
            self.broken.push(format!("{name}: no test ran"));
        }
        // As a leak that is found at the end, or a crash.
        let crashed = status != "0" && current.failed == 0;
        if crashed {
            self.broken.push(format!("{name}: exit status {status}"));
        }
        if crashed || (current.failed > 0 && !current.explained) {
            current.print();
        }
    }

    fn test(&mut self, machine: usize, name: &str, result: &str) {
        let progress = self.machines.get_mut(&machine);
        let Some(current) = progress.and_then(|progress| progress.current.as_mut()) else {
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

    /// A machine is off.
    fn off(&mut self, machine: usize, end: &End) {
        let Some(mut progress) = self.machines.remove(&machine) else {
            return;
        };
        let current = progress.current.take();
        let at = current
            .as_ref()
            .map_or("no run", |current| current.name)
            .to_owned();
        self.never_ended(current);
        if progress.over {
            return;
        }
        let lines: Vec<_> = end.console.lines().collect();
        let last = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n");
        println!("\n---- console of machine {machine} ----\n{last}\n");
        self.broken.push(if let Some(limit) = end.stopped {
            let minutes = limit.as_secs() / 60;
            format!("machine {machine} was stopped: not over after {minutes} minutes, in {at}")
        } else {
            format!("machine {machine} ended before its tests, in {at}")
        });
    }

    /// Prints what failed and the closing line; true when all is well.
    pub fn close(mut self, ends: &[(usize, End)]) -> bool {
        for (machine, end) in ends {
            self.off(*machine, end);
        }
        if self.passed == 0 && self.failed.is_empty() {
            self.broken.push("no test ran".to_owned());
        }
        let well = self.failed.is_empty() && self.broken.is_empty();
        if !well {
            println!("\nfailures:");
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
            self.seconds()
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

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::plan;
    use crate::qemu::End;

    /// Whether all is well when the machines say that all runs pass, but for `changes`, and then `last`.
    fn said(changes: &[(&str, &str)], last: &str) -> bool {
        let machines = plan::machines();
        let mut report = Report::new(&machines, false);
        let mut ends = Vec::new();
        for (number, runs) in &machines {
            for run in runs {
                let name = run.name;
                let text =
                    format!("#begin {name}\nrunning 1 test\ntest one ... ok\n#end {name} 0\n");
                let text = changes
                    .iter()
                    .fold(text, |text, (from, to)| text.replace(from, to));
                text.lines().for_each(|line| report.line(*number, line));
            }
            report.line(*number, last);
            let (console, stopped) = ("the console".to_owned(), None);
            ends.push((*number, End { console, stopped }));
        }
        report.close(&ends)
    }

    #[test]
    fn a_machine_that_says_it_is_over_after_all_runs_has_passed() {
        assert!(said(&[], "#over"));
    }

    #[test]
    fn a_machine_that_panics_has_failed() {
        assert!(!said(&[], ""));
    }

    #[test]
    fn a_failed_test_an_exit_status_and_a_run_without_a_test_are_failures() {
        for change in [
            ("one ... ok", "one ... FAILED"),
            ("#end shim 0", "#end shim 101"),
            ("test one ... ok", ""),
            ("#end shim 0", ""),
        ] {
            assert!(!said(&[change], "#over"), "{change:?}");
        }
    }

    #[test]
    fn a_result_is_told_from_output() {
        assert_eq!(super::test("test a::b ... ok"), Some(("a::b", "ok")));
        assert_eq!(
            super::test("test a::b ... ignored, not here"),
            Some(("a::b", "ignored"))
        );
        assert_eq!(super::test("test what ... is said"), None);
    }
}
