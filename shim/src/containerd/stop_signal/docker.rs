//! docker keeps what it knows of a container in `<its root>/containers/<id>/config.v2.json`, and mounts files of that
//! folder into the container: so the OCI configuration tells where it is.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use podhook_hooks::config_json::Mount;
use serde::Deserialize;

/// What docker mounts from the folder.
const FILES: [&str; 3] = ["hostname", "hosts", "resolv.conf"];
/// Some kilobytes in fact.
const SIZE_LIMIT: u64 = 4 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(rename = "ID")]
    id: String,
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    stop_signal: String,
}

/// The stop signal of docker's container `id`, as docker has written it: of the image, or of `--stop-signal`.
pub(crate) fn stop_signal(mounts: &[Mount], id: &str) -> Option<String> {
    let metadata = read(&folder(mounts, id)?)?;
    let metadata: Metadata = serde_json::from_slice(&metadata).ok()?;
    let stop_signal = metadata.config.stop_signal;
    (metadata.id == id && !stop_signal.is_empty()).then_some(stop_signal)
}

/// docker's folder of the container: named as that, and three files of `/etc` come from it.
fn folder(mounts: &[Mount], id: &str) -> Option<PathBuf> {
    mounts.iter().find_map(|mount| {
        let source = Path::new(&mount.source);
        let file = source.file_name()?.to_str()?;
        let folder = source.parent()?;
        let is_dockers = FILES.contains(&file)
            && mount.destination == format!("/etc/{file}")
            && source.is_absolute()
            && folder.file_name()?.to_str()? == id;
        is_dockers.then(|| folder.to_owned())
    })
}

/// A file of this user in the folder itself, of a sensible size: the source of a mount may be any user's.
fn read(folder: &Path) -> Option<Vec<u8>> {
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(folder)
        .ok()?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&folder, "config.v2.json", flags, Mode::empty()).ok()?;
    let file = File::from(file);
    let metadata = file.metadata().ok()?;
    let own = metadata.is_file() && metadata.uid() == geteuid().as_raw();
    if !own || metadata.len() > SIZE_LIMIT {
        return None;
    }
    let mut text = Vec::new();
    file.take(SIZE_LIMIT).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mount(source: &Path, destination: &str) -> Mount {
        Mount {
            source: source.display().to_string(),
            destination: destination.to_owned(),
        }
    }

    #[test]
    fn dockers_own_file_tells_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("containers/c1");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.v2.json");
        let text =
            r#"{"ID": "c1", "Config": {"Image": "httpd", "StopSignal": "SIGWINCH"}, "More": 1}"#;
        fs::write(&file, text).unwrap();
        let mounts = [
            mount(Path::new("proc"), "/proc"),
            mount(&folder.join("hostname"), "/etc/hostname"),
        ];
        assert_eq!(stop_signal(&mounts, "c1").as_deref(), Some("SIGWINCH"));
        assert_eq!(stop_signal(&mounts, "c2"), None);
        assert_eq!(stop_signal(&mounts[..1], "c1"), None);
        let elsewhere = [mount(&folder.join("hostname"), "/hostname")];
        assert_eq!(stop_signal(&elsewhere, "c1"), None, "a user's own mount");

        fs::write(
            &file,
            r#"{"ID": "c2", "Config": {"StopSignal": "SIGWINCH"}}"#,
        )
        .unwrap();
        assert_eq!(stop_signal(&mounts, "c1"), None, "another container's");
        fs::write(&file, r#"{"ID": "c1", "Config": {}}"#).unwrap();
        assert_eq!(stop_signal(&mounts, "c1"), None, "docker's default");
    }

    #[test]
    fn what_is_no_plain_file_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("c1");
        fs::create_dir(&folder).unwrap();
        let mounts = [mount(&folder.join("hosts"), "/etc/hosts")];
        let file = folder.join("config.v2.json");
        let target = root.path().join("target");
        fs::write(&target, r#"{"ID": "c1", "Config": {"StopSignal": "TERM"}}"#).unwrap();
        std::os::unix::fs::symlink(&target, &file).unwrap();
        assert_eq!(stop_signal(&mounts, "c1"), None, "a link");
        fs::remove_file(&file).unwrap();
        // Nothing waits for its writer.
        nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap();
        assert_eq!(stop_signal(&mounts, "c1"), None, "a fifo");
        fs::remove_file(&file).unwrap();
        let large = File::create(&file).unwrap();
        large.set_len(SIZE_LIMIT + 1).unwrap();
        assert_eq!(stop_signal(&mounts, "c1"), None, "a large file");
    }
}
