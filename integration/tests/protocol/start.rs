//! The verbs as containerd calls them.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use containerd_shim_protos::bootstrap_api::{BootstrapParams, Extension, LogLevel};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use podhook_integration::command::{as_a_service, without_v2_beside_v1};
use podhook_integration::protocol::reply;
use podhook_integration::{Generation, Outcome};

use crate::bundle::Spec;
use crate::client::Client;
use crate::stage::{Failure, Kind, Stage};

impl Stage {
    /// The shim's command in a bundle, with what containerd passes, before the verb.
    pub fn command(&self, id: &str) -> Result<Command, Failure> {
        let program = self.kind.program()?;
        let mut command = match self.is_for_crun() {
            true => without_v2_beside_v1(&program),
            false => Command::new(program),
        };
        command
            .args(["-namespace", self.namespace(), "-address"])
            .arg(self.address())
            .args(["-publish-binary", "/bin/false", "-id", id])
            .env("TTRPC_ADDRESS", self.daemon().path())
            .env("GRPC_ADDRESS", self.address())
            .env("MAX_SHIM_VERSION", "2")
            .env("PATH", self.path())
            .current_dir(self.bundle(id));
        as_a_service(&mut command);
        Ok(command)
    }

    /// With CRIU and the test's own programs first.
    fn path(&self) -> String {
        let criu = podhook_integration::generation::cache().join("criu");
        format!(
            "{}:{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.dir().display(),
            criu.display()
        )
    }

    /// `start` in a bundle, whatever comes of it.
    pub fn try_start(&self, id: &str, input: &[u8]) -> Result<Output, Failure> {
        let mut command = self.command(id)?;
        command.args(["-debug", "start"]);
        output(&mut command, &self.start_input(id, input)?)
    }

    /// The stdin of `start` that says the options in `input`, if any, as the shim under test takes them: by themselves,
    /// as until containerd 2.2, or in the message that the originals want since.
    pub fn start_input(&self, id: &str, input: &[u8]) -> Result<Vec<u8>, Failure> {
        if !matches!(self.kind, Kind::Go(generation) if generation >= Generation::V2_3) {
            return Ok(input.to_vec());
        }
        let mut message = BootstrapParams {
            socket_dir: Some("/run/containerd/s".into()),
            ..self.params(id)
        };
        if !input.is_empty() {
            message.extensions.push(Extension {
                value: Some(Any::parse_from_bytes(input)?).into(),
                ..Default::default()
            });
        }
        Ok(message.write_to_bytes()?)
    }

    /// What containerd writes to the stdin of `start` since 2.3.
    pub fn params(&self, id: &str) -> BootstrapParams {
        BootstrapParams {
            instance_id: id.into(),
            namespace: self.namespace().into(),
            log_level: LogLevel::LOG_LEVEL_DEBUG.into(),
            containerd_version: "v2.3.4".into(),
            containerd_ttrpc_address: self.daemon().path().display().to_string(),
            containerd_grpc_address: self.address().display().to_string(),
            containerd_binary: "/bin/false".into(),
            socket_dir: Some(self.dir().join("s").display().to_string()),
            ..Default::default()
        }
    }

    /// `start` with options, and a connection to the address it prints.
    pub fn start(&self, id: &str, options: Option<&Any>) -> Result<Client, Failure> {
        let input = options
            .map(Message::write_to_bytes)
            .transpose()?
            .unwrap_or_default();
        let output = self.try_start(id, &input)?;
        self.connect(&output)
    }

    /// A connection to the address in the answer of `start`.
    pub fn connect(&self, output: &Output) -> Result<Client, Failure> {
        if !output.status.success() {
            let text = [&*output.stdout, &*output.stderr].concat();
            return Err(format!("start: {}", String::from_utf8_lossy(&text)).into());
        }
        let (version, address) = reply::parse(&output.stdout);
        Client::connect(&address, version)
    }

    /// A new bundle, and its shim.
    pub fn shim(&self, id: &str, args: &[&str]) -> Result<Client, Failure> {
        self.shim_of(id, &self.spec(id, args))
    }

    /// The same with a specification.
    pub fn shim_of(&self, id: &str, spec: &Spec) -> Result<Client, Failure> {
        self.make_bundle(id, spec)?;
        self.start(id, None)
    }

    /// A new bundle of a container that joins the shim of `client`.
    pub fn join(&self, client: &Client, id: &str, spec: &Spec) -> Outcome {
        let joined = self.shim_of(id, spec)?;
        assert_eq!(joined.address(), client.address());
        if let (Kind::Go(_), Some(pid)) = (self.kind, self.shim_pid(id)) {
            // The original gives the other shim 100 ms to take a connection, and makes a second one then.
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        }
        assert!(
            self.kind != Kind::Podhook || self.shim_pid(id).is_none(),
            "a second shim"
        );
        Ok(())
    }

    /// `delete` by the shim under test.
    pub fn delete_verb(&self, id: &str) -> Result<Output, Failure> {
        self.delete_verb_of(self.kind, id)
    }

    /// `delete` by another shim.
    pub fn delete_verb_of(&self, kind: Kind, id: &str) -> Result<Output, Failure> {
        let mut command = Command::new(kind.program()?);
        command
            .args(["-namespace", self.namespace(), "-address"])
            .arg(self.address())
            .args(["-publish-binary", "/bin/false", "-id", id, "-bundle"])
            .arg(self.bundle(id))
            .arg("delete")
            .env("TTRPC_ADDRESS", self.daemon().path())
            .env("PATH", self.path())
            .current_dir(self.bundle(id));
        output(as_a_service(&mut command), b"")
    }
}

/// Runs a command to its end with something on its stdin.
pub fn output(command: &mut Command, input: &[u8]) -> Result<Output, Failure> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input is no error.
        let _ = stdin.write_all(input);
    }
    Ok(child.wait_with_output()?)
}
