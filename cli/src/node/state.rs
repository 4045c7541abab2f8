//! containerd's state directory, for commands that also work when containerd does not.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::Global;
use crate::cri::{self, Client};

/// Where containerd keeps its state unless its configuration says otherwise.
pub const DEFAULT: &str = "/run/containerd";
/// A containerd that hangs must not keep the results of its hooks from being seen.
const PATIENCE: Duration = Duration::from_secs(2);

/// `--state`, else what containerd says, else [`DEFAULT`].
pub async fn directory(global: &Global) -> PathBuf {
    if let Some(state) = &global.state {
        return state.clone();
    }
    let ask = async {
        let client = Client::connect(&global.address).await.ok()?;
        let handlers = client.handlers().await.ok()?;
        handlers.state().map(PathBuf::from)
    };
    let answer = tokio::time::timeout(PATIENCE, ask).await.ok().flatten();
    answer.unwrap_or_else(|| PathBuf::from(DEFAULT))
}

/// `--state`, else what containerd says, else [`DEFAULT`]; for commands that need containerd anyway.
///
/// # Errors
/// When containerd does not answer.
pub async fn of(client: &Client, global: &Global) -> Result<PathBuf, cri::Error> {
    if let Some(state) = &global.state {
        return Ok(state.clone());
    }
    let handlers = client.handlers().await?;
    Ok(handlers
        .state()
        .map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from))
}
