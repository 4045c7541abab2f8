//! `podhook inspect`: everything recorded of one container's hooks.

use podhook_hooks::config_json;

use super::error::Error;
use crate::args::{self, RecordOutput};
use crate::node::bundles::{self, Bundle, Recorded};
use crate::node::query::{Query, Reports, is_named};
use crate::node::{page as record_page, state};
use crate::output::{self, print};

/// Runs the command.
///
/// # Errors
/// When there is no such container, more than one, or its record cannot be read.
pub async fn run(global: &args::Global, args: &args::Inspect) -> Result<(), Error> {
    let query = Query {
        state: state::directory(global).await,
        namespace: global.namespace.clone(),
    };
    // Bad records of other containers are not this command's business.
    let mut reports = Reports::quiet();
    let all = query.find(&mut reports)?;
    let found = match choose(&all, &args.container)? {
        Some(found) => found,
        None => return Err(without_record(&query, &args.container)),
    };
    match args.output {
        Some(output @ (RecordOutput::Json | RecordOutput::Yaml)) => {
            output::document(output, &found.json)?;
        }
        output => print(&page(found, output == Some(RecordOutput::Wide)))?,
    }
    Ok(())
}

/// The container that is meant: by its ID, the beginning of it, or its names, as many as it takes.
fn choose<'a>(all: &'a [Recorded], wanted: &str) -> Result<Option<&'a Recorded>, Error> {
    let of = |matches: &dyn Fn(&Recorded) -> bool| -> Vec<&'a Recorded> {
        all.iter().filter(|recorded| matches(recorded)).collect()
    };
    let mut found = of(&|recorded| recorded.bundle.id == wanted);
    if found.is_empty() && !wanted.is_empty() {
        found = of(&|recorded| {
            is_named(&recorded.record, wanted) || recorded.bundle.id.starts_with(wanted)
        });
    }
    if found.len() < 2 {
        return Ok(found.pop());
    }
    let mut message = format!("{wanted:?} is more than one container:");
    for recorded in found {
        let record = &recorded.record;
        let name = match record.pod_name() {
            Some(pod) => format!("{}/{pod}/{}", record.namespace(), record.container()),
            None => recorded.bundle.namespace.clone(),
        };
        message += &format!("\n  {} ({name})", recorded.bundle.id);
    }
    Err(Error::Refused(message))
}

/// Why nothing can be shown: there is such a container, but nothing useful in it; or none.
fn without_record(query: &Query, wanted: &str) -> Error {
    let bundles = bundles::list(&query.state).unwrap_or_default();
    let mut like = bundles
        .iter()
        .filter(|bundle| !wanted.is_empty() && bundle.id.starts_with(wanted));
    match (like.next(), like.next()) {
        (Some(bundle), None) => Error::Refused(match bundle.recorded() {
            Err(e) => e.to_string(),
            Ok(Some(found)) => format!(
                "container {:?} is in the namespace {:?}",
                bundle.id,
                found.record.namespace()
            ),
            Ok(None) => format!("container {:?} has no lifecycle hooks", bundle.id),
        }),
        _ => Error::Refused(format!(
            "no container {wanted:?} with lifecycle hooks below {} (`podhook ps` lists them; the \
             record of a container goes with it)\n  hint: podhook history {} has what the journal kept of one that is gone",
            query.state.display(),
            shown(wanted)
        )),
    }
}

/// A name as a shell takes it, for a hint.
fn shown(name: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match !name.is_empty() && name.chars().all(plain) {
        true => name,
        false => "NAME",
    }
}

fn page(found: &Recorded, wide: bool) -> String {
    let mut more = Vec::new();
    if wide {
        more.push(("Bundle:", found.bundle.path.display().to_string()));
        for (key, value) in lifecycles(&found.bundle) {
            more.push(("Lifecycle:", format!("{key}: {value}")));
        }
    }
    record_page::container(&found.bundle.namespace, &found.record, &more)
}

/// The annotations that the lifecycle came from.
fn lifecycles(bundle: &Bundle) -> Vec<(String, String)> {
    let annotations = config_json::annotations(&bundle.path).unwrap_or_default();
    annotations
        .into_iter()
        .filter(|(key, _)| {
            key == "podhook.dev/lifecycle" || key.starts_with("lifecycle.podhook.dev/")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn recorded(id: &str, pod: Option<[&str; 3]>) -> Recorded {
        let mut json = json!({"version": 1, "id": id, "namespace": "k8s.io", "phase": "PreStop", "hooks": [
            {"hook": "preStop", "handler": "exec", "action": {"exec": {"command": ["drain", "a b\u{9b}"]}},
             "result": "Failed", "message": "exited with status 1",
             "output": "a\u{1b}[2J\nb"}],
            "termination": {"signal": "SIGTERM", "exitStatus": 0}});
        if let Some([namespace, name, container]) = pod {
            json["pod"] = json!({"namespace": namespace, "name": name, "container": container});
        }
        Recorded {
            bundle: Bundle {
                namespace: "k8s.io".to_owned(),
                id: id.to_owned(),
                path: format!("/nowhere/{id}").into(),
            },
            record: serde_json::from_value(json.clone()).unwrap(),
            json,
        }
    }

    #[test]
    fn a_container_is_found_by_id_prefix_and_names() {
        let all = [
            recorded("abc1", Some(["shop", "web", "nginx"])),
            recorded("abd2", Some(["shop", "web", "log"])),
            recorded("abc", None),
            recorded("ffff", Some(["test", "web", "nginx"])),
        ];
        for (wanted, id) in [
            ("abc", "abc"),
            ("abc1", "abc1"),
            ("abd", "abd2"),
            ("web/log", "abd2"),
            ("log", "abd2"),
            ("test/web/nginx", "ffff"),
        ] {
            let found = choose(&all, wanted).unwrap().map(|r| r.bundle.id.as_str());
            assert_eq!(found, Some(id), "{wanted}");
        }
        for wanted in ["", "x", "web/none", "a/b/c/d"] {
            assert!(choose(&all, wanted).unwrap().is_none(), "{wanted}");
        }
        let error = choose(&all, "web/nginx").unwrap_err().to_string();
        assert_eq!(
            error,
            "\"web/nginx\" is more than one container:\n  abc1 (shop/web/nginx)\n  ffff (test/web/nginx)"
        );
        assert!(choose(&all, "ab").is_err());
    }

    #[test]
    fn of_a_container_that_is_gone_the_journal_is_named() {
        let query = Query {
            state: "/nowhere".into(),
            namespace: None,
        };
        let says = |name| without_record(&query, name).to_string();
        assert!(says("shop/web/c").contains("\n  hint: podhook history shop/web/c "));
        assert!(says("a b").contains("podhook history NAME "));
    }

    #[test]
    fn the_page_holds_everything_and_no_control_character() {
        let text = page(&recorded("abc1", Some(["shop", "web", "nginx"])), true);
        let expected = "\
Container ID:          abc1
Containerd Namespace:  k8s.io
Pod:                   web
Namespace:             shop
Container:             nginx
Phase:                 PreStop
Bundle:                /nowhere/abc1
Hooks:
  preStop:  exec [\"drain\" \"a b\\u009b\"]
    Result:  Failed (exited with status 1)
    Output:
      a\\x1b[2J
      b
Termination:           SIGTERM
  Exit Status:  0
";
        assert_eq!(text, expected);
    }
}
