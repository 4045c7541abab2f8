//! A node that is made up: installed, looked at, uninstalled.

mod pauseless;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{Root, Wanted, configure, places};
use crate::args::{Cli, Command};
use crate::cmd::uninstall;

const SHIM: &str = "usr/local/bin/containerd-shim-podhook-v1";
const CONFIG: &str = "etc/containerd/config.toml";
const V2: &str = "version = 2\n\n# CRI.\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n  \
    runtime_type = \"io.containerd.runc.v2\"\n  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n    \
    SystemdCgroup = true\n";

/// A node's root, and the programs beside it.
struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    fn new(files: &[(&str, &str)]) -> Self {
        let node = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["podhook", "containerd-shim-podhook-v1"] {
            fs::write(node.folder.path().join(name), format!("program {name}")).unwrap();
        }
        fs::create_dir(node.at("")).unwrap();
        for (path, text) in files {
            node.write(path, text);
        }
        node
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// A program that says its version.
    fn program(&self, path: &str, says: &str) {
        self.write(path, &format!("#!/bin/sh\necho '{says}'\n"));
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn podhook(&self, arguments: &[&str]) -> Result<(), String> {
        let root = self.at("");
        let (verb, rest) = arguments.split_first().unwrap();
        let line = ["podhook", verb, "--root", root.to_str().unwrap()].into_iter();
        let cli = Cli::try_parse_from(line.chain(rest.iter().copied())).unwrap();
        let result = match &cli.command {
            Command::Install(args) => {
                let own = self.folder.path().join("podhook");
                let args = super::as_installed(args).map_err(|e| e.to_string())?;
                super::install(&own, &cli.global, &args, &[]).map(|_| ())
            }
            Command::Uninstall(args) => uninstall::run(&cli.global, args),
            other => panic!("{other:?}"),
        };
        result.map_err(|error| error.report().unwrap_or_default())
    }

    fn install(&self, arguments: &[&str]) -> Result<(), String> {
        self.podhook(&[&["install"], arguments].concat())
    }

    fn uninstall(&self, arguments: &[&str]) -> Result<(), String> {
        self.podhook(&[&["uninstall"], arguments].concat())
    }

    /// Every file with its bytes, mode and owner; folders too.
    fn all(&self) -> BTreeMap<PathBuf, (u32, u32, Vec<u8>)> {
        let mut all = BTreeMap::new();
        let mut pending = vec![self.at("")];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let metadata = entry.metadata().unwrap();
                let bytes = if metadata.is_dir() {
                    pending.push(entry.path());
                    Vec::new()
                } else if metadata.is_symlink() {
                    fs::read_link(entry.path())
                        .unwrap()
                        .into_os_string()
                        .into_encoded_bytes()
                } else {
                    fs::read(entry.path()).unwrap()
                };
                all.insert(entry.path(), (metadata.mode(), metadata.uid(), bytes));
            }
        }
        all
    }
}

fn containerd(version: &str) -> Node {
    let node = Node::new(&[]);
    let says = format!("containerd github.com/containerd/containerd {version} abc");
    node.program("usr/bin/containerd", &says);
    node
}

#[test]
fn what_was_installed_is_taken_away_byte_for_byte() {
    for (version, config) in [
        ("1.6.20~ds1", V2),
        ("1.7.24", V2),
        ("v2.1.9", V2),
        (
            "v2.1.9",
            "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']",
        ),
        ("v2.4.2", ""),
    ] {
        let node = containerd(version);
        if !config.is_empty() {
            node.write(CONFIG, config);
            fs::set_permissions(node.at(CONFIG), fs::Permissions::from_mode(0o640)).unwrap();
        }
        let before = node.all();
        node.install(&["--dry-run"]).unwrap();
        assert_eq!(node.all(), before, "{version}: --dry-run changes nothing");
        node.install(&[]).unwrap();
        assert_eq!(node.read(SHIM), "program containerd-shim-podhook-v1");
        let installed = node.all();
        assert_ne!(installed, before);
        node.install(&[]).unwrap();
        assert_eq!(node.all(), installed, "{version}: once is enough");
        node.install(&["--default"]).unwrap();
        assert_ne!(node.all(), installed);
        node.uninstall(&["--dry-run"]).unwrap();
        node.uninstall(&[]).unwrap();
        assert_eq!(node.all(), before, "{version}");
        node.uninstall(&[]).unwrap();
    }
}

