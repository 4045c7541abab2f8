//! What HTTPS hooks cost a shim that has nothing to do any more.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use podhook_integration::containerd::remains;
use podhook_integration::node::Pod;
use podhook_integration::suite::{Test, each_once};
use podhook_integration::{Node, Outcome, tests};
use serde_json::Value;

use crate::script::Error;
use crate::web::{PORT, TLS, Web, asked, get, get_tls, told};

pub fn tests() -> Vec<Test> {
    each_once(tests![http_memory: https_hooks_leave_an_idle_shim_as_small_as_it_was])
}

/// The shim gives back what work took a second after it.
const RESTED: Duration = Duration::from_secs(3);

/// Private dirty memory of the pod's shim in KiB, once it stays the same.
fn private_dirty(node: &Node, pod: &Pod<'_>) -> Result<u64, Error> {
    let shims = remains::shims(&node.containerd().address());
    let shim = shims
        .iter()
        .find(|shim| shim.id == pod.id())
        .ok_or("the pod has no shim")?;
    let path = format!("/proc/{}/smaps_rollup", shim.pid);
    let now = || -> Result<u64, Error> {
        let rollup = fs::read_to_string(&path)?;
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"))
            .ok_or("no Private_Dirty")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    let (mut last, mut since) = (now()?, Instant::now());
    let deadline = since + Duration::from_secs(20);
    while since.elapsed() < RESTED && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
        let size = now()?;
        if size != last {
            (last, since) = (size, Instant::now());
        }
    }
    Ok(last)
}

/// Hooks of each kind.
const HOOKS: usize = 8;

/// More than this on top of what as many containers with plain HTTP hooks cost is state that TLS has left.
const KIB: u64 = 64;

fn https_hooks_leave_an_idle_shim_as_small_as_it_was(node: &Node) -> Outcome {
    let pod = node.pod("memory").run()?;
    let _web = Web::start(node, &pod)?;
    let hook = |hook: Value| -> Outcome {
        let run = asked(&pod, &hook)?;
        assert_eq!(told(&run), ("Succeeded", Some(200), ""));
        Ok(())
    };
    let http = || hook(get("/echo", PORT));
    let https = |n: usize| hook(get_tls("/echo", TLS[n % TLS.len()].port));
    // The first hook makes the shim touch what it keeps touched.
    let alone = private_dirty(node, &pod)?;
    http()?;
    let first = private_dirty(node, &pod)?;
    https(0)?;
    let begin = private_dirty(node, &pod)?;
    (0..HOOKS).try_for_each(|_| http())?;
    let plain = private_dirty(node, &pod)?;
    (0..HOOKS).try_for_each(https)?;
    let tls = private_dirty(node, &pod)?;
    let report = format!(
        "private dirty memory in KiB: {alone} without hooks, {first} after one of HTTP, {begin} after one of \
         HTTPS, {plain} after {HOOKS} more of HTTP, {tls} after {HOOKS} more of HTTPS"
    );
    eprintln!("{report}");
    assert!(begin <= first + KIB, "{report}");
    assert!(
        tls.saturating_sub(plain) <= plain.saturating_sub(begin) + KIB,
        "{report}"
    );
    Ok(())
}
