//! `containerd-shim-podhook-v1` as a library: a containerd runtime v2 shim that runs Kubernetes container lifecycle hooks
//! itself.
//!
//! There is one way in, [`main`]; the feature `fuzzing` opens what reads input from outside to the programs of `fuzz/`.
//!
//! # Unsafe code
//!
//! Denied but for the modules that are marked with `#[allow(unsafe_code)]` where they are declared: cgroup (kernel_log,
//! notify), containerd::socket::place, host (descriptors, dispositions, memory, own_binary, reaper, signal_mask, signals),
//! mount::idmap, runtime::call and one function of runtime, sandbox (holder, one function of member), stdio (console, fifo,
//! logger), unwinding, verb (serve, start).

#![cfg_attr(not(any(test, feature = "fuzzing")), deny(unsafe_code))]
// Calls that panic where the kernel refuses something are forbidden: see clippy.toml. Nothing restarts a shim.
#![cfg_attr(
    not(any(test, feature = "fuzzing")),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::print_stderr,
        clippy::print_stdout
    )
)]
// Nothing that comes from outside may end it by a panic: what is out of a range or too large is decided where it is met.
#![cfg_attr(
    not(any(test, feature = "fuzzing")),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod cgroup;
mod container;
mod containerd;
mod counters;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod host;
mod journal;
mod mount;
mod runtime;
mod sandbox;
mod server;
mod stdio;
#[cfg(without_unwinding)]
#[allow(unsafe_code)]
mod unwinding;
mod verb;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use podhook_hooks::lifecycle::text;

use error::{Error, Result};

/// The runtime type that containerd knows the shim by.
const RUNTIME_NAME: &str = "io.containerd.podhook.v1";

/// The program: what it prints is for containerd.
#[must_use]
pub fn main() -> ExitCode {
    host::dispositions::settle();
    let args: Vec<_> = env::args_os().skip(1).collect();
    match run(&args) {
        Ok(output) => match io::stdout().write_all(&output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            // containerd shows stdout of a failed `start`, and stderr of a failed `delete`.
            let text = format!("containerd-shim-podhook-v1: {error}\n");
            let text = text::visible_lines(&text);
            let is_start = args.last().is_some_and(|arg| arg == "start");
            let _ = if is_start {
                io::stdout().write_all(text.as_bytes())
            } else {
                io::stderr().write_all(text.as_bytes())
            };
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[std::ffi::OsString]) -> Result<Vec<u8>> {
    let flags = containerd_shim::parse(args).map_err(|e| Error::InvalidArgument(e.to_string()))?;
    if flags.version {
        let lines = podhook_hooks::build::Build::own().lines();
        return Ok(format!("containerd-shim-podhook-v1:\n{lines}").into_bytes());
    }
    if flags.info {
        return verb::info::info();
    }
    if flags.namespace.is_empty() {
        return Err(Error::InvalidArgument(
            "shim namespace cannot be empty".to_owned(),
        ));
    }
    for (flag, name) in [("namespace", &flags.namespace), ("id", &flags.id)] {
        // They become parts of paths.
        if !host::bundle::is_plain(name) {
            return Err(Error::InvalidArgument(format!(
                "-{flag} {name:?}: not a name"
            )));
        }
    }
    match flags.action.as_str() {
        "start" => verb::start::start(&flags).map(|()| Vec::new()),
        "delete" => verb::delete::delete(&flags),
        // Of its own: `delete` leaves it behind.
        "watch" => verb::members::watch(&flags).map(|()| Vec::new()),
        "" => verb::serve::serve(&flags).map(|()| Vec::new()),
        other => Err(Error::InvalidArgument(format!(
            "unknown action {other:?}: expected start or delete"
        ))),
    }
}
