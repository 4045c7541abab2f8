//! What ginkgo's JSON report says of each case.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Error;

/// The most that is shown of a failure, characters: gomega's messages have whole objects in them.
const REASON: usize = 400;

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Case {
    Passed,
    Skipped,
    /// In both attempts: why.
    Failed(String),
    /// Not in the report.
    Absent,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Skipped => f.write_str("skipped"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::Absent => f.write_str("did not run"),
        }
    }
}

/// A run of critest.
#[derive(Debug)]
pub struct Report {
    pub cases: BTreeMap<String, Case>,
    pub seconds: u64,
}

impl Report {
    /// Reads the file that critest wrote.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let suites: Vec<Value> = serde_json::from_slice(&fs::read(path)?)?;
        let mut cases = BTreeMap::new();
        let mut nanoseconds = 0;
        for suite in &suites {
            nanoseconds += suite["RunTime"].as_u64().unwrap_or(0);
            for spec in suite["SpecReports"].as_array().into_iter().flatten() {
                let case = case(spec);
                match spec["LeafNodeType"].as_str() {
                    Some("It") => {
                        cases.insert(name(spec), case);
                    }
                    // What comes before all cases has no name of its own.
                    Some(node) if matches!(case, Case::Failed(_)) => {
                        return Err(format!("critest: {node}: {case}").into());
                    }
                    _ => {}
                }
            }
        }
        Ok(Self {
            cases,
            seconds: nanoseconds / 1_000_000_000,
        })
    }

    pub fn count(&self, of: impl Fn(&Case) -> bool) -> usize {
        self.cases.values().filter(|case| of(case)).count()
    }

    pub fn case(&self, name: &str) -> &Case {
        self.cases.get(name).unwrap_or(&Case::Absent)
    }
}

fn name(spec: &Value) -> String {
    let above = spec["ContainerHierarchyTexts"].as_array();
    let texts = above.into_iter().flatten().chain([&spec["LeafNodeText"]]);
    let texts: Vec<_> = texts.filter_map(Value::as_str).collect();
    texts.join(" ")
}

fn case(spec: &Value) -> Case {
    match spec["State"].as_str() {
        Some("passed") => Case::Passed,
        Some("skipped" | "pending") => Case::Skipped,
        state => {
            let message = spec["Failure"]["Message"].as_str().unwrap_or_default();
            let lines = message
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty());
            let text: String = lines.collect::<Vec<_>>().join(" ");
            let text: String = text.chars().take(REASON).collect();
            Case::Failed(format!("{}: {text}", state.unwrap_or("no state")))
        }
    }
}
