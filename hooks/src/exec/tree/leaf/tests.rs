use std::process::{Child, Command};

use super::*;
use crate::exec::tree::cgroup::{Hierarchy, Membership};

/// A cgroup of this test in one v1 hierarchy or in cgroup v2, gone at its end.
struct Home(Hierarchy);

impl Home {
    fn new(controller: Option<&str>, test: &str) -> Option<Self> {
        let own = Membership::of(std::process::id() as libc::pid_t).unwrap();
        let mut hierarchy = match controller {
            Some(name) => own.controller(name)?.clone(),
            None => own.unified()?.clone(),
        };
        let name = format!("podhook-unit-{test}-{}", std::process::id());
        hierarchy.dir.push(&name);
        hierarchy.path = format!("{}/{name}", hierarchy.path.trim_end_matches('/'));
        fs::create_dir(&hierarchy.dir).unwrap();
        Some(Self(hierarchy))
    }

    fn processes(&self) -> usize {
        let procs = fs::read_to_string(self.0.dir.join("cgroup.procs")).unwrap();
        procs.lines().count()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0.dir);
    }
}

/// A shell in the leaf that forks without end, out of its session too.
fn storm(leaf: &Leaf) -> Child {
    let script =
        "echo $$ > \"$0\"; while :; do setsid sleep 0.2 & setsid sleep 1000 & sleep 0.01; done";
    Command::new("sh")
        .args(["-c", script])
        .arg(leaf.dir().join("cgroup.procs"))
        .spawn()
        .unwrap()
}

