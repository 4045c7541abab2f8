//! Exec hooks by the OCI runtime's `exec`, for what the engine does not do.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use podhook_hooks::config::ExecEngine;
use podhook_hooks::config_json;
use podhook_hooks::exec::{self as engine, Child};
use podhook_hooks::handler::exec::Fallback;
use podhook_hooks::trace;
use serde_json::{Value, json};

use super::Container;
use super::spawn::{Call, Files, Spawn};
use crate::error::Result;
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
        let process = with_command(
            config_json::process(&self.bundle)?,
            command,
            &trace::current().variables(),
        )
        .to_string();
        let name = format!(".podhook-hook-{count}");
        let files = Files::write(&self.bundle, &name, process.as_bytes())?;
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

/// The OCI process of a hook: the container's own with another command, these variables besides, and no terminal.
fn with_command(mut process: Value, command: &[String], variables: &[(&str, &str)]) -> Value {
    if let Some(fields) = process.as_object_mut() {
        if !variables.is_empty() {
            let entries = variables
                .iter()
                .map(|(name, value)| Value::from(format!("{name}={value}")));
            match fields.entry("env").or_insert_with(|| json!([])) {
                Value::Array(env) => env.extend(entries),
                env => *env = entries.collect(),
            }
        }
        fields.insert("args".to_owned(), command.into());
        fields.insert("terminal".to_owned(), false.into());
        fields.remove("consoleSize");
        // Older than args, and of no other use.
        fields.remove("commandLine");
    }
    process
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
        let command = ["sh".to_owned(), "-c".to_owned()];
        assert_eq!(
            with_command(own, &command, &[]),
            json!({
                "args": ["sh", "-c"], "terminal": false,
                "env": ["A=b"], "user": {"uid": 7}, "future": {"kept": [1]},
            })
        );
    }
}
