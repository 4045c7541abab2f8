//! Create: from containerd's request to an init that waits for Start.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use containerd_shim_protos::api::CreateTaskRequest;
use containerd_shim_protos::events::task::{TaskCreate, TaskIO};
use podhook_hooks::config::{Config, HookKeys};
use podhook_hooks::config_json::{self, ContainerConfig};
use podhook_hooks::exec::spec::Spec;
use podhook_hooks::lifecycle::{Lifecycle, Output, is_sandbox};
use podhook_hooks::sequence::Settings;

use super::clear::Remains;
use super::deps::Deps;
use super::driver::Driver;
use super::process::Process;
use super::restore::Checkpoint;
use super::spawn::{Call, Spawn, Unmade};
use super::{Container, State};
use crate::cgroup;
use crate::containerd::options::Options;
use crate::error::{Error, Result, is_exhaustion};
use crate::host::descriptors::{CLEARING, Reserve};
use crate::host::exit_status::ExitStatus;
use crate::host::{bundle, members};
use crate::runtime;
use crate::stdio::Stdio;

impl Container {
    /// Creates the container that containerd asks for. Bad input is refused before anything is made;
    /// what a failure leaves behind is removed.
    ///
    /// `scopes`: its pod's cgroup is systemd's, which says as much as the option.
    pub async fn create(
        deps: &Arc<Deps>,
        request: CreateTaskRequest,
        scopes: bool,
    ) -> Result<Arc<Self>> {
        if request.id.is_empty() || !bundle::is_plain(&request.id) {
            return Err(Error::InvalidArgument(format!(
                "invalid container id {:?}",
                request.id
            )));
        }
        let bundle = PathBuf::from(&request.bundle);
        let options = Options::decode(request.options.as_ref())?;
        let config = options.load_config()?;
        if let Some(level) = config.log.log_level {
            log::set_max_level(level);
        }
        let mut options = options.with_defaults(&config.oci);
        options.systemd_cgroup |= scopes;
        let bundled = config_json::container(&bundle)?;
        let lifecycle = lifecycle(&bundled.spec, &config)?;
        // Until nothing can fail any more: what fails is cleared away.
        let mut spare = Reserve::take(CLEARING)?;
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
        ExitStatus::remove(&bundle)?;
        let joined = members::has_joined(&bundle);
        if joined {
            // The file that the runtime's calls lock is there for its note among the members. Nothing fails between
            // the mount and what undoes it.
            drop(runtime::mark(&bundle)?);
        }
        // While the root is mounted, and the runtime begins.
        let quick_moves = deps.system.quick_moves();
        let children = deps.children.as_ref();
        let mounted = deps.system.mount_rootfs(&request.rootfs, &rootfs, children);
        mounted.await?;
        let stdio = Stdio::new(
            &request.stdin,
            &request.stdout,
            &request.stderr,
            request.terminal,
        );
        let init = Process::new(String::new(), stdio);
        let runtime = deps
            .runtimes
            .runtime(&options, &deps.namespace, &request.id, &bundle);
        let hook_output = prints_to_container(lifecycle.as_ref(), config.hooks);
        let checkpoint = Checkpoint::new(&request, hook_output);
        let own_stop_signal = match &lifecycle {
            Some(lifecycle) if lifecycle.pre_stop.is_some() => {
                let (id, namespace) = (&request.id, &deps.namespace);
                deps.system.stop_signal(&bundled, id, namespace).await
            }
            _ => None,
        };
        let ContainerConfig {
            spec,
            own_pid_namespace,
            ..
        } = bundled;
        if joined && let Err(e) = deps.members.add(&request.id, &bundle) {
            log::warn!(id = request.id.as_str(); "{e}");
        }
        let exit = match &checkpoint {
            // Start restores it.
            Some(_) => None,
            None => {
                let spawn = Spawn {
                    deps,
                    runtime: runtime.as_ref(),
                    options: &options,
                    bundle: &bundle,
                    call: Call::Create,
                    pid_file: &bundle.join(bundle::INIT_PID),
                };
                match spawn.init(&request.id, &init, hook_output).await {
                    Ok(exit) => Some(exit),
                    Err(Unmade { error, left }) => {
                        spare.release();
                        if left {
                            Remains::new(deps, &runtime, &bundle, &options)
                                .clear(&request.id)
                                .await;
                        }
                        let _ = deps.system.unmount_rootfs(&rootfs).await;
                        return Err(error);
                    }
                }
            }
        };
        drop(quick_moves);
        let settings = Settings::new(lifecycle.as_ref(), &spec.annotations, &config.sequence)
            .with_own_stop_signal(own_stop_signal);
        let container = Arc::new(Self {
            driver: Mutex::new(Driver::new(
                settings,
                lifecycle,
                &spec,
                &request.id,
                &bundle,
                deps,
                &config,
            )),
            id: request.id,
            deps: Arc::clone(deps),
            checkpoint,
            cgroup: OnceLock::new(),
            target: OnceLock::new(),
            shared_pid_namespace: !own_pid_namespace,
            bundle,
            options,
            runtime,
            init,
            execs: Mutex::default(),
            state: Mutex::new(State::default()),
            node: config.hooks,
            starting: tokio::sync::Mutex::default(),
            operation: tokio::sync::Mutex::default(),
        });
        if exit.is_some()
            && let Err(e) = container.adopt(&spec)
        {
            spare.release();
            Remains::new(
                deps,
                &container.runtime,
                &container.bundle,
                &container.options,
            )
            .clear(&container.id)
            .await;
            let _ = deps.system.unmount_rootfs(&rootfs).await;
            return Err(e);
        }
        deps.members
            .keep(&container.id, &container.bundle, "init.pid");
        deps.events.publish(TaskCreate {
            container_id: container.id.clone(),
            bundle: container.bundle.display().to_string(),
            rootfs: request.rootfs,
            io: Some(task_io(&container.init.stdio)).into(),
            checkpoint: request.checkpoint,
            pid: container.pid(),
            ..Default::default()
        });
        {
            let mut driver = container.driver();
            driver.update_record();
            container.keep_record(&mut driver);
        }
        if let Some(exit) = exit {
            tokio::spawn(Arc::clone(&container).watch_init(exit));
        }
        Ok(container)
    }

