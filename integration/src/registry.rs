//! A registry (crane) with images of the tests, for a containerd that takes every image from one
//! ([`Features::registry`](crate::containerd::Features)), whatever host its name has.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::command;
use crate::containerd::{Containerd, Error, io_error};
use crate::generation::upstream;
use crate::image::Image;

/// One that listens on plain HTTP at an address.
#[derive(Debug)]
pub struct Registry {
    crane: PathBuf,
    address: String,
}

impl Registry {
    /// One that is not started yet.
    ///
    /// # Errors
    /// When crane is not built.
    pub fn at(address: String) -> Result<Self, Error> {
        let crane = upstream("crane", "crane")?;
        Ok(Self { crane, address })
    }

    /// What serves it, in memory.
    #[must_use]
    pub fn server(&self) -> Command {
        let mut command = Command::new(&self.crane);
        command.args(["registry", "serve", "--address", &self.address]);
        command
    }

    /// Whether it can be asked.
    #[must_use]
    pub fn listens(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }

    /// An image in it, by what its name has behind the host.
    #[must_use]
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// crane with these words.
    ///
    /// # Errors
    /// When it fails.
    pub fn crane(&self, words: &[&str]) -> Result<(), Error> {
        let mut crane = Command::new(&self.crane);
        // Plain HTTP, elsewhere than on loopback too.
        crane.arg("--insecure").args(words);
        command::run(&mut crane, None, Duration::from_secs(60))?.success()?;
        Ok(())
    }

    /// Puts one of the tests' images there.
    ///
    /// # Errors
    /// When it is not built or not taken.
    pub fn push(&self, image: Image, name: &str) -> Result<(), Error> {
        let archive = image.archive()?;
        self.crane(&["push", &archive.to_string_lossy(), &self.image(name)])
    }

    /// Tells a containerd to take every image from it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn serves(&self, containerd: &Containerd) -> Result<(), Error> {
        let folder = containerd.registry_hosts().join("_default");
        fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        let file = folder.join("hosts.toml");
        let text = format!(
            "[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            self.address
        );
        fs::write(&file, text).map_err(io_error("write", &file))
    }
}