#[test]
fn each_generation_gets_what_it_understands() {
    let node = containerd("1.6.20~ds1");
    node.write(CONFIG, V2);
    node.install(&[]).unwrap();
    let text = node.read(CONFIG);
    assert!(text.starts_with(V2), "{text}");
    assert!(
        text.contains("runtime_type = \"io.containerd.podhook.v1\""),
        "{text}"
    );
    // Its options reach no other runtime than runc's.
    assert!(
        node.read("etc/podhook/config.toml")
            .ends_with("systemd_cgroup = true\n")
    );

    let node = containerd("1.7.24");
    node.write(CONFIG, V2);
    node.install(&[]).unwrap();
    let text = node.read(CONFIG);
    let path = "runtime_path = \"/usr/local/bin/containerd-shim-podhook-v1\"";
    assert!(text.contains(path), "{text}");
    assert_eq!(text.matches("SystemdCgroup = true").count(), 2, "{text}");
    assert!(!node.at("etc/podhook").exists());

    for (version, number) in [("v2.1.9", 3), ("v2.3.7", 4)] {
        let node = containerd(version);
        node.install(&[]).unwrap();
        let text = node.read(CONFIG);
        assert!(text.contains(&format!("\nversion = {number}\n")), "{text}");
        assert!(text.contains("io.containerd.cri.v1.runtime"), "{text}");
    }
}

#[test]
fn a_drop_in_is_written_where_it_takes_nothing_away() {
    let imports = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    let main = format!("{imports}{V2}");
    let drop_in = "etc/containerd/conf.d/99-podhook.toml";
    let node = containerd("v2.1.9");
    node.write(CONFIG, &main);
    node.install(&[]).unwrap();
    assert_eq!(node.read(CONFIG), main);
    let text = node.read(drop_in);
    // A file of another version than the main one is not merged by 2.0 to 2.2.
    assert!(text.contains("version = 2\n"), "{text}");
    assert!(text.contains("SystemdCgroup = true"), "as runc's: {text}");

    // 1.x takes CRI's whole section from the last file that has one.
    let node = containerd("1.7.24");
    node.write(CONFIG, &main);
    node.install(&[]).unwrap();
    assert!(!node.at(drop_in).exists());
    assert!(node.read(CONFIG).contains("runtimes.podhook]"));
    let node = containerd("1.7.24");
    node.write(CONFIG, &main);
    node.write("etc/containerd/conf.d/10-cri.toml", V2);
    node.install(&[]).unwrap();
    assert_eq!(node.read(CONFIG), main);
    assert!(
        node.read("etc/containerd/conf.d/10-cri.toml")
            .contains("runtimes.podhook]")
    );
}

#[test]
fn what_has_the_last_word_over_the_default_is_named() {
    let node = containerd("v2.1.9");
    let main = "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n";
    node.write(CONFIG, main);
    let other = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\ndefault_runtime_name = 'kata'\n\
        runtimes.kata.runtime_type = 'io.containerd.kata.v2'\n";
    node.write("etc/containerd/conf.d/zz.toml", other);
    let error = node.install(&["--default"]).unwrap_err();
    assert!(error.contains("zz.toml is read later"), "{error}");
    assert!(
        !node.at(SHIM).exists(),
        "nothing is changed before all is known"
    );
    node.install(&[]).unwrap();
}

#[test]
fn what_others_have_changed_since_is_not_lost() {
    let node = containerd("1.7.24");
    node.write(CONFIG, V2);
    node.install(&[]).unwrap();
    let changed = node.read(CONFIG) + "# theirs\n";
    node.write(CONFIG, &changed);
    let error = node.uninstall(&[]).unwrap_err();
    assert!(error.contains("changed by somebody else"), "{error}");
    assert!(error.contains("diff "), "{error}");
    assert!(node.at(SHIM).exists(), "nothing is taken away by halves");
    // An install that edits it does not make it podhook's own.
    node.install(&["--default"]).unwrap();
    assert!(node.uninstall(&[]).is_err());
    node.uninstall(&["--changed", "keep"]).unwrap();
    assert!(node.read(CONFIG).ends_with("# theirs\n"));
    assert!(!node.at(SHIM).exists());
    assert!(!node.at("var/lib/podhook").exists());

    // A file that was written anew is what was before the next install.
    let node = containerd("1.7.24");
    node.write(CONFIG, V2);
    node.install(&[]).unwrap();
    let anew = format!("# anew\n{V2}");
    node.write(CONFIG, &anew);
    node.install(&[]).unwrap();
    node.uninstall(&[]).unwrap();
    assert_eq!(node.read(CONFIG), anew);

    node.install(&[]).unwrap();
    node.write(CONFIG, "version = 2\n");
    node.uninstall(&["--changed", "restore"]).unwrap();
    assert_eq!(node.read(CONFIG), anew);
}

