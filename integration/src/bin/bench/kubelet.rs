//! Pods under a real kubelet with an exec probe a second each: what one costs, and whom.

use std::thread;
use std::time::Duration;

use podhook_integration::ShimKind;
use podhook_integration::containerd::Features;
use podhook_integration::kubernetes::{Cluster, Namespace, Side, Version};
use podhook_integration::progress::Progress;
use serde_json::{Value, json};

use crate::Fallible;
use crate::arguments::Sizes;
use crate::cpu::{self, Account, Accounts, Used};
use crate::row::Label;
use crate::sheet::Sheet;
use crate::shims::Shim;
use crate::spot::Spot;

/// CPU time of one, the kubelet's included.
pub const PROBE: &str = "an exec probe of the kubelet's: CPU";

/// The pods of a turn.
const PODS: usize = 20;
/// Until the kubelet is done with their start.
const SETTLE: Duration = Duration::from_secs(10);

/// Who has pods, and with which shim.
const SIDES: [(Side, Shim); 3] = [
    (Side::Original, Shim::Original),
    (Side::Podhook, Shim::Podhook),
    (Side::Pauseless, Shim::Pauseless),
];

/// A part of the time.
type Part = fn(&Used) -> Duration;

const WHO: [(&str, Part); 5] = [
    ("", |used| used.all()),
    (" of the kubelet", |used| used.client),
    (" of containerd", |used| used.containerd),
    (" of the shim", |used| used.shim),
    (" of the command", |used| used.container),
];

/// Measures, where the spot's containerd is the one that clusters have.
///
/// # Errors
/// When no cluster comes up: its programs must be built (`integration/upstream/build etcd crane helm kubernetes-1.37`).
pub fn run(spot: Spot, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    if spot.to_string() != "2.4" {
        sheet.missing(PROBE, &"clusters have containerd 2.4 and runc");
        return Ok(());
    }
    let accounts = Accounts::called("cluster-")?;
    let outcome = on_a_cluster(&accounts, sizes, sheet);
    accounts.close();
    outcome
}

fn on_a_cluster(accounts: &Accounts, sizes: Sizes, sheet: &mut Sheet) -> Fallible<()> {
    let features = Features {
        state_in_memory: true,
        quiet: true,
        ..Features::default()
    };
    let cluster = Cluster::start_featuring(Version::V1_37, ShimKind::Podhook, features)?;
    accounts.leave_node()?;
    let seconds = sizes.or_long(30, 60);
    let rounds = sizes.share(0.15);
    // A control plane and a kubelet that have just begun have work of their own.
    of_pods(&cluster, accounts, Side::Podhook, seconds, Value::Null)?;
    let mut all: [Vec<Used>; 3] = Default::default();
    let mut progress = Progress::new("turn", rounds * SIDES.len());
    for round in 0..rounds {
        for (number, (side, _)) in SIDES.into_iter().enumerate() {
            all[number].push(of_a_probe(&cluster, accounts, side, seconds)?);
            progress.done(round * SIDES.len() + number + 1);
        }
    }
    for ((_, shim), used) in SIDES.iter().zip(&all) {
        for (name, part) in WHO {
            let millis = used.iter().map(|used| part(used).as_secs_f64() * 1e3);
            let millis: Vec<_> = millis.collect();
            let label = Label::new(&format!("{PROBE}{name}"), shim.name()).at_once(PODS);
            sheet.values(&label, "ms", &millis, None);
        }
    }
    cluster.destroy();
    Ok(())
}

/// What pods with probes cost in a time, less what they cost without, by probe.
fn of_a_probe(
    cluster: &Cluster,
    accounts: &Accounts,
    side: Side,
    seconds: usize,
) -> Fallible<Used> {
    let probes = u32::try_from(PODS * seconds)?;
    let without = of_pods(cluster, accounts, side, seconds, Value::Null)?;
    let probe =
        json!({"exec": {"command": ["/bin/true"]}, "periodSeconds": 1, "timeoutSeconds": 10});
    let with = of_pods(cluster, accounts, side, seconds, probe)?;
    let used = with - without;
    Ok(Used {
        client: used.client / probes,
        containerd: used.containerd / probes,
        shim: used.shim / probes,
        container: used.container / probes,
    })
}

fn of_pods(
    cluster: &Cluster,
    accounts: &Accounts,
    side: Side,
    seconds: usize,
    probe: Value,
) -> Fallible<Used> {
    let namespace = Namespace::new(cluster, side)?;
    let names: Vec<_> = (0..PODS).map(|number| format!("probed-{number}")).collect();
    for name in &names {
        let spec = json!({
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main",
                "command": ["sleep", "1000000"],
                "livenessProbe": probe,
            }],
        });
        namespace.pod(name, &[], spec)?;
    }
    for name in &names {
        namespace.ready(name)?;
    }
    thread::sleep(SETTLE);
    let before = used(cluster, accounts)?;
    thread::sleep(Duration::from_secs(u64::try_from(seconds)?));
    let used = used(cluster, accounts)? - before;
    namespace.ok(&["delete", "pod", "--all", "--wait=false"])?;
    for name in &names {
        namespace.gone(name)?;
    }
    Ok(used)
}

/// The kubelet is the client here. The control plane is nobody of the node's.
fn used(cluster: &Cluster, accounts: &Accounts) -> Fallible<Used> {
    let (kubelet, others) = cluster.processes();
    let kubelet = cpu::of_process(kubelet.ok_or("the kubelet has ended")?)?;
    let pid = cluster.containerd().pid().ok_or("containerd has ended")?;
    let containerd = cpu::of_process(pid)?;
    let mut rest = accounts.node.used()?;
    for pid in others {
        rest = rest.saturating_sub(cpu::of_process(pid)?);
    }
    Ok(Used {
        client: kubelet,
        containerd,
        shim: rest.saturating_sub(kubelet).saturating_sub(containerd),
        container: Account::named(cluster.containerd().id())?.used()?,
    })
}
