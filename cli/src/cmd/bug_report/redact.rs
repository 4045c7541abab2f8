//! What of a node's users stays out of a report.
//!
//! It is said what is kept, and not what is dropped: what a later version records is dropped too, until somebody has
//! looked at it. A key that is kept has no text of a user's in it, but for the names of pods and containers.

use serde_json::{Map, Value, json};

/// What stands for what was dropped.
pub(super) const REDACTED: &str = "<redacted>";

/// Whether users' texts are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redaction {
    On,
    /// The user has said that they may be in it.
    Off,
}

/// Of a record.
const RECORD: [&str; 6] = ["version", "id", "namespace", "pod", "phase", "termination"];
/// Of a run of a hook.
const HOOK: [&str; 13] = [
    "hook",
    "handler",
    "result",
    "startedAt",
    "finishedAt",
    "durationMs",
    "exitCode",
    "signal",
    "httpStatus",
    "cpuUserUsec",
    "cpuSystemUsec",
    "memoryPeakBytes",
    "timeoutSeconds",
];
/// Of a handler, whichever it is.
const HANDLER: [&str; 6] = [
    "port",
    "scheme",
    "host",
    "seconds",
    "timeoutSeconds",
    "name",
];
/// Of podhook's own configuration: where hooks are.
const HOOKS: [&str; 2] = ["postStart", "preStop"];
/// What ends the part of a message that is podhook's own.
const QUOTES: [char; 5] = ['"', '[', '`', '\'', '{'];

impl Redaction {
    /// What is kept of a container's record.
    pub(super) fn record(self, record: &Value) -> Value {
        if self == Self::Off {
            return record.clone();
        }
        let mut kept = only(record, &RECORD);
        let hooks = record.get("hooks").and_then(Value::as_array);
        let hooks = hooks.into_iter().flatten().map(|hook| {
            let mut kept = only(hook, &HOOK);
            if let Some(message) = hook.get("message").and_then(Value::as_str) {
                kept.insert("message".to_owned(), self.message(message).into());
            }
            if let Some(action) = hook.get("action") {
                kept.insert("action".to_owned(), self.action(action));
            }
            if let Some(output) = hook.get("output").and_then(Value::as_str) {
                let length = format!("{REDACTED}, {} bytes", output.len());
                kept.insert("output".to_owned(), length.into());
            }
            Value::Object(kept)
        });
        kept.insert("hooks".to_owned(), hooks.collect());
        kept.into()
    }

    /// What is kept of a handler: its program, where it asks, and how long it waits.
    fn action(self, action: &Value) -> Value {
        let kinds = action.as_object().into_iter().flatten();
        let kinds = kinds.map(|(kind, handler)| {
            let mut kept = only(handler, &HANDLER);
            let command = handler.get("command").and_then(Value::as_array);
            if let Some((program, arguments)) = command.and_then(|words| words.split_first()) {
                let arguments = arguments.iter().map(|_| REDACTED.into());
                let words = std::iter::once(program.clone()).chain(arguments);
                kept.insert("command".to_owned(), words.collect());
            }
            let headers = handler.get("httpHeaders").and_then(Value::as_array);
            if let Some(headers) = headers {
                let names = headers.iter().map(|header| only(header, &["name"]));
                kept.insert("httpHeaders".to_owned(), names.collect());
            }
            if handler.get("path").is_some() {
                kept.insert("path".to_owned(), REDACTED.into());
            }
            (kind.clone(), Value::Object(kept))
        });
        Value::Object(kinds.collect())
    }

    /// What is kept of podhook's own configuration: everything but what hooks do.
    pub(super) fn configuration(self, value: &Value) -> Value {
        match value {
            Value::Object(entries) if self == Self::On => {
                let entries = entries.iter().map(|(key, value)| {
                    let value = match value {
                        Value::Object(hook) if HOOKS.contains(&&**key) => self.hook(hook),
                        // As an annotation has it.
                        Value::String(_) if key == "lifecycle" => REDACTED.into(),
                        value => self.configuration(value),
                    };
                    (key.clone(), value)
                });
                Value::Object(entries.collect())
            }
            Value::Array(values) => values
                .iter()
                .map(|value| self.configuration(value))
                .collect(),
            value => value.clone(),
        }
    }

    fn hook(self, hook: &Map<String, Value>) -> Value {
        let entries = hook.iter().map(|(key, value)| {
            let value = match value {
                Value::Object(_) => {
                    let action = self.action(&json!({ "handler": value }));
                    action.get("handler").cloned().unwrap_or_default()
                }
                value => value.clone(),
            };
            (key.clone(), value)
        });
        Value::Object(entries.collect())
    }