#[test]
fn nothing_is_taken_away_while_containers_run_on_it() {
    let node = containerd("v2.4.2");
    node.write(CONFIG, "version = 4\n");
    let before = node.all();
    node.install(&[]).unwrap();
    let program = "/usr/local/bin/containerd-shim-podhook-v1 (deleted)";
    let arguments = ["-namespace", "k8s.io", "-id", "web", "-address", "/x"];
    crate::setup::shims::tests::process(&node.at(""), 7, program, &arguments);
    for dry in [&[][..], &["--dry-run"]] {
        let error = node.uninstall(dry).unwrap_err();
        assert!(error.contains("run on podhook, 1: k8s.io/web"), "{error}");
        assert!(error.contains("--force"), "{error}");
    }
    // containerd has written down whose it is, for the sandbox or for a container of it.
    let bundle = "run/containerd/io.containerd.runtime.v2.task/k8s.io/other/config.json";
    let annotations = "{\"annotations\": {\"io.kubernetes.cri.sandbox-id\": \"web\", \
        \"io.kubernetes.cri.sandbox-namespace\": \"shop\", \"io.kubernetes.cri.sandbox-name\": \"cart-0\"}}";
    node.write(bundle, annotations);
    let error = node.uninstall(&[]).unwrap_err();
    assert!(error.contains("1: pod shop/cart-0 (k8s.io/web)"), "{error}");
    fs::remove_dir_all(node.at("run")).unwrap();
    let installed = node.all();
    node.uninstall(&["--force", "--dry-run"]).unwrap();
    assert_eq!(node.all(), installed);
    node.uninstall(&["--force"]).unwrap();
    let state = || node.read("var/lib/podhook/install/state.json");
    assert!(state().contains("\"half\": true"), "{}", state());
    node.install(&[]).unwrap();
    assert!(!state().contains("half"), "{}", state());
    node.uninstall(&["--force"]).unwrap();
    assert_eq!(node.read(CONFIG), "version = 4\n");
    assert!(node.at(SHIM).exists(), "containerd calls it when they end");
    fs::remove_dir_all(node.at("proc")).unwrap();
    node.uninstall(&[]).unwrap();
    assert_eq!(node.all(), before);
}

/// A node's disk that is mounted elsewhere.
#[test]
fn where_no_process_is_seen_containerds_state_says_what_runs() {
    let node = containerd("v2.4.2");
    node.write(CONFIG, "version = 4\n");
    let before = node.all();
    node.install(&[]).unwrap();
    let own = |kind, name| {
        let file = format!("run/containerd/{kind}/k8s.io/{name}/shim-binary-path");
        node.write(&file, "/usr/local/bin/containerd-shim-podhook-v1");
    };
    own("io.containerd.runtime.v2.task", "web");
    own("io.containerd.sandbox.controller.v1.shim", "pod");
    let other = "run/containerd/io.containerd.runtime.v2.task/k8s.io/other/shim-binary-path";
    node.write(other, "/usr/bin/containerd-shim-runc-v2");
    for dry in [&[][..], &["--dry-run"]] {
        let error = node.uninstall(dry).unwrap_err();
        assert!(error.contains(", 2: k8s.io/pod, k8s.io/web"), "{error}");
    }
    // Fedora's /usr/local/sbin is a link to bin, and comes first in PATH.
    symlink("bin", node.at("usr/local/sbin")).unwrap();
    let file = "run/containerd/io.containerd.runtime.v2.task/k8s.io/web/shim-binary-path";
    node.write(file, "/usr/local/sbin/containerd-shim-podhook-v1");
    let error = node.uninstall(&[]).unwrap_err();
    assert!(error.contains(", 2: k8s.io/pod, k8s.io/web"), "{error}");
    fs::remove_file(node.at("usr/local/sbin")).unwrap();
    // The processes tell more.
    crate::setup::shims::tests::process(&node.at(""), 7, "/usr/bin/containerd", &[]);
    node.uninstall(&["--dry-run"]).unwrap();
    fs::remove_dir_all(node.at("proc")).unwrap();
    fs::remove_dir_all(node.at("run")).unwrap();
    node.uninstall(&[]).unwrap();
    assert_eq!(node.all(), before);
}

