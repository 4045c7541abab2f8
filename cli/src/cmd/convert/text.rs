//! One file's text, with its hooks moved.

use crate::manifest::convert::{self, Trouble, Wish};
use crate::manifest::source::{Change, Place, Source, template_hint};
use crate::manifest::workload::{self, Workload};
use crate::output::report::{Report, Severity};

/// A text that has been converted.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) text: String,
    /// What was done, as `deployment/web converted: nginx`.
    pub(super) done: Vec<String>,
    /// What there is to say beside.
    pub(super) reports: Vec<Report>,
}

/// Converts the manifests of a text; what is no manifest of pods stays as it is.
///
/// # Errors
/// All that keeps it from being done.
pub(super) fn convert(
    text: &str,
    file: &str,
    back: bool,
    wish: &Wish,
) -> Result<Converted, Vec<Report>> {
    let source = match Source::read(text) {
        Ok(source) => source,
        Err(wrong) => {
            let mut report = report(Severity::Error, file, Place::default(), &wrong.reason);
            (report.line, report.column) = (wrong.line, wrong.column);
            report.hint = template_hint(text).unwrap_or_default();
            return Err(vec![report]);
        }
    };
    let mut changes = Vec::new();
    let mut done = Vec::new();
    let mut reports = Vec::new();
    for (document, value) in source.values().iter().enumerate() {
        for workload in workload::workloads(value) {
            let at = workload.pod_at();
            let tell = |severity, trouble: &Trouble| {
                let trouble = trouble.clone().below(&at);
                about(&source, document, file, &workload, severity, &trouble)
            };
            let plan = match back {
                true => convert::back(workload.pod(), wish),
                false => convert::forward(workload.pod(), wish),
            };
            match plan {
                Ok(plan) if plan.ops.is_empty() => {}
                Ok(_) | Err(_) if !workload.is_known => {
                    reports.push(tell(Severity::Warning, &unknown(&workload)));
                }
                Ok(plan) => {
                    reports.extend(plan.notes.iter().map(|note| {
                        let severity = match note.hint == convert::OS {
                            true => Severity::Warning,
                            false => Severity::Note,
                        };
                        tell(severity, note)
                    }));
                    let name = workload.name();
                    done.push(format!("{name} converted: {}", plan.containers.join(", ")));
                    changes.push(Change {
                        document,
                        ops: plan.ops.into_iter().map(|op| op.below(&at)).collect(),
                        moves: plan
                            .moves
                            .iter()
                            .map(|(from, to)| (at.join(from), at.join(to)))
                            .collect(),
                    });
                }
                Err(troubles) => {
                    reports.extend(troubles.iter().map(|t| tell(Severity::Error, t)));
                }
            }
        }
    }
    if reports
        .iter()
        .any(|report| report.severity == Severity::Error)
    {
        return Err(reports);
    }
    let edited = source.edit(&changes).map_err(|refusal| {
        let mut report = report(Severity::Error, file, refusal.place, &refusal.reason);
        report.hint = refusal.hint.to_owned();
        vec![report]
    })?;
    reports.extend(edited.lost.iter().map(|(place, comment)| {
        let text = format!("this comment has no place any more: {comment}");
        report(Severity::Warning, file, *place, &text)
    }));
    Ok(Converted {
        text: edited.text,
        done,
        reports,
    })
}

fn unknown(workload: &Workload<'_>) -> Trouble {
    Trouble {
        at: crate::manifest::Path::default(),
        inside: None,
        text: format!(
            "{} is no kind of Kubernetes' own: left as it is",
            workload.kind()
        ),
        hint: "convert its template as a PodTemplate, and copy that".to_owned(),
    }
}

fn report(severity: Severity, file: &str, place: Place, message: &str) -> Report {
    Report {
        severity,
        file: file.to_owned(),
        line: place.line,
        column: place.column,
        object: String::new(),
        subject: String::new(),
        path: String::new(),
        message: message.to_owned(),
        hint: String::new(),
    }
}

fn about(
    source: &Source<'_>,
    document: usize,
    file: &str,
    workload: &Workload<'_>,
    severity: Severity,
    trouble: &Trouble,
) -> Report {
    let inside = trouble
        .inside
        .as_ref()
        .and_then(|field| source.place_of_field(document, &trouble.at, field));
    let place = inside.unwrap_or_else(|| source.place(document, &trouble.at));
    let mut report = report(severity, file, place, &trouble.text);
    report.object = workload.name();
    report.path = trouble.at.to_string();
    report.hint = trouble.hint.clone();
    report
}
