//! Exec hooks by the OCI runtime's `exec`, for what the engine does not do.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use podhook_hooks::config::ExecEngine;
use podhook_hooks::exec::{self as engine, Child};
use podhook_hooks::handler::exec::Fallback;
use serde_json::Value;

use super::Container;
use super::spawn::{Call, Files, Spawn};
use crate::error::{Error, Result};
use crate::runtime;

/// The container's own runtime as the way to run a command in it.
pub(super) struct ByRuntime(pub(super) Arc<Container>);

impl Fallback for ByRuntime {
    fn spawn<'a>(
        &'a self,
        command: &'a [String],
        stdio: engine::Stdio,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<Child, String>> + Send + 'a>> {
        Box::pin(async move {
            // An abort while the runtime works drops this future, which kills the runtime.
            let made = self.0.spawn_hook_by_runtime(command, stdio).await;
            made.map_err(|e| e.to_string())
        })
    }

    fn always(&self) -> Option<String> {
        let configured = self.0.node.exec == ExecEngine::Runtime;
        configured.then(|| "exec = \"runtime\"".to_owned())
    }
}

impl Container {
    async fn spawn_hook_by_runtime(
        &self,
        command: &[String],
        stdio: engine::Stdio,
    ) -> Result<Child> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let files = Files::new(&self.bundle, &format!(".podhook-hook-{count}"));
        let process = hook_process(&self.bundle.join("config.json"), command)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&files.process)
            .and_then(|mut file| file.write_all(&process))
            .map_err(Error::io("write", &files.process))?;
        let spawn = Spawn {
            deps: &self.deps,
            runtime: self.runtime.as_ref(),
            options: &self.options,
            bundle: &self.bundle,
            call: Call::Exec(&files.process),
            pid_file: &files.pid,
        };
        let stdio = runtime::Stdio {
            stdin: stdio.stdin,
            stdout: stdio.stdout,
            stderr: Some(stdio.stderr),
        };
        spawn.with(stdio).await
    }
}

/// The OCI process of a hook: the container's own with another command, and no terminal.
fn hook_process(config: &Path, command: &[String]) -> Result<Vec<u8>> {
    let json = fs::read(config).map_err(Error::io("read", config))?;
    with_command(&json, command).map_err(Error::failed(config.display().to_string()))
}

fn with_command(config: &[u8], command: &[String]) -> serde_json::Result<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config)?;
    let mut process = config
        .get_mut("process")
        .map(Value::take)
        .unwrap_or_default();
    if let Some(fields) = process.as_object_mut() {
        fields.insert("args".to_owned(), command.into());
        fields.insert("terminal".to_owned(), false.into());
        fields.remove("consoleSize");
        // Older than args, and of no other use.
        fields.remove("commandLine");
    }
    serde_json::to_vec(&process)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hooks_process_is_the_containers_with_another_command_and_no_terminal() {
        let own = json!({
            "args": ["nginx"], "terminal": true, "consoleSize": {"width": 1, "height": 1},
            "env": ["A=b"], "user": {"uid": 7}, "future": {"kept": [1]},
        });
        let config = json!({"process": own, "root": {"path": "rootfs"}}).to_string();
        let command = ["sh".to_owned(), "-c".to_owned()];
        let made = with_command(config.as_bytes(), &command).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&made).unwrap(),
            json!({
                "args": ["sh", "-c"], "terminal": false,
                "env": ["A=b"], "user": {"uid": 7}, "future": {"kept": [1]},
            })
        );
    }
}
