//! Puts the runtime into a file, and leaves every other byte of it as it is.

use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};

use super::load::{Source, from_json, to_json};
use super::plugin;
use super::section::{RUNC, Section};

const ALONE: &str = "# containerd 1.x has this one by itself only where no other is written.\n";

/// Gives a file all of them; says whether anything had to be changed.
pub fn add_all(source: &mut Source, sections: &[Section]) -> bool {
    let added = sections.iter().map(|section| add(source, section));
    added.fold(false, |any, one| any | one)
}

/// Gives a file the runtime; says whether anything had to be changed. What is there and right stays as it is written.
///
/// A new section stands at the end of the file, where it splits nothing that belongs together.
pub fn add(source: &mut Source, section: &Section) -> bool {
    let plugin = plugin(source.version());
    let root = source.document.as_item_mut();
    let mut changed = false;
    let Some(containerd) = descend(root, &["plugins", plugin, "containerd"]) else {
        return false;
    };
    if section.default {
        let name = Value::from(&section.name);
        changed |= set(containerd, "default_runtime_name", name);
    }
    let Some(runtimes) = descend(containerd, &["runtimes"]) else {
        return changed;
    };
    if section.runc
        && runtimes.get("runc").is_none()
        && let Some(runc) = descend(runtimes, &["runc"])
    {
        set(runc, "runtime_type", RUNC.into());
        lay_out(&mut source.document, plugin, "runc", ALONE);
        changed = true;
    }
    let Some(runtimes) = descend(
        source.document.as_item_mut(),
        &["plugins", plugin, "containerd", "runtimes"],
    ) else {
        return changed;
    };
    let new = runtimes.get(&section.name).is_none();
    let Some(runtime) = descend(runtimes, &[&section.name]) else {
        return changed;
    };
    let mut keys: Vec<_> = section.keys.iter().collect();
    keys.sort_by_key(|(key, _)| rank(key));
    for (key, value) in keys {
        if let Some(value) = from_json(value) {
            changed |= set(runtime, key, value);
        }
    }
    let missing = |options: &Item| {
        let keys = section.options.iter();
        let keys = keys.filter(|(key, _)| options.get(key).is_none());
        keys.map(|(key, value)| (key.clone(), value.clone()))
            .collect::<Vec<_>>()
    };
    if !section.options.is_empty()
        && let Some(options) = descend(runtime, &["options"])
    {
        for (key, value) in missing(options) {
            if let Some(value) = from_json(&value) {
                changed |= set(options, &key, value);
            }
        }
    }
    if new {
        lay_out(&mut source.document, plugin, &section.name, "");
    }
    changed
}

/// In the order in which the documentation has them.
fn rank(key: &str) -> usize {
    match key {
        "runtime_type" => 0,
        "runtime_path" => 1,
        "sandboxer" => 2,
        "disable_pause_image_pull" => 3,
        "pod_annotations" => 5,
        "container_annotations" => 6,
        _ => 4,
    }
}

/// The table at the end of a path, made where there is none; `None` where something else is in its place.
fn descend<'a>(mut item: &'a mut Item, path: &[&str]) -> Option<&'a mut Item> {
    for key in path {
        let inline = item.is_inline_table();
        let entry = item.as_table_like_mut()?.entry(key);
        item = entry.or_insert_with(|| {
            if inline {
                return Item::Value(Value::InlineTable(InlineTable::new()));
            }
            let mut table = Table::new();
            // No header of its own where it has no keys.
            table.set_implicit(true);
            Item::Table(table)
        });
    }
    item.is_table_like().then_some(item)
}

fn set(table: &mut Item, key: &str, mut value: Value) -> bool {
    let Some(table) = table.as_table_like_mut() else {
        return false;
    };
    if let Some(Item::Value(old)) = table.get_mut(key) {
        if to_json(&Item::Value(old.clone())) == to_json(&Item::Value(value.clone())) {
            return false;
        }
        // The comment behind it stays.
        *value.decor_mut() = old.decor().clone();
        *old = value;
    } else {
        table.insert(key, Item::Value(value));
    }
    true
}

