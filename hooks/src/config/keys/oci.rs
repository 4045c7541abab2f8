//! Which OCI runtime, where containerd's options do not say: the shim's `Options::with_defaults`.

use std::path::{Path, PathBuf};

use crate::config::key::{Key, keys};
use crate::lifecycle::FieldError;
use crate::lifecycle::reader::At;

keys! {
    /// Which OCI runtime, where containerd's options do not say.
    OciKeys {
        runtime: Option<String> = Runtime,
        root: Option<PathBuf> = Root,
        systemd_cgroup: bool = SystemdCgroup,
        calls: RuntimeCalls = Calls,
    }
}

/// The runtime's name or path.
struct Runtime;

impl Key for Runtime {
    type Value = Option<String>;

    const NAME: &'static str = "runtime";
    const MEANING: &'static str =
        "the OCI runtime, where containerd's options have no `BinaryName`";
    const DEFAULT: &'static str = "`runc`";

    fn read(at: At) -> Result<Option<String>, FieldError> {
        match at.string()? {
            "" => Err(at.error("must not be empty")),
            text => Ok(Some(text.to_owned())),
        }
    }
}

/// Its state directory.
struct Root;

impl Key for Root {
    type Value = Option<PathBuf>;

    const NAME: &'static str = "root";
    const MEANING: &'static str = "its state directory, where they have no `Root`";
    const DEFAULT: &'static str = "`/run/containerd/runc`";

    fn read(at: At) -> Result<Option<PathBuf>, FieldError> {
        let path = Path::new(at.string()?);
        match path.is_absolute() {
            true => Ok(Some(path.to_owned())),
            false => Err(at.error("must be an absolute path")),
        }
    }
}

/// Whether systemd makes the cgroups.
struct SystemdCgroup;

impl Key for SystemdCgroup {
    type Value = bool;

    const NAME: &'static str = "systemd_cgroup";
    const MEANING: &'static str = "the systemd cgroup driver";
    const DEFAULT: &'static str = "`false`";

    fn read(at: At) -> Result<bool, FieldError> {
        at.boolean()
    }
}

/// Who does what the OCI runtime's calls do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuntimeCalls {
    /// podhook, where it can; else the runtime's program.
    #[default]
    Direct,
    /// Always the runtime's program.
    Program,
}

/// Whether the runtime's program is run where that is not needed.
struct Calls;

impl Key for Calls {
    type Value = RuntimeCalls;

    const NAME: &'static str = "runtime_calls";
    const MEANING: &'static str = "`direct`: what runc's and crun's `start` and `delete` do for a plain container is done by \
        podhook, on the runtime's own files, where the runtime is runc or crun itself, of a tested version; else, and always \
        with `program`, the runtime is called";
    const DEFAULT: &'static str = "`direct`";

    fn read(at: At) -> Result<RuntimeCalls, FieldError> {
        at.choice(&[
            ("direct", RuntimeCalls::Direct),
            ("program", RuntimeCalls::Program),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{given, refused};

    #[test]
    fn the_runtime_is_a_name_or_a_path() {
        assert_eq!(given("").oci.runtime, None);
        assert_eq!(
            given("runtime = 'crun'").oci.runtime.as_deref(),
            Some("crun")
        );
        refused("runtime = ''", "line 1: runtime: must not be empty");
    }

    #[test]
    fn the_runtimes_root_is_an_absolute_path() {
        assert_eq!(given("").oci.root, None);
        let root = given("root = '/run/podhook/crun'").oci.root;
        assert_eq!(root.as_deref(), Some(Path::new("/run/podhook/crun")));
        refused("root = 'run'", "line 1: root: must be an absolute path");
    }

    #[test]
    fn the_systemd_cgroup_driver_is_asked_for() {
        assert!(given("systemd_cgroup = true").oci.systemd_cgroup);
        refused(
            "systemd_cgroup = 1",
            "line 1: systemd_cgroup: must be true or false",
        );
    }

    #[test]
    fn the_runtimes_program_can_be_asked_for() {
        assert_eq!(given("").oci.calls, RuntimeCalls::Direct);
        let calls = given("runtime_calls = 'program'").oci.calls;
        assert_eq!(calls, RuntimeCalls::Program);
        refused(
            "runtime_calls = 'fast'",
            "line 1: runtime_calls: \"fast\" must be direct or program",
        );
    }
}
