//! docker's daemon.json: the runtime is put in where it belongs, and every other byte stays.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::containerd::section::{SHIM, TYPE};
use super::error::Error;

/// Gives the text of daemon.json the runtime; `None` where it has it already.
///
/// # Errors
/// When it is no JSON object, or has a runtime of that name that is not podhook's.
pub fn add(
    text: Option<&str>,
    shown: &str,
    name: &str,
    runtime: &Value,
    default: bool,
) -> Result<Option<String>, Error> {
    let mut text = match text {
        Some(text) if !text.trim().is_empty() => text.to_owned(),
        _ => "{}\n".to_owned(),
    };
    let before = text.clone();
    let invalid = |e: &serde_json::Error| {
        Error::refused(
            format!("{shown} is not JSON: {e}"),
            "docker does not read it either: mend it first",
        )
    };
    let config: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(|e| invalid(&e))?;
    let there = config.get("runtimes").and_then(|all| all.get(name));
    if let Some(there) = there {
        if !is_podhook(there) {
            return Err(Error::refused(
                format!("{shown} has a runtime {name} that is not podhook's: {there}"),
                "--runtime NAME gives podhook's another name",
            ));
        }
    } else if config.contains_key("runtimes") {
        let runtimes = member(&text, 0..text.len(), "runtimes").map_err(|e| invalid(&e))?;
        insert(&mut text, runtimes.unwrap_or(0..0), 2, name, runtime);
    } else {
        let whole = whole(&text);
        insert(&mut text, whole, 1, "runtimes", &json!({name: runtime}));
    }
    if default && config.get("default-runtime") != Some(&Value::from(name)) {
        let value = member(&text, 0..text.len(), "default-runtime").map_err(|e| invalid(&e))?;
        match value {
            Some(range) => text.replace_range(range, &Value::from(name).to_string()),
            None => {
                let whole = whole(&text);
                insert(&mut text, whole, 1, "default-runtime", &name.into());
            }
        }
    }
    Ok((text != before).then_some(text))
}

/// What daemon.json says of podhook's runtime: docker knows no path beside a type.
#[must_use]
pub fn runtime(shim: &str, in_path: bool, systemd_cgroup: bool) -> Value {
    let mut runtime = json!({"runtimeType": if in_path { TYPE } else { shim }});
    if systemd_cgroup && let Some(runtime) = runtime.as_object_mut() {
        runtime.insert("options".to_owned(), json!({"SystemdCgroup": true}));
    }
    runtime
}

/// Whether a runtime of daemon.json starts podhook's shim.
#[must_use]
pub fn is_podhook(runtime: &Value) -> bool {
    let kind = runtime.get("runtimeType").and_then(Value::as_str);
    kind.is_some_and(|kind| kind == TYPE || kind.ends_with(&format!("/{SHIM}")))
}

/// The braces of the document.
fn whole(text: &str) -> Range<usize> {
    text.find('{').unwrap_or(0)..text.trim_end().len()
}

