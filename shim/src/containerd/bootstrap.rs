//! What containerd tells `start` on stdin, and how it wants the answer.
//!
//! containerd ≥ 2.3 sends a `BootstrapParams` message and takes a `BootstrapResult`; older ones send
//! the runtime options as an `Any`, or nothing, and take the bare address: it is what 1.6 reads, and
//! 1.7 to 2.2 take it for a v2 task service, which is served too.

use std::env;
use std::io::{self, IsTerminal, Read};

use containerd_shim::Flags;
use containerd_shim::bootstrap::{BootstrapParams, BootstrapResult, Extension, LogLevel};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;

use super::options::Options;
use crate::error::{Error, Result};

/// The most that is read from stdin, as in containerd.
const STDIN_LIMIT: u64 = 10 << 20;
/// The version of the task service that is announced to containerd ≥ 2.3: with 3 it runs no `start` and no `delete`
/// for the further containers of a pod. What that leaves to the sandbox's `delete` is in `verb::members`.
const TASK_VERSION: i32 = 3;

/// `extensions` of the `BootstrapResult` of 2.4, which the protos crate does not have. Older containerds pass it over.
const EXTENSIONS: u32 = 6;
/// What tells 2.4 which kinds of mounts the shim does itself. Empty: none of those that the mount manager has. Without
/// it containerd runs `-info` once for every runtime that is not `io.containerd.runc.v2`, to look for an annotation.
const MOUNT_CAPABILITIES: &str = "type.googleapis.com/containerd.types.MountCapabilities";

/// How a verb was called.
#[derive(Debug, PartialEq)]
pub struct Params {
    /// containerd's ttrpc address, for events.
    pub ttrpc_address: String,
    /// containerd's main address: part of the shim's socket name.
    pub grpc_address: String,
    /// Whether to log at debug level.
    pub debug: bool,
    /// Where containerd wants the socket, 2.3 only.
    pub socket_dir: Option<String>,
    pub options: Option<Any>,
    /// Whether containerd speaks the protocol of 2.3.
    pub bootstrap: bool,
}

impl Params {
    /// Reads stdin. Not from a terminal: that is a person who tries the shim by hand.
    pub fn read(flags: &Flags) -> Result<Self> {
        let mut input = Vec::new();
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            stdin
                .lock()
                .take(STDIN_LIMIT)
                .read_to_end(&mut input)
                .map_err(Error::sys("read stdin"))?;
        }
        Self::parse(&input, flags, |name| env::var(name).ok())
    }

    pub fn parse(
        input: &[u8],
        flags: &Flags,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        if let Some(params) = bootstrap_params(input, flags)? {
            // Other extensions than options may come; Create refuses options of an unknown type.
            let options = params
                .extensions
                .into_iter()
                .filter_map(|extension| extension.value.into_option())
                .find(Options::are_known);
            return Ok(Self {
                ttrpc_address: given(params.containerd_ttrpc_address)
                    .or_else(|| env("TTRPC_ADDRESS"))
                    .unwrap_or_default(),
                grpc_address: given(params.containerd_grpc_address)
                    .unwrap_or_else(|| address(flags, &env)),
                debug: flags.debug || params.log_level.value() <= LogLevel::LOG_LEVEL_DEBUG as i32,
                socket_dir: params.socket_dir.filter(|dir| !dir.is_empty()),
                options,
                bootstrap: true,
            });
        }
        let options = (!input.is_empty())
            .then(|| Any::parse_from_bytes(input))
            .transpose()
            .map_err(|e| {
                Error::InvalidArgument(format!("options on stdin are no protobuf message: {e}"))
            })?;
        Ok(Self {
            ttrpc_address: env("TTRPC_ADDRESS").unwrap_or_default(),
            grpc_address: address(flags, &env),
            debug: flags.debug,
            socket_dir: None,
            options,
            bootstrap: false,
        })
    }

    /// The reply to `start`: the address where the task service listens.
    pub fn reply(&self, address: &str) -> Result<Vec<u8>> {
        if !self.bootstrap {
            return Ok(address.as_bytes().to_vec());
        }
        let mut result = BootstrapResult {
            version: TASK_VERSION,
            address: address.to_owned(),
            protocol: "ttrpc".to_owned(),
            ..Default::default()
        };
        let extension = Extension {
            value: Some(Any {
                type_url: MOUNT_CAPABILITIES.to_owned(),
                ..Any::default()
            })
            .into(),
            ..Extension::default()
        };
        let extension = extension
            .write_to_bytes()
            .map_err(Error::failed("encode the bootstrap result's extension"))?;
        let fields = result.special_fields.mut_unknown_fields();
        fields.add_length_delimited(EXTENSIONS, extension);
        result
            .write_to_bytes()
            .map_err(Error::failed("encode the bootstrap result"))
    }
}

/// What is not empty: in protobuf a text that is not given is.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn address(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> String {
    given(flags.address.clone())
        .or_else(|| env("GRPC_ADDRESS"))
        .unwrap_or_default()
}

