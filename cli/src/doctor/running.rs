//! What runs: whether each containerd answers, and what it has read of its configuration.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::check::Check;
use super::{PATIENCE, configuration};
use crate::args::NodeKind;
use crate::cri::{Client, Status};
use crate::setup::place::{CONFIG, Configuration, Place};
use crate::setup::root::Root;
use crate::setup::version::Version;

/// dockerd's own, and that of the containerd which it starts itself where there is no other.
const DOCKER: [&str; 2] = ["/run/docker.sock", "/run/docker/containerd/containerd.sock"];

/// What a socket has said.
enum Said {
    /// CRI answers.
    Status(Status),
    /// Something answers, and CRI is not there.
    NoCri(String),
    /// Nobody listens.
    Down(io::Error),
    Denied,
    /// Somebody listens, and says nothing.
    Nothing,
}

/// Asks every place's containerd, at its own socket or at `address`.
pub(super) async fn checks(
    root: &Root,
    places: &[Place],
    address: &Path,
    name: &str,
    version: Option<Version>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut asked = BTreeSet::new();
    for place in places {
        let socket = place.socket(root, address);
        if place.kind == NodeKind::Docker {
            checks.extend(docker(root));
            continue;
        }
        // nerdctl's containerd is that of containerd's own place.
        if !asked.insert(socket.clone()) {
            continue;
        }
        let said = ask(&socket).await;
        let has_cri = place.has_pods() && !cri_is_off(root, place, version);
        checks.extend(of(place, &socket, &said, has_cri));
        let Said::Status(status) = said else {
            continue;
        };
        checks.extend(other_file(root, place, &socket).await);
        if !has_cri {
            continue;
        }
        checks.extend(network(place, &status));
        let more = configuration::handlers_beside(root, place, name, version);
        let names = std::iter::once(name.to_owned()).chain(more);
        checks.extend(names.map(|name| configuration::loaded(place, &status.handlers, &name)));
    }
    checks
}

/// Whether a place's files switch CRI off.
fn cri_is_off(root: &Root, place: &Place, version: Option<Version>) -> bool {
    let Some(path) = place.configuration.of_containerd() else {
        return false;
    };
    let loaded = configuration::read(root, place, path, version).ok();
    loaded.is_some_and(|loaded| loaded.disabled_by().is_some())
}

async fn ask(socket: &Path) -> Said {
    // First whether somebody listens: the client's error does not tell that from another.
    match UnixStream::connect(socket) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Said::Denied,
        Err(e) => return Said::Down(e),
    }
    let ask = async { Client::connect(socket).await?.status().await };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(Ok(status)) => Said::Status(status),
        Ok(Err(e)) => Said::NoCri(e.to_string()),
        Err(_) => Said::Nothing,
    }
}

/// Whether it runs.
fn of(place: &Place, socket: &Path, said: &Said, has_cri: bool) -> Option<Check> {
    let kind = match place.kind {
        NodeKind::Nerdctl => NodeKind::Containerd.name(),
        kind => kind.name(),
    };
    let check = format!("running {kind}");
    let shown = socket.display();
    let journal = format!("journalctl -u {} says why", place.unit);
    let mend = match place.configuration {
        // What is wrong with a key it says only itself.
        Configuration::Toml(_) => {
            format!("{journal}; `containerd config dump` reads the configuration as it does")
        }
        _ => journal,
    };
    match said {
        Said::Status(_) => None,
        Said::NoCri(_) if !has_cri => None,
        Said::NoCri(why) => Some(Check::fail(
            check,
            format!(
                "it runs without CRI, and so without pods: {}",
                configuration::first_line(why)
            ),
            mend,
        )),
        Said::Down(e) => Some(Check::fail(
            check,
            format!("{kind} does not run: nobody answers on {shown}: {e}"),
            mend,
        )),
        Said::Denied => Some(Check::warn(
            check,
            format!("whether {kind} runs is not known: {shown} is root's"),
            "sudo podhook doctor",
        )),
        Said::Nothing => Some(Check::fail(
            check,
            format!("{kind} says nothing on {shown}"),
            mend,
        )),
    }
}

/// The process that listens on a socket.
pub(super) async fn listener(socket: &Path) -> Option<i32> {
    let connect = tokio::net::UnixStream::connect(socket);
    let stream = tokio::time::timeout(PATIENCE, connect).await.ok()?.ok()?;
    stream.peer_cred().ok()?.pid()
}

/// Says that the containerd which answers has another configuration than the one that was looked at.
async fn other_file(root: &Root, place: &Place, socket: &Path) -> Option<Check> {
    let path = place.configuration.of_containerd()?;
    // A snap's is made of the one that was looked at.
    if place.kind == NodeKind::Microk8s {
        return None;
    }
    let pid = listener(socket).await?;
    let command = root.text(&format!("/proc/{pid}/cmdline"))?;
    let read = configuration_of(&command)?;
    let real = |path: &Path| root.real_path(path);
    if read == path || (real(path).is_some() && real(&read) == real(path)) {
        return None;
    }
    Some(Check::warn(
        format!("running {}", place.kind.name()),
        format!(
            "two containerds: the one that answers on {} (pid {pid}) reads {}, and what is said above of files is said of {}",
            socket.display(),
            read.display(),
            root.outside(path).display()
        ),
        format!(
            "podhook doctor --config {} looks at its files; --address (CONTAINERD_ADDRESS) says which one is asked",
            read.display()
        ),
    ))
}

/// The configuration that a containerd of this command line reads; nothing where it is no containerd, or that cannot be known.
fn configuration_of(command: &str) -> Option<PathBuf> {
    let mut words = command.split('\0').filter(|word| !word.is_empty());
    let program = Path::new(words.next()?).file_name()?.to_str()?;
    if program != "containerd" {
        return None;
    }
    let mut path = PathBuf::from(CONFIG);
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word, None),
        };
        if matches!(flag, "--config" | "-config" | "-c" | "--c") {
            path = value.or_else(|| words.next())?.into();
        }
    }
    path.is_absolute().then_some(path)
}

