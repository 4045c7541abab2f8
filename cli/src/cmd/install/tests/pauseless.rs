//! The second runtime handler, whose pods have no pause container.

use std::fs;

use super::{CONFIG, Node, SHIM, V2, containerd};

const IMPORTS: &str = "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n";
const DROP_IN: &str = "etc/containerd/conf.d/99-podhook.toml";

/// The lines of a handler's section, without its options.
fn section<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let header = format!("runtimes.{name}]");
    let mut lines = text.lines().skip_while(|line| !line.ends_with(&header));
    assert!(lines.next().is_some(), "{name}: {text}");
    let keys = lines.take_while(|line| line.contains(" = "));
    keys.map(str::trim).collect()
}

#[test]
fn it_stands_beside_podhooks_and_goes_with_it_byte_for_byte() {
    for (version, config) in [
        ("v2.3.7", ""),
        ("v2.4.2", ""),
        ("v2.4.2", V2),
        ("v2.4.2", IMPORTS),
    ] {
        let node = containerd(version);
        if !config.is_empty() {
            node.write(CONFIG, config);
        }
        let before = node.all();
        node.install(&["--pauseless", "--dry-run"]).unwrap();
        assert_eq!(node.all(), before, "{version}: --dry-run changes nothing");
        node.install(&["--pauseless"]).unwrap();
        let file = if config == IMPORTS { DROP_IN } else { CONFIG };
        let text = node.read(file);
        let podhook = section(&text, "podhook");
        assert_eq!(podhook[0], "runtime_type = \"io.containerd.runc.v2\"");
        assert!(!podhook.iter().any(|line| line.contains("sandboxer")));
        let mut wanted = vec![
            "runtime_type = \"io.containerd.podhook.v1\"",
            "sandboxer = \"shim\"",
            "disable_pause_image_pull = true",
            "pod_annotations = [\"podhook.dev/*\", \"lifecycle.podhook.dev/*\"]",
            "container_annotations = [\"podhook.dev/*\", \"io.kubernetes.*\"]",
        ];
        if version == "v2.3.7" {
            wanted.remove(2);
        }
        assert_eq!(section(&text, "podhook-pauseless"), wanted, "{text}");
        let installed = node.all();
        node.install(&["--pauseless"]).unwrap();
        assert_eq!(node.all(), installed, "{version}: once is enough");
        node.uninstall(&[]).unwrap();
        assert_eq!(node.all(), before, "{version}");
    }
}

#[test]
fn it_has_what_podhooks_handler_has() {
    let node = containerd("v2.4.2");
    node.write(CONFIG, V2);
    node.install(&[]).unwrap();
    let by_hand = node.read(CONFIG).replace(
        "runtime_path = \"/usr/local/bin/containerd-shim-podhook-v1\"",
        "runtime_path = \"/usr/local/bin/containerd-shim-podhook-v1\"\n  snapshotter = \"native\"",
    );
    let by_hand = by_hand.replace(
        "[\"podhook.dev/*\", \"life",
        "[\"mine/*\", \"podhook.dev/*\", \"life",
    );
    node.write(CONFIG, &by_hand);
    node.install(&["--pauseless"]).unwrap();
    let text = node.read(CONFIG);
    assert!(text.starts_with(&by_hand), "{text}");
    let section = section(&text, "podhook-pauseless");
    assert!(section.contains(&"snapshotter = \"native\""), "{text}");
    let annotations =
        "pod_annotations = [\"mine/*\", \"podhook.dev/*\", \"lifecycle.podhook.dev/*\"]";
    assert!(section.contains(&annotations), "{text}");
    assert!(!text.contains("podhook-pauseless]\n    runtime_path"));
    // Its pods say so themselves, and without options there are user namespaces.
    assert_eq!(text.matches("SystemdCgroup = true").count(), 2, "{text}");
    assert!(!text.contains("podhook-pauseless.options]"), "{text}");
}

#[test]
fn it_is_found_by_its_type_alone() {
    // Where no PATH leads, the program's own path is the type.
    let node = containerd("v2.4.2");
    node.install(&["--pauseless", "--bin-dir", "/opt/podhook"])
        .unwrap();
    let kind = "runtime_type = \"/opt/podhook/containerd-shim-podhook-v1\"";
    assert_eq!(section(&node.read(CONFIG), "podhook-pauseless")[0], kind);
    // Beside containerd it is found.
    let node = containerd("v2.4.2");
    fs::rename(node.at("usr/bin"), node.at("opt")).unwrap();
    fs::create_dir_all(node.at("usr/bin")).unwrap();
    std::os::unix::fs::symlink("/opt/containerd", node.at("usr/bin/containerd")).unwrap();
    node.install(&["--pauseless", "--bin-dir", "/opt"]).unwrap();
    let kind = "runtime_type = \"io.containerd.podhook.v1\"";
    assert_eq!(section(&node.read(CONFIG), "podhook-pauseless")[0], kind);
    // What a hand has written beside the type would be used for containers only.
    let other = node.read(CONFIG).replace(kind, "runtime_type = \"io.containerd.runc.v2\"\n  runtime_path = \"/opt/containerd-shim-podhook-v1\"");
    node.write(CONFIG, &other);
    node.install(&["--pauseless"]).unwrap();
    let text = node.read(CONFIG);
    assert_eq!(
        section(&text, "podhook-pauseless")[..2],
        [kind, "runtime_path = \"\""],
        "{text}"
    );
}