#[test]
fn a_link_or_a_folder_of_others_is_not_written_through() {
    let node = containerd("1.7.24");
    node.write("secret", "secret");
    fs::create_dir_all(node.at("etc/containerd")).unwrap();
    symlink("/secret", node.at(CONFIG)).unwrap();
    let error = node.install(&[]).unwrap_err();
    assert!(error.contains("symbolic link to /secret"), "{error}");
    assert_eq!(node.read("secret"), "secret");
    fs::remove_file(node.at(CONFIG)).unwrap();
    fs::set_permissions(node.at("etc/containerd"), fs::Permissions::from_mode(0o777)).unwrap();
    let error = node.install(&[]).unwrap_err();
    assert!(error.contains("everybody"), "{error}");
}

#[test]
fn k3s_gets_a_template_or_a_drop_in() {
    const FOLDER: &str = "var/lib/rancher/k3s/agent/etc/containerd";
    let at = |file: &str| format!("{FOLDER}/{file}");
    let v3 = V2
        .replace("version = 2", "version = 3")
        .replace("grpc.v1.cri", "cri.v1.runtime");
    let node = Node::new(&[(&at("config.toml"), &v3)]);
    let before = node.all();
    node.install(&["--default"]).unwrap();
    let template = node.read(&at("config-v3.toml.tmpl"));
    assert!(
        template.starts_with("{{ template \"base\" . }}\n"),
        "{template}"
    );
    assert!(
        template.contains("runtimes.podhook.options]\n    SystemdCgroup = true\n"),
        "{template}"
    );
    assert!(!template.contains("default_runtime_name"), "{template}");
    let settings = node.read("etc/rancher/k3s/config.yaml.d/99-podhook.yaml");
    assert!(
        settings.ends_with("default-runtime: podhook\n"),
        "{settings}"
    );
    // k3s has made its configuration of it.
    let block = template.split_once("}}\n").unwrap().1;
    node.write(&at("config.toml"), &format!("{v3}{block}"));
    let installed = node.all();
    node.install(&["--default"]).unwrap();
    assert_eq!(node.all(), installed, "once is enough");
    node.write(&at("config.toml"), &v3);
    node.uninstall(&[]).unwrap();
    assert_eq!(node.all(), before);

    let folder = format!("imports = [\"/{FOLDER}/config-v3.toml.d/*.toml\"]\n{v3}");
    let node = Node::new(&[(&at("config.toml"), &folder)]);
    node.install(&["--default"]).unwrap();
    let drop_in = node.read(&at("config-v3.toml.d/99-podhook.toml"));
    assert!(
        drop_in.contains("default_runtime_name = \"podhook\""),
        "{drop_in}"
    );
    assert!(!node.at(&at("config-v3.toml.tmpl")).exists());
    let installed = node.all();
    node.install(&[]).unwrap();
    assert_eq!(node.all(), installed, "what was chosen stays");

    // The containerd 1.7 of an older one.
    let node = Node::new(&[
        (&at("config.toml"), V2),
        (&at("config.toml.tmpl"), "# mine\n"),
    ]);
    node.install(&["--for", "k3s"]).unwrap();
    let template = node.read(&at("config.toml.tmpl"));
    assert!(
        template.starts_with("# mine\n\n# podhook install: begin\n"),
        "{template}"
    );
    let error = Node::new(&[("var/lib/rancher/rke2/x", "")])
        .install(&[])
        .unwrap_err();
    assert!(error.contains("systemctl start rke2-server"), "{error}");
}

#[test]
fn a_default_that_stays_is_said() {
    let node = containerd("1.7.24");
    node.write(CONFIG, V2);
    node.write("etc/docker/daemon.json", "{}\n");
    let said = || {
        let root = node.at("");
        let line = ["podhook", "install", "--root", root.to_str().unwrap()];
        let Command::Install(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("{line:?}")
        };
        let root = Root::open(&args.node.root).unwrap();
        let wanted = Wanted {
            name: "podhook".to_owned(),
            pauseless: None,
            pauseless_asked: false,
            default: None,
            shim: Path::new("/").join(SHIM),
            version: None,
            file: None,
        };
        let places = places(&root, &args.node).unwrap();
        let plans = places
            .iter()
            .map(|place| configure::plan(&root, place, &wanted).unwrap());
        plans
            .flat_map(|plan| plan.said)
            .filter(|text| text.contains("default"))
            .collect::<Vec<_>>()
    };
    assert!(said().is_empty());
    node.install(&[]).unwrap();
    assert!(said().is_empty());
    node.install(&["--default"]).unwrap();
    let stays = "podhook stays the default runtime, as an install before has made it; `podhook uninstall` takes it back";
    assert_eq!(said(), [stays; 2], "containerd's and docker's");
}

