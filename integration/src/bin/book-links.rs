//! Says which links of the built book lead nowhere.
//!
//! usage: book-links FOLDER

use std::path::Path;
use std::process::ExitCode;

use podhook_integration::book::wrong_links;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: book-links FOLDER");
        return ExitCode::from(2);
    };
    match wrong_links(Path::new(&folder)) {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(wrong) => {
            for line in wrong {
                eprintln!("{line}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{folder}: {error}");
            ExitCode::FAILURE
        }
    }
}
