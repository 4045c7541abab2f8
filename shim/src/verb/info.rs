//! `-info`: what the shim and the OCI runtime behind it can do (containerd ≥ 2.0).

use std::io::ErrorKind::{NotFound, PermissionDenied};
use std::io::{self, IsTerminal, Read};
use std::process::Command;
use std::time::{Duration, Instant};

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use podhook_hooks::deadline;

use crate::containerd::options::Options;
use crate::error::{Error, Result};
use crate::runtime;

const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Runs the verb; returns what to print. Empty stdin is no options: containerd 2.3 asks so.
pub fn info() -> Result<Vec<u8>> {
    let mut input = Vec::new();
    if !io::stdin().is_terminal() {
        io::stdin()
            .lock()
            .take(1 << 20)
            .read_to_end(&mut input)
            .map_err(Error::sys("read stdin"))?;
    }
    let any = (!input.is_empty())
        .then(|| Any::parse_from_bytes(&input))
        .transpose()
        .map_err(|e| {
            Error::InvalidArgument(format!("options on stdin are no protobuf message: {e}"))
        })?;
    let options = Options::decode(any.as_ref())?;
    let config = options.load_config()?;
    let options = options.with_defaults(&config.oci);
    let info = RuntimeInfo {
        name: crate::RUNTIME_NAME.to_owned(),
        version: Some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
        .into(),
        options: any.into(),
        features: features(runtime::binary(&options))?.into(),
        ..Default::default()
    };
    info.write_to_bytes()
        .map_err(Error::failed("encode the runtime info"))
}

/// How long it may take; a client waits for the answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The `features` of the OCI runtime. One that does not know the command (runc < 1.1) has none; one that is not there is
/// an error.
fn features(binary: &str) -> Result<Option<Any>> {
    let deadline = deadline::after(Instant::now(), LIMIT);
    let called = runtime::output(
        Command::new(binary).arg("features"),
        deadline,
        runtime::Late::Kill,
    );
    let features = match called {
        Ok((status, [features, _])) if status.success() => features,
        Err(e) if matches!(e.kind(), NotFound | PermissionDenied) => {
            return Err(Error::io("look up", binary)(e));
        }
        _ => return Ok(None),
    };
    let is_json = serde_json::from_slice::<serde_json::Value>(&features).is_ok();
    Ok(is_json.then(|| Any {
        type_url: FEATURES.to_owned(),
        value: features,
        ..Any::default()
    }))
}
