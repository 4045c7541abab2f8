//! Writes podhook's man pages and the completion scripts of shells, as packages have them.
//!
//! usage: pages FOLDER      (`man1/podhook*.1` and `man1/kubectl-podhook*.1`, `bash/podhook`, `zsh/_podhook`, `fish/podhook.fish`)

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use podhook::args::{Cli, plugin};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("usage: pages FOLDER"));
    };
    write(&PathBuf::from(folder))
}

/// Writes all of them.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    let man = folder.join("man1");
    fs::create_dir_all(&man)?;
    for cli in [
        Cli::command(),
        plugin::command(Some(plugin::PLUGIN.as_ref())),
    ] {
        let mut cli = cli.disable_help_subcommand(true);
        cli.build();
        let see = match cli.get_name() {
            plugin::PLUGIN => "kubectl-podhook(1), podhook(1), kubectl(1)",
            _ => "podhook(1), containerd-shim-podhook-v1(8)",
        };
        page(&cli, see, &man)?;
        for command in cli
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            page(command, see, &man)?;
        }
    }
    for (shell, name) in [
        (Shell::Bash, "podhook"),
        (Shell::Zsh, "_podhook"),
        (Shell::Fish, "podhook.fish"),
    ] {
        let folder = folder.join(shell.to_string());
        fs::create_dir_all(&folder)?;
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "podhook", &mut script);
        fs::write(folder.join(name), script)?;
    }
    Ok(())
}

/// One page. What the help has after the options is not to be filled as text is.
fn page(command: &Command, see: &str, folder: &Path) -> io::Result<()> {
    let man = Man::new(command.clone())
        .source(format!("podhook {}", env!("CARGO_PKG_VERSION")))
        .manual("podhook");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command
        .get_subcommands()
        .any(|command| !command.is_hide_set())
    {
        man.render_subcommands_section(&mut text)?;
    }
    let after = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (status, examples) = match after.split_once("Examples:\n") {
        Some((status, examples)) => (status.replacen("Exit status: ", "", 1), examples.to_owned()),
        None => (after, String::new()),
    };
    let mut roff = Roff::new();
    if !status.trim().is_empty() {
        roff.control("SH", ["EXIT STATUS"]);
        roff.text([roman(status.replace('\n', " ").trim())]);
    }
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        for line in examples.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(see)]);
    roff.to_writer(&mut text)?;
    fs::write(folder.join(man.get_filename()), text)
}
