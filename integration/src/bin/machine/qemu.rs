//! The emulator.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use podhook_integration::wait::{self, SOON};

use crate::Error;
use crate::disk::Disk;
use crate::tsc;

/// Machines at a time, each of one processor. With more than there are, containerd's 5 s for `delete` are over too soon.
const AT_ONCE: usize = 2;
/// What says nothing for longer looks as if it hung.
const SILENCE: Duration = Duration::from_secs(30);

/// The parameter of the kernel's that tells a machine which of them it is; the kernel takes no notice of it.
pub const NUMBER: &str = "podhook.machine";

/// `no_timer_check`: on a busy machine the kernel would find too few ticks and give up.
const KERNEL: &str = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off audit=0 \
    random.trust_cpu=on systemd.show_status=0 \
    no_timer_check";

/// What is booted.
pub struct Machine {
    pub number: usize,
    /// What `integration/vm/build` made.
    pub folder: PathBuf,
    /// Parameters of its kernel.
    pub kernel: &'static str,
    pub size: Size,
}

/// What a machine is given.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    processors: u32,
    memory: &'static str,
    /// Several times what its tests take on a quiet machine.
    limit: Duration,
}

impl Size {
    /// One processor: what two of them have to say to each other costs more than the second one brings.
    pub const USUAL: Self = Self {
        processors: 1,
        memory: "1536",
        limit: Duration::from_secs(60 * 60),
    };
    /// For a control plane beside the kubelet.
    pub const CLUSTER: Self = Self {
        processors: 2,
        memory: "5120",
        limit: Duration::from_secs(3 * 60 * 60),
    };
}

/// How a machine ended.
pub struct End {
    /// What its console said.
    pub console: String,
    /// The limit at which it had to be stopped.
    pub stopped: Option<Duration>,
}

/// Boots the machines in their order, some at a time, gives `each` line of their second serial lines
/// (none where there was no line for [`SILENCE`]), and returns once all are off. The emulators end with this process,
/// however that ends. The disk's files have no name any more once the last machine has opened them.
pub fn boot(
    disk: Disk,
    machines: &[Machine],
    mut each: impl FnMut(Option<(usize, &str)>),
) -> Result<Vec<(usize, End)>, Error> {
    let (sender, lines) = mpsc::channel();
    let mut disk = Some(disk);
    let mut ahead = machines.iter();
    let mut started = Vec::new();
    let start = Instant::now();
    let limits = machines.iter().map(|machine| machine.size.limit);
    let limit = limits.max().unwrap_or_default();
    // Of those that were started: how many run, and which have said nothing yet.
    let (mut running, mut silent) = (0, Vec::new());
    let stopped = loop {
        while running < AT_ONCE
            && let Some(machine) = ahead.next()
        {
            println!("booting machine {}", machine.number);
            let disk = disk.as_ref().ok_or("the disk is gone")?;
            let emulator = Emulator::start(disk, machine, sender.clone())?;
            started.push((machine.number, emulator));
            running += 1;
            silent.push(machine.number);
        }
        if running == 0 {
            break false;
        }
        let left = limit.saturating_sub(start.elapsed());
        match lines.recv_timeout(left.min(SILENCE)) {
            Ok((number, Said::Line(line))) => {
                silent.retain(|other| *other != number);
                if silent.is_empty() && ahead.len() == 0 {
                    disk = None;
                }
                each(Some((number, &line)));
            }
            Ok((number, Said::Nothing)) => {
                silent.retain(|other| *other != number);
                running -= 1;
            }
            Err(_) if left > SILENCE => each(None),
            Err(_) => break true,
        }
    };
    let over = stopped.then_some(limit);
    let end = |(number, emulator): (usize, Emulator)| Ok((number, emulator.end(over)?));
    started.into_iter().map(end).collect()
}

/// What comes of a machine's second serial line.
enum Said {
    Line(String),
    /// It is off, or about to be.
    Nothing,
}

/// The parameters of the kernel. Its clock is the processor's counter, which the kernel takes only from
/// processors it knows, and measures wrongly on a busy machine: with any other clock, each look at it is a call
/// of a device that is emulated.
fn kernel(machine: &Machine) -> Result<String, Error> {
    let khz = tsc::khz()?;
    let Machine { number, kernel, .. } = machine;
    Ok(format!(
        "{KERNEL} {kernel} tsc=reliable tsc_early_khz={khz} {NUMBER}={number}"
    ))
}

/// A running emulator; killed if something fails before it is waited for.
struct Emulator {
    qemu: Child,
    console: File,
    errors: PipeReader,
}

impl Emulator {
    fn start(disk: &Disk, machine: &Machine, lines: Sender<(usize, Said)>) -> Result<Self, Error> {
        let number = machine.number;
        let path = disk.beside(&format!("console-{number}"));
        let console = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)?;
        let (errors, stderr) = pipe()?;
        let mut command = command(disk, machine, &path)?;
        let mut qemu = command
            .stderr(stderr)
            .spawn()
            .map_err(|error| format!("qemu-system-x86_64: {error}"))?;
        let output = qemu.stdout.take();
        let this = Self {
            qemu,
            console,
            errors,
        };
        let output = output.ok_or("no output of the emulator")?;
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches('\r').to_owned();
                if lines.send((number, Said::Line(line))).is_err() {
                    return;
                }
            }
            let _ = lines.send((number, Said::Nothing));
        });
        Ok(this)
    }

    /// Waits for it; when the time is over, not for long.
    fn end(mut self, over: Option<Duration>) -> Result<End, Error> {
        let mut wait = || wait::until("end", SOON, || self.qemu.try_wait().transpose());
        // Another one may have taken the time, and this be off.
        let stopped = over.filter(|_| wait().is_err());
        if stopped.is_some() {
            self.qemu.kill()?;
        }
        let status = self.qemu.wait()?;
        let mut said = Vec::new();
        self.console.read_to_end(&mut said)?;
        let mut console = String::from_utf8_lossy(&said).replace('\r', "");
        if !status.success() {
            let mut text = String::new();
            self.errors.read_to_string(&mut text)?;
            console += &format!("\nqemu: {status}\n{text}");
        }
        Ok(End { console, stopped })
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// An older model: the state of a newer one is larger, and saved and restored at every switch.
const PROCESSOR: &str = "Nehalem,+rdrand";

fn command(disk: &Disk, machine: &Machine, console: &Path) -> Result<Command, Error> {
    let drive =
        |file: PathBuf, more: &str| format!("file={},if=virtio,format=raw,{more}", file.display());
    let size = machine.size;
    let threads = if size.processors == 1 {
        "single"
    } else {
        "multi"
    };
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-machine", "q35"])
        .args(["-accel", &format!("tcg,thread={threads}")])
        .args(["-cpu", PROCESSOR, "-smp", &size.processors.to_string()])
        .args(["-m", size.memory])
        .args(["-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(machine.folder.join("vmlinuz"))
        .arg("-initrd")
        .arg(machine.folder.join("initrd.cpio"))
        .args(["-append", &kernel(machine)?])
        // The root file system is shared by all runs: what one writes goes to a file without a name.
        .args([
            "-drive",
            &drive(machine.folder.join("root.img"), "cache=unsafe,snapshot=on"),
        ])
        .args(["-drive", &drive(disk.image(), "readonly=on")])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-chardev", "stdio,id=results,signal=off"])
        .args(["-serial", "chardev:results"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // An interrupt is for this process; what it leaves is taken along by the signal below.
        .process_group(0);
    // SAFETY: prctl(2) is async-signal-safe, and nothing else is called.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    Ok(command)
}
