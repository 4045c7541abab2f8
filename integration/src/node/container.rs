//! Containers run with ctr.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use super::Node;
use crate::Containerd;
use crate::command::{self, Output};
use crate::ctr::{Ctr, Task};
use crate::driver;
use crate::image::Image;
use crate::record::{self, Record, Watch};
use crate::shim::ShimKind;
use crate::wait;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What `ctr run` is told.
#[derive(Debug)]
pub struct ContainerBuilder<'a> {
    node: &'a Node,
    id: String,
    image: Image,
    flags: Vec<String>,
}

/// A container in containerd's hands; removed by force when dropped.
#[derive(Debug)]
pub struct Container<'a> {
    node: &'a Node,
    id: String,
}

/// A `ctr run -d` under way: joined, what it printed and its exit status.
pub type Starting = thread::JoinHandle<Result<Output, command::Error>>;

/// Longer than any deadline of a postStart hook.
fn run(ctr: &Ctr, words: &[String]) -> Result<Output, command::Error> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    ctr.run_for(&words, Duration::from_secs(150))
}

/// A shell command that waits for [`Container::release`].
#[must_use]
pub fn held(name: &str) -> String {
    format!("until [ -e /tmp/{name} ]; do usleep 20000; done")
}

impl<'a> ContainerBuilder<'a> {
    pub(super) fn new(node: &'a Node, id: String) -> Self {
        Self {
            node,
            id,
            image: Image::Busybox,
            flags: Vec::new(),
        }
    }