#[test]
fn microk8s_and_docker_have_their_own_places() {
    let args = "var/snap/microk8s/7/args/containerd-template.toml";
    let text = V2.replace("runc.v2\"", "runc.v2\" # ${RUNTIME}");
    let node = Node::new(&[
        (args, &text),
        ("etc/docker/daemon.json", "{\"debug\": true}\n"),
    ]);
    symlink("7", node.at("var/snap/microk8s/current")).unwrap();
    let before = node.all();
    let error = node.install(&[]).unwrap_err();
    assert!(error.contains("--containerd-version"), "{error}");
    node.install(&["--containerd-version", "1.7.28"]).unwrap();
    assert!(node.read(args).contains("runtimes.podhook]"));
    assert!(
        node.read("etc/docker/daemon.json")
            .contains("io.containerd.podhook.v1")
    );
    node.uninstall(&[]).unwrap();
    assert_eq!(node.all(), before);
}

#[test]
fn a_containerd_without_cri_is_left_alone() {
    let node = containerd("1.7.24");
    node.write(CONFIG, "disabled_plugins = [\"cri\"]\n");
    node.install(&[]).unwrap();
    assert_eq!(node.read(CONFIG), "disabled_plugins = [\"cri\"]\n");
    assert!(node.at(SHIM).exists(), "ctr and nerdctl find it");
}

#[test]
fn what_is_wrong_is_said_with_a_hint() {
    let said = |node: &Node, arguments: &[&str]| {
        let error = node.install(arguments).unwrap_err();
        assert!(error.contains("\n  hint: "), "{error}");
        error
    };
    let node = containerd("1.7.24");
    node.write(CONFIG, "version = ");
    assert!(said(&node, &[]).contains("is not TOML"));
    for (version, of) in [("7", "1.7.24"), ("3", "1.6.20"), ("4", "2.1.9")] {
        node.write(CONFIG, &format!("version = {version}\n"));
        let error = said(&node, &["--containerd-version", of]);
        let message = format!("configuration of version {version}");
        assert!(error.contains(&message), "{error}");
    }
    let foreign = V2.replace("runtimes.runc", "runtimes.podhook");
    node.write(CONFIG, &foreign);
    let error = said(&node, &[]);
    assert!(error.contains("io.containerd.runc.v2"), "{error}");
    assert!(error.contains("etc/containerd/config.toml"), "{error}");
    assert!(!error.contains("--default"), "{error}");
    node.write(CONFIG, "[plugins.cri]\nsandbox_image = \"x\"\n");
    assert!(said(&node, &[]).contains("version 1"));
    node.write(CONFIG, "");
    node.install(&[]).unwrap();
    assert!(node.read(CONFIG).contains("version = 2\n"));
    assert!(said(&Node::new(&[]), &[]).contains("nothing that runs containers"));
    assert!(said(&node, &["--runtime", "a/b"]).contains("not a name"));
    assert!(said(&node, &["--runtime", "runc"]).contains("--default"));
    assert!(said(&node, &["--restart"]).contains("--root"));
    assert!(said(&node, &["--for", "rke2"]).contains("there is none"));
    assert!(said(&node, &["--shim", "/none/x"]).contains("no shim at"));
    assert!(said(&node, &["--bin-dir", "bin"]).contains("absolute"));
    assert!(said(&node, &["--containerd-version", "x"]).contains("not a version"));
    assert!(Path::new(&node.at(SHIM)).exists());
}

#[test]
fn what_cannot_be_restarted_is_said_before_anything_is_written() {
    let node = containerd("1.7.24");
    node.write(CONFIG, V2);
    // Of this unit systemd would end every container.
    let unit = "[Service]\nKillMode=mixed\n";
    node.write("usr/lib/systemd/system/containerd.service", unit);
    let before = node.all();
    let restart = "--restart=$PODHOOK_RESTART";
    let error = node.install(&[restart]).unwrap_err();
    assert!(error.contains("KillMode is mixed"), "{error}");
    assert_eq!(node.all(), before);
    node.install(&[]).unwrap();
    let installed = node.all();
    let error = node.uninstall(&[restart]).unwrap_err();
    assert!(error.contains("KillMode is mixed"), "{error}");
    assert_eq!(node.all(), installed);
}

