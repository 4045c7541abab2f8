//! Create: from containerd's request to an init that waits for Start.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use containerd_shim_protos::{
    api::CreateTaskRequest,
    events::task::{TaskCreate, TaskIO},
};
use podhook_hooks::{
    config::Config,
    exec::{self as engine, Children, Exit, spec::Spec},
    lifecycle::{Lifecycle, Output, is_sandbox},
    sequence::Settings,
};
use tokio::sync::oneshot;

use super::{Container, State, lifecycle::Driver};
use crate::{
    bundle,
    cgroup::Cgroup,
    error::{Error, Result},
    mount,
    options::Options,
    process::Process,
    runtime::{self, Runtime},
    shim::Shim,
    stdio::{self, ConsoleSocket, Owner, ProcessIo, Stdio},
};

/// Where the node's configuration is unless the runtime options name another file.
const CONFIG: &str = "/etc/podhook/config.toml";

impl Container {
    /// Creates the container that containerd asks for. Bad input is refused before anything is made;
    /// what a failure leaves behind is removed.
    pub async fn create(shim: &Arc<Shim>, request: CreateTaskRequest) -> Result<Arc<Self>> {
        if !request.checkpoint.is_empty() {
            return Err(Error::Unimplemented(
                "podhook does not restore containers yet".to_owned(),
            ));
        }
        let bundle = PathBuf::from(&request.bundle);
        let options = Options::decode(request.options.as_ref())?;
        let config = load_config(&options)?;
        if let Some(level) = config.log_level {
            log::set_max_level(level);
        }
        let options = options.with_defaults(&config);
        let bundle::Config {
            spec,
            own_pid_namespace,
        } = bundle::Config::read(&bundle)?;
        let lifecycle = lifecycle(&spec, &config)?;
        let rootfs = bundle.join("rootfs");
        if !request.rootfs.is_empty() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(&rootfs)
                .map_err(Error::io("create directory", &rootfs))?;
        }
        options.save(&bundle)?;
        mount::mount_rootfs(&request.rootfs, &rootfs).await?;
        let created = Init {
            shim,
            request: &request,
            bundle: &bundle,
            options: &options,
            hook_output: prints_to_container(lifecycle.as_ref(), &config),
        }
        .create()
        .await;
        let (process, pid, exit, runtime) = match created {
            Ok(created) => created,
            Err(e) => {
                let _ = mount::unmount_rootfs(&rootfs).await;
                return Err(e);
            }
        };
        let settings = Settings::new(lifecycle.as_ref(), &spec.annotations, &config);
        let target = engine::Container::open(&request.id, pid, &spec)
            .map(|target| match options.no_new_keyring {
                true => target.without_keyring(),
                false => target,
            })
            .map(Arc::new)
            .map_err(|e| e.to_string());
        let container = Arc::new(Self {
            driver: Mutex::new(Driver::new(
                settings,
                lifecycle,
                &spec,
                &request.id,
                shim,
                &config,
            )),
            id: request.id,
            namespace: shim.namespace.clone(),
            cgroup: open_cgroup(pid),
            shared_pid_namespace: !own_pid_namespace,
            bundle,
            options,
            runtime,
            publisher: shim.publisher.clone(),
            reaper: Arc::clone(&shim.reaper),
            init: process,
            execs: Mutex::default(),
            state: Mutex::new(State::default()),
            target,
            exec_engine: config.exec,
            starting: tokio::sync::Mutex::default(),
            operation: tokio::sync::Mutex::default(),
        });
        container.publisher.publish(TaskCreate {
            container_id: container.id.clone(),
            bundle: container.bundle.display().to_string(),
            rootfs: request.rootfs,
            io: Some(task_io(&container.init.stdio)).into(),
            pid: container.pid(),
            ..Default::default()
        });
        container.write_record();
        container.watch_oom();
        tokio::spawn(Arc::clone(&container).watch_init(exit));
        Ok(container)
    }
}

/// What making init takes.
struct Init<'a> {
    shim: &'a Arc<Shim>,
    request: &'a CreateTaskRequest,
    bundle: &'a Path,
    options: &'a Options,
    /// Hooks print to the container's own output.
    hook_output: bool,
}