    /// Another image than busybox.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.image = image;
        self
    }

    /// A flag of `ctr run`, with its value if it has one.
    #[must_use]
    pub fn flag<const N: usize>(mut self, words: [&str; N]) -> Self {
        self.flags.extend(words.map(str::to_owned));
        self
    }

    /// An OCI annotation.
    #[must_use]
    pub fn annotation(self, key: &str, value: &str) -> Self {
        self.flag(["--annotation", &format!("{key}={value}")])
    }

    /// The annotation `podhook.dev/lifecycle`.
    #[must_use]
    pub fn lifecycle(self, json: &str) -> Self {
        self.annotation("podhook.dev/lifecycle", json)
    }

    /// The id it will have.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `ctr run --rm` in the foreground: output and exit status are ctr's own.
    ///
    /// # Errors
    /// When ctr cannot be run or takes longer than a minute.
    pub fn run_rm(self, args: &[&str]) -> Result<Output, Error> {
        self.run_rm_with_input(args, b"")
    }

    /// The same with something on standard input.
    ///
    /// # Errors
    /// As [`Self::run_rm`].
    pub fn run_rm_with_input(self, args: &[&str], input: &[u8]) -> Result<Output, Error> {
        let words = self.command_line(&["--rm"], args)?;
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let _cleanup = Container {
            node: self.node,
            id: self.id.clone(),
        };
        Ok(self.node.ctr().run_with_input(&words, input)?)
    }

    /// The command `ctr run --rm`, for a caller that runs it in its own way; the task must end by itself.
    ///
    /// # Errors
    /// When the shim is not built or the image cannot be imported.
    pub fn run_rm_command(self, args: &[&str]) -> Result<Command, Error> {
        let mut command = self.node.ctr().command();
        command.args(self.command_line(&["--rm"], args)?);
        Ok(command)
    }

    /// `ctr run -d`: returns when ctr does, that is when the task is running. Its output goes to [`Container::output`].
    ///
    /// # Errors
    /// When the container cannot be created or started.
    pub fn start(self, args: &[&str]) -> Result<Container<'a>, Error> {
        let (container, output) = self.try_start(args)?;
        output.success()?;
        container
            .node
            .check_shim(container.ctr().namespace(), &container.id)?;
        Ok(container)
    }

    /// The same with its output to another log URI.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_log(self, uri: &str, args: &[&str]) -> Result<Container<'a>, Error> {
        let (container, words) = self.detached(Some(uri), args)?;
        run(&container.ctr(), &words)?.success()?;
        Ok(container)
    }

    /// `ctr run -d` whatever it says.
    ///
    /// # Errors
    /// When ctr cannot be run.
    pub fn try_start(self, args: &[&str]) -> Result<(Container<'a>, Output), Error> {
        let (container, words) = self.detached(None, args)?;
        let output = run(&container.ctr(), &words)?;
        Ok((container, output))
    }

    /// `ctr container create`: no task yet.
    ///
    /// # Errors
    /// What ctr says.
    pub fn create(self, args: &[&str]) -> Result<Container<'a>, Error> {
        let container = Container {
            node: self.node,
            id: self.id.clone(),
        };
        let ctr = self.node.ctr();
        self.node.containerd().import(ctr.namespace(), self.image)?;
        self.node.remember(ctr.namespace(), &self.id);
        let mut words = vec!["container".to_owned(), "create".to_owned()];
        words.extend(["--runtime".to_owned(), self.node.shim().runtime()?]);
        words.extend(self.flags);
        // This command of ctr looks for flags among the container's arguments too.
        words.push("--".to_owned());
        words.extend([self.image.reference().to_owned(), self.id]);
        words.extend(args.iter().map(|word| (*word).to_owned()));
        run(&ctr, &words)?.success()?;
        Ok(container)
    }

    /// `ctr run -d` in a thread of its own, for what can be seen while it starts.
    ///
    /// # Errors
    /// When the shim is not built or the image cannot be imported.
    pub fn start_behind(self, args: &[&str]) -> Result<(Container<'a>, Starting), Error> {
        let (container, words) = self.detached(None, args)?;
        let ctr = container.ctr();
        Ok((container, thread::spawn(move || run(&ctr, &words))))
    }

    /// The command `ctr run -d`, for a caller that runs it in its own way.
    ///
    /// # Errors
    /// When the shim is not built or the image cannot be imported.
    pub fn start_command(self, args: &[&str]) -> Result<(Container<'a>, Command), Error> {
        let (container, words) = self.detached(None, args)?;
        let mut command = container.ctr().command();
        command.args(words);
        Ok((container, command))
    }

    fn detached(
        self,
        log: Option<&str>,
        args: &[&str],
    ) -> Result<(Container<'a>, Vec<String>), Error> {
        let container = Container {
            node: self.node,
            id: self.id.clone(),
        };
        let file = format!("file://{}", container.log().display());
        let words = self.command_line(&["-d", "--log-uri", log.unwrap_or(&file)], args)?;
        Ok((container, words))
    }

    fn runtime(&self) -> Result<String, Error> {
        let runtime = self.node.shim().runtime()?;
        let by_name = driver::has_options() && self.node.shim() == ShimKind::Podhook;
        Ok(if by_name {
            ShimKind::Runc.runtime()?
        } else {
            runtime
        })
    }

    fn command_line(&self, mode: &[&str], args: &[&str]) -> Result<Vec<String>, Error> {
        let ctr = self.node.ctr();
        self.node.containerd().import(ctr.namespace(), self.image)?;
        self.node.remember(ctr.namespace(), &self.id);
        let mut words = vec!["run".to_owned(), "--runtime".to_owned(), self.runtime()?];
        words.extend(driver::ctr_flags(self.node.containerd().id(), &self.id));
        words.extend(["--fifo-dir".to_owned(), ctr.fifos().display().to_string()]);
        words.extend(mode.iter().map(|word| (*word).to_owned()));
        words.extend(self.flags.iter().cloned());
        words.extend([self.image.reference().to_owned(), self.id.clone()]);
        words.extend(args.iter().map(|word| (*word).to_owned()));
        Ok(words)
    }
}

