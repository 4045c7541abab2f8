//! The life of one container, and what must be true of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use containerd_client::services::v1 as api;
use podhook_integration::execs::Execs;
use podhook_integration::pattern::Pattern;
use serde_json::{Value, json};

use crate::Error;

/// Of each further process, beside the probe.
const EXECS: u32 = 3;

/// What the hooks do: shell commands. The original's are run as the kubelet does, by execs of its client.
const POST_START: &str = "echo post > /tmp/post";
const PRE_STOP: &str = "echo pre > /tmp/pre";

/// How long the parts took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// Create and Start, postStart included.
    pub start: Duration,
    /// From the signal, or preStop, to the end.
    pub stop: Duration,
    /// All of it.
    pub whole: Duration,
}

/// What a container is told apart by.
#[derive(Debug)]
pub struct Cycle<'a> {
    pub pattern: &'a Pattern,
    pub podhook: bool,
    pub logs: &'a Path,
    pub number: u64,
}

impl Cycle<'_> {
    fn id(&self) -> String {
        format!("member-{}", self.number)
    }

    /// That init ends with.
    fn status(&self) -> u32 {
        u32::try_from(self.number % 100).unwrap_or(0) + 1
    }

    fn process(&self, process: &Value, script: &str) -> Vec<u8> {
        let mut process = process.clone();
        process["args"] = json!(["sh", "-c", script]);
        process["terminal"] = json!(false);
        process.to_string().into_bytes()
    }

    /// Lives it; an error says what was wrong.
    pub async fn live(&self) -> Result<Took, Error> {
        let id = self.id();
        self.lived(&id)
            .await
            .map_err(|error| format!("{id}: {error}").into())
    }

    async fn lived(&self, id: &str) -> Result<Took, Error> {
        let begun = Instant::now();
        let status = self.status();
        let script = format!(
            "trap 'cat /tmp/post /tmp/pre; echo end {id}; exit {status}' TERM; echo begin {id}; \
             while :; do sleep 600 & wait $!; done"
        );
        let hook = |script: &str| json!({"exec": {"command": ["sh", "-c", script]}});
        let lifecycle =
            json!({"postStart": hook(POST_START), "preStop": hook(PRE_STOP)}).to_string();
        let annotation = self
            .podhook
            .then_some(("podhook.dev/lifecycle", &*lifecycle));
        let words = ["sh", "-c", &script];
        let (rootfs, process) = self.pattern.make(id, &words, annotation).await?;
        let log = self.logs.join(id);
        let uri = format!("file://{}", log.display());
        let (mut tasks, pattern) = (self.pattern.tasks(), self.pattern);
        let create = api::CreateTaskRequest {
            container_id: id.to_owned(),
            rootfs,
            stdout: uri.clone(),
            stderr: uri,
            ..Default::default()
        };
        let create_begun = Instant::now();
        tasks.create(pattern.request(create)).await?;
        let wait = api::WaitRequest {
            container_id: id.to_owned(),
            exec_id: String::new(),
        };
        let waiting = {
            let (mut tasks, request) = (self.pattern.tasks(), pattern.request(wait));
            tokio::spawn(async move { tasks.wait(request).await })
        };
        let start = api::StartRequest {
            container_id: id.to_owned(),
            exec_id: String::new(),
        };
        tasks.start(pattern.request(start)).await?;
        let execs = Execs::over(pattern.channel.clone(), &pattern.namespace, id)?;
        let as_hook = async |name: &str, script: &str| match self.podhook {
            true => Ok(()),
            false => expect(
                name,
                execs.run(name, &self.process(&process, script)).await?,
                0,
            ),
        };
        as_hook("post", POST_START).await?;
        let start = create_begun.elapsed();
        for number in 0..EXECS {
            self.exec(&execs, &process, number).await?;
        }
        let probe = self.process(&process, "test \"$(cat /tmp/post)\" = post");
        expect("probe", execs.run("probe", &probe).await?, 0)?;
        // So that its last words are not those of a shell that has no trap yet.
        wait_for(&log, &format!("begin {id}\n")).await?;
        let stop_begun = Instant::now();
        as_hook("pre", PRE_STOP).await?;
        let kill = api::KillRequest {
            container_id: id.to_owned(),
            signal: 15,
            ..Default::default()
        };
        tasks.kill(pattern.request(kill)).await?;
        let waited = waiting.await??.into_inner().exit_status;
        let stop = stop_begun.elapsed();
        expect("Wait", waited, status)?;
        let delete = api::DeleteTaskRequest {
            container_id: id.to_owned(),
        };
        let deleted = tasks.delete(pattern.request(delete)).await?;
        expect("Delete", deleted.into_inner().exit_status, status)?;
        same(&log, &format!("begin {id}\npost\npre\nend {id}\n"))?;
        pattern.remove(id).await?;
        Ok(Took {
            start,
            stop,
            whole: begun.elapsed(),
        })
    }

    /// A further process with an output and a status of its own.
    async fn exec(&self, execs: &Execs, process: &Value, number: u32) -> Result<(), Error> {
        let (id, name) = (self.id(), format!("exec-{number}"));
        let log = self.logs.join(format!("{id}-{name}"));
        let status = number * 40;
        let script = format!("echo {id} {name}; exit {status}");
        let uri = format!("file://{}", log.display());
        execs
            .start_with(&name, &self.process(process, &script), &uri)
            .await?;
        expect(&name, execs.wait(&name).await?, status)?;
        expect(&name, execs.delete(&name).await?, status)?;
        same(&log, &format!("{id} {name}\n"))
    }
}

fn expect(what: &str, status: u32, wanted: u32) -> Result<(), Error> {
    match status == wanted {
        true => Ok(()),
        false => Err(format!("{what}: status {status}, not {wanted}").into()),
    }
}

/// The whole output, which goes with this.
fn same(log: &Path, wanted: &str) -> Result<(), Error> {
    let text = fs::read_to_string(log)?;
    fs::remove_file(log)?;
    match text == wanted {
        true => Ok(()),
        false => Err(format!("output {text:?}, not {wanted:?}").into()),
    }
}

async fn wait_for(log: &Path, wanted: &str) -> Result<(), Error> {
    for _ in 0..6000 {
        if fs::read_to_string(log).is_ok_and(|text| text.contains(wanted)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(format!("no {wanted:?} for a minute").into())
}