async fn started(leaf: &Leaf) {
    let procs = leaf.dir().join("cgroup.procs");
    while fs::read_to_string(&procs).unwrap().lines().count() < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn dies(controller: Option<&str>, stop: Stop, test: &str) {
    let Some(home) = Home::new(controller, test) else {
        eprintln!("not on this machine: {controller:?}");
        return;
    };
    let leaf = Leaf::in_hierarchy(&home.0, stop).unwrap();
    let mut shell = storm(&leaf);
    started(&leaf).await;
    let dir = leaf.dir().to_path_buf();
    // As the shim does while a tree dies: its own children must be reaped.
    let reaper = std::thread::spawn(move || shell.wait());
    leaf.kill().await;
    assert!(!dir.exists());
    assert_eq!(home.processes(), 0);
    reaper.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_storm_dies_by_cgroup_kill() {
    dies(None, Stop::CgroupKill, "kill").await;
}

#[tokio::test]
async fn a_storm_dies_by_v2_freeze() {
    dies(None, Stop::Freeze, "freeze").await;
}

#[tokio::test]
async fn a_storm_dies_by_v1_pids() {
    dies(Some("pids"), Stop::PidsMax, "pids").await;
}

#[tokio::test]
async fn a_storm_dies_by_v1_freezer() {
    dies(Some("freezer"), Stop::Freezer, "freezer").await;
}

#[tokio::test]
async fn survivors_of_a_v1_leaf_move_up() {
    let Some(home) = Home::new(Some("pids"), "move") else {
        return;
    };
    let leaf = Leaf::in_hierarchy(&home.0, Stop::PidsMax).unwrap();
    let dir = leaf.dir().to_path_buf();
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(dir.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    if let Some(rest) = leaf.release() {
        rest.await;
    }
    assert!(!dir.exists());
    assert_eq!(home.processes(), 1);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn the_hosts_root_cgroup_gets_no_leaf() {
    let root = Hierarchy {
        controllers: None,
        path: "/".to_string(),
        dir: PathBuf::from("/sys/fs/cgroup"),
    };
    let cgroups = Membership {
        hierarchies: vec![root],
        can_kill: true,
    };
    let why = Leaf::new(&cgroups, None, false).unwrap_err();
    assert_eq!(why, "it has no cgroup but the host's root");
}

/// Names that a container has taken, and a hierarchy that is full.
#[test]
fn a_leaf_that_cannot_be_made_says_why() {
    let Some(home) = Home::new(None, "full") else {
        return;
    };
    fs::write(home.0.dir.join("cgroup.max.descendants"), "0").unwrap();
    let why = Leaf::in_hierarchy(&home.0, Stop::CgroupKill).unwrap_err();
    assert!(why.contains("cgroup.max.descendants"), "{why}");
}

#[test]
fn no_two_leaves_have_one_name() {
    let Some(home) = Home::new(None, "names") else {
        return;
    };
    let leaves: Vec<_> = (0..4)
        .map(|_| Leaf::in_hierarchy(&home.0, Stop::CgroupKill).unwrap())
        .collect();
    for leaf in &leaves {
        let name = leaf.dir().file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), "podhook-".len() + 32, "{name}");
    }
}

#[test]
fn below_a_cgroup_with_threaded_children_there_is_no_leaf() {
    let Some(home) = Home::new(None, "threaded") else {
        return;
    };
    let child = home.0.dir.join("housekeeping");
    fs::create_dir(&child).unwrap();
    fs::write(child.join("cgroup.type"), "threaded").unwrap();
    let refused = Leaf::in_hierarchy(&home.0, Stop::CgroupKill);
    let left = fs::read_dir(&home.0.dir).unwrap().flatten();
    let left = left.filter(|entry| entry.path().is_dir()).count();
    fs::remove_dir(&child).unwrap();
    let why = refused.unwrap_err();
    assert!(why.ends_with("has threaded cgroups"), "{why}");
    assert_eq!(left, 1, "the leaf is gone again");
}

/// The next best hierarchy is taken.
#[test]
fn a_threaded_child_costs_no_control_beside_v1() {
    let Some(home) = Home::new(None, "hybrid") else {
        return;
    };
    let Some(freezer) = Home::new(Some("freezer"), "hybrid") else {
        return;
    };
    let child = home.0.dir.join("housekeeping");
    fs::create_dir(&child).unwrap();
    fs::write(child.join("cgroup.type"), "threaded").unwrap();
    let cgroups = Membership {
        hierarchies: vec![home.0.clone(), freezer.0.clone()],
        can_kill: true,
    };
    let made = Leaf::new(&cgroups, None, false);
    fs::remove_dir(&child).unwrap();
    assert_eq!(made.unwrap().dir().parent(), Some(freezer.0.dir.as_path()));
}

/// In a hierarchy with cpuset a new cgroup takes no process before it has processors and memory.
#[test]
fn a_leaf_with_cpuset_takes_processes() {
    let Some(home) = Home::new(Some("cpuset"), "cpuset") else {
        return;
    };
    let above = home.0.dir.parent().unwrap();
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fs::write(home.0.dir.join(file), fs::read(above.join(file)).unwrap()).unwrap();
    }
    let leaf = Leaf::in_hierarchy(&home.0, Stop::None).unwrap();
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    let joined = fs::write(leaf.dir().join("cgroup.procs"), sleeper.id().to_string());
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    joined.unwrap();
}

#[test]
fn the_hierarchy_that_is_read_least_comes_first() {
    let hierarchy = |controllers: &str| Hierarchy {
        controllers: (!controllers.is_empty()).then(|| controllers.to_string()),
        path: "/c".to_string(),
        dir: PathBuf::from("/no/such").join(controllers),
    };
    let order = |controllers: &[&str], can_kill| {
        let hierarchies: Vec<_> = controllers.iter().map(|names| hierarchy(names)).collect();
        let cgroups = Membership {
            hierarchies,
            can_kill,
        };
        let candidates = make::candidates(&cgroups);
        let names = candidates
            .iter()
            .map(|(own, _)| own.controllers.clone().unwrap_or_default());
        names.collect::<Vec<_>>()
    };
    let v1 = ["cpuset", "memory", "pids", "cpu,cpuacct", "freezer"];
    assert_eq!(order(&v1, false)[..2], ["freezer", "pids"]);
    assert_eq!(
        order(&["cpuset", "memory", "perf_event"], false),
        ["perf_event", "memory", "cpuset"]
    );
    assert_eq!(order(&["freezer", ""], true)[0], "");
    assert_eq!(order(&["freezer", ""], false)[0], "freezer");
}

/// What a hook with a writable cgroup makes below its leaf.
#[tokio::test]
async fn cgroups_below_a_leaf_go_with_it() {
    for (controller, stop) in [(None, Stop::CgroupKill), (Some("freezer"), Stop::Freezer)] {
        let Some(home) = Home::new(controller, "below") else {
            continue;
        };
        let leaf = Leaf::in_hierarchy(&home.0, stop).unwrap();
        let below = leaf.dir().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(below.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
        let dir = leaf.dir().to_path_buf();
        let reaper = std::thread::spawn(move || sleeper.wait());
        leaf.kill().await;
        assert!(!dir.exists());
        reaper.join().unwrap().unwrap();
    }
}

/// In a cgroup namespace that is rooted at the leaf.
#[tokio::test]
async fn survivors_that_see_the_leaf_as_their_root_stay() {
    let Some(home) = Home::new(None, "stay") else {
        return;
    };
    let mut leaf = Leaf::in_hierarchy(&home.0, Stop::CgroupKill).unwrap();
    leaf.is_root = true;
    let dir = leaf.dir().to_path_buf();
    let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(dir.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    let rest = leaf.release().unwrap();
    assert_eq!(home.processes(), 0);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    // It is looked after for some time.
    rest.await;
    assert!(!dir.exists());
}
