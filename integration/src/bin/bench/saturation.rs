//! Containers by the task API, as many as the machine can make: what `containerd-stress` does, without its own cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use containerd_client::services::v1 as api;
use podhook_integration::Image;
use podhook_integration::execs::Execs;
use podhook_integration::pattern::Pattern;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Endpoint;

use crate::Fallible;
use crate::arguments::Sizes;
use crate::cpu::Used;
use crate::row::Label;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::stage::Stage;

/// Workers, each with one container at a time.
const AT_ONCE: usize = 4;

/// How long one goes on before it is the other's turn.
const SLICE: Duration = Duration::from_secs(2);

pub const CONTAINERS: &str = "containers a second";
pub const WITH_EXEC: &str = "containers a second, with an exec each";

/// What a shim has done in its slices.
struct Side {
    label: Label,
    pattern: Pattern,
    exec: bool,
    rates: Vec<f64>,
    done: usize,
    used: Used,
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
    let mut sides = Vec::new();
    for exec in [false, true] {
        for shim in stage.shims() {
            let what = if exec { WITH_EXEC } else { CONTAINERS };
            sides.push(Side {
                label: Label::new(what, shim.name()).at_once(AT_ONCE),
                pattern: pattern(&runtime, stage, *shim, exec)?,
                exec,
                rates: Vec::new(),
                done: 0,
                used: Used::default(),
            });
        }
    }
    let rounds = sizes.share(0.16);
    crate::rounds::rotate("slice", rounds, &mut sides, |side, counts| {
        let before = stage.used()?;
        let begun = Instant::now();
        let done = slice(&runtime, &side.pattern, side.exec)?;
        let elapsed = begun.elapsed();
        let used = stage.used()? - before;
        if counts {
            side.rates.push(done as f64 / elapsed.as_secs_f64());
            side.done += done;
            side.used = side.used + used;
        }
        Ok(())
    })?;
    for side in &sides {
        sheet.values(&side.label, "/s", &side.rates, Some((side.used, side.done)));
    }
    Ok(())
}

/// The container that those of a shim are made after.
fn pattern(runtime: &Runtime, stage: &Stage, shim: Shim, exec: bool) -> Fallible<Pattern> {
    let containerd = stage.containerd();
    let node = stage.node();
    let namespace = node.ctr().namespace().to_owned();
    containerd.import(&namespace, Image::Busybox)?;
    let id = format!("pattern-{}-{exec}", shim.handler());
    let (image, shim) = (Image::Busybox.reference(), shim.runtime()?);
    let words = [
        "container",
        "create",
        "--runtime",
        &shim,
        image,
        &id,
        "true",
    ];
    node.ctr().run(&words)?;
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("unix://{}", containerd.address().display()))?;
        Pattern::of(endpoint.connect().await?, &namespace, &id).await
    })
}

/// As many containers as fit into a slice.
fn slice(runtime: &Runtime, pattern: &Pattern, exec: bool) -> Fallible<usize> {
    let end = Instant::now() + SLICE;
    runtime.block_on(async {
        let work = || {
            let pattern = pattern.clone();
            async move {
                let mut done = 0;
                while Instant::now() < end {
                    one(&pattern, exec).await?;
                    done += 1;
                }
                Fallible::Ok(done)
            }
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(work())).collect();
        let mut done = 0;
        for worker in workers {
            done += worker.await??;
        }
        Ok(done)
    })
}

/// A container that ends by itself, or that sleeps, runs one more process and is killed.
async fn one(pattern: &Pattern, exec: bool) -> Fallible<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let id = format!("full-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let words: &[&str] = if exec {
        &["sleep", "1000000"]
    } else {
        &["true"]
    };
    let (rootfs, mut process) = pattern.make(&id, words, None).await?;
    let mut tasks = pattern.tasks();
    let create = api::CreateTaskRequest {
        container_id: id.clone(),
        rootfs,
        ..Default::default()
    };
    tasks.create(pattern.request(create)).await?;
    let wait = api::WaitRequest {
        container_id: id.clone(),
        exec_id: String::new(),
    };
    let waiting = {
        let (mut tasks, request) = (pattern.tasks(), pattern.request(wait));
        tokio::spawn(async move { tasks.wait(request).await })
    };
    let start = api::StartRequest {
        container_id: id.clone(),
        exec_id: String::new(),
    };
    tasks.start(pattern.request(start)).await?;
    if exec {
        process["args"] = json!(["/bin/true"]);
        process["terminal"] = json!(false);
        let execs = Execs::over(pattern.channel.clone(), &pattern.namespace, &id)?;
        execs.run("exec", &process.to_string().into_bytes()).await?;
        let kill = api::KillRequest {
            container_id: id.clone(),
            signal: 9,
            ..Default::default()
        };
        tasks.kill(pattern.request(kill)).await?;
    }
    waiting.await??;
    let delete = api::DeleteTaskRequest {
        container_id: id.clone(),
    };
    tasks.delete(pattern.request(delete)).await?;
    pattern.remove(&id).await
}
