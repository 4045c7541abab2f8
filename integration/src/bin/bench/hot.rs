//! Calls at 1, 10 and 100 at once, on a container that is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use containerd_client::services::v1 as api;
use containerd_client::services::v1::tasks_client::TasksClient;
use podhook_integration::cri::v1;
use podhook_integration::execs::Execs;
use tokio::runtime::{Builder, Runtime};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::Fallible;
use crate::arguments::Sizes;
use crate::row::Label;
use crate::samples::Samples;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;
use crate::ways::process;

const AT_ONCE: [usize; 3] = [1, 10, 100];

/// Harmless, and every shim passes it on.
const SIGCONT: u32 = 18;

/// So long an answer may take: the shim of containerd 1.6 loses an exec's exit now and then, and nobody is told of it.
const LIMIT: Duration = Duration::from_secs(30);

/// The calls, with how many of them are made of each kind.
const CALLS: [(&str, usize); 5] = [
    ("exec", 200),
    ("ExecSync", 200),
    ("State", 1000),
    ("Kill", 200),
    ("Stats", 400),
];

/// One shim's container, and a connection to containerd.
#[derive(Clone)]
struct Target {
    channel: Channel,
    id: String,
    execs: Execs,
    process: Arc<Vec<u8>>,
    count: Arc<AtomicUsize>,
}

/// Measures.
///
/// # Errors
/// containerd's answer.
pub fn run(stage: &Stage, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let pods = stage.pods()?;
    let mut kept = Vec::new();
    let mut targets = Vec::new();
    for shim in stage.pair() {
        let (pod, id) = pods.asleep(shim)?;
        let address = stage.containerd().address();
        let endpoint = Endpoint::from_shared(format!("unix://{}", address.display()))?;
        let channel = runtime.block_on(endpoint.connect())?;
        let bundle = stage.containerd().bundle("k8s.io", &id);
        targets.push((
            shim,
            Target {
                execs: Execs::over(channel.clone(), "k8s.io", &id)?,
                process: Arc::new(process(&bundle, &["/bin/true"])?),
                channel,
                id,
                count: Arc::default(),
            },
        ));
        kept.push(pod);
    }
    for (call, usual) in CALLS {
        for at_once in AT_ONCE {
            let count = sizes.or_long(usual, usual).max(at_once);
            for (shim, target) in &targets {
                let label = Label::new(call, shim.name()).at_once(at_once);
                let before = stage.used()?;
                let measured = burst(&runtime, target, call, at_once, count);
                let used = stage.used()? - before;
                let (mut samples, rate) = match measured {
                    Ok(measured) => measured,
                    Err(error) => {
                        let what = format!("{call}, {at_once} at once, {}", shim.name());
                        sheet.missing(&what, &error);
                        continue;
                    }
                };
                samples.spent(used);
                sheet.times(&label, &samples);
                let what = format!("{call} a second");
                let label = Label::new(&what, shim.name()).at_once(at_once);
                sheet.values(&label, "/s", &[rate], None);
            }
        }
    }
    waiters(stage, &runtime, &targets, sizes, sheet)
}

/// `count` calls, so many at once, and how many a second that was.
fn burst(
    runtime: &Runtime,
    target: &Target,
    call: &'static str,
    at_once: usize,
    count: usize,
) -> Fallible<(Samples, f64)> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let workers: Vec<_> = (0..at_once)
        .map(|_| {
            let (next, target) = (Arc::clone(&next), target.clone());
            runtime.spawn(async move {
                let mut times = Vec::new();
                loop {
                    if next.fetch_add(1, Ordering::Relaxed) >= count {
                        return Fallible::Ok(times);
                    }
                    let begun = Instant::now();
                    let answer = target.clone();
                    let answer = tokio::time::timeout(LIMIT, answer.call(call)).await;
                    answer.map_err(|_| format!("no answer in {} s", LIMIT.as_secs()))??;
                    times.push(begun.elapsed());
                }
            })
        })
        .collect();
    let mut samples = Samples::default();
    for worker in workers {
        samples.wall.extend(runtime.block_on(worker)??);
    }
    Ok((samples, count as f64 / begun.elapsed().as_secs_f64()))
}

impl Target {
    fn request<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace = tonic::metadata::MetadataValue::from_static("k8s.io");
        let metadata = request.metadata_mut();
        metadata.insert("containerd-namespace", namespace);
        request
    }

    fn exec_id(&self) -> String {
        format!("hot-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    async fn call(self, call: &'static str) -> Fallible<()> {
        let mut tasks = TasksClient::new(self.channel.clone());
        match call {
            "exec" => match self.execs.run(&self.exec_id(), &self.process).await? {
                0 => {}
                status => return Err(format!("exec: exit status {status}").into()),
            },
            "ExecSync" => {
                let mut cri = v1::runtime_service_client::RuntimeServiceClient::new(self.channel);
                let answer = cri.exec_sync(v1::ExecSyncRequest {
                    container_id: self.id,
                    cmd: vec!["/bin/true".to_owned()],
                    timeout: 60,
                });
                answer.await?;
            }
            "State" => {
                let get = api::GetRequest {
                    container_id: self.id,
                    exec_id: String::new(),
                };
                tasks.get(Self::request(get)).await?;
            }
            "Kill" => {
                let kill = api::KillRequest {
                    container_id: self.id,
                    signal: SIGCONT,
                    ..Default::default()
                };
                tasks.kill(Self::request(kill)).await?;
            }
            _ => {
                let metrics = api::MetricsRequest {
                    filters: vec![format!("id=={}", self.id)],
                };
                tasks.metrics(Self::request(metrics)).await?;
            }
        }
        Ok(())
    }
}

/// Many who wait for one process: from its SIGKILL to the answer of each.
fn waiters(
    stage: &Stage,
    runtime: &Runtime,
    targets: &[(Shim, Target)],
    sizes: Sizes,
    sheet: &mut Sheet,
) -> Fallible<()> {
    for at_once in AT_ONCE {
        for (shim, target) in targets {
            let bundle = stage.containerd().bundle("k8s.io", &target.id);
            let asleep = process(&bundle, &["sleep", "1000000"])?;
            let mut samples = Samples::default();
            for _ in 0..sizes.share(0.4) {
                let id = target.exec_id();
                let times = runtime.block_on(all_waited(target, &id, &asleep, at_once))?;
                samples.wall.extend(times);
            }
            let label = Label::new("Kill to the answer of Wait", shim.name()).at_once(at_once);
            sheet.times(&label, &samples);
        }
    }
    Ok(())
}

async fn all_waited(
    target: &Target,
    id: &str,
    asleep: &[u8],
    at_once: usize,
) -> Fallible<Vec<Duration>> {
    target.execs.start(id, asleep).await?;
    let waits: Vec<_> = (0..at_once)
        .map(|_| {
            let (execs, id) = (target.execs.clone(), id.to_owned());
            tokio::spawn(async move {
                execs.wait(&id).await?;
                Fallible::Ok(Instant::now())
            })
        })
        .collect();
    // So that all of them wait.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let kill = api::KillRequest {
        container_id: target.id.clone(),
        exec_id: id.to_owned(),
        signal: 9,
        ..Default::default()
    };
    let begun = Instant::now();
    let mut tasks = TasksClient::new(target.channel.clone());
    tasks.kill(Target::request(kill)).await?;
    let mut times = Vec::new();
    for wait in waits {
        times.push(wait.await??.saturating_duration_since(begun));
    }
    target.execs.delete(id).await?;
    Ok(times)
}