impl Container<'_> {
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn ctr(&self) -> Ctr {
        self.node.ctr()
    }

    fn containerd(&self) -> &Containerd {
        self.node.containerd()
    }

    /// What the shim has recorded of its hooks; none without a lifecycle.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        record::read(&self.bundle())
    }

    /// Follows the record, for what is to be known after the container is deleted.
    #[must_use]
    pub fn watch_record(&self) -> Watch {
        Watch::start(self.bundle())
    }

    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.containerd().bundle(self.ctr().namespace(), &self.id)
    }

    /// The file its output goes to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.containerd().dir().join("logs").join(&self.id)
    }

    /// What its processes have written so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits until its output contains `text`.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_output(&self, text: &str, limit: Duration) -> Result<(), Error> {
        Ok(wait::until_true(
            &format!("{text:?} in the output of {}", self.id),
            limit,
            || self.output().contains(text),
        )?)
    }

    /// Its line of `ctr task ls`; none once the task is deleted.
    ///
    /// # Errors
    /// When ctr fails.
    pub fn task(&self) -> Result<Option<Task>, Error> {
        Ok(self.ctr().tasks()?.remove(&self.id))
    }

    /// Its status in `ctr task ls`; empty once the task is deleted.
    ///
    /// # Errors
    /// When ctr fails.
    pub fn status(&self) -> Result<String, Error> {
        Ok(self.task()?.map(|task| task.status).unwrap_or_default())
    }

    /// `ctr task exec` in the foreground.
    ///
    /// # Errors
    /// When ctr cannot be run.
    pub fn exec(&self, args: &[&str]) -> Result<Output, Error> {
        self.exec_with_input(args, b"")
    }

    /// The same with something on standard input.
    ///
    /// # Errors
    /// When ctr cannot be run.
    pub fn exec_with_input(&self, args: &[&str], input: &[u8]) -> Result<Output, Error> {
        let id = self.node.unique("exec");
        let fifos = self.ctr().fifos().display().to_string();
        let mut words = vec![
            "task",
            "exec",
            "--exec-id",
            &id,
            "--fifo-dir",
            &fifos,
            &self.id,
        ];
        words.extend(args);
        Ok(self.ctr().run_with_input(&words, input)?)
    }

    /// `ctr task exec` of a shell script that exits with `status` once ctr has shown what it prints, each of these
    /// texts: ctr now and then loses what a process has written just before its end, with every shim.
    ///
    /// # Errors
    /// When ctr cannot be run.
    pub fn exec_shown(
        &self,
        script: &str,
        input: &[u8],
        shown: &[&str],
        status: i32,
    ) -> Result<Output, Error> {
        let id = self.node.unique("exec");
        let fifos = self.ctr().fifos().display().to_string();
        let script = format!("{script}; {}; exit {status}", held(&id));
        let mut words = vec!["task", "exec", "--exec-id", &id, "--fifo-dir", &fifos];
        words.extend([self.id.as_str(), "sh", "-c", &script]);
        let release = || self.release(&id);
        Ok(self.ctr().run_shown(&words, input, shown, release)?)
    }

    /// Lets a script go on that is [`held`] by this name.
    pub fn release(&self, name: &str) {
        // The exec may end with its container.
        drop(self.exec(&["touch", &format!("/tmp/{name}")]));
    }

    /// `ctr task kill -s SIGNAL`.
    ///
    /// # Errors
    /// What ctr says.
    pub fn kill(&self, signal: &str) -> Result<(), Error> {
        self.ctr().run(&["task", "kill", "-s", signal, &self.id])?;
        Ok(())
    }

    /// Waits for the exit of its first process and gives the status.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait_exit(&self, limit: Duration) -> Result<i64, Error> {
        let exit = wait::until(&format!("exit of {}", self.id), limit, || {
            let events = self.node.events().of(&self.id);
            events
                .into_iter()
                .find(|event| event.topic == "/tasks/exit" && event.process_id() == self.id)
        })?;
        Ok(exit.exit_status())
    }

    /// The topics of its task events so far, as `["create", "start"]`.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.node.events().topics(&self.id)
    }

    /// Its events are these: see [`Events::are`](crate::events::Events::are).
    #[track_caller]
    pub fn has_events<const N: usize>(&self, topics: [&str; N]) {
        self.node.events().are(&self.id, topics);
    }

    /// Deletes the stopped task and the container, and gives the task's exit status as ctr says it.
    ///
    /// Not as `/tasks/delete` says it: the original shim of 2.1 at times ends before that event is out.
    ///
    /// # Errors
    /// What ctr says.
    pub fn delete(self) -> Result<i64, Error> {
        let deleted = self.ctr().try_run(&["task", "delete", &self.id])?;
        let said = deleted.stderr.split("exit with non-zero exit code ").nth(1);
        let digits = said.map(|text| {
            text.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        });
        let status = digits.map_or(Ok(0), |digits| digits.parse())?;
        if status == 0 {
            deleted.success()?;
        }
        self.ctr().run(&["container", "delete", &self.id])?;
        Ok(status)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let ctr = self.ctr();
        let exists = ctr
            .run(&["container", "ls", "-q"])
            .is_ok_and(|list| list.lines().any(|id| id == self.id));
        if exists {
            let _ = ctr.try_run(&["task", "delete", "--force", &self.id]);
            let _ = ctr.try_run(&["container", "delete", &self.id]);
        }
    }
}