type Created = (Process, libc::pid_t, oneshot::Receiver<Exit>, Runtime);

impl Init<'_> {
    async fn create(&self) -> Result<Created> {
        let (request, shim) = (self.request, self.shim);
        let stdio = Stdio::new(
            &request.stdin,
            &request.stdout,
            &request.stderr,
            request.terminal,
        );
        let owner = Owner {
            id: &request.id,
            namespace: &shim.namespace,
        };
        let runtime = Runtime::new(
            self.options,
            &shim.namespace,
            &request.id,
            self.bundle,
            Arc::clone(&shim.reaper),
        );
        // Until init's pid is known nobody waits for it, and it can end at any time.
        let hold = shim.reaper.hold();
        let io = if stdio.terminal {
            let console = ConsoleSocket::new()?;
            runtime
                .create(
                    self.bundle,
                    self.options,
                    Some(console.path()),
                    runtime::Stdio::null()?,
                )
                .await?;
            self.or_delete(&runtime, async {
                let master = console.receive().await?;
                ProcessIo::terminal_with_hooks(master, &stdio, owner, self.hook_output).await
            })
            .await?
        } else {
            let (child, ends) = stdio::pipes(&stdio, self.options)?;
            // Connected first: a fifo that is missing must not leave a container behind.
            let ends = ends.shared_with_hooks(self.hook_output);
            let io = ends.connect(&stdio, owner).await?;
            if let Err(e) = runtime.create(self.bundle, self.options, None, child).await {
                io.abort().await;
                return Err(e);
            }
            io
        };
        let pid = self
            .or_delete(&runtime, async { read_pid(&self.bundle.join("init.pid")) })
            .await?;
        let exit = shim.reaper.wait(pid);
        let process = Process::new(String::new(), stdio);
        process.set_pid(pid);
        process.set_io(io);
        drop(hold);
        log::debug!(id = request.id.as_str(), pid = pid; "created");
        Ok((process, pid, exit, runtime))
    }

    /// A container whose creation fails after `runc create` is deleted again.
    async fn or_delete<T>(
        &self,
        runtime: &Runtime,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let done = step.await;
        if done.is_err()
            && let Err(e) = runtime.delete(true).await
        {
            log::warn!(id = self.request.id.as_str(); "delete after a failed create: {e}");
        }
        done
    }
}

fn load_config(options: &Options) -> Result<Config> {
    let path = options.podhook_config.as_deref().unwrap_or(CONFIG);
    Config::load(Path::new(path)).map_err(|e| Error::InvalidArgument(e.to_string()))
}

fn lifecycle(spec: &Spec, config: &Config) -> Result<Option<Lifecycle>> {
    if is_sandbox(&spec.annotations) {
        return Ok(None);
    }
    let default = config.lifecycle_for(&spec.annotations);
    Lifecycle::within(&config.policy, &spec.annotations, default)
        .map_err(|e| Error::InvalidArgument(e.to_string()))
}

/// `output: container`, of the lifecycle or else of the node.
fn prints_to_container(lifecycle: Option<&Lifecycle>, config: &Config) -> bool {
    lifecycle.is_some_and(|lifecycle| {
        let hooks = lifecycle.post_start.is_some() || lifecycle.pre_stop.is_some();
        hooks && lifecycle.output.unwrap_or(config.output) == Output::Container
    })
}

/// The pid that the runtime wrote.
pub(super) fn read_pid(path: &Path) -> Result<libc::pid_t> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    text.trim()
        .parse()
        .map_err(|e| Error::Unknown(format!("{}: {e}", path.display())))
}

fn open_cgroup(pid: libc::pid_t) -> Option<Cgroup> {
    Cgroup::of_pid(pid)
        .inspect_err(|e| log::warn!("no cgroup of process {pid}: {e}"))
        .ok()
}

fn task_io(stdio: &Stdio) -> TaskIO {
    TaskIO {
        stdin: stdio.stdin.clone(),
        stdout: stdio.stdout.clone(),
        stderr: stdio.stderr.clone(),
        terminal: stdio.terminal,
        ..Default::default()
    }
}