#[test]
fn an_older_containerd_is_refused_and_nothing_is_changed() {
    for version in ["1.6.20~ds1", "1.7.24", "v2.1.9", "v2.2.4"] {
        let node = containerd(version);
        let before = node.all();
        let error = node.install(&["--pauseless"]).unwrap_err();
        let told = version.trim_start_matches('v').trim_end_matches("~ds1");
        assert!(error.contains("need containerd 2.3 or later"), "{error}");
        assert!(error.contains(&format!("this is {told}")), "{error}");
        assert!(error.contains("\n  hint: "), "{error}");
        assert_eq!(node.all(), before, "{version}");
    }
    let error = containerd("v2.4.2").install(&["--runtime", "podhook-pauseless"]);
    assert!(
        error
            .unwrap_err()
            .contains("--runtime podhook --pauseless makes both")
    );
    let docker = Node::new(&[("etc/docker/daemon.json", "{}")]);
    let error = docker.install(&["--pauseless"]).unwrap_err();
    assert!(
        error.contains("nothing that was found here has pods"),
        "{error}"
    );
}

#[test]
fn one_of_the_two_is_the_default() {
    let node = containerd("v2.4.2");
    let default = |name: &str| format!("default_runtime_name = \"{name}\"\n");
    node.install(&["--pauseless", "--default"]).unwrap();
    assert!(node.read(CONFIG).contains(&default("podhook")));
    node.install(&["--pauseless", "--default=pauseless"])
        .unwrap();
    let text = node.read(CONFIG);
    assert!(text.contains(&default("podhook-pauseless")), "{text}");
    node.install(&["--default"]).unwrap();
    node.install(&["--default=pauseless"]).unwrap();
    assert_eq!(node.read(CONFIG), text, "it need not be said again");
    let bare = containerd("v2.4.2");
    let error = bare.install(&["--default=pauseless"]).unwrap_err();
    assert!(error.contains("without --pauseless"), "{error}");
}

/// Containers of its pods could not be started again without it.
#[test]
fn an_install_without_the_flag_leaves_it_where_it_is() {
    const FOLDER: &str = "var/lib/rancher/k3s/agent/etc/containerd";
    let v4 = V2
        .replace("version = 2", "version = 4")
        .replace("grpc.v1.cri", "cri.v1.runtime");
    let at = |file: &str| format!("{FOLDER}/{file}");
    let imports = format!("imports = [\"/{FOLDER}/config-v3.toml.d/*.toml\"]\n{v4}");
    for (config, file) in [
        (&v4, "config-v3.toml.tmpl"),
        (&imports, "config-v3.toml.d/99-podhook.toml"),
    ] {
        let node = Node::new(&[(&at("config.toml"), config)]);
        let before = node.all();
        node.install(&["--pauseless", "--default=pauseless"])
            .unwrap();
        let text = node.read(&at(file));
        assert!(text.contains("runtimes.podhook-pauseless]"), "{text}");
        if file.ends_with("tmpl") {
            let settings = node.read("etc/rancher/k3s/config.yaml.d/99-podhook.yaml");
            assert!(
                settings.ends_with("default-runtime: podhook-pauseless\n"),
                "{settings}"
            );
        } else {
            assert!(
                text.contains("default_runtime_name = \"podhook-pauseless\""),
                "{text}"
            );
        }
        node.install(&["--runtime", "podhook"]).unwrap();
        let again = node.read(&at(file));
        assert_eq!(
            section(&again, "podhook-pauseless"),
            section(&text, "podhook-pauseless")
        );
        node.uninstall(&[]).unwrap();
        assert_eq!(node.all(), before);
    }
    // An upgrade of containerd is what it needs to be told that no pause image is wanted; an older one has it no more.
    let node = containerd("v2.3.7");
    node.install(&["--pauseless"]).unwrap();
    let says = |version: &str| format!("containerd github.com/containerd/containerd {version} abc");
    node.program("usr/bin/containerd", &says("v2.4.2"));
    node.install(&[]).unwrap();
    assert!(
        section(&node.read(CONFIG), "podhook-pauseless")
            .contains(&"disable_pause_image_pull = true")
    );
    node.program("usr/bin/containerd", &says("v2.1.9"));
    // An older one reads an older configuration.
    let config = node.read(CONFIG).replace("version = 4", "version = 3");
    node.write(CONFIG, &config);
    node.install(&[]).unwrap();
}

