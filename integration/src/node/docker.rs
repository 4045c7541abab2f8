//! Containers run with docker.

use std::time::Duration;

use super::Node;
use crate::command::Output;
use crate::containerd::Docker;
use crate::ctr::pause_when_busy;
use crate::wait;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A container in docker's hands; removed by force when dropped.
#[derive(Debug)]
pub struct DockerContainer {
    docker: Docker,
    id: String,
}

impl Node {
    /// `docker run` with the shim as its runtime and no network, whatever it says. `flags` come before the image.
    ///
    /// # Errors
    /// When docker is not there.
    pub fn docker_run(&self, flags: &[&str], args: &[&str]) -> Result<Output, Error> {
        self.docker_run_with_input(flags, args, b"")
    }

    /// The same with something on standard input.
    ///
    /// # Errors
    /// As [`Self::docker_run`].
    pub fn docker_run_with_input(
        &self,
        flags: &[&str],
        args: &[&str],
        input: &[u8],
    ) -> Result<Output, Error> {
        let docker = self.containerd().docker()?;
        let words = self.docker_words(flags, args);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Ok(docker.run_with_input(&words, input)?)
    }

    /// The arguments of `docker run`, for a caller that runs it in its own way.
    #[must_use]
    pub fn docker_words(&self, flags: &[&str], args: &[&str]) -> Vec<String> {
        // Where podhook stands in for the original, docker's own runtime is the one.
        let runtime = if self.place().stands_in() {
            "runc"
        } else {
            self.shim().handler()
        };
        let head = ["run", "--runtime", runtime, "--network", "none"];
        let words = head.iter().chain(flags).chain(&["busybox"]).chain(args);
        words.map(|word| (*word).to_owned()).collect()
    }

    /// `docker run -d`, which must succeed.
    ///
    /// # Errors
    /// What docker says.
    pub fn docker(&self, flags: &[&str], args: &[&str]) -> Result<DockerContainer, Error> {
        let flags = [&["--detach"], flags].concat();
        let output = self.docker_run(&flags, args)?.success()?;
        let container = DockerContainer {
            docker: self.containerd().docker()?,
            id: output.stdout.trim().to_owned(),
        };
        self.remember(self.ctr().namespace(), &container.id);
        self.check_shim(self.ctr().namespace(), &container.id)?;
        Ok(container)
    }
}

impl DockerContainer {
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// docker's client.
    #[must_use]
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// A docker command on it, as `stop --time 1`, that must succeed.
    ///
    /// # Errors
    /// What docker says.
    pub fn run(&self, words: &[&str]) -> Result<String, Error> {
        Ok(self.docker.run(&[words, &[&self.id]].concat())?)
    }

    /// `docker pause`, as [`pause_when_busy`].
    ///
    /// # Errors
    /// What docker says.
    pub fn pause(&self) -> Result<(), Error> {
        Ok(pause_when_busy(|| {
            self.docker.try_run(&["pause", &self.id])
        })?)
    }

    /// `docker exec` whatever it says.
    ///
    /// # Errors
    /// When docker cannot be run.
    pub fn exec(&self, flags: &[&str], args: &[&str]) -> Result<Output, Error> {
        Ok(self
            .docker
            .try_run(&[&["exec"], flags, &[&self.id], args].concat())?)
    }

    /// A field of `docker inspect`, as `.State.Status`.
    ///
    /// # Errors
    /// What docker says.
    pub fn inspect(&self, field: &str) -> Result<String, Error> {
        let format = format!("{{{{{field}}}}}");
        Ok(self
            .run(&["inspect", "--format", &format])?
            .trim()
            .to_owned())
    }

    /// Waits until a field has that value.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn wait_field(&self, field: &str, value: &str, limit: Duration) -> Result<(), Error> {
        Ok(wait::until_true(
            &format!("{field} to be {value}"),
            limit,
            || self.inspect(field).is_ok_and(|now| now == value),
        )?)
    }

    /// Waits until `docker logs` contain `text`.
    ///
    /// # Errors
    /// When they do not within `limit`.
    pub fn wait_logs(&self, text: &str, limit: Duration) -> Result<(), Error> {
        Ok(wait::until_true(
            &format!("{text:?} in the logs"),
            limit,
            || {
                let logs = self.docker.try_run(&["logs", &self.id]);
                logs.is_ok_and(|logs| logs.stdout.contains(text) || logs.stderr.contains(text))
            },
        )?)
    }
}

impl Drop for DockerContainer {
    fn drop(&mut self) {
        let _ = self.docker.try_run(&["rm", "--force", &self.id]);
    }
}