/// Legacy options decode as `BootstrapParams` as well (a type URL and bytes are two strings), so
/// only a message that names this very container counts.
fn bootstrap_params(input: &[u8], flags: &Flags) -> Result<Option<BootstrapParams>> {
    let Ok(params) = BootstrapParams::parse_from_bytes(input) else {
        return Ok(None);
    };
    if input.is_empty() {
        return Ok(None);
    }
    if params.instance_id == flags.id && params.namespace == flags.namespace {
        return Ok(Some(params));
    }
    let only_two_strings = BootstrapParams {
        instance_id: params.instance_id.clone(),
        namespace: params.namespace.clone(),
        ..Default::default()
    };
    if params == only_two_strings {
        return Ok(None);
    }
    Err(Error::InvalidArgument(format!(
        "bootstrap parameters are for {}/{}, the command line for {}/{}",
        params.namespace, params.instance_id, flags.namespace, flags.id
    )))
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::protobuf::UnknownValueRef;
    use containerd_shim_protos::shim::oci::Options as RuncOptions;

    use super::*;

    fn flags() -> Flags {
        Flags {
            id: "c1".into(),
            namespace: "k8s.io".into(),
            address: "/run/ctrd.sock".into(),
            ..Flags::default()
        }
    }

    fn any() -> Any {
        Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: RuncOptions {
                binary_name: "crun".into(),
                ..RuncOptions::default()
            }
            .write_to_bytes()
            .unwrap(),
            ..Any::default()
        }
    }

    fn env(name: &str) -> Option<String> {
        (name == "TTRPC_ADDRESS").then(|| "/run/ctrd.sock.ttrpc".to_owned())
    }

    #[test]
    fn legacy_options_are_not_mistaken_for_bootstrap_params() {
        let params = Params::parse(&any().write_to_bytes().unwrap(), &flags(), env).unwrap();
        assert!(!params.bootstrap);
        assert_eq!(params.options, Some(any()));
        assert_eq!(params.ttrpc_address, "/run/ctrd.sock.ttrpc");
        assert_eq!(params.reply("unix:///s").unwrap(), b"unix:///s");
    }

    #[test]
    fn no_stdin_is_a_start_without_options() {
        let params = Params::parse(b"", &flags(), env).unwrap();
        assert_eq!((params.bootstrap, params.options), (false, None));
    }

    #[test]
    fn bootstrap_params_carry_addresses_options_and_debug() {
        let message = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "k8s.io".into(),
            log_level: LogLevel::LOG_LEVEL_DEBUG.into(),
            containerd_ttrpc_address: "/t".into(),
            containerd_grpc_address: "/g".into(),
            extensions: [
                Any {
                    type_url: "another.Extension".into(),
                    ..Any::default()
                },
                any(),
            ]
            .map(|any| Extension {
                value: Some(any).into(),
                ..Default::default()
            })
            .into(),
            socket_dir: Some("/run/s".into()),
            ..Default::default()
        };
        let params = Params::parse(&message.write_to_bytes().unwrap(), &flags(), |_| None).unwrap();
        assert!(params.bootstrap && params.debug);
        assert_eq!(
            (params.ttrpc_address.as_str(), params.grpc_address.as_str()),
            ("/t", "/g")
        );
        assert_eq!(params.options, Some(any()));
        assert_eq!(params.socket_dir.as_deref(), Some("/run/s"));
        let reply = BootstrapResult::parse_from_bytes(&params.reply("unix:///s").unwrap()).unwrap();
        assert_eq!((reply.version, reply.protocol.as_str()), (3, "ttrpc"));
        let unknown = reply.special_fields.unknown_fields();
        let Some(UnknownValueRef::LengthDelimited(extension)) = unknown.get(EXTENSIONS) else {
            panic!("no extension");
        };
        let value = Extension::parse_from_bytes(extension).unwrap().value;
        assert_eq!(value.type_url, MOUNT_CAPABILITIES);
        assert_eq!(value.value, b"");
    }

    #[test]
    fn what_bootstrap_params_leave_out_is_in_flags_and_environment() {
        let message = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "k8s.io".into(),
            ..Default::default()
        };
        let flags = Flags {
            address: "/flag".into(),
            ..flags()
        };
        let params = Params::parse(&message.write_to_bytes().unwrap(), &flags, env).unwrap();
        assert!(params.bootstrap);
        assert_eq!(params.ttrpc_address, "/run/ctrd.sock.ttrpc");
        assert_eq!(params.grpc_address, "/flag");
    }

    #[test]
    fn bootstrap_params_of_another_container_are_refused() {
        let message = BootstrapParams {
            instance_id: "c2".into(),
            namespace: "k8s.io".into(),
            containerd_ttrpc_address: "/t".into(),
            ..Default::default()
        };
        let error = Params::parse(&message.write_to_bytes().unwrap(), &flags(), env).unwrap_err();
        assert!(error.to_string().contains("k8s.io/c2"), "{error}");
    }
}
