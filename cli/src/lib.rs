//! The `podhook` command as a library.
//!
//! `podhook` runs Pod manifests on a containerd through CRI, with no kubelet: [`manifest`] reads
//! and translates them, [`cri`] talks to containerd, and each command has its own module.

pub mod apply;
pub mod args;
pub mod bundles;
pub mod clock;
pub mod completion;
pub mod context;
mod create;
pub mod cri;
pub mod delete;
pub mod describe;
pub mod detached;
pub mod error;
pub mod exec;
pub mod get;
mod handler;
pub mod hooks;
pub mod inspect;
mod interrupt;
mod judgement;
pub mod logs;
pub mod manifest;
pub mod metrics;
pub mod node;
pub mod output;
pub mod pods;
pub mod ps;
mod regular;
pub mod remove;
mod signal;
pub mod start;
pub mod state;
pub mod store;
mod termination;
pub mod validate;
pub mod volumes;
mod yaml;

use args::{Cli, Command, Worker};
use context::Context;
use error::Error;

/// Runs a command line.
///
/// # Errors
/// What the command ends with; [`Error::report`] is the line for the user.
pub async fn run(cli: Cli) -> Result<(), Error> {
    match &cli.command {
        Command::Ps(args) => ps::run(&cli.global, args).await,
        Command::Inspect(args) => inspect::run(&cli.global, args).await,
        Command::Metrics(args) => metrics::run(&cli.global, args).await,
        Command::Validate(args) => validate::run(args),
        Command::Completion(args) => completion::run(args),
        _ => run_connected(&cli).await,
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
        Command::Worker(Worker::Start { ids }) => start::run(&context, ids).await,
        Command::Worker(Worker::Remove {
            pod_namespace: namespace,
            pod_name: name,
            pod_uid: uid,
            grace,
        }) => {
            let pod = remove::PodId {
                namespace,
                name,
                uid,
            };
            remove::run(&context, pod, *grace).await
        }
        Command::Ps(_)
        | Command::Inspect(_)
        | Command::Metrics(_)
        | Command::Validate(_)
        | Command::Completion(_) => Ok(()),
    }
}
