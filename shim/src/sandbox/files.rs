//! The pod's files: made below the bundle as CRI makes them for a pod with a pause container, and given to each container.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use podhook_hooks::linux::limit::Asked;

use super::config::{DnsConfig, IdMapping, PodSandboxConfig};
use crate::error::{Error, Result};
use crate::mount::unmount_all;

/// The folder in the bundle.
const FOLDER: &str = "pod";
/// Of the file system that they are in: as much as CRI gives `/dev/shm`.
const SIZE: u64 = 64 << 20;
/// The host's, which a pod in the host's IPC namespace sees.
const HOST_SHM: &str = "/dev/shm";

/// Where a pod's files are.
pub struct Files {
    folder: PathBuf,
    /// The folder that is the containers' `/dev/shm`.
    pub shm: PathBuf,
}

impl Files {
    /// Those of a sandbox with this bundle; nothing is made yet.
    pub fn of(bundle: &Path, config: &PodSandboxConfig) -> Self {
        let folder = bundle.join(FOLDER);
        let shm = match config.namespaces().host_ipc() {
            true => PathBuf::from(HOST_SHM),
            false => folder.join("shm"),
        };
        Self { folder, shm }
    }

    /// Destination in a container, and the file.
    pub fn named(&self) -> [(&'static str, PathBuf); 3] {
        let at = |name| self.folder.join(name);
        [
            ("/etc/hostname", at("hostname")),
            ("/etc/hosts", at("hosts")),
            ("/etc/resolv.conf", at("resolv.conf")),
        ]
    }

    pub fn hostname(config: &PodSandboxConfig) -> Result<String> {
        if !config.hostname.is_empty() {
            return Ok(config.hostname.clone());
        }
        let own = nix::unistd::gethostname().map_err(Error::sys("gethostname"))?;
        Ok(own.to_string_lossy().into_owned())
    }

    /// Makes them, in a file system of their own: a container that fills one fills neither the node's `/run` nor its disk, and
    /// pays for it.
    pub fn make(&self, config: &PodSandboxConfig) -> Result<()> {
        folder(&self.folder, 0o711)?;
        let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let data = format!("mode=711,size={SIZE}");
        let (source, kind) = (Some("shm"), Some("tmpfs"));
        mount(source, &self.folder, kind, flags, Some(data.as_str())).map_err(|e| {
            Error::io("mount a tmpfs on", &self.folder)(Asked::Mount.explain(e.into()))
        })?;
        let hostname = Self::hostname(config)?;
        let owner = owner(config);
        self.write("hostname", format!("{hostname}\n").as_bytes(), owner)?;
        self.write("hosts", &read("/etc/hosts")?, owner)?;
        let resolv = match &config.dns_config {
            Some(dns) => resolv_conf(dns).into_bytes(),
            None => read("/etc/resolv.conf")?,
        };
        self.write("resolv.conf", &resolv, owner)?;
        if config.namespaces().host_ipc() {
            return Ok(());
        }
        folder(&self.shm, 0o700)?;
        // Whatever the umask is.
        fs::set_permissions(&self.shm, PermissionsExt::from_mode(0o1777))
            .map_err(Error::io("change the mode of", &self.shm))
    }

    fn write(&self, name: &str, content: &[u8], owner: Owner) -> Result<()> {
        let path = self.folder.join(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
            .and_then(|mut file| {
                // Whatever the umask is: containers' users read them.
                file.set_permissions(PermissionsExt::from_mode(0o644))?;
                if owner != NODES_ROOT {
                    let (user, group) = owner;
                    fchown(&file, Some(user), Some(group))?;
                }
                file.write_all(content)
            });
        written.map_err(Error::io("write", path))
    }
}

/// A user and a group of the node's.
type Owner = (u32, u32);
const NODES_ROOT: Owner = (0, 0);

/// Who is root in the containers: their files are that one's, which takes no id-mapped mount. Linux before 6.3 has none of a tmpfs.
fn owner(config: &PodSandboxConfig) -> Owner {
    let Some(users) = config.namespaces().users() else {
        return NODES_ROOT;
    };
    let root = |maps: &[IdMapping]| {
        let map = maps.iter().find(|map| map.container_id == 0);
        map.map_or(0, |map| map.host_id)
    };
    (root(&users.uids), root(&users.gids))
}

/// Unmounts what a sandbox with this bundle has mounted.
pub fn unmount(bundle: &Path) -> Result<()> {
    unmount_all(&bundle.join(FOLDER))
}

fn folder(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(Error::io("create directory", path))
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

/// As CRI writes it.
fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::config::UserNamespace;
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn dns_is_worded_as_by_cri() {
        let dns = DnsConfig {
            servers: texts(&["10.0.0.1", "10.0.0.2"]),
            searches: texts(&["a.b", "b"]),
            options: texts(&["ndots:5", "edns0"]),
        };
        assert_eq!(
            resolv_conf(&dns),
            "search a.b b\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5 edns0\n"
        );
        assert_eq!(resolv_conf(&DnsConfig::default()), "");
    }

    #[test]
    fn the_files_are_the_containers_roots() {
        let map = |host_id, container_id| IdMapping {
            host_id,
            container_id,
            length: 65536,
        };
        let of_maps = |uids: Vec<IdMapping>, gids| {
            let users = UserNamespace {
                uids,
                gids,
                ..UserNamespace::default()
            };
            let mut config = PodSandboxConfig::default();
            config
                .linux
                .get_or_insert_default()
                .security_context
                .get_or_insert_default()
                .namespace_options
                .get_or_insert_default()
                .userns_options = Some(users);
            owner(&config)
        };
        assert_eq!(
            of_maps(vec![map(65536, 0)], vec![map(131_072, 0)]),
            (65536, 131_072)
        );
        // Who is not root there sees them as the node's root's, which are nobody's.
        assert_eq!(
            of_maps(vec![map(65536, 1)], vec![map(131_072, 0)]),
            (0, 131_072)
        );
        assert_eq!(owner(&PodSandboxConfig::default()), NODES_ROOT);
    }

    #[test]
    fn a_pod_in_the_hosts_ipc_namespace_sees_the_hosts_shm() {
        let mut config = PodSandboxConfig {
            linux: Some(Default::default()),
            ..PodSandboxConfig::default()
        };
        assert_eq!(
            Files::of(Path::new("/b"), &config).shm,
            Path::new("/b/pod/shm")
        );
        let security = super::super::config::SecurityContext {
            namespace_options: Some(super::super::config::NamespaceOption {
                ipc: 2,
                ..Default::default()
            }),
            ..Default::default()
        };
        config.linux.as_mut().unwrap().security_context = Some(security);
        assert_eq!(
            Files::of(Path::new("/b"), &config).shm,
            Path::new("/dev/shm")
        );
    }
}