/// dockerd starts a containerd of its own where there is none; which one that is, its own socket does not tell.
fn docker(root: &Root) -> Option<Check> {
    let mut sockets = DOCKER.iter().map(|socket| root.outside(Path::new(*socket)));
    let answers = |socket: &PathBuf| match UnixStream::connect(socket) {
        Ok(_) => true,
        Err(e) => e.kind() == ErrorKind::PermissionDenied,
    };
    if sockets.any(|socket| answers(&socket)) {
        return None;
    }
    Some(Check::warn(
        "running docker",
        format!("docker does not run: nobody answers on {}", DOCKER[0]),
        "systemctl start docker; journalctl -u docker says why it does not",
    ))
}

/// Whether pods get a network. What containerd waits for, its own message says.
fn network(place: &Place, status: &Status) -> Option<Check> {
    let why = status.no_network.as_ref()?;
    let settings = match place.kind {
        NodeKind::Containerd => "/etc/cni/net.d",
        _ => "its folder of CNI configurations",
    };
    Some(Check::warn(
        format!("network {}", place.kind.name()),
        format!("containerd starts no pod with a network of its own: {why}"),
        format!(
            "install the cluster's network plugin (kubectl apply -f …), or write a configuration into {settings}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::doctor::check::Status as Level;

    fn place(config: &str) -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/containerd/config.toml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, config).unwrap();
        (folder, Place::plain())
    }

    async fn look(folder: &Path, place: &Place, socket: &Path) -> Vec<Check> {
        let root = Root::open(folder).unwrap();
        let places = std::slice::from_ref(place);
        checks(&root, places, socket, "podhook", Some(Version(2, 1, 9))).await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_containerd_that_does_not_run_is_a_failure_that_names_its_socket() {
        let (folder, place) = place("version = 3\nsnapshotter = 5\n");
        let socket = folder.path().join("c.sock");
        for leftover in [false, true] {
            if leftover {
                drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
            }
            let checks = look(folder.path(), &place, &socket).await;
            let [check] = &*checks else {
                panic!("{checks:?}");
            };
            assert_eq!(check.status, Level::Fail);
            assert!(check.message.contains("does not run"), "{check:?}");
            assert!(check.message.contains("c.sock"), "{check:?}");
            let mend = check.mend.as_deref().unwrap();
            assert!(mend.contains("journalctl -u containerd"), "{mend}");
            assert!(mend.contains("containerd config dump"), "{mend}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_containerd_without_cri_has_failed_unless_that_is_what_it_was_told() {
        for (config, failed) in [
            ("version = 3\n", true),
            (
                "version = 3\ndisabled_plugins = ['io.containerd.cri.v1.runtime']\n",
                false,
            ),
        ] {
            let (folder, place) = place(config);
            let socket = folder.path().join("c.sock");
            let listener = tokio::net::UnixListener::bind(&socket).unwrap();
            // It hangs up: no CRI is to be had of it.
            let serve = async {
                loop {
                    drop(listener.accept().await);
                }
            };
            let checks = tokio::select! {
                () = serve => panic!("it serves for ever"),
                checks = look(folder.path(), &place, &socket) => checks,
            };
            let fails = checks.iter().any(|check| check.status == Level::Fail);
            assert_eq!(fails, failed, "{config}: {checks:?}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_containerd_that_reads_another_configuration_is_a_warning() {
        for (command, read) in [
            ("containerd", Some("/etc/containerd/config.toml")),
            (
                "/x/containerd\0--log-level\0debug\0",
                Some("/etc/containerd/config.toml"),
            ),
            (
                "/x/containerd\0--config\0/b.toml\0-a\0c.sock\0",
                Some("/b.toml"),
            ),
            ("/x/containerd\0-c=/b.toml\0", Some("/b.toml")),
            ("/x/containerd\0-c\0b.toml\0", None),
            ("/x/dockerd\0--config\0/b.toml\0", None),
        ] {
            assert_eq!(
                configuration_of(command),
                read.map(PathBuf::from),
                "{command}"
            );
        }
        let (folder, place) = place("version = 3\n");
        let socket = folder.path().join("c.sock");
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        // Who listens is this test.
        let proc = folder.path().join(format!("proc/{}", std::process::id()));
        fs::create_dir_all(&proc).unwrap();
        let root = Root::open(folder.path()).unwrap();
        fs::write(proc.join("cmdline"), "containerd\0-c\0/b.toml\0").unwrap();
        let check = other_file(&root, &place, &socket).await.unwrap();
        assert_eq!(check.status, Level::Warn);
        for word in [
            "two containerds",
            "c.sock",
            "/b.toml",
            "etc/containerd/config.toml",
        ] {
            assert!(check.message.contains(word), "{check:?}");
        }
        assert!(check.mend.unwrap().contains("--config /b.toml"));
        fs::write(proc.join("cmdline"), "containerd\0").unwrap();
        assert_eq!(other_file(&root, &place, &socket).await, None);
    }

    #[test]
    fn a_containerd_without_a_network_of_pods_is_a_warning() {
        let mut status = Status::default();
        assert!(network(&Place::plain(), &status).is_none());
        status.no_network = Some("cni plugin not initialized".to_owned());
        let check = network(&Place::plain(), &status).unwrap();
        assert_eq!(check.status, Level::Warn);
        assert!(check.message.contains("cni plugin not"), "{check:?}");
        assert!(check.mend.unwrap().contains("/etc/cni/net.d"));
    }
}