/// Gives a new section its place, and the indentation of its neighbours.
fn lay_out(document: &mut DocumentMut, plugin: &str, name: &str, comment: &str) {
    let last = last_position(document.as_table());
    let before = document.trailing().as_str().unwrap_or_default().to_owned();
    let path = ["plugins", plugin, "containerd", "runtimes"];
    let Some(Item::Table(runtimes)) = descend(document.as_item_mut(), &path) else {
        return;
    };
    let neighbours = runtimes.iter().filter(|(key, _)| *key != name);
    let indent = neighbours
        .filter_map(|(_, item)| item.as_table()?.decor().prefix()?.as_str())
        .map(|prefix| prefix.rsplit('\n').next().unwrap_or_default().to_owned())
        .find(|indent| indent.chars().all(|c| c == ' ' || c == '\t'))
        .unwrap_or_default();
    let Some(Item::Table(section)) = runtimes.get_mut(name) else {
        return;
    };
    section.set_implicit(false);
    section.set_position(Some(last.saturating_add(1)));
    let gap = if before.is_empty() || before.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    section
        .decor_mut()
        .set_prefix(format!("{before}{gap}{comment}{indent}"));
    indent_keys(section, &format!("{indent}  "));
    if let Some(Item::Table(options)) = section.get_mut("options") {
        options.set_implicit(false);
        options.decor_mut().set_prefix(format!("{indent}  "));
        indent_keys(options, &format!("{indent}    "));
    }
    document.set_trailing("");
}

fn indent_keys(table: &mut Table, indent: &str) {
    for (mut key, item) in table.iter_mut() {
        if item.is_value() {
            key.leaf_decor_mut().set_prefix(indent);
        }
    }
}

