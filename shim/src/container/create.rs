//! Create: from containerd's request to an init that waits for Start.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use containerd_shim_protos::{
    api::CreateTaskRequest,
    events::task::{TaskCreate, TaskIO},
};
use podhook_hooks::{
    config::Config,
    exec::{self as engine, Exit, spec::Spec},
    lifecycle::{Lifecycle, Output, is_sandbox},
    sequence::Settings,
};
use tokio::sync::oneshot;

use super::{Container, State, birth::Birth, lifecycle::Driver, restore::Checkpoint};
use crate::{
    bundle,
    cgroup::Cgroup,
    error::{Error, Result},
    mount,
    options::Options,
    process::Process,
    runtime::Runtime,
    shim::Shim,
    stdio::Stdio,
    stop_signal,
};

impl Container {
    /// Creates the container that containerd asks for. Bad input is refused before anything is made;
    /// what a failure leaves behind is removed.
    pub async fn create(shim: &Arc<Shim>, request: CreateTaskRequest) -> Result<Arc<Self>> {
        let bundle = PathBuf::from(&request.bundle);
        let options = Options::decode(request.options.as_ref())?;
        let config = options.load_config()?;
        if let Some(level) = config.log_level {
            log::set_max_level(level);
        }
        let options = options.with_defaults(&config);
        let bundled = bundle::Config::read(&bundle)?;
        let lifecycle = lifecycle(&bundled.spec, &config)?;
        let rootfs = bundle.join("rootfs");
        if !request.rootfs.is_empty() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(&rootfs)
                .map_err(Error::io("create directory", &rootfs))?;
        }
        options.save(&bundle)?;
        bundle::unmark_deleted(&bundle)?;
        mount::mount_rootfs(&request.rootfs, &rootfs).await?;
        let stdio = Stdio::new(
            &request.stdin,
            &request.stdout,
            &request.stderr,
            request.terminal,
        );
        let init = Process::new(String::new(), stdio);
        let runtime = Runtime::new(
            &options,
            &shim.namespace,
            &request.id,
            &bundle,
            Arc::clone(&shim.reaper),
        );
        let hook_output = prints_to_container(lifecycle.as_ref(), &config);
        let checkpoint = Checkpoint::new(&request, hook_output);
        let own_stop_signal = match &lifecycle {
            Some(lifecycle) if lifecycle.pre_stop.is_some() => {
                let (id, namespace) = (&request.id, &shim.namespace);
                stop_signal::find(&bundled, id, namespace, &shim.containerd).await
            }
            _ => None,
        };
        let bundle::Config {
            spec,
            own_pid_namespace,
            ..
        } = bundled;
        let exit = match &checkpoint {
            // Start restores it.
            Some(_) => None,
            None => {
                let creation = Birth {
                    id: &request.id,
                    namespace: &shim.namespace,
                    bundle: &bundle,
                    options: &options,
                    runtime: &runtime,
                    reaper: &shim.reaper,
                    checkpoint: None,
                    hook_output,
                };
                match creation.make(&init).await {
                    Ok(exit) => Some(exit),
                    Err(e) => {
                        let _ = mount::unmount_rootfs(&rootfs).await;
                        return Err(e);
                    }
                }
            }
        };
        let settings = Settings::new(lifecycle.as_ref(), &spec.annotations, &config)
            .with_own_stop_signal(own_stop_signal);
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
            checkpoint,
            cgroup: OnceLock::new(),
            target: OnceLock::new(),
            shared_pid_namespace: !own_pid_namespace,
            bundle,
            options,
            runtime,
            publisher: shim.publisher.clone(),
            reaper: Arc::clone(&shim.reaper),
            counters: Arc::clone(&shim.counters),
            init,
            execs: Mutex::default(),
            state: Mutex::new(State::default()),
            exec_engine: config.exec,
            starting: tokio::sync::Mutex::default(),
            operation: tokio::sync::Mutex::default(),
        });
        container.publisher.publish(TaskCreate {
            container_id: container.id.clone(),
            bundle: container.bundle.display().to_string(),
            rootfs: request.rootfs,
            io: Some(task_io(&container.init.stdio)).into(),
            checkpoint: request.checkpoint,
            pid: container.pid(),
            ..Default::default()
        });
        container.write_record();
        if let Some(exit) = exit {
            container.adopt(&spec, exit);
        }
        Ok(container)
    }

    /// Takes charge of an init that exists now.
    pub(super) fn adopt(self: &Arc<Self>, spec: &Spec, exit: oneshot::Receiver<Exit>) {
        let pid = self.init.pid().cast_signed();
        if let Some(cgroup) = open_cgroup(pid) {
            let _ = self.cgroup.set(cgroup);
        }
        let target = engine::Container::open(&self.id, pid, spec)
            .map(|target| match self.options.no_new_keyring {
                true => target.without_keyring(),
                false => target,
            })
            .map(Arc::new)
            .map_err(|e| e.to_string());
        let _ = self.target.set(target);
        self.watch_oom();
        tokio::spawn(Arc::clone(self).watch_init(exit));
    }
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