/// Where the value of a member of an object stands.
fn member(text: &str, object: Range<usize>, key: &str) -> serde_json::Result<Option<Range<usize>>> {
    let object = text.get(object).unwrap_or_default();
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(object)?;
    Ok(members.get(key).map(|value| {
        let value = value.get();
        // It borrows from the text.
        let start = (value.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        start..start.saturating_add(value.len())
    }))
}

/// Puts a member in the first place of an object, indented as what is there.
fn insert(text: &mut String, object: Range<usize>, depth: usize, key: &str, value: &Value) {
    let inner = object.start.saturating_add(1);
    let rest = text.get(inner..).unwrap_or_default();
    let next = rest.trim_start();
    let empty = next.starts_with('}');
    let space = rest.get(..rest.len().saturating_sub(next.len()));
    let space = space.unwrap_or_default();
    let one_line = !empty && !space.contains('\n');
    let unit = match space.rsplit('\n').next() {
        Some(indent) if space.contains('\n') && !empty && !indent.is_empty() => {
            let width = indent.len().checked_div(depth).unwrap_or(2).max(1);
            indent.get(..width).unwrap_or("  ").to_owned()
        }
        _ => "  ".to_owned(),
    };
    let key = Value::from(key);
    let new = if one_line {
        format!("{key}: {value}, ")
    } else {
        let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
        let lines: Vec<String> = pretty
            .lines()
            .enumerate()
            .map(|(number, line)| {
                let body = line.trim_start();
                let level = line.len().saturating_sub(body.len()).checked_div(2);
                let level = level.unwrap_or(0).saturating_add(depth);
                match number {
                    0 => body.to_owned(),
                    _ => format!("{}{body}", unit.repeat(level)),
                }
            })
            .collect();
        let end = if empty {
            format!("\n{}", unit.repeat(depth.saturating_sub(1)))
        } else {
            ",".to_owned()
        };
        format!("\n{}{key}: {}{end}", unit.repeat(depth), lines.join("\n"))
    };
    if empty {
        let blank = inner..inner.saturating_add(space.len());
        text.replace_range(blank, "");
    }
    text.insert_str(inner, &new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: Option<&str>, default: bool) -> String {
        let runtime = runtime("/x", true, false);
        let new = add(text, "daemon.json", "podhook", &runtime, default).unwrap();
        let new = new.expect("a change");
        let config: Value = serde_json::from_str(&new).unwrap();
        assert_eq!(config["runtimes"]["podhook"]["runtimeType"], TYPE);
        let again = add(Some(&new), "daemon.json", "podhook", &runtime, default);
        assert_eq!(again.unwrap(), None, "once is enough: {new}");
        new
    }

    #[test]
    fn a_new_file_has_the_runtime() {
        let new = "{\n  \"runtimes\": {\n    \"podhook\": {\n      \"runtimeType\": \"io.containerd.podhook.v1\"\n    }\n  }\n}\n";
        assert_eq!(added(None, false), new);
        assert_eq!(added(Some(""), false), new);
        assert_eq!(added(Some("{ \n }\n"), false), new);
    }

    #[test]
    fn what_is_there_stays_as_it_is_written() {
        let old = "{\n    \"log-driver\" :  \"json-file\",\n    \"runtimes\": {\n        \"crun\": {\"path\": \"/usr/bin/crun\"}\n    }\n}";
        let new = "{\n    \"log-driver\" :  \"json-file\",\n    \"runtimes\": {\n        \"podhook\": {\n            \
            \"runtimeType\": \"io.containerd.podhook.v1\"\n        },\n        \"crun\": {\"path\": \"/usr/bin/crun\"}\n    }\n}";
        assert_eq!(added(Some(old), false), new);
        let new = added(Some("{\"debug\": true}"), true);
        assert_eq!(
            new,
            "{\"default-runtime\": \"podhook\", \"runtimes\": {\"podhook\":{\"runtimeType\":\"io.containerd.podhook.v1\"}}, \"debug\": true}"
        );
        let new = added(
            Some("{\"default-runtime\": \"runc\", \"runtimes\": {}}"),
            true,
        );
        assert!(
            new.starts_with("{\"default-runtime\": \"podhook\", "),
            "{new}"
        );
    }

    #[test]
    fn a_file_that_docker_does_not_read_is_not_edited() {
        let runtime = runtime("/opt/containerd-shim-podhook-v1", false, true);
        assert!(is_podhook(&runtime));
        assert_eq!(runtime["options"]["SystemdCgroup"], true);
        let error = |text| add(Some(text), "daemon.json", "podhook", &runtime, false).unwrap_err();
        assert!(error("{").to_string().contains("not JSON"));
        let foreign = error("{\"runtimes\": {\"podhook\": {\"path\": \"/x\"}}}");
        assert!(foreign.to_string().contains("--runtime"), "{foreign}");
    }
}
