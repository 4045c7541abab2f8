//! What HTTPS hooks cost a shim that has nothing to do any more.

use std::time::{Duration, Instant};
use std::{fs, thread};

use podhook_integration::containerd::remains;
use podhook_integration::node::Pod;
use podhook_integration::suite::{Test, each_once};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};
use serde_json::Value;

use crate::script::Error;
use crate::web::{PORT, TLS, Web, asked, get, get_tls, told};

pub fn tests() -> Vec<Test> {
    each_once(tests![http_memory: https_hooks_leave_an_idle_shim_as_small_as_it_was])
}

/// The shim gives back what work took a second after it.
const RESTED: Duration = Duration::from_secs(3);

/// Private dirty memory of the pod's shim in KiB.
fn private_dirty(node: &Node, pod: &Pod<'_>) -> Result<u64, Error> {
    let shims = remains::shims(&node.containerd().address());
    let shim = shims
        .iter()
        .find(|shim| shim.id == pod.id())
        .ok_or("the pod has no shim")?;
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", shim.pid))?;
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))
        .ok_or("no Private_Dirty")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The same, once it stays the same.
fn rested(node: &Node, pod: &Pod<'_>) -> Result<u64, Error> {
    let (mut last, mut since) = (private_dirty(node, pod)?, Instant::now());
    let deadline = since + Duration::from_secs(20);
    while since.elapsed() < RESTED && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
        let size = private_dirty(node, pod)?;
        if size != last {
            (last, since) = (size, Instant::now());
        }
    }
    Ok(last)
}

/// The same, once it is no more than this; or what it is at last. A busy shim gives back later.
fn at_most(node: &Node, pod: &Pod<'_>, most: u64) -> Result<u64, Error> {
    let _ = wait::until_true("less memory", SOON, || {
        private_dirty(node, pod).is_ok_and(|size| size <= most)
    });
    rested(node, pod)
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
    let alone = rested(node, &pod)?;
    http()?;
    let first = rested(node, &pod)?;
    https(0)?;
    let begin = at_most(node, &pod, first + KIB)?;
    (0..HOOKS).try_for_each(|_| http())?;
    let plain = rested(node, &pod)?;
    (0..HOOKS).try_for_each(https)?;
    let most = plain + plain.saturating_sub(begin) + KIB;
    let tls = at_most(node, &pod, most)?;
    let report = format!(
        "private dirty memory in KiB: {alone} without hooks, {first} after one of HTTP, {begin} after one of \
         HTTPS, {plain} after {HOOKS} more of HTTP, {tls} after {HOOKS} more of HTTPS"
    );
    eprintln!("{report}");
    assert!(begin <= first + KIB, "{report}");
    assert!(tls <= most, "{report}");
    Ok(())
}
