//! What the kubelet is told, beside what the hooks need.

use std::path::Path;
use std::time::Duration;

use podhook_hooks::config::Config;
use serde_json::Value;

use super::check::Check;
use super::configuration::Used;
use crate::args::duration;
use crate::setup::root::Root;

/// The kubelet's own default.
const DEFAULT: Duration = Duration::from_secs(120);
/// A hook ends so long before the kubelet gives StartContainer up.
const MARGIN: Duration = Duration::from_secs(2);

/// Files of the kubelet's configuration, and folders of such; the last one has the last word.
const FILES: [&str; 3] = [
    "/var/lib/kubelet/config.yaml",
    "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d",
    "/var/lib/rancher/rke2/agent/etc/kubelet.conf.d",
];
/// Files with its flags, which have the last word over those.
const FLAGS: [&str; 4] = [
    "/var/lib/kubelet/kubeadm-flags.env",
    "/etc/default/kubelet",
    "/etc/sysconfig/kubelet",
    "/var/snap/microk8s/current/args/kubelet",
];

/// What it is told.
#[derive(Debug, Default)]
struct Kubelet {
    found: bool,
    timeout: Option<Duration>,
    driver: Option<String>,
}

pub(super) fn checks(root: &Root, used: &Used, config: Option<&Config>) -> Vec<Check> {
    let kubelet = Kubelet::read(root);
    if !kubelet.found {
        return Vec::new();
    }
    let mut checks = vec![timeout(&kubelet, config)];
    let systemd = used
        .systemd
        .or(config.map(|config| config.oci.systemd_cgroup));
    if let (Some(driver), Some(systemd)) = (&kubelet.driver, systemd) {
        checks.push(cgroup_driver(driver, systemd));
    }
    checks
}

fn timeout(kubelet: &Kubelet, config: Option<&Config>) -> Check {
    const NAME: &str = "kubelet";
    let timeout = kubelet.timeout.unwrap_or(DEFAULT);
    let hook = config.map_or(Duration::from_secs(110), |config| {
        config.sequence.post_start_timeout
    });
    let wanted = hook.saturating_add(MARGIN);
    let (has, hook) = (timeout.as_secs(), hook.as_secs());
    if timeout >= wanted {
        return Check::ok(
            NAME,
            format!("runtimeRequestTimeout {has} s is enough for a postStart of {hook} s"),
        );
    }
    Check::warn(
        NAME,
        format!(
            "runtimeRequestTimeout {has} s: a postStart is cut after {} s, though podhook's post_start_timeout is {hook} s",
            timeout.saturating_sub(MARGIN).as_secs()
        ),
        format!(
            "runtimeRequestTimeout: {}s in the kubelet's configuration and systemctl restart kubelet, or a shorter \
             post_start_timeout in {}",
            wanted.as_secs(),
            podhook_hooks::config::DEFAULT_PATH
        ),
    )
}

fn cgroup_driver(driver: &str, systemd: bool) -> Check {
    const NAME: &str = "cgroup driver";
    if (driver == "systemd") == systemd {
        return Check::ok(NAME, format!("{driver}, the kubelet's and the runtime's"));
    }
    Check::fail(
        NAME,
        format!("the kubelet's is {driver}, the runtime's is not: pods do not start"),
        format!(
            "SystemdCgroup = {} in the options of the runtime (of runc and podhook alike)",
            driver == "systemd"
        ),
    )
}

impl Kubelet {
    fn read(root: &Root) -> Self {
        let mut kubelet = Self::default();
        for path in FILES {
            match root.text(path) {
                Some(text) => kubelet.take_file(&text),
                None => {
                    let folder = Path::new(path);
                    for name in root.names(folder).unwrap_or_default() {
                        let text = root.text(&format!("{path}/{name}"));
                        text.iter().for_each(|text| kubelet.take_file(text));
                    }
                }
            }
        }
        for path in FLAGS {
            if let Some(text) = root.text(path) {
                kubelet.take_flags(&text);
            }
        }
        kubelet
    }

    fn take_file(&mut self, text: &str) {
        self.found = true;
        let Ok(config) = serde_saphyr::from_str::<Value>(text) else {
            return;
        };
        let get = |key: &str| config.get(key).and_then(Value::as_str);
        if let Some(timeout) = get("runtimeRequestTimeout").and_then(duration::of) {
            // 0 is not set.
            self.timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        }
        if let Some(driver) = get("cgroupDriver") {
            self.driver = Some(driver.to_owned());
        }
    }

    fn take_flags(&mut self, text: &str) {
        self.found = true;
        let flag = |name: &str| {
            let (_, rest) = text.rsplit_once(name)?;
            let rest = rest.strip_prefix(['=', ' '])?;
            let end = rest.find(|c: char| c.is_whitespace() || c == '"');
            rest.get(..end.unwrap_or(rest.len())).map(str::to_owned)
        };
        if let Some(timeout) = flag("--runtime-request-timeout")
            .as_deref()
            .and_then(duration::of)
        {
            self.timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        }
        if let Some(driver) = flag("--cgroup-driver") {
            self.driver = Some(driver);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let root = Root::open(folder.path()).unwrap();
        assert!(checks(&root, &Used::default(), None).is_empty());
        write(
            "var/lib/kubelet/config.yaml",
            "kind: KubeletConfiguration\nruntimeRequestTimeout: 0s\ncgroupDriver: systemd\n",
        );
        assert_eq!(Kubelet::read(&root).timeout, None);
        write(
            "var/lib/kubelet/kubeadm-flags.env",
            "KUBELET_KUBEADM_ARGS=\"--x=1 --runtime-request-timeout=15s\"\n",
        );
        let kubelet = Kubelet::read(&root);
        assert_eq!(kubelet.timeout, Some(Duration::from_secs(15)));
        assert_eq!(kubelet.driver.as_deref(), Some("systemd"));
    }
}