#[test]
fn a_second_podhook_is_not_put_before_the_packages() {
    let node = containerd("1.7.24");
    node.write(CONFIG, V2);
    node.program("usr/bin/containerd-shim-podhook-v1", "podhook 0.0.1");
    let before = node.all();
    let error = node.install(&[]).unwrap_err();
    assert!(
        error.contains("usr/bin/containerd-shim-podhook-v1"),
        "{error}"
    );
    assert!(
        error.contains("\n  hint: ") && error.contains("--bin-dir"),
        "{error}"
    );
    assert_eq!(node.all(), before);
    node.install(&["--bin-dir", "/opt/podhook"]).unwrap();
    assert!(node.at("opt/podhook/containerd-shim-podhook-v1").exists());
}

#[test]
fn a_restart_is_followed_by_a_look_at_the_containers() {
    let node = containerd("1.7.24");
    node.write(CONFIG, V2);
    let socket = node.folder.path().join("c.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let address = socket.to_str().unwrap();
    let arguments = ["-namespace", "k8s.io", "-id", "web", "-address", address];
    crate::setup::shims::tests::process(
        &node.at(""),
        7,
        "/usr/bin/containerd-shim-runc-v2",
        &arguments,
    );
    let task = "run/containerd/io.containerd.runtime.v2.task/k8s.io/web/init.pid";
    node.write(task, "7");
    // A command of the user's may run podhook's own in its way.
    let told = node.folder.path().join("told");
    let tell = format!("--restart=echo $PODHOOK_RESTART > {}", told.display());
    node.install(&[&tell, "--address", address]).unwrap();
    let told = fs::read_to_string(told).unwrap();
    assert_eq!(told, "systemctl restart containerd\n");
    let gone = format!("--restart=rm -r {}", node.at("proc/7").display());
    let error = node
        .install(&["--default", &gone, "--address", address])
        .unwrap_err();
    assert!(error.contains("ended while"), "{error}");
    assert!(error.contains("k8s.io/web"), "{error}");
    crate::setup::shims::tests::process(&node.at(""), 9, "/usr/bin/containerd", &[]);
    let error = node
        .uninstall(&["--restart=exit 3", "--address", address])
        .unwrap_err();
    assert!(error.contains("exit status: 3"), "{error}");
}

#[test]
fn what_was_installed_goes_on_under_its_name_and_in_its_folder() {
    let node = containerd("v2.4.2");
    let first = ["--runtime", "hooks", "--bin-dir", "/opt/bin", "--pauseless"];
    node.install(&first).unwrap();
    let installed = node.all();
    node.install(&[]).unwrap();
    assert_eq!(node.all(), installed);
    // The handler without a pause container is there already.
    node.install(&["--default=pauseless"]).unwrap();
    let text = node.read(CONFIG);
    assert!(
        text.contains("default_runtime_name = \"hooks-pauseless\""),
        "{text}"
    );
    // An upgrade goes where the programs are.
    fs::write(node.folder.path().join("podhook"), "newer").unwrap();
    node.install(&[]).unwrap();
    assert_eq!(node.read("opt/bin/podhook"), "newer");
    assert!(!node.at("usr/local").exists());
    let error = node
        .install(&["--runtime", "x", "--default=pauseless"])
        .unwrap_err();
    assert!(error.contains("without --pauseless"), "{error}");
}

#[test]
fn a_configuration_with_which_cri_does_not_start_is_refused_before_anything_is_written() {
    let node = containerd("1.7.24");
    node.write(
        CONFIG,
        &format!("imports = [\"/etc/containerd/conf.d/*.toml\"]\n{V2}"),
    );
    let kata = V2.replace("runtimes.runc", "runtimes.kata");
    let file = "etc/containerd/conf.d/50-kata.toml";
    node.write(file, &kata);
    let before = node.all();
    let error = node.install(&[]).unwrap_err();
    assert!(
        error.contains("the default runtime runc has no section"),
        "{error}"
    );
    assert!(error.contains("50-kata.toml"), "{error}");
    assert_eq!(node.all(), before);
    // Where podhook is to be the default one it starts, as with the older kind of a default.
    node.install(&["--default", "--dry-run"]).unwrap();
    let older =
        "[plugins.'io.containerd.grpc.v1.cri'.containerd.default_runtime]\nruntime_type = 'x'\n";
    node.write(file, &format!("{kata}{older}"));
    node.install(&[]).unwrap();
}
