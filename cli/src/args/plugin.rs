//! The command under the name of a kubectl plugin: what needs no node is shown, under the name that people type.

use std::ffi::OsStr;
use std::path::Path;

use clap::{Command, CommandFactory, FromArgMatches};

use super::Cli;

/// What `kubectl podhook` looks for.
pub const PLUGIN: &str = "kubectl-podhook";
/// What people type.
const TYPED: &str = "kubectl podhook";
/// The commands that need no containerd.
pub const PLUGIN_COMMANDS: [&str; 2] = ["check", "convert"];

/// Reads the command line. One that is wrong, and a call for help, end the program.
#[must_use]
pub fn parse() -> Cli {
    let called = std::env::args_os().next();
    let matches = command(called.as_deref()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The command line of the program as it is called.
#[must_use]
pub fn command(called: Option<&OsStr>) -> Command {
    let command = Cli::command();
    let name = called.map(Path::new).and_then(Path::file_stem);
    if name != Some(OsStr::new(PLUGIN)) {
        return command;
    }
    let all: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    let command = command
        .bin_name(TYPED)
        .about(
            "Lets podhook run the lifecycle hooks of manifests, and says what is wrong with them",
        )
        .long_about(None)
        .mut_args(|arg| arg.hide(true));
    all.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |sub| match PLUGIN_COMMANDS.contains(&name.as_str()) {
            true => typed(sub),
            // Of use only on a node. It works there all the same.
            false => sub.hide(true),
        })
    })
}

/// The examples as they are to be typed.
fn typed(command: Command) -> Command {
    let Some(examples) = command.get_after_help().map(ToString::to_string) else {
        return command;
    };
    let examples = PLUGIN_COMMANDS.iter().fold(examples, |text, name| {
        text.replace(&format!("podhook {name}"), &format!("{TYPED} {name}"))
    });
    command.after_help(examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(called: &str, args: &[&str]) -> String {
        let mut line = vec![called];
        line.extend(args);
        let error = command(Some(OsStr::new(called))).try_get_matches_from(line);
        error.unwrap_err().to_string()
    }

    #[test]
    fn the_plugin_shows_what_needs_no_node_under_its_own_name() {
        let text = help("/opt/krew/bin/kubectl-podhook", &["--help"]);
        assert!(text.contains("Usage: kubectl podhook"), "{text}");
        for name in PLUGIN_COMMANDS {
            assert!(text.contains(&format!("\n  {name} ")), "{text}");
        }
        for node in ["\n  apply ", "\n  ps ", "--address"] {
            assert!(!text.contains(node), "{text}");
        }
        let text = help("kubectl-podhook", &["convert", "--help"]);
        assert!(text.contains("Usage: kubectl podhook convert"), "{text}");
        assert!(
            text.contains("\n  kubectl podhook convert -f web.yaml"),
            "{text}"
        );
        assert!(
            !text.contains("kubectl kubectl") && !text.contains("--address"),
            "{text}"
        );
    }

    #[test]
    fn the_command_itself_shows_everything() {
        let text = help("/usr/local/bin/podhook", &["--help"]);
        assert!(
            text.contains("Usage: podhook") && text.contains("\n  apply "),
            "{text}"
        );
        assert!(text.contains("--address"), "{text}");
    }

    #[test]
    fn a_plugin_takes_the_same_command_lines() {
        let line = ["kubectl-podhook", "convert", "--back", "-f", "-"];
        let matches = command(Some(OsStr::new(line[0])))
            .try_get_matches_from(line)
            .unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let super::super::Command::Convert(convert) = cli.command else {
            panic!("another command");
        };
        assert!(convert.back && !convert.in_place);
        Cli::command().debug_assert();
    }
}
