//! A terminal for clients that refuse to work without one.

use std::process::Command;
use std::time::Duration;

use podhook_integration::command;

/// Runs a command on a terminal of its own.
pub fn on_terminal(client: &Command) -> Result<command::Output, command::Error> {
    let quote =
        |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
    let line: Vec<_> = std::iter::once(client.get_program())
        .chain(client.get_args())
        .map(quote)
        .collect();
    let mut script = Command::new("script");
    script.args([
        "--quiet",
        "--return",
        "--command",
        &line.join(" "),
        "/dev/null",
    ]);
    command::run(&mut script, None, Duration::from_secs(60))
}
