//! containerd's state directory, for commands that also work when containerd does not.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::Global;
use crate::cri::Client;

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
