//! containerd started again, and whether all containers lived through it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::error::Error;
use super::place::Place;
use super::root::Root;
use super::shims::{self, Shim};
use super::units;
use super::version::PATH;
use crate::args::NodeKind;

/// What a command of the user's has in its environment: podhook's own.
const OWN: &str = "PODHOOK_RESTART";
/// How long containerd may take to answer again.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is known to run before.
#[derive(Debug)]
struct Running {
    shims: Vec<Shim>,
    /// The first process of every container: whose it is, and its entry of /proc.
    containers: Vec<(String, PathBuf)>,
}

/// Restarts the places if the user has asked for it, else says how; what is to be said. `address` is containerd's socket.
///
/// # Errors
/// As [`run`].
pub fn all(
    root: &Root,
    places: &[&Place],
    command: Option<&str>,
    address: &Path,
) -> Result<String, Error> {
    let mut text = String::new();
    for place in places.iter().filter(|place| !place.restart.is_empty()) {
        let line = match command {
            None => format!(
                "now have {} read it: {}   (running containers go on)\n",
                place.kind.name(),
                place.restart_command()
            ),
            Some(command) => {
                let lived = run(root, place, command, &place.socket(root, address))?;
                format!(
                    "restarted {}; containers that went on: {lived}\n",
                    place.kind.name()
                )
            }
        };
        text.push_str(&line);
    }
    Ok(text)
}

/// Looks whether the places can be restarted as the user has asked for, if that was asked for: before anything is written.
///
/// # Errors
/// When a unit would end the containers too, and when there is no program to restart it with.
pub fn check(root: &Root, places: &[&Place], command: Option<&str>) -> Result<(), Error> {
    let Some(command) = command else {
        return Ok(());
    };
    for place in places.iter().filter(|place| !place.restart.is_empty()) {
        let own = place.restart_command();
        let is_own = command.is_empty() || command == own;
        if is_own || command.contains(OWN) {
            check_unit(root, place)?;
        }
        if is_own && root.is_host() {
            check_program(root, place)?;
        }
    }
    Ok(())
}

/// Whether this machine has what restarts its services.
fn check_program(root: &Root, place: &Place) -> Result<(), Error> {
    let program = place.restart.first().copied().unwrap_or_default();
    let mut folders = PATH.iter().chain(&["/snap/bin"]);
    let is_there = folders.any(|folder| root.has(&format!("{folder}/{program}")));
    let why = match program {
        _ if !is_there => format!("there is no {program}"),
        // The program alone restarts nothing, as in a container.
        "systemctl" if !root.has("/run/systemd/system") => "systemd does not run".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::refused(
        format!(
            "{} cannot be restarted with `{}`: {why}. Nothing was changed",
            place.kind.name(),
            place.restart_command()
        ),
        "--restart=COMMAND names what restarts it; without --restart nothing is restarted",
    ))
}

/// Restarts it with `command`, else as the place is restarted. Gives the number of containers that went on.
///
/// # Errors
/// When its unit would end the containers too, when the command fails, when containerd does not answer again, and when a
/// container has ended meanwhile.
fn run(root: &Root, place: &Place, command: &str, socket: &Path) -> Result<usize, Error> {
    let own = place.restart_command();
    let command = if command.is_empty() { &*own } else { command };
    if command.is_empty() {
        return Ok(0);
    }
    if command == own || command.contains(OWN) {
        check_unit(root, place)?;
    }
    let before = Running::now(root, place, socket);
    let status = Command::new("/bin/sh")
        .args(["-c", command])
        .env(OWN, &own)
        .status();
    let failed = |why: String| {
        Error::refused(
            format!("`{command}` failed: {why}"),
            format!(
                "see `journalctl -u {}`; podhook uninstall takes everything back",
                place.unit
            ),
        )
    };
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(failed(status.to_string())),
        Err(e) => return Err(failed(e.to_string())),
    }
    answers(place, socket)?;
    let ended = before.ended(root);
    if ended.is_empty() {
        return Ok(before.containers.len().max(before.shims.len()));
    }
    Err(Error::refused(
        format!(
            "ended while {} was restarted: {}",
            place.unit,
            ended.join(", ")
        ),
        format!(
            "a Job may just have been done; else see `journalctl -u {}`",
            place.unit
        ),
    ))
}

/// systemd ends all of a unit's processes with it unless the unit says otherwise.
fn check_unit(root: &Root, place: &Place) -> Result<(), Error> {
    let reload = place.restart.contains(&"reload");
    let Some(settings) = units::service(root, place.unit).filter(|_| !reload) else {
        return Ok(());
    };
    let mode = settings
        .get("KillMode")
        .map_or("control-group", |mode| mode);
    if matches!(mode, "process" | "none") {
        return Ok(());
    }
    Err(Error::refused(
        format!(
            "a restart of {} would end every container: its KillMode is {mode}",
            place.unit
        ),
        format!(
            "`systemctl edit {}`: [Service] KillMode=process",
            place.unit
        ),
    ))
}

fn answers(place: &Place, socket: &Path) -> Result<(), Error> {
    if place.kind == NodeKind::Docker {
        return Ok(());
    }
    let begin = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(_) => return Ok(()),
            Err(e) if begin.elapsed() > PATIENCE => {
                return Err(Error::refused(
                    format!("containerd does not answer on {}: {e}", socket.display()),
                    format!(
                        "see `journalctl -u {}`; podhook uninstall takes everything back",
                        place.unit
                    ),
                ));
            }
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

impl Running {
    fn now(root: &Root, place: &Place, socket: &Path) -> Self {
        let tasks = Path::new(place.state).join("io.containerd.runtime.v2.task");
        let mut containers = Vec::new();
        for namespace in root.names(&tasks).unwrap_or_default() {
            for id in root.names(&tasks.join(&namespace)).unwrap_or_default() {
                let file = tasks.join(&namespace).join(&id).join("init.pid");
                let pid = file.to_str().and_then(|file| root.text(file));
                if let Some(pid) = pid.and_then(|pid| pid.trim().parse::<u32>().ok()) {
                    let process = PathBuf::from(format!("/proc/{pid}"));
                    // One that has ended already has nothing to live through.
                    if alive(root, &process) {
                        containers.push((format!("{namespace}/{id}"), process));
                    }
                }
            }
        }
        // Those of another containerd have nothing to do with it.
        let of_it = |shim: &Shim| shim.address == socket || shim.address == Path::new(place.socket);
        let shims = shims::all(root).into_iter().filter(of_it);
        Self {
            shims: shims.collect(),
            containers,
        }
    }

    fn ended(&self, root: &Root) -> Vec<String> {
        let containers = self.containers.iter();
        let mut ended: Vec<String> = containers
            .filter(|(_, process)| !alive(root, process))
            .map(|(name, _)| name.clone())
            .collect();
        for shim in self.shims.iter().filter(|shim| !shim.lives(root)) {
            ended.push(format!("the shim of {}", shim.container));
        }
        ended.sort();
        ended.dedup();
        ended
    }
}

fn alive(root: &Root, process: &Path) -> bool {
    let stat = process.join("stat");
    let stat = stat.to_str().and_then(|stat| root.text(stat));
    stat.is_some_and(|stat| !stat.contains(") Z "))
}
