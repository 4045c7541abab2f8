//! `podhook check`: what is wrong with hooks, said before there is a container.

#[cfg(test)]
mod tests;

use std::path::Path;

use podhook_hooks::config::Config;
use podhook_hooks::lifecycle::Policy;
use serde_json::json;

use super::error::Error;
use crate::args;
use crate::manifest;
use crate::manifest::check::{self, At, Finding, Inside, NO_HOOKS, Rules, Verdict};
use crate::manifest::source::{Place, Source, template_hint};
use crate::output::report::{Report, Severity};
use crate::output::{escape, print};

/// Runs the command.
///
/// # Errors
/// [`Error::Reported`] when something is wrong; with `--strict` also when something is doubtful.
pub fn run(args: &args::Check) -> Result<(), Error> {
    let rules = Rules {
        policy: policy(args.config.as_deref())?,
        whole: true,
        apply: args.apply,
        classes: args.runtime_class.clone(),
    };
    let mut reports = Vec::new();
    for path in &args.files {
        for file in manifest::files(path)? {
            reports.extend(of_file(&file, Input::Any, &rules));
        }
    }
    for path in &args.filenames {
        for file in manifest::files(path)? {
            reports.extend(of_file(&file, Input::Manifests, &rules));
        }
    }
    let count = |severity| reports.iter().filter(|r| r.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match args.output {
        Some(args::CheckOutput::Json) => {
            let document = json!({"findings": reports, "errors": errors, "warnings": warnings});
            let text = serde_json::to_string_pretty(&document).map_err(std::io::Error::from)?;
            print(&escape::json(&(text + "\n")))?;
        }
        None => say(&reports)?,
    }
    if errors > 0 || (args.strict && warnings > 0) {
        return Err(Error::Reported);
    }
    Ok(())
}

/// What a file may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Manifests; a document without a kind is none of them.
    Manifests,
    /// Or the value of an annotation.
    Any,
}

fn policy(path: Option<&Path>) -> Result<Policy, Error> {
    let Some(path) = path else {
        return Ok(Policy::default());
    };
    let config = Config::load(path).map_err(|e| Error::Refused(e.to_string()))?;
    Ok(config.policy())
}

fn say(reports: &[Report]) -> Result<(), Error> {
    if reports.is_empty() {
        eprintln!("note: {NO_HOOKS}");
    }
    for report in reports {
        match report.severity {
            Severity::Ok => print(&format!("{report}\n"))?,
            _ => eprintln!("{report}"),
        }
    }
    Ok(())
}

/// What there is to say of a file.
fn of_file(path: &Path, input: Input, rules: &Rules) -> Vec<Report> {
    match manifest::read(path) {
        Ok((origin, text)) => reports(&text, &origin, input, rules),
        // The others are of interest all the same.
        Err(error) => {
            let origin = path.display().to_string();
            vec![report(Severity::Error, &origin, (1, 1), &error.to_string())]
        }
    }
}

fn reports(text: &str, origin: &str, input: Input, rules: &Rules) -> Vec<Report> {
    let read = Source::read(text);
    if let Err(wrong) = &read
        && (input == Input::Manifests || check::looks_like_manifest(text))
    {
        let place = (wrong.line, wrong.column);
        let mut report = report(Severity::Error, origin, place, &wrong.reason);
        report.hint = template_hint(text).unwrap_or_default();
        return vec![report];
    }
    let source = read.ok();
    let is_manifest = source.as_ref().is_some_and(check::has_manifests);
    if input == Input::Manifests && !is_manifest {
        return Vec::new();
    }
    let findings = check::findings(text, source.as_ref(), rules);
    let is_said = |finding: &&Finding| input == Input::Any || finding.text != NO_HOOKS;
    let mut reports: Vec<_> = findings
        .iter()
        .filter(is_said)
        .map(|finding| reported(finding, origin, text, source.as_ref(), is_manifest))
        .collect();
    reports.sort_by_key(|report| (report.line, report.column));
    reports
}

fn reported(
    finding: &Finding,
    origin: &str,
    text: &str,
    source: Option<&Source<'_>>,
    is_manifest: bool,
) -> Report {
    let severity = match finding.verdict {
        Verdict::Good => Severity::Ok,
        Verdict::Doubtful => Severity::Warning,
        Verdict::Refused => Severity::Error,
    };
    let place = match is_manifest {
        true => source.map(|source| place(source, &finding.at)),
        false => place_in_value(text, source, &finding.at),
    };
    let place = place.unwrap_or_default();
    let mut report = report(severity, origin, (place.line, place.column), &finding.text);
    report.object.clone_from(&finding.at.object);
    report.subject.clone_from(&finding.subject);
    report.path = finding.at.path.to_string();
    report.hint.clone_from(&finding.hint);
    report
}

fn report(severity: Severity, file: &str, (line, column): (usize, usize), message: &str) -> Report {
    Report {
        severity,
        file: file.to_owned(),
        line,
        column,
        object: String::new(),
        subject: String::new(),
        path: String::new(),
        message: message.to_owned(),
        hint: String::new(),
    }
}

fn place(source: &Source<'_>, at: &At) -> Place {
    let inside = match &at.inside {
        Some(Inside::Field(field)) => source.place_of_field(at.document, &at.path, field),
        Some(Inside::Byte(byte)) => source.place_inside(at.document, &at.path, *byte),
        None => None,
    };
    inside.unwrap_or_else(|| source.place(at.document, &at.path))
}

/// The value of an annotation is the whole text.
fn place_in_value(text: &str, source: Option<&Source<'_>>, at: &At) -> Option<Place> {
    match at.inside.as_ref()? {
        Inside::Field(field) => Some(source?.place(0, &manifest::Path::parse(field))),
        Inside::Byte(byte) => Some(Place::of(text, *byte)),
    }
}
