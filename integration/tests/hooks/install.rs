//! `podhook install` on the configuration of a real containerd, which then has the runtime; and back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use podhook_integration::command::stdout_of;
use podhook_integration::generation::Generation;
use podhook_integration::podhook::Podhook;
use podhook_integration::shim::podhook_shim;
use podhook_integration::suite::{Test, own_containerd};
use podhook_integration::{Node, Outcome, tests};
use serde_json::{Value, json};

use crate::recorded::Recorded;
use crate::script::Error;

pub fn tests() -> Vec<Test> {
    let mut all = own_containerd(tests![install:
        pods_of_the_installed_runtime_have_hooks,
        a_folder_that_is_imported_gets_a_file_where_files_are_merged,
    ]);
    all.extend(tests![install:
        containerds_own_runtime_stays_where_the_file_has_none,
        a_second_handler_of_pods_without_a_pause_container_is_taken,
    ]);
    all
}

const HANDLER: &str = "installed";
const CONFIG: &str = "etc/containerd/config.toml";

/// A root folder with the instance's own configuration in the usual place.
struct Installed<'a> {
    node: &'a Node,
    root: PathBuf,
    /// Where the programs are, for the node and for this machine.
    programs: PathBuf,
    before: String,
}

impl<'a> Installed<'a> {
    fn new(node: &'a Node, head: &str) -> Result<Self, Error> {
        let dir = node.containerd().dir();
        let own = fs::read_to_string(dir.join("config.toml"))?;
        Self::with(node, "node", format!("# The operator's.\n{head}{own}"))
    }

    /// The root folder `name` of the instance with a configuration.
    fn with(node: &'a Node, name: &str, before: String) -> Result<Self, Error> {
        let dir = node.containerd().dir();
        let root = dir.join(name);
        let programs = dir.join(format!("{name}-programs"));
        fs::create_dir_all(root.join("etc/containerd"))?;
        fs::write(root.join(CONFIG), &before)?;
        // The one path for both.
        symlink(inside(&root, &programs), &programs)?;
        let this = Self {
            node,
            root,
            programs,
            before,
        };
        this.podhook("install", &[])?;
        Ok(this)
    }

    fn podhook(&self, verb: &str, flags: &[&str]) -> Result<String, Error> {
        let version = self.node.containerd().version();
        let text = |path: &Path| path.display().to_string();
        let (root, programs) = (text(&self.root), text(&self.programs));
        let shim = text(&podhook_shim()?);
        let mut words = vec![verb, "--root", &root];
        words.extend(flags);
        if verb != "uninstall" {
            words.extend(["--containerd-version", version, "--runtime", HANDLER]);
        }
        if verb == "install" {
            words.extend(["--bin-dir", &programs, "--shim", &shim]);
        }
        let output = Podhook::new(self.node.containerd()).run(&words)?;
        Ok(output)
    }

    fn config(&self) -> Result<String, Error> {
        Ok(fs::read_to_string(self.root.join(CONFIG))?)
    }

    /// Has the containerd read what was written.
    fn read_again(&self) -> Result<(), Error> {
        let containerd = self.node.containerd();
        fs::write(containerd.dir().join("config.toml"), self.config()?)?;
        containerd.stop()?;
        containerd.up()?;
        Ok(())
    }

    /// A pod of the new runtime runs its hook.
    fn has_hooks(&self) -> Result<(), Error> {
        let lifecycle = json!({"postStart": {"exec": {"command": ["true"]}}});
        let pod = self
            .node
            .pod("web")
            .handler(HANDLER)
            .lifecycle("main", &lifecycle.to_string())
            .run()?;
        let container = pod.container("main").command(&["sleep", "600"]).start()?;
        assert_eq!(container.recorded()?.result("postStart"), "Succeeded");
        container.stop(0)?;
        container.remove()?;
        pod.remove()?;
        Ok(())
    }

    /// What the node's containerd makes of the configuration.
    fn dump(&self) -> Result<String, Error> {
        let generation = self.node.containerd().generation();
        let containerd = generation.program("containerd")?;
        let file = self.root.join(CONFIG);
        let words = ["--config", &file.to_string_lossy(), "config", "dump"];
        Ok(stdout_of(&containerd.to_string_lossy(), &words)?)
    }

    /// Nothing of it is left.
    fn taken_away(self) -> Outcome {
        self.podhook("uninstall", &[])?;
        assert_eq!(self.config()?, self.before);
        assert!(!self.programs.exists());
        assert!(!self.root.join("var").exists());
        fs::remove_file(&self.programs)?;
        Ok(())
    }
}