fn last_position(table: &Table) -> isize {
    let below = table.iter().map(|(_, item)| match item {
        Item::Table(table) => last_position(table),
        Item::ArrayOfTables(tables) => tables.iter().map(last_position).max().unwrap_or(0),
        Item::None | Item::Value(_) => 0,
    });
    let own = table.position().unwrap_or(0);
    below.max().unwrap_or(0).max(own)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Map, json};

    use super::*;
    use crate::setup::containerd::Generation;
    use crate::setup::version::Version;

    fn source(text: &str) -> Source {
        Source {
            path: "/etc/containerd/config.toml".into(),
            document: text.parse().unwrap(),
        }
    }

    fn section(source: &Source, default: bool) -> Section {
        let generation = Generation {
            version: Version(2, 1, 0),
        };
        let shim = Path::new("/usr/local/bin/containerd-shim-podhook-v1");
        Section::new(&source.cri(), generation, "podhook", shim, default).unwrap()
    }

    fn added(text: &str, default: bool) -> String {
        let mut file = source(text);
        let section = section(&file, default);
        assert!(add(&mut file, &section));
        let text = file.document.to_string();
        let mut again = source(&text);
        let section = self::section(&again, default);
        assert!(!add(&mut again, &section), "once is enough:\n{text}");
        assert_eq!(again.document.to_string(), text);
        text
    }

    const DEBIAN: &str = "# The operator's.\nversion = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    \
        [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\" # here\n  \
        [plugins.\"io.containerd.internal.v1.opt\"]\n    path = \"/var/lib/containerd\"\n# The end.\n";

    #[test]
    fn a_new_section_is_appended_and_nothing_else_moves() {
        let text = added(DEBIAN, false);
        let new = "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.podhook]\n  \
            runtime_type = \"io.containerd.runc.v2\"\n  \
            runtime_path = \"/usr/local/bin/containerd-shim-podhook-v1\"\n  \
            pod_annotations = [\"podhook.dev/*\", \"lifecycle.podhook.dev/*\"]\n  \
            container_annotations = [\"podhook.dev/*\", \"io.kubernetes.*\"]\n";
        assert_eq!(text, format!("{DEBIAN}{new}"));
    }

    #[test]
    fn the_section_is_as_runcs_and_stands_as_its_neighbours() {
        let config = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\n  default_runtime_name = 'runc' # as ever\n\n    \
            [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n      runtime_type = 'io.containerd.runc.v2'\n      \
            base_runtime_spec = '/etc/spec.json'\n      runtime_path = ''\n      snapshotter = ''\n      \
            pod_annotations = ['a/*']\n      # not this\n      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n        \
            SystemdCgroup = true\n";
        let text = added(config, true);
        let config = config.replace("= 'runc' #", "= \"podhook\" #");
        let new = "\n    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook]\n      \
            runtime_type = \"io.containerd.runc.v2\"\n      \
            runtime_path = \"/usr/local/bin/containerd-shim-podhook-v1\"\n      \
            base_runtime_spec = \"/etc/spec.json\"\n      \
            pod_annotations = [\"a/*\", \"podhook.dev/*\", \"lifecycle.podhook.dev/*\"]\n      \
            container_annotations = [\"podhook.dev/*\", \"io.kubernetes.*\"]\n      \
            [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook.options]\n        SystemdCgroup = true\n";
        assert_eq!(text, format!("{config}{new}"));
    }

    #[test]
    fn a_section_made_by_hand_keeps_what_it_has() {
        let config = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.podhook]\n\
            runtime_type = \"io.containerd.runc.v2\"\nruntime_path = \"/opt/containerd-shim-podhook-v1\" # old\n\
            pod_annotations = [\"podhook.dev/*\", \"mine/*\"]\nsnapshotter = \"native\"\n\
            [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.podhook.options]\nBinaryName = \"crun\"\n";
        let text = added(config, false);
        for line in [
            "runtime_path = \"/usr/local/bin/containerd-shim-podhook-v1\" # old\n",
            "pod_annotations = [\"podhook.dev/*\", \"mine/*\", \"lifecycle.podhook.dev/*\"]\n",
            "snapshotter = \"native\"\n",
            "BinaryName = \"crun\"\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn tables_within_braces_and_dotted_keys_are_given_the_section_too() {
        for config in [
            "version = 3\nplugins = { 'io.containerd.cri.v1.runtime' = { containerd = { runtimes = { runc = { runtime_type = 'io.containerd.runc.v2' } } } } }\n",
            "version = 3\nplugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.runtime_type = 'io.containerd.runc.v2'\n",
            "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\ncontainerd.runtimes.runc.runtime_type = 'io.containerd.runc.v2'\n[other]\n",
            "",
        ] {
            let text = added(config, true);
            let cri = source(&text).cri();
            assert_eq!(
                cri["containerd"]["default_runtime_name"], "podhook",
                "{text}"
            );
            let podhook = &cri["containerd"]["runtimes"]["podhook"];
            assert_eq!(podhook["runtime_type"], "io.containerd.runc.v2", "{text}");
        }
    }

    #[test]
    fn containerd_1_keeps_the_runtime_that_it_has_by_itself() {
        let mut file = source(DEBIAN);
        let generation = Generation {
            version: Version(1, 7, 24),
        };
        let shim = Path::new("/usr/bin/containerd-shim-podhook-v1");
        let section = Section::new(&file.cri(), generation, "podhook", shim, false).unwrap();
        assert!(add(&mut file, &section));
        let text = file.document.to_string();
        let runc = "\n# containerd 1.x has this one by itself only where no other is written.\n\
            [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n\
            \n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.podhook]\n";
        assert!(text.starts_with(&format!("{DEBIAN}{runc}")), "{text}");
        let section = Section::new(&file.cri(), generation, "podhook", shim, false).unwrap();
        assert!(!add(&mut file, &section), "{}", file.document);
    }

    #[test]
    fn a_handler_of_somebody_elses_is_left_alone() {
        let file = source(
            "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook]\nruntime_type = 'io.containerd.kata.v2'\n",
        );
        let generation = Generation {
            version: Version(2, 1, 0),
        };
        let error = Section::new(&file.cri(), generation, "podhook", Path::new("/x"), false);
        assert!(error.unwrap_err().to_string().contains("--runtime NAME"));
    }

    #[test]
    fn containerd_1_6_gets_the_type_and_podhooks_configuration_the_options() {
        let file = source(
            "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = true\nBinaryName = \"\"\nConfigPath = \"/x\"\n",
        );
        let generation = Generation {
            version: Version(1, 6, 20),
        };
        let shim = |path| {
            Section::new(&file.cri(), generation, "podhook", Path::new(path), false).unwrap()
        };
        let section = shim("/usr/local/bin/containerd-shim-podhook-v1");
        assert_eq!(section.keys["runtime_type"], "io.containerd.podhook.v1");
        assert!(!section.keys.contains_key("runtime_path"));
        let node: Map<_, _> = [("systemd_cgroup".to_owned(), json!(true))]
            .into_iter()
            .collect();
        assert_eq!(section.node, node);
        assert_eq!(section.options.len(), 1);
        // Where containerd would not find it, the path is the type.
        let section = shim("/opt/podhook/containerd-shim-podhook-v1");
        assert_eq!(
            section.keys["runtime_type"],
            "/opt/podhook/containerd-shim-podhook-v1"
        );
    }
}
