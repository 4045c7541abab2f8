//! `podhook delete` takes away what podhook has made, and nothing else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};
use podhook_integration::command::{self, Output};
use podhook_integration::podhook::Podhook;
use podhook_integration::suite::Test;
use podhook_integration::{Image, Node, Outcome, tests};
use serde_json::{Value, json};

use crate::script::Error;

pub fn tests() -> Vec<Test> {
    tests![delete:
        what_is_mounted_in_a_volume_stays_though_the_root_folder_is_a_link,
        a_relative_root_folder_works,
        a_pod_whose_uid_is_a_path_takes_no_file_of_the_node_with_it,
        a_pod_of_another_client_is_deleted_and_its_files_are_not,
    ]
}

const LIMIT: Duration = Duration::from_secs(120);

/// A folder of the test's own, and `podhook` there.
struct Place<'a> {
    node: &'a Node,
    podhook: Podhook,
    dir: PathBuf,
}

impl<'a> Place<'a> {
    fn new(node: &'a Node, test: &str) -> Result<Self, Error> {
        node.containerd().import("k8s.io", Image::Busybox)?;
        let dir = node
            .containerd()
            .dir()
            .join(format!("{test}-{}", node.shim()));
        fs::create_dir_all(&dir)?;
        Ok(Self {
            node,
            podhook: Podhook::new(node.containerd()),
            dir,
        })
    }

    /// Runs `podhook` in the folder, with this root folder.
    fn run(&self, root: &str, words: &[&str]) -> Result<Output, Error> {
        let mut command = self.podhook.command();
        command
            .current_dir(&self.dir)
            .env("PODHOOK_ROOT_DIR", root)
            .args(["--namespace", &self.namespace()])
            .args(words);
        Ok(command::run(&mut command, None, LIMIT)?)
    }

    fn namespace(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// A pod with an emptyDir of each medium, at `/data` and `/cache`.
    fn manifest(&self) -> Result<String, Error> {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {
                "runtimeClassName": self.node.shim().to_string(),
                "terminationGracePeriodSeconds": 1,
                "volumes": [
                    {"name": "data", "emptyDir": {}},
                    {"name": "cache", "emptyDir": {"medium": "Memory"}},
                ],
                "containers": [{
                    "name": "main", "image": "busybox",
                    "command": ["sh", "-c", "echo here > /data/file; echo here > /cache/file; exec sleep 600"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "cache", "mountPath": "/cache"}],
                    "lifecycle": {"postStart": {"exec": {"command": ["test", "-d", "/cache"]}}},
                }],
            },
        });
        let path = self.dir.join("pod.json");
        fs::write(&path, manifest.to_string())?;
        Ok(path.display().to_string())
    }

    /// A file that has to be there at the end, alone in its folder.
    fn precious(&self, folder: &Path) -> Result<PathBuf, Error> {
        fs::create_dir_all(folder)?;
        let file = folder.join("precious");
        fs::write(&file, "precious")?;
        Ok(file)
    }
}

/// The one folder in a folder.
fn only(folder: &Path) -> Result<PathBuf, Error> {
    let mut entries = fs::read_dir(folder)?;
    let entry = entries
        .next()
        .ok_or(format!("nothing in {}", folder.display()))??;
    assert!(
        entries.next().is_none(),
        "more than one in {}",
        folder.display()
    );
    Ok(entry.path())
}

fn is_empty(folder: &Path) -> Result<bool, Error> {
    Ok(fs::read_dir(folder)?.next().is_none())
}

fn what_is_mounted_in_a_volume_stays_though_the_root_folder_is_a_link(node: &Node) -> Outcome {
    let place = Place::new(node, "linked")?;
    fs::create_dir(place.dir.join("real"))?;
    symlink("real", place.dir.join("link"))?;
    let root = place.dir.join("link").display().to_string();
    place
        .run(&root, &["apply", "-f", &place.manifest()?])?
        .success()?;
    // As a container with Bidirectional propagation does, or an administrator.
    let outside = place.precious(&place.dir.join("outside"))?;
    let data = only(&place.dir.join("real/pods"))?.join("volumes/data");
    let at = data.join("mnt");
    fs::create_dir(&at)?;
    mount(
        Some(&place.dir.join("outside")),
        &at,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    let refused = place.run(&root, &["delete", "pod", "web"]);
    umount(&at)?;
    let refused = refused?;
    assert!(outside.exists(), "{refused:?}");
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("volumes/data/mnt is still mounted"),
        "{}",
        refused.stderr
    );
    assert!(data.join("file").exists(), "nothing was removed");
    // It is still there, and can be deleted now.
    let left = place.run(&root, &["get", "pods"])?.success()?.stdout;
    assert!(
        left.contains("web") && left.contains("Terminating"),
        "{left}"
    );
    place.run(&root, &["delete", "pod", "web"])?.success()?;
    assert!(is_empty(&place.dir.join("real/pods"))? && is_empty(&place.dir.join("real/logs"))?);
    assert!(outside.exists());
    Ok(())
}

