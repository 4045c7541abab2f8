//! The command under the name of a kubectl plugin: what is of use where there is a cluster and no node.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::across::{self, InspectAcross, PsAcross};
use super::{Check, Cli, Convert};

/// What `kubectl podhook` looks for.
pub const PLUGIN: &str = "kubectl-podhook";
/// What people type.
const TYPED: &str = "kubectl podhook";
/// Its commands.
pub const PLUGIN_COMMANDS: [&str; 4] = ["ps", "inspect", "check", "convert"];
/// Those that are the same on a node.
const FILES: [&str; 2] = ["check", "convert"];

/// What the command was called as.
#[derive(Debug)]
pub enum Line {
    /// `podhook`.
    Podhook(Box<Cli>),
    /// `kubectl podhook`.
    Plugin(Plugin),
}

/// Shows the hooks that podhook runs in a cluster, lets it run those of manifests, and says what is wrong with them.
#[derive(Debug, Parser)]
#[command(name = PLUGIN, bin_name = TYPED, version, max_term_width = 100)]
pub struct Plugin {
    /// The verb.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// List the hooks of pods on all nodes: what runs, since when, how it ended.
    ///
    /// podhook's agent on each node answers, for pods that one may get. It is reached by kubectl port-forward, and learns
    /// who asks from a CertificateSigningRequest that is made for that and is never signed.
    #[command(after_help = across::PS_EXAMPLES)]
    Ps(PsAcross),
    /// Show everything recorded of a pod's hooks, with what they have printed.
    ///
    /// podhook's agent on the pod's node answers, if one may get the pod.
    #[command(after_help = across::INSPECT_EXAMPLES)]
    Inspect(InspectAcross),
    /// As on a node.
    Check(Check),
    /// As on a node.
    Convert(Convert),
}

/// Reads the command line. One that is wrong, and a call for help, end the program.
#[must_use]
pub fn parse() -> Line {
    let said: Vec<OsString> = std::env::args_os().collect();
    let called = said.first().cloned();
    let matches = command(called.as_deref()).try_get_matches();
    let matches = matches.unwrap_or_else(|error| plain(error, &said).exit());
    let line = match is_plugin(called.as_deref()) {
        true => Plugin::from_arg_matches(&matches).map(Line::Plugin),
        false => Cli::from_arg_matches(&matches).map(|cli| Line::Podhook(Box::new(cli))),
    };
    line.unwrap_or_else(|error| error.exit())
}

/// A usage error without what is only for podhook itself, and without what an environment variable sets, which clap takes for given on the
/// command line.
fn plain(mut error: clap::Error, said: &[OsString]) -> clap::Error {
    if let Some(ContextValue::Strings(names)) = error.get(ContextKind::ValidSubcommand) {
        let command = Cli::command();
        let is_shown = |name: &String| {
            let found = command.find_subcommand(name);
            found.is_none_or(|command| !command.is_hide_set())
        };
        let names = names.iter().filter(|name| is_shown(name)).cloned();
        let names = ContextValue::Strings(names.collect());
        error.insert(ContextKind::ValidSubcommand, names);
    }
    if let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) {
        let before = usage.to_string();
        let is_said = |flag: &str| {
            said.iter()
                .filter_map(|word| word.to_str())
                .any(|word| word == flag || word.starts_with(&format!("{flag}=")))
        };
        let command = Cli::command();
        let unsaid = command.get_arguments().filter_map(|arg| {
            let flag = format!("--{}", arg.get_long()?);
            let value = arg.get_value_names()?.first()?;
            let is_env = arg.get_env().is_some() && !is_said(&flag);
            is_env.then(|| format!(" {flag} <{value}>"))
        });
        let usage = unsaid.fold(before.clone(), |usage, one| usage.replace(&one, ""));
        if usage != before {
            let usage = ContextValue::StyledStr(usage.into());
            error.insert(ContextKind::Usage, usage);
        }
    }
    error
}

fn is_plugin(called: Option<&OsStr>) -> bool {
    called.map(Path::new).and_then(Path::file_stem) == Some(OsStr::new(PLUGIN))
}

/// The command line of the program as it is called.
#[must_use]
pub fn command(called: Option<&OsStr>) -> Command {
    let podhook = Cli::command();
    if !is_plugin(called) {
        return podhook;
    }
    FILES.iter().fold(Plugin::command(), |plugin, name| {
        let same = podhook.find_subcommand(name).cloned();
        plugin.mut_subcommand(name, |sub| same.map_or(sub, typed))
    })
}

/// The examples as they are to be typed.
fn typed(command: Command) -> Command {
    let Some(examples) = command.get_after_help().map(ToString::to_string) else {
        return command;
    };
    let examples = FILES.iter().fold(examples, |text, name| {
        text.replace(&format!("podhook {name}"), &format!("{TYPED} {name}"))
    });
    command.after_help(examples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_error_has_nothing_of_podhooks_own_and_no_address_of_the_environment() {
        let said = ["podhook", "--address=/x"].map(OsString::from);
        let error = Cli::command().try_get_matches_from(&said).unwrap_err();
        let text = plain(error, &said).to_string();
        assert!(
            !text.contains("worker") && !text.contains("node-label"),
            "{text}"
        );
        let said = ["podhook", "convert", "--address=/x"].map(OsString::from);
        let error = || Cli::command().try_get_matches_from(&said).unwrap_err();
        let of_line = plain(error(), &said).to_string();
        assert!(of_line.contains("--address <PATH>"), "{of_line}");
        // To clap what is set by the environment looks the same.
        let text = plain(error(), &said[..2]).to_string();
        assert!(!text.contains("--address"), "{text}");
    }

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
        for node in ["\n  apply ", "--address"] {
            assert!(!text.contains(node), "{text}");
        }
        for name in PLUGIN_COMMANDS {
            let text = help("kubectl-podhook", &[name, "--help"]);
            assert!(
                text.contains(&format!("Usage: kubectl podhook {name}")),
                "{text}"
            );
            assert!(
                text.contains(&format!("\n  kubectl podhook {name} ")),
                "{text}"
            );
            assert!(
                !text.contains("kubectl kubectl") && !text.contains("--address"),
                "{text}"
            );
        }
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
    fn what_the_plugin_takes() {
        let parsed = |words: &str| {
            let line = format!("{PLUGIN} {words}");
            let matches = command(Some(OsStr::new(PLUGIN))).try_get_matches_from(line.split(' '));
            matches.map(|matches| Plugin::from_arg_matches(&matches).unwrap().command)
        };
        let Ok(PluginCommand::Convert(convert)) = parsed("convert --back -f -") else {
            panic!("another command");
        };
        assert!(convert.back && !convert.in_place);
        let Ok(PluginCommand::Ps(ps)) = parsed("ps -A -o json") else {
            panic!("another command");
        };
        assert!(ps.all_namespaces && ps.cluster.agent_namespace == "podhook");
        for wrong in ["ps -A -n shop", "ps -A web-0", "inspect", "apply -f -"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        Plugin::command().debug_assert();
    }

    #[test]
    fn the_examples_are_right() {
        for examples in [across::PS_EXAMPLES, across::INSPECT_EXAMPLES] {
            let lines = examples
                .lines()
                .filter_map(|line| line.trim().split(" | ").next());
            for line in lines.filter(|line| line.starts_with(TYPED)) {
                let words = line.replacen(TYPED, PLUGIN, 1);
                let matches =
                    command(Some(OsStr::new(PLUGIN))).try_get_matches_from(words.split(' '));
                assert!(matches.is_ok(), "{line}: {matches:?}");
            }
        }
    }
}