#[test]
fn nothing_is_taken_away_while_pods_of_it_run() {
    let node = containerd("v2.4.2");
    node.install(&["--pauseless"]).unwrap();
    let program = format!("/{SHIM}");
    let arguments = ["-namespace", "k8s.io", "-id", "sandbox", "-address", "/x"];
    crate::setup::shims::tests::process(&node.at(""), 7, &program, &arguments);
    let error = node.uninstall(&[]).unwrap_err();
    assert!(
        error.contains("run on podhook, 1: k8s.io/sandbox"),
        "{error}"
    );
    assert!(node.read(CONFIG).contains("podhook-pauseless"));
    fs::remove_dir_all(node.at("proc")).unwrap();
    node.write(CONFIG, &format!("{}# theirs\n", node.read(CONFIG)));
    let error = node.uninstall(&[]).unwrap_err();
    assert!(
        error.contains("take the runtimes podhook and podhook-pauseless out"),
        "{error}"
    );
}

/// It would be given a type by which containerd finds no sandbox's shim.
#[test]
fn one_that_stands_alone_is_not_made_podhooks() {
    let node = containerd("v2.4.2");
    let config = "version = 4\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook]\n\
        runtime_type = 'io.containerd.podhook.v1'\nsandboxer = 'shim'\n";
    node.write(CONFIG, config);
    let error = node.install(&[]).unwrap_err();
    assert!(
        error.contains("its pods have no pause container"),
        "{error}"
    );
    assert!(error.contains("--runtime NAME"), "{error}");
    assert_eq!(node.read(CONFIG), config);
}

#[test]
fn another_file_that_has_the_last_word_is_named() {
    let node = containerd("v2.4.2");
    node.write(CONFIG, IMPORTS);
    let other = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.podhook-pauseless]\n\
        runtime_type = 'io.containerd.podhook.v1'\nsandboxer = 'podsandbox'\n";
    node.write("etc/containerd/conf.d/zz.toml", other);
    let error = node.install(&["--pauseless"]).unwrap_err();
    assert!(
        error.contains("the runtime podhook-pauseless by hand"),
        "{error}"
    );
    assert!(!node.at(DROP_IN).exists());
}

/// With options containerd starts no container of a pod with users of its own: doctor warns of them.
#[test]
fn what_runcs_options_say_is_said_to_it_in_podhooks_own_configuration() {
    const NODE: &str = "etc/podhook/config.toml";
    let options =
        "SystemdCgroup = true\n    BinaryName = \"/usr/bin/crun\"\n    Root = \"/run/crun\"\n";
    let v2 = V2.replace("SystemdCgroup = true\n", options);
    let node = containerd("v2.4.2");
    node.write(CONFIG, &v2);
    let before = node.all();
    node.install(&["--pauseless"]).unwrap();
    let text = node.read(CONFIG);
    assert!(!text.contains("podhook-pauseless.options"), "{text}");
    assert_eq!(text.matches("BinaryName").count(), 2, "{text}");
    let said = node.read(NODE);
    assert!(
        said.ends_with("root = \"/run/crun\"\nruntime = \"/usr/bin/crun\"\n")
            || said.ends_with("runtime = \"/usr/bin/crun\"\nroot = \"/run/crun\"\n"),
        "{said}"
    );
    assert!(!said.contains("cgroup"), "{said}");
    let installed = node.all();
    node.install(&[]).unwrap();
    assert_eq!(node.all(), installed, "once is enough");
    node.uninstall(&[]).unwrap();
    assert_eq!(node.all(), before);
    // What an administrator has taken out does not come back; what is said already stays.
    node.write(NODE, "runtime = \"youki\"\n");
    let options = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.podhook-pauseless.options]\n    \
        BinaryName = \"/usr/bin/crun\"\n";
    node.install(&["--pauseless"]).unwrap();
    let text = node.read(CONFIG);
    node.write(CONFIG, &format!("{text}{options}"));
    node.install(&[]).unwrap();
    node.write(CONFIG, &text);
    node.install(&["--pauseless"]).unwrap();
    assert_eq!(node.read(CONFIG), text);
    assert!(node.read(NODE).starts_with("runtime = \"youki\"\n"));
}