    /// Takes charge of an init that exists now. The exit of that is still to be watched.
    ///
    /// # Errors
    /// The kernel has no descriptors at the moment: an error. What this kernel never has is done without.
    pub(super) fn adopt(self: &Arc<Self>, spec: &Spec) -> Result<()> {
        let pid = self.init.pid().cast_signed();
        match self.deps.system.cgroup(pid) {
            Ok(cgroup) => drop(self.cgroup.set(cgroup)),
            Err(e) if is_exhaustion(&e) => return Err(Error::lower(e)),
            // A short job, as it should be.
            Err(e @ cgroup::Error::Exited { .. }) => log::debug!("no cgroup of process {pid}: {e}"),
            Err(e) => log::warn!("no cgroup of process {pid}: {e}"),
        }
        let keyring = !self.options.no_new_keyring;
        match self.deps.system.open(&self.id, pid, spec, keyring) {
            Err(e) if is_exhaustion(&e) => return Err(Error::lower(e)),
            target => drop(self.target.set(target.map_err(|e| e.to_string()))),
        }
        self.watch_oom()
    }
}

fn lifecycle(spec: &Spec, config: &Config) -> Result<Option<Lifecycle>> {
    if is_sandbox(&spec.annotations) {
        return Ok(None);
    }
    let default = config.lifecycles.given_to(&spec.annotations);
    Lifecycle::from_annotations(&spec.annotations, default, &config.policy())
        .map_err(|e| Error::InvalidArgument(e.to_string()))
}

/// `output: container`, of the lifecycle or else of the node.
fn prints_to_container(lifecycle: Option<&Lifecycle>, node: HookKeys) -> bool {
    lifecycle.is_some_and(|lifecycle| {
        let hooks = lifecycle.post_start.is_some() || lifecycle.pre_stop.is_some();
        hooks && lifecycle.output.unwrap_or(node.output) == Output::Container
    })
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