fn a_relative_root_folder_works(node: &Node) -> Outcome {
    let place = Place::new(node, "relative")?;
    fs::create_dir(place.dir.join("real"))?;
    symlink("real", place.dir.join("link"))?;
    place
        .run("link", &["apply", "-f", &place.manifest()?])?
        .success()?;
    let pods = place.dir.join("real/pods");
    let volumes = only(&pods)?.join("volumes");
    assert_eq!(fs::read_to_string(volumes.join("data/file"))?, "here\n");
    assert_eq!(fs::read_to_string(volumes.join("cache/file"))?, "here\n");
    place.run("link", &["logs", "web"])?.success()?;
    place.run("link", &["delete", "pod", "web"])?.success()?;
    assert!(is_empty(&pods)? && is_empty(&place.dir.join("real/logs"))?);
    Ok(())
}

/// A pod that a CRI client makes, and that podhook finds by the kubelet's labels.
fn foreign<'a>(
    place: &Place<'a>,
    name: &str,
    uid: &str,
) -> Result<podhook_integration::node::Pod<'a>, Error> {
    let namespace = place.namespace();
    let labels = [
        ("io.kubernetes.pod.name", name),
        ("io.kubernetes.pod.namespace", &namespace),
        ("io.kubernetes.pod.uid", uid),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let pod = place.node.pod(name).config(|config| {
        config.labels = labels.into();
        let meta = config.metadata.get_or_insert_default();
        namespace.clone_into(&mut meta.namespace);
        uid.clone_into(&mut meta.uid);
    });
    pod.run()
}

fn a_pod_whose_uid_is_a_path_takes_no_file_of_the_node_with_it(node: &Node) -> Outcome {
    let place = Place::new(node, "paths")?;
    let root = place.dir.join("root");
    let (beside, outside) = (
        place.precious(&root.join("other"))?,
        place.precious(&place.dir.join("outside"))?,
    );
    let pods = place.precious(&root.join("pods/another"))?;
    let absolute = place.dir.join("outside").display().to_string();
    let uids = ["../other", "../../outside", &absolute, "", "."];
    for (number, uid) in uids.into_iter().enumerate() {
        let name = format!("path-{number}");
        let _pod = foreign(&place, &name, uid)?;
        let deleted = place.run(&root.display().to_string(), &["delete", "pod", &name])?;
        for file in [&beside, &outside, &pods] {
            let entries = fs::read_dir(file.parent().ok_or("no parent")?)?.count();
            assert!(
                file.exists() && entries == 1,
                "{uid:?}: {}: {deleted:?}",
                file.display()
            );
        }
        // The pod itself is gone.
        deleted.success()?;
        let left: Value = serde_json::from_str(
            &place
                .run(&root.display().to_string(), &["get", "pods", "-o", "json"])?
                .success()?
                .stdout,
        )?;
        assert_eq!(left["items"], json!([]), "{uid:?}");
    }
    Ok(())
}

fn a_pod_of_another_client_is_deleted_and_its_files_are_not(node: &Node) -> Outcome {
    let place = Place::new(node, "foreign")?;
    let root = place.dir.join("root");
    // The folders where the kubelet has its own, if the root folder is the kubelet's by mistake.
    let data = place.precious(&root.join("pods/theirs/volumes"))?;
    let log = place.precious(&root.join("logs/foreign_theirs_uid"))?;
    let _pod = foreign(&place, "theirs", "theirs")?;
    place
        .run(&root.display().to_string(), &["delete", "pod", "theirs"])?
        .success()?;
    assert!(data.exists() && log.exists());
    assert!(!root.join("pods/theirs/deletion.json").exists());
    Ok(())
}
