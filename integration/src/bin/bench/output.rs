//! Output at full speed: through a fifo, to a file, from a terminal, to a logger.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use containerd_client::services::v1 as api;
use containerd_client::services::v1::tasks_client::TasksClient;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use podhook_integration::execs::Execs;
use tokio::runtime::{Builder, Runtime};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::Fallible;
use crate::arguments::Sizes;
use crate::cpu::Used;
use crate::logger;
use crate::row::Label;
use crate::sheet::Sheet;
use crate::stage::Stage;
use crate::ways::process;

/// Where it goes, and how many MiB of it.
const KINDS: [(&str, usize); 4] = [
    ("fifo", 512),
    ("file", 256),
    ("terminal", 32),
    ("logger", 512),
];

const MIB: usize = 1 << 20;

/// Measures.
///
/// # Errors
/// containerd's answer, or output that is lost.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let pods = stage.pods()?;
    let mut sides = Vec::new();
    for shim in stage.pair() {
        let (pod, id) = pods.asleep(shim)?;
        sides.push((shim, pod, Writer::new(stage, &runtime, id)?));
    }
    for (kind, mebibytes) in KINDS {
        let size = sizes.or_long(mebibytes, mebibytes) * MIB;
        for (shim, _, writer) in &sides {
            let (mut rates, mut used) = (Vec::new(), Used::default());
            let rounds = sizes.share(0.12);
            for _ in 0..rounds {
                let before = stage.used()?;
                rates.push(writer.write(&runtime, kind, size)?);
                used = used + (stage.used()? - before);
            }
            let label = Label::new(&format!("output, {kind}"), shim.name());
            let gigabytes = size as f64 * rounds as f64 / 1e9;
            sheet.values(&label, "GB/s", &rates, None);
            let per_gigabyte = [used.all().as_secs_f64() / gigabytes];
            let label = Label::new(&format!("output, {kind}: CPU of a GB"), shim.name());
            sheet.values(&label, "s", &per_gigabyte, None);
        }
    }
    Ok(())
}

struct Writer {
    channel: Channel,
    id: String,
    bundle: PathBuf,
    /// On the tmpfs of the state.
    dir: PathBuf,
}

impl Writer {
    fn new(stage: &Stage, runtime: &Runtime, id: String) -> Fallible<Self> {
        let containerd = stage.containerd();
        let endpoint = Endpoint::from_shared(format!("unix://{}", containerd.address().display()))?;
        let dir = containerd.dir().join("state/output");
        fs::create_dir_all(&dir)?;
        Ok(Self {
            channel: runtime.block_on(endpoint.connect())?,
            bundle: containerd.bundle("k8s.io", &id),
            id,
            dir,
        })
    }

    /// Writes so many bytes, which must all arrive; GB a second.
    fn write(&self, runtime: &Runtime, kind: &str, size: usize) -> Fallible<f64> {
        let to = self.dir.join("stream");
        let _ = fs::remove_file(&to);
        let (uri, terminal) = match kind {
            "file" => (format!("file://{}", to.display()), false),
            "logger" => (logger::uri(&self.dir)?, false),
            kind => (to.display().to_string(), kind == "terminal"),
        };
        let reader = match kind {
            "file" | "logger" => None,
            _ => {
                mkfifo(&to, Mode::S_IRWXU)?;
                Some(read_all(&to))
            }
        };
        let script = format!(
            "dd if=/dev/zero bs=65536 count={} 2>/dev/null",
            size / 65536
        );
        let process = process(&self.bundle, &["sh", "-c", &script])?;
        let begun = Instant::now();
        let status = runtime.block_on(self.run(&process, &uri, terminal))?;
        let read = reader.map(|reader| reader.join().map_err(|_| "the reader panicked"));
        let elapsed = begun.elapsed();
        if status != 0 {
            return Err(format!("{kind}: exit status {status}").into());
        }
        let arrived = match read.transpose()? {
            Some(read) => read?,
            None if kind == "file" => fs::metadata(&to)?.len() as usize,
            None => logger::counted(&self.dir)?,
        };
        fs::remove_file(&to).or_else(|error| match kind {
            "logger" => Ok(()),
            _ => Err(error),
        })?;
        if arrived != size {
            return Err(format!("{kind}: {arrived} of {size} bytes").into());
        }
        Ok(size as f64 / 1e9 / elapsed.as_secs_f64())
    }

    async fn run(&self, process: &[u8], uri: &str, terminal: bool) -> Fallible<u32> {
        let execs = Execs::over(self.channel.clone(), "k8s.io", &self.id)?;
        let id = "writer";
        if terminal {
            let mut process: serde_json::Value = serde_json::from_slice(process)?;
            process["terminal"] = true.into();
            let request = api::ExecProcessRequest {
                container_id: self.id.clone(),
                exec_id: id.to_owned(),
                terminal: true,
                stdout: uri.to_owned(),
                spec: Some(prost_types::Any {
                    type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process"
                        .to_owned(),
                    value: process.to_string().into_bytes(),
                }),
                ..Default::default()
            };
            let start = api::StartRequest {
                container_id: self.id.clone(),
                exec_id: id.to_owned(),
            };
            let mut tasks = TasksClient::new(self.channel.clone());
            tasks.exec(named(request)).await?;
            tasks.start(named(start)).await?;
        } else {
            execs.start_with(id, process, uri).await?;
        }
        execs.wait(id).await?;
        execs.delete(id).await
    }
}

fn named<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let namespace = tonic::metadata::MetadataValue::from_static("k8s.io");
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace);
    request
}

/// How much comes through a fifo until its writers are gone.
fn read_all(fifo: &Path) -> JoinHandle<std::io::Result<usize>> {
    let fifo = fifo.to_owned();
    thread::spawn(move || {
        let mut file = File::open(fifo)?;
        logger::count(&mut file)
    })
}
