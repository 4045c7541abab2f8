//! What systemd's files say of a service.

use std::collections::BTreeMap;
use std::path::Path;

use super::root::Root;

/// From the one that has the last word.
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The settings of the unit's `[Service]`, the last of each name; none where there is no such unit.
#[must_use]
pub fn service(root: &Root, unit: &str) -> Option<BTreeMap<String, String>> {
    let file = format!("{unit}.service");
    let main = FOLDERS
        .iter()
        .find_map(|folder| root.text(&format!("{folder}/{file}")))?;
    // A name in a folder that has the word hides that name in the others.
    let mut extra = BTreeMap::new();
    for folder in FOLDERS.iter().rev() {
        let folder = format!("{folder}/{file}.d");
        for name in root.names(Path::new(&folder)).unwrap_or_default() {
            if name.ends_with(".conf") {
                let text = root.text(&format!("{folder}/{name}")).unwrap_or_default();
                extra.insert(name, text);
            }
        }
    }
    let mut settings = BTreeMap::new();
    for text in std::iter::once(&main).chain(extra.values()) {
        read(text, &mut settings);
    }
    Some(settings)
}

fn read(text: &str, settings: &mut BTreeMap<String, String>) {
    let mut within = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            within = line == "[Service]";
        } else if within
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            settings.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_drop_in_has_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let unit =
            "[Unit]\nKillMode=no\n[Service]\nKillMode=process\n#TasksMax=1\nLimitNOFILE=1024\n";
        write("usr/lib/systemd/system/containerd.service", unit);
        write(
            "usr/lib/systemd/system/containerd.service.d/10.conf",
            "[Service]\nTasksMax=5\n",
        );
        write(
            "etc/systemd/system/containerd.service.d/10.conf",
            "[Service]\nTasksMax = 6\n",
        );
        let root = Root::open(folder.path()).unwrap();
        let settings = service(&root, "containerd").unwrap();
        let get = |key: &str| settings.get(key).map(String::as_str);
        assert_eq!(get("KillMode"), Some("process"));
        assert_eq!(get("TasksMax"), Some("6"));
        assert_eq!(get("LimitNOFILE"), Some("1024"));
        assert!(service(&root, "none").is_none());
    }
}
