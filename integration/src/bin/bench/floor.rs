//! What no shim can save of `ctr run --rm`: ctr and containerd without a task, the OCI runtime without a shim.

use std::fs;
use std::io::{PipeWriter, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use podhook_integration::Node;
use podhook_integration::node::Container;
use serde_json::{Value, json};

use crate::Fallible;

/// The OCI runtime's create, start and delete of `/bin/true`, on an overlay of the root filesystem of a container
/// that sleeps; to mount and unmount that is included.
pub struct Runtime<'a> {
    _asleep: Container<'a>,
    program: PathBuf,
    dir: PathBuf,
    lower: PathBuf,
}

impl<'a> Runtime<'a> {
    /// A bundle like those of `ctr run`.
    ///
    /// # Errors
    /// When the container cannot be started.
    pub fn open(node: &'a Node) -> Fallible<Self> {
        let asleep = node.container("floor").start(&["sleep", "1000000"])?;
        let containerd = node.containerd();
        let bundle = asleep.bundle();
        let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
        config["process"]["args"] = json!(["/bin/true"]);
        config["root"]["path"] = json!("rootfs");
        config["linux"]["cgroupsPath"] = json!(format!("/{}/runtime-alone", containerd.id()));
        let dir = containerd.dir().join("runtime-alone");
        fs::create_dir_all(dir.join("rootfs"))?;
        fs::write(dir.join("config.json"), serde_json::to_vec(&config)?)?;
        Ok(Self {
            _asleep: asleep,
            program: containerd
                .generation()
                .oci_runtime(containerd.place().runtime)?,
            dir,
            lower: bundle.join("rootfs"),
        })
    }

    /// Once from the beginning to the end.
    ///
    /// # Errors
    /// When the runtime says so.
    pub fn once(&self) -> Fallible<Duration> {
        let [upper, work] = ["upper", "work"].map(|name| self.dir.join(name));
        let rootfs = self.dir.join("rootfs");
        for dir in [&upper, &work] {
            fs::create_dir_all(dir)?;
        }
        let start = Instant::now();
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.lower.display(),
            upper.display(),
            work.display()
        );
        let kind = Some("overlay");
        mount(kind, &rootfs, kind, MsFlags::empty(), Some(layers.as_str()))?;
        let done = self.run();
        umount2(&rootfs, MntFlags::empty())?;
        done?;
        let elapsed = start.elapsed();
        for dir in [&upper, &work] {
            fs::remove_dir_all(dir)?;
        }
        Ok(elapsed)
    }

    fn run(&self) -> Fallible<()> {
        let (mut ended, output) = std::io::pipe()?;
        let bundle = self.dir.display().to_string();
        self.call(&["create", "--bundle", &bundle, "alone"], Some(output))?;
        self.call(&["start", "alone"], None)?;
        // Its output ends with it.
        ended.read_to_end(&mut Vec::new())?;
        self.call(&["delete", "--force", "alone"], None)
    }

    fn call(&self, words: &[&str], output: Option<PipeWriter>) -> Fallible<()> {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(words)
            .stdin(Stdio::null())
            .stdout(output.map_or_else(Stdio::null, Stdio::from));
        run(command)
    }
}

/// `ctr container create` and `ctr container rm`: all of `ctr run --rm` but the task, and one more start of ctr.
///
/// # Errors
/// When ctr says so.
pub fn container_alone(node: &Node, runtime: &str) -> Fallible<Duration> {
    let image = podhook_integration::Image::Busybox.reference();
    let start = Instant::now();
    let ctr = |words: &[&str]| {
        let mut command = node.ctr().command();
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        run(command)
    };
    let id = "container-alone";
    ctr(&[
        "container",
        "create",
        "--runtime",
        runtime,
        image,
        id,
        "/bin/true",
    ])?;
    ctr(&["container", "rm", id])?;
    Ok(start.elapsed())
}

fn run(mut command: Command) -> Fallible<()> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}