    /// What is kept of a message: the words before the first that is somebody else's.
    pub(super) fn message(self, message: &str) -> String {
        if self == Self::Off {
            return message.to_owned();
        }
        // What follows names the hook and ends with its output.
        let (start, rest) = match message.split_once("FailedPostStartHook:") {
            Some((start, _)) => (format!("{start}FailedPostStartHook:"), true),
            None => (message.to_owned(), false),
        };
        let end = start.find(QUOTES).into_iter().chain(start.find("://"));
        match end.min() {
            Some(end) => format!("{}{REDACTED}", start.get(..end).unwrap_or_default()),
            None if rest => format!("{start} {REDACTED}"),
            None => start,
        }
    }
}

/// An object with these keys alone.
fn only(value: &Value, keys: &[&str]) -> Map<String, Value> {
    let entries = value.as_object().into_iter().flatten();
    let kept = entries.filter(|(key, _)| keys.contains(&&***key));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hunter2";

    #[test]
    fn a_record_is_kept_without_what_its_users_wrote() {
        let record = json!({"version": 1, "id": "c1", "namespace": "k8s.io", "phase": "PreStop",
            "pod": {"name": "web", "container": "nginx"}, "later": SECRET,
            "hooks": [
                {"hook": "postStart", "handler": "exec", "result": "Failed", "exitCode": 3, "output": SECRET, "later": SECRET,
                 "message": format!("exec \"{SECRET}\": no such file"),
                 "action": {"exec": {"command": ["/bin/login", "-p", SECRET]}}},
                {"hook": "preStop", "handler": "httpGet", "result": "Failed",
                 "message": format!("Get http://10.0.0.1/{SECRET}: connection refused"),
                 "action": {"httpGet": {"path": format!("/hook?token={SECRET}"), "port": 80, "scheme": "HTTP",
                            "httpHeaders": [{"name": "Authorization", "value": SECRET}]}}}],
            "termination": {"signal": "SIGTERM"}});
        let kept = Redaction::On.record(&record);
        assert!(!kept.to_string().contains(SECRET), "{kept}");
        assert_eq!(
            kept["hooks"][0]["action"]["exec"]["command"],
            json!(["/bin/login", REDACTED, REDACTED])
        );
        assert_eq!(kept["hooks"][0]["output"], "<redacted>, 7 bytes");
        assert_eq!(kept["hooks"][0]["message"], "exec <redacted>");
        assert_eq!(kept["hooks"][1]["message"], "Get http<redacted>");
        assert_eq!(
            kept["hooks"][1]["action"]["httpGet"]["httpHeaders"],
            json!([{"name": "Authorization"}])
        );
        assert_eq!(kept["hooks"][1]["action"]["httpGet"]["port"], 80);
        assert_eq!(kept["pod"]["name"], "web");
        assert_eq!(kept["termination"]["signal"], "SIGTERM");
        assert_eq!(Redaction::Off.record(&record), record);
    }

    #[test]
    fn a_configuration_is_kept_without_what_its_hooks_do() {
        let config = json!({"post_start_timeout": "110s", "allowed_hosts": ["a.example"],
            "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", SECRET]}, "timeoutSeconds": 3}, "stopSignal": "SIGQUIT"},
            "rules": [{"namespaces": ["shop"], "lifecycle": {"postStart": {"httpGet": {"path": SECRET, "port": 1,
                "httpHeaders": [{"name": "X", "value": SECRET}]}}}}]});
        let kept = Redaction::On.configuration(&config);
        assert!(!kept.to_string().contains(SECRET), "{kept}");
        assert_eq!(kept["lifecycle"]["preStop"]["exec"]["command"][0], "sh");
        assert_eq!(kept["lifecycle"]["preStop"]["timeoutSeconds"], 3);
        assert_eq!(kept["rules"][0]["namespaces"], json!(["shop"]));
        assert_eq!(kept["post_start_timeout"], "110s");
        assert_eq!(Redaction::Off.configuration(&config), config);
    }

    #[test]
    fn a_message_is_kept_as_far_as_it_is_podhooks() {
        for (message, kept) in [
            ("exited with status 3", "exited with status 3"),
            ("hook starts", "hook starts"),
            (
                "FailedPostStartHook: exec sh: exited with status 3: hunter2",
                "FailedPostStartHook: <redacted>",
            ),
            (
                "failed: FailedPostStartHook: exec [\"sh\"]: hunter2",
                "failed: FailedPostStartHook: <redacted>",
            ),
            (
                "open /etc/x: permission denied",
                "open /etc/x: permission denied",
            ),
        ] {
            assert_eq!(Redaction::On.message(message), kept);
        }
    }
}
