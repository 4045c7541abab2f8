//! The label of the holder's process, where the node has SELinux.

use std::fs;
use std::path::Path;

use super::config::SelinuxOption;

/// There where SELinux is enabled.
const ENABLED: &str = "/sys/fs/selinux/enforce";
const CONTEXTS: &str = "contexts/lxc_contexts";

/// As go-selinux makes it: the policy's label of containers, with the pod's own words in the place of its parts.
pub fn process_label(options: Option<&SelinuxOption>) -> Option<String> {
    if !Path::new(ENABLED).exists() {
        return None;
    }
    let config = fs::read_to_string("/etc/selinux/config").ok()?;
    let policy = config
        .lines()
        .find_map(|line| line.strip_prefix("SELINUXTYPE="))?;
    let contexts = Path::new("/etc/selinux").join(policy.trim()).join(CONTEXTS);
    let contexts = fs::read_to_string(contexts).ok()?;
    label(&contexts, options)
}

fn label(contexts: &str, options: Option<&SelinuxOption>) -> Option<String> {
    let default = contexts.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "process").then(|| value.trim().trim_matches('"').to_owned())
    })?;
    let Some(options) = options else {
        return Some(default);
    };
    let mut parts = default.splitn(4, ':');
    let mut part = |own: &str| {
        let default = parts.next().unwrap_or_default();
        if own.is_empty() {
            default.to_owned()
        } else {
            own.to_owned()
        }
    };
    let label = [
        &options.user,
        &options.role,
        &options.r#type,
        &options.level,
    ]
    .map(|own| part(own));
    Some(label.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_words_replace_those_of_the_policy() {
        let contexts = "file = \"x\"\nprocess = \"system_u:system_r:container_t:s0\"\n";
        assert_eq!(
            label(contexts, None).as_deref(),
            Some("system_u:system_r:container_t:s0")
        );
        let options = SelinuxOption {
            level: "s0:c1,c2".to_owned(),
            ..SelinuxOption::default()
        };
        assert_eq!(
            label(contexts, Some(&options)).as_deref(),
            Some("system_u:system_r:container_t:s0:c1,c2")
        );
        assert_eq!(label("file = \"x\"\n", None), None);
    }
}
