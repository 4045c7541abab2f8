//! What the shim reads from outside, for the programs of `fuzz/`: each function takes the bytes as they come, and panics
//! where something is not as it must be.

use containerd_shim::Flags;

use crate::containerd::bootstrap::Params;
use crate::containerd::options::Options;
use crate::host::exit_status::ExitStatus;
use crate::runtime::log_json;
use crate::stdio::target::Target;

pub use crate::cgroup::fuzzing::{cgroup_files, memberships};
pub use crate::container::fuzzing::{requests, socket};

/// What `start` reads on stdin, and the options in it.
pub fn start_stdin(input: &[u8]) {
    let flags = Flags {
        id: "c1".to_owned(),
        namespace: "k8s.io".to_owned(),
        ..Flags::default()
    };
    let Ok(params) = Params::parse(input, &flags, |_| None) else {
        return;
    };
    params
        .reply("unix:///run/containerd/s/1")
        .expect("a reply to whatever was read");
    let known = params.options.as_ref().is_none_or(Options::are_known);
    let Ok(options) = Options::decode(params.options.as_ref()) else {
        return;
    };
    assert!(known || params.options.is_some_and(|any| any.type_url.is_empty()));
    // What is kept for `delete` is read back as it was.
    let json = serde_json::to_vec(&options).expect("options are JSON");
    let again: Options = serde_json::from_slice(&json).expect("as they were written");
    let podhook_config = options.podhook_config.clone();
    assert_eq!(
        options,
        Options {
            podhook_config,
            ..again
        }
    );
}

/// The `stdout` or `stderr` of a Create or an Exec.
pub fn stdio_uri(uri: &str) {
    match Target::parse(uri) {
        Ok(Target::None) => assert!(uri.is_empty()),
        Ok(Target::Fifo(path)) => assert!(uri.contains("://") || path == uri),
        Ok(Target::File(_)) => assert!(uri.starts_with("file://")),
        Ok(Target::Binary { args, .. }) => {
            assert!(args.iter().all(|argument| !argument.is_empty()));
        }
        Err(_) => assert!(uri.contains("://")),
    }
}

/// `exit.json`, which either shim may have written.
pub fn exit_json(text: &[u8]) {
    let Ok(exit) = ExitStatus::parse(text) else {
        return;
    };
    assert!(exit.pid > 0);
    // As the delete verb tells it.
    let _ = crate::containerd::timestamp::timestamp(exit.at);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    exit.write(folder.path()).expect("what was read is written");
    let again = ExitStatus::read(folder.path()).expect("what was written is read");
    assert_eq!(again, Some(exit));
}

/// The log of the OCI runtime.
pub fn runtime_log(text: &str) {
    let _ = log_json::last_error(text);
}
