//! The emulator.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::Error;
use crate::disk::Disk;

/// Far more than the tests take on a quiet machine: six to eight minutes.
const LIMIT: Duration = Duration::from_secs(40 * 60);

const KERNEL: &str = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off apparmor=0 selinux=0 audit=0 \
    random.trust_cpu=on cgroup_no_v1=all systemd.show_status=0";

/// Boots the machine, gives `each` line of its second serial line, and returns what its console said once
/// it is off. The emulator ends with this process, however that ends.
pub fn boot(disk: Disk, mut each: impl FnMut(&str)) -> Result<String, Error> {
    let console = disk.beside("console.log");
    let errors = disk.beside("qemu.log");
    let mut command = command(&disk);
    command.stderr(fs::File::create(&errors)?);
    let mut qemu = Machine(
        command
            .spawn()
            .map_err(|error| format!("qemu-system-x86_64: {error}"))?,
    );
    let output = qemu.0.stdout.take().ok_or("no output of the emulator")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line)
                .trim_end_matches('\r')
                .to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    let over = loop {
        match lines.recv_timeout(LIMIT.saturating_sub(start.elapsed())) {
            Ok(line) => each(&line),
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    if over {
        let _ = qemu.0.kill();
    }
    let status = qemu.0.wait()?;
    let mut said =
        String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).replace('\r', "");
    if over {
        said += &format!(
            "\nthe machine was stopped after {} minutes\n",
            LIMIT.as_secs() / 60
        );
    }
    if !status.success() {
        said += &format!(
            "\nqemu: {status}\n{}",
            fs::read_to_string(&errors).unwrap_or_default()
        );
    }
    Ok(said)
}

/// A running emulator; killed if something fails before it is waited for.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(disk: &Disk) -> Command {
    let drive = |file: std::path::PathBuf, more: &str| {
        format!("file={},if=virtio,format=raw,{more}", file.display())
    };
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
        ])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(Disk::of_machine("vmlinuz"))
        .arg("-initrd")
        .arg(Disk::of_machine("initrd.cpio"))
        .args(["-append", KERNEL])
        // The root file system is shared by all runs: what one writes goes to a file without a name.
        .args([
            "-drive",
            &drive(Disk::of_machine("root.img"), "cache=unsafe,snapshot=on"),
        ])
        .args(["-drive", &drive(disk.image(), "readonly=on")])
        .arg("-serial")
        .arg(format!("file:{}", disk.beside("console.log").display()))
        .args([
            "-chardev",
            "stdio,id=results,signal=off",
            "-serial",
            "chardev:results",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // An interrupt is for this process; what it leaves is taken along by the signal below.
        .process_group(0);
    // SAFETY: prctl(2) is async-signal-safe, and nothing else is called.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    command
}
