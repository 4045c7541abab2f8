//! A reload of systemd's configuration that meets the end of a container.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use podhook_integration::command::stdout_of;
use podhook_integration::containerd::remains;
use podhook_integration::suite::Test;
use podhook_integration::trace::Trace;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, driver, tests};

use crate::cgroup;
use crate::crash::{kill_shim, runtime_without_delete};
use crate::script::Error;

pub fn tests() -> Vec<Test> {
    if driver::is_systemd() {
        tests![reload: a_reload_of_systemd_brings_no_cgroup_back]
    } else {
        Vec::new()
    }
}

/// Makes the reloads of systemd take until this is dropped: they wait for every generator.
struct Reloads {
    generator: PathBuf,
    held: PathBuf,
}

impl Reloads {
    fn hold(trace: &Trace) -> Result<Self, Error> {
        let folder = Path::new("/run/systemd/system-generators");
        fs::create_dir_all(folder)?;
        let (generator, held) = (folder.join("podhook-test"), trace.dir().join("held"));
        let script = format!(
            "#!/bin/sh\n: > {}\nwhile [ -e \"$0\" ]; do sleep 1; done\n",
            held.display()
        );
        fs::write(&generator, script)?;
        fs::set_permissions(&generator, Permissions::from_mode(0o755))?;
        Ok(Self { generator, held })
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.generator);
    }
}

fn a_reload_of_systemd_brings_no_cgroup_back(node: &Node) -> Outcome {
    let trace = Trace::new(node)?;
    let text = format!(
        "runtime = \"{}\"\nsystemd_cgroup = true\n",
        runtime_without_delete(node)?.display()
    );
    fs::write(node.containerd().dir().join("podhook.toml"), text)?;
    let pod = node.pod("reload").configured().run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let own = cgroup::of(cgroup::pid(node, &container)?)?;
    let reloads = Reloads::hold(&trace)?;
    thread::scope(|scope| -> Outcome {
        let reload = || stdout_of("systemctl", &["daemon-reload"]);
        let reloading = scope.spawn(reload);
        let held = wait::until_true("the reload", SOON, || reloads.held.exists());
        let killed = held
            .map_err(Error::from)
            .and_then(|()| kill_shim(node, pod.id()));
        // systemd sees nothing of this: it makes anew what it had, and then hears what it is told.
        let removed = wait::until_true("the end of the cgroup", SOON, || !own.exists());
        drop(reloads);
        reloading.join().map_err(|_| "the reload panicked")??;
        killed?;
        removed?;
        Ok(())
    })?;
    wait::until_true("the end of the cgroup for good", SOON, || !own.exists())?;
    let unit = own.file_name().unwrap_or_default().to_string_lossy();
    wait::until_true("the end of the scope", SOON, || {
        stdout_of("systemctl", &["show", "--property=ActiveState", &unit])
            .is_ok_and(|state| state.trim() == "ActiveState=inactive")
    })?;
    assert!(!own.exists());
    for id in [pod.id(), container.id()] {
        let state = remains::runc_state(&("k8s.io".to_owned(), id.to_owned()));
        wait::until_true("the end of the delete verb", SOON, || {
            remains::processes_with(id).is_empty()
        })?;
        fs::remove_dir_all(state)?;
        // containerd leaves it where the verb took more than 5 s, and may be removing it now where it did not.
        let bundle = node.containerd().bundle("k8s.io", id);
        assert!(remains::mounts(&bundle).is_empty());
        let _ = fs::remove_dir_all(bundle);
    }
    Ok(())
}
