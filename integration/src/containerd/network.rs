//! The pod network of a private containerd: a bridge of its own, reachable from the node.

use std::path::Path;
use std::{fs, io};

use crate::command::{self, stdout_of};

/// A pod network that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bridge could be added.
    #[error("pod network: {0}")]
    Bridge(#[from] command::Error),
    /// Every subnet is taken, or `ip` always fails.
    #[error("pod network: none of 10.213.0.0/24 to 10.213.255.0/24 is free: {0}")]
    Full(command::Error),
    /// A file of the network could not be written.
    #[error("write {path}: {source}")]
    Write { path: String, source: io::Error },
}

/// Makes a bridge with the first free subnet and the CNI configuration in `dir/cni`. Gives the node's address on it.
///
/// That address is set here and not by the CNI plugin (`isGateway`), which would switch on
/// IP forwarding for the whole machine: it does where pods are to have `host_ports`.
pub(super) fn create(dir: &Path, host_ports: bool) -> Result<String, Error> {
    let (bridge, subnet) = add_bridge()?;
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|source| Error::Write {
            path: path.display().to_string(),
            source,
        })
    };
    write("bridge", &bridge)?;
    let node = format!("{subnet}.1");
    stdout_of(
        "ip",
        &["addr", "add", &format!("{node}/24"), "dev", &bridge],
    )?;
    stdout_of("ip", &["link", "set", &bridge, "up"])?;
    let (gateway, routes, port_map) = if host_ports {
        (
            r#" "isGateway": true, "ipMasq": true, "hairpinMode": true,"#,
            r#", "routes": [{"dst": "0.0.0.0/0"}]"#,
            r#", {"type": "portmap", "capabilities": {"portMappings": true}}"#,
        )
    } else {
        ("", "", "")
    };
    write(
        "cni/10-podhook.conflist",
        &format!(
            r#"{{"cniVersion": "0.4.0", "name": "{bridge}", "plugins": [{{"type": "bridge", "bridge": "{bridge}",{gateway}
 "ipam": {{"type": "host-local", "dataDir": "{}/ipam", "ranges": [[{{"subnet": "{subnet}.0/24"}}]]{routes}}}}}{port_map}]}}"#,
            dir.display()
        ),
    )?;
    Ok(node)
}

/// Without an address of its own a bridge takes the lowest of its ports': with every pod that comes or goes
/// it may be another, and what the other pods send to the node is lost until they ask for it again.
const ADDRESS: &str = "02:00:00:d5:00:01";

/// Adding a bridge is atomic, so two test runs never get the same one.
fn add_bridge() -> Result<(String, String), Error> {
    let mut last = None;
    for n in 0..=255 {
        let bridge = format!("phbr{n}");
        match stdout_of(
            "ip",
            &["link", "add", &bridge, "address", ADDRESS, "type", "bridge"],
        ) {
            Ok(_) => return Ok((bridge, format!("10.213.{n}"))),
            Err(error @ command::Error::Failed { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    match last {
        Some(error) => Err(Error::Full(error)),
        None => unreachable!("the loop ran at least once"),
    }
}

/// Removes the bridge and what libcni keeps about its networks outside of `dir`.
pub(super) fn remove(bridge: &str) {
    // Before the bridge: once its name is free, another run's network has it.
    for entry in fs::read_dir("/var/lib/cni/results")
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{bridge}-"))
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = stdout_of("ip", &["link", "del", bridge]);
}
