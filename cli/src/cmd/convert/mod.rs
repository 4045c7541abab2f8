//! `podhook convert`: hooks of manifests go to podhook's annotations, or back.

mod replace;
#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use super::error::Error;
use crate::args;
use crate::manifest;
use crate::manifest::convert::Wish;
use crate::output::print;
use crate::output::report::Report;
use text::Converted;

/// What pods get where nobody names a class.
const RUNTIME_CLASS: &str = "podhook";

/// A file, as it will be.
struct File {
    path: PathBuf,
    origin: String,
    was: String,
    converted: Converted,
}

/// Runs the command. Nothing is written unless all can be.
///
/// # Errors
/// [`Error::Reported`] when something cannot be converted.
pub fn run(args: &args::Convert) -> Result<(), Error> {
    let wish = Wish {
        runtime_class: match args.runtime_class.as_deref() {
            Some("") => None,
            name => Some(name.unwrap_or(RUNTIME_CLASS).to_owned()),
        },
        is_named: args.runtime_class.is_some(),
    };
    let mut files = Vec::new();
    let mut failed = false;
    for path in paths(args)? {
        let (origin, was) = manifest::read(&path)?;
        match text::convert(&was, &origin, args.back, &wish) {
            Ok(converted) => files.push(File {
                path,
                origin,
                was,
                converted,
            }),
            Err(reports) => {
                failed = true;
                say(&reports);
            }
        }
    }
    if failed {
        eprintln!("error: nothing has been written");
        return Err(Error::Reported);
    }
    if files.is_empty() {
        return Err(manifest::Error::NoObjects { verb: "convert" }.into());
    }
    for file in &files {
        say(&file.converted.reports);
    }
    if files.iter().all(|file| file.converted.done.is_empty()) {
        eprintln!("note: {}", nothing(args.back));
    }
    match args.in_place {
        true => write(&files),
        false => Ok(print(&joined(&files))?),
    }
}

fn nothing(back: bool) -> &'static str {
    match back {
        true => "no pod has an annotation of podhook's: nothing to convert",
        false => "no container has a lifecycle: nothing to convert",
    }
}

/// The files that `-f` names.
fn paths(args: &args::Convert) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for path in &args.filenames {
        if args.in_place && path == Path::new("-") {
            let text = "--in-place needs files: what comes from stdin goes to stdout";
            return Err(Error::Refused(text.to_owned()));
        }
        for file in manifest::files(path)? {
            if !paths.contains(&file) {
                paths.push(file);
            }
        }
    }
    Ok(paths)
}

fn say(reports: &[Report]) {
    for report in reports {
        eprintln!("{report}");
    }
}

fn write(files: &[File]) -> Result<(), Error> {
    for file in files.iter().filter(|file| file.was != file.converted.text) {
        replace::file(&file.path, &file.converted.text)
            .map_err(|e| Error::Refused(format!("cannot write {}: {e}", file.path.display())))?;
        for done in &file.converted.done {
            print(&format!("{}: {done}\n", file.origin))?;
        }
    }
    Ok(())
}

/// One text as it is; several as documents of one.
fn joined(files: &[File]) -> String {
    let mut out = String::new();
    for file in files {
        let text = file.converted.text.as_str();
        if !out.is_empty() {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            let text = text.trim_start_matches('\u{feff}').trim_start();
            if !text.starts_with("---") {
                out.push_str("---\n");
            }
        }
        out.push_str(match out.is_empty() {
            true => text,
            false => text.trim_start_matches('\u{feff}'),
        });
    }
    out
}