/// A path of this machine as it is below a root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn pods_of_the_installed_runtime_have_hooks(node: &Node) -> Outcome {
    let installed = Installed::new(node, "")?;
    let text = installed.config()?;
    assert!(
        text.starts_with(&installed.before),
        "nothing moves:\n{text}"
    );
    installed.podhook("install", &[])?;
    assert_eq!(installed.config()?, text, "once is enough");
    let doctor = ["-o", "json"];
    installed.read_again()?;
    let said = Podhook::new(node.containerd()).try_run(
        &[
            &["doctor", "--root", &installed.root.to_string_lossy()][..],
            &[
                "--containerd-version",
                node.containerd().version(),
                "--runtime",
                HANDLER,
            ],
            &doctor,
        ]
        .concat(),
    )?;
    let said: Value = serde_json::from_str(&said.stdout)?;
    let checks = said["checks"].as_array().ok_or("no checks")?;
    let of = |name: &str| checks.iter().find(|check| check["check"] == name);
    let check = of("containerd configuration").ok_or("no such check")?;
    assert_eq!(check["status"], "ok", "{check}");
    assert_eq!(of("shim").ok_or("no such check")?["status"], "ok", "{said}");
    installed.has_hooks()?;
    installed.taken_away()
}

fn a_folder_that_is_imported_gets_a_file_where_files_are_merged(node: &Node) -> Outcome {
    let folder = node.containerd().dir().join("conf.d");
    let head = format!("imports = [\"{}/*.toml\"]\n", folder.display());
    let installed = Installed::new(node, &head)?;
    let file = inside(&installed.root, &folder).join("99-podhook.toml");
    // containerd 1.x would take the whole of CRI's configuration from it.
    let merges = node.containerd().generation() >= Generation::V2;
    assert_eq!(file.exists(), merges);
    assert_eq!(installed.config()? == installed.before, merges);
    fs::create_dir_all(&folder)?;
    if merges {
        fs::copy(&file, folder.join("99-podhook.toml"))?;
    }
    installed.read_again()?;
    installed.has_hooks()?;
    installed.taken_away()
}

/// A configuration that says nothing.
fn empty(node: &Node) -> String {
    let version = match node.containerd().generation() {
        Generation::V1_6 | Generation::V1_7 => 2,
        Generation::V2 => 3,
        Generation::V2_3 | Generation::V2_4 => 4,
    };
    format!("version = {version}\n")
}

/// containerd 1.x has its own runc only as long as no runtime is written.
fn containerds_own_runtime_stays_where_the_file_has_none(node: &Node) -> Outcome {
    let name = format!("own-{}", node.shim());
    let installed = Installed::with(node, &name, empty(node))?;
    let dump = installed.dump()?;
    for runtime in ["runc", HANDLER] {
        assert!(
            dump.contains(&format!("containerd.runtimes.{runtime}]")),
            "{runtime}: {dump}"
        );
    }
    installed.taken_away()
}

fn a_second_handler_of_pods_without_a_pause_container_is_taken(node: &Node) -> Outcome {
    let name = format!("pauseless-{}", node.shim());
    let installed = Installed::with(node, &name, empty(node))?;
    let generation = node.containerd().generation();
    let asked = installed.podhook("install", &["--pauseless"]);
    if generation < Generation::V2_3 {
        let refused = asked.err().ok_or("an old containerd was given it")?;
        let refused = refused.to_string();
        assert!(
            refused.contains("need containerd 2.3 or later"),
            "{refused}"
        );
        return installed.taken_away();
    }
    asked?;
    let dump = installed.dump()?;
    let header = format!("containerd.runtimes.{HANDLER}-pauseless]");
    let (_, section) = dump.split_once(&header).ok_or("no such handler")?;
    let section = section.split("\n\n").next().unwrap_or_default();
    let program = installed.programs.join("containerd-shim-podhook-v1");
    let mut wanted = vec![
        format!("runtime_type = '{}'", program.display()),
        "runtime_path = ''".to_owned(),
        "sandboxer = 'shim'".to_owned(),
    ];
    if generation >= Generation::V2_4 {
        wanted.push("disable_pause_image_pull = true".to_owned());
    }
    for line in wanted {
        assert!(section.contains(&line), "{line}: {section}");
    }
    installed.taken_away()
}
