//! The commands: one file or folder each, and none imports another.
//!
//! What several of them need is below: of pods in [`crate::pods`], of the node's shims and their records in
//! [`crate::node`]. What ends a command is an [`error::Error`], whatever went wrong below.

pub mod across;
pub mod agent;
pub mod apply;
pub mod bug_report;
pub mod check;
pub mod completion;
pub mod convert;
pub mod delete;
pub mod describe;
pub mod doctor;
pub mod error;
pub mod exec;
pub mod get;
pub mod history;
pub mod inspect;
pub mod install;
mod interrupt;
mod listen;
pub mod logs;
pub mod metrics;
pub mod node_label;
mod outcome;
pub mod ps;
pub mod uninstall;
pub mod version;
pub mod webhook;
pub mod worker;

use crate::args::plugin::{Line, PluginCommand};
use crate::args::{Cli, Command, Worker};
use crate::pods::context::Context;
use error::Error;

/// Runs a command line.
///
/// # Errors
/// What the command ends with; [`Error::report`] is the line for the user.
pub async fn run(line: &Line) -> Result<(), Error> {
    match line {
        Line::Podhook(cli) => run_podhook(cli).await,
        Line::Plugin(plugin) => match &plugin.command {
            PluginCommand::Ps(args) => across::ps(args).await,
            PluginCommand::Inspect(args) => across::inspect(args).await,
            PluginCommand::Check(args) => check::run(args),
            PluginCommand::Convert(args) => convert::run(args),
        },
    }
}

async fn run_podhook(cli: &Cli) -> Result<(), Error> {
    match &cli.command {
        Command::Ps(args) => ps::run(&cli.global, args).await,
        Command::History(args) => history::run(&cli.global, args).await,
        Command::Inspect(args) => inspect::run(&cli.global, args).await,
        Command::Metrics(args) => metrics::run(&cli.global, args).await,
        Command::Install(args) => install::run(&cli.global, args).await,
        Command::Uninstall(args) => uninstall::run(&cli.global, args),
        Command::Doctor(args) => doctor::run(&cli.global, args).await,
        Command::Version(args) => version::run(&cli.global, args).await,
        Command::BugReport(args) => bug_report::run(&cli.global, args).await,
        Command::Check(args) => check::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Agent(args) => agent::run(&cli.global, args).await,
        Command::Webhook(args) => webhook::run(args).await,
        Command::NodeLabel(args) => node_label::run(args).await,
        Command::Completion(args) => completion::run(args),
        _ => run_connected(cli).await,
    }
}

/// The commands that talk to containerd.
async fn run_connected(cli: &Cli) -> Result<(), Error> {
    let context = Context::new(cli.global.clone()).await?;
    match &cli.command {
        Command::Apply(args) => apply::run(&context, args).await,
        Command::Get(args) => get::run(&context, args).await,
        Command::Describe(args) => describe::run(&context, args).await,
        Command::Exec(args) => exec::run(&context, args).await,
        Command::Logs(args) => logs::run(&context, args).await,
        Command::Delete(args) => delete::run(&context, args).await,
        Command::Worker(Worker::Start { ids }) => worker::start::run(&context, ids).await,
        Command::Worker(Worker::Remove {
            pod_namespace: namespace,
            pod_name: name,
            pod_uid: uid,
            grace,
        }) => {
            let pod = worker::remove::PodId {
                namespace,
                name,
                uid,
            };
            worker::remove::run(&context, pod, *grace).await
        }
        Command::Ps(_)
        | Command::History(_)
        | Command::Inspect(_)
        | Command::Metrics(_)
        | Command::Install(_)
        | Command::Uninstall(_)
        | Command::Doctor(_)
        | Command::Version(_)
        | Command::BugReport(_)
        | Command::Check(_)
        | Command::Convert(_)
        | Command::Agent(_)
        | Command::Webhook(_)
        | Command::NodeLabel(_)
        | Command::Completion(_) => Ok(()),
    }
}
