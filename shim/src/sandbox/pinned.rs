//! The pod's namespaces, held open by the shim: they stay when the holder ends, and whoever has their paths may join them
//! without its pid.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use super::config::NamespaceOption;
use crate::error::{Error, Result};

/// Namespaces by their name in the OCI specification.
#[derive(Default)]
pub struct Pinned(Vec<(&'static str, File)>);

impl Pinned {
    /// Those that a pod's holder has of its own: not the network's, which is CRI's, nor its mounts.
    pub fn of(pid: u32, options: &NamespaceOption) -> Result<Self> {
        kinds(options)
            .map(|kind| {
                let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
                let file = File::open(&path).map_err(Error::io("open", path))?;
                Ok((kind, file))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Where one can be joined while the shim has it.
    pub fn path(&self, kind: &str) -> Option<String> {
        let (_, file) = self.0.iter().find(|(own, _)| *own == kind)?;
        let (shim, fd) = (std::process::id(), file.as_raw_fd());
        Some(format!("/proc/{shim}/fd/{fd}"))
    }
}

/// The namespaces that a pod has of its own, beside its network's. The specification names them as the kernel does.
pub fn kinds(options: &NamespaceOption) -> impl Iterator<Item = &'static str> {
    [
        ("pid", options.shared_pid()),
        ("ipc", !options.host_ipc()),
        ("uts", !options.host_network()),
        ("user", options.users().is_some()),
    ]
    .into_iter()
    .filter_map(|(kind, own)| own.then_some(kind))
}
