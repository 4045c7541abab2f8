use super::*;

const HYBRID_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";
const HYBRID_PROCESS: &str = "\
9:name=systemd:/k8s.io/c1
4:memory:/k8s.io/c1
1:cpu,cpuacct:/k8s.io/c1
0::/k8s.io/c1
";
const V2_MOUNTS: &str = "\
24 29 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:5 - proc proc rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

fn mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_mount).collect()
}

fn layout(process: &str, mountinfo: &str) -> Option<Layout> {
    join(
        &parse_memberships(process).unwrap(),
        &mounts(mountinfo),
        |_, _| true,
    )
}

#[test]
fn controllers_that_share_a_hierarchy_share_its_directory() {
    let Some(Layout::V1(found)) = layout(HYBRID_PROCESS, HYBRID_MOUNTS) else {
        panic!()
    };
    let cpu = Path::new("/sys/fs/cgroup/cpu,cpuacct/k8s.io/c1");
    assert_eq!(found.dir("cpu"), Some(cpu));
    assert_eq!(found.dir("cpuacct"), Some(cpu));
    assert_eq!(
        found.dir("memory"),
        Some(Path::new("/sys/fs/cgroup/memory/k8s.io/c1"))
    );
    assert_eq!(
        found.dir("name=systemd"),
        Some(Path::new("/sys/fs/cgroup/systemd/k8s.io/c1"))
    );
    assert_eq!(found.dir("pids"), None);
    assert_eq!(
        found.unified,
        Some("/sys/fs/cgroup/unified/k8s.io/c1".into())
    );
}

#[test]
fn one_unified_hierarchy_is_v2() {
    let process = "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope\n";
    let expected = "/sys/fs/cgroup/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope";
    assert_eq!(
        layout(process, V2_MOUNTS),
        Some(Layout::V2(expected.into()))
    );
}

#[test]
fn a_named_hierarchy_without_controllers_is_still_v2() {
    let process = "1:name=systemd:/c1\n0::/c1\n";
    let mountinfo = format!(
        "{V2_MOUNTS}40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    );
    assert!(matches!(layout(process, &mountinfo), Some(Layout::V2(_))));
}

#[test]
fn v1_hierarchies_that_are_covered_by_a_cgroup2_mount_do_not_count() {
    let mountinfo = format!("{HYBRID_MOUNTS}50 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    let memberships = parse_memberships(HYBRID_PROCESS).unwrap();
    let visible = |dir: &Path, v1: bool| !v1 && !dir.starts_with("/sys/fs/cgroup/unified");
    let found = join(&memberships, &mounts(&mountinfo), visible);
    assert_eq!(found, Some(Layout::V2("/sys/fs/cgroup/k8s.io/c1".into())));
}

#[test]
fn the_standard_mount_is_preferred_to_one_of_a_container() {
    let process = "0::/c1\n";
    let mountinfo =
        format!("30 1 0:30 / /var/lib/dind/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n{V2_MOUNTS}");
    assert_eq!(
        layout(process, &mountinfo),
        Some(Layout::V2("/sys/fs/cgroup/c1".into()))
    );
}

#[test]
fn a_mount_that_shows_a_part_of_the_hierarchy_is_entered_at_that_part() {
    let mountinfo = "35 24 0:30 /machine/c1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let found = layout("0::/machine/c1/pod/ctr\n", mountinfo);
    assert_eq!(found, Some(Layout::V2("/sys/fs/cgroup/pod/ctr".into())));
    assert_eq!(
        layout("0::/machine/c1\n", mountinfo),
        Some(Layout::V2("/sys/fs/cgroup".into()))
    );
    assert_eq!(
        layout("0::/machine/c12\n", mountinfo),
        None,
        "a prefix of names is not of paths"
    );
}

#[test]
fn a_path_outside_of_the_cgroup_namespace_is_not_joined_to_the_mount_point() {
    assert_eq!(layout("0::/../other\n", V2_MOUNTS), None);
}

#[test]
fn escapes_of_mountinfo_are_undone() {
    let mountinfo = r"35 24 0:30 / /mnt/a\040b\134c rw - cgroup2 cgroup2 rw";
    let found = layout("0::/x\n", mountinfo);
    assert_eq!(found, Some(Layout::V2(r"/mnt/a b\c/x".into())));
}

#[test]
fn colons_in_a_cgroup_path_belong_to_the_path() {
    let found = layout("0::/system.slice:cri-containerd:c1\n", V2_MOUNTS);
    assert_eq!(
        found,
        Some(Layout::V2(
            "/sys/fs/cgroup/system.slice:cri-containerd:c1".into()
        ))
    );
}

#[test]
fn a_line_of_another_form_is_an_error() {
    for bad in ["4:memory", "memory:/", "4:memory:relative"] {
        assert_eq!(parse_memberships(bad), Err(Malformed::new(bad)));
    }
}

#[test]
fn an_exiting_process_is_told_from_a_live_one_whatever_its_name() {
    let stat = |name: &str, state: char, flags: u32| {
        format!("13149 ({name}) {state} 13143 13143 8809 0 -1 {flags} 100 0 0 0 0 0\n")
    };
    assert_eq!(is_exiting(&stat("cat", 'R', 4_194_304)), Ok(false));
    assert_eq!(is_exiting(&stat("a) Z 1 (b", 'S', 4_194_304)), Ok(false));
    assert_eq!(is_exiting(&stat("cat", 'Z', 4_194_304)), Ok(true));
    assert_eq!(is_exiting(&stat("cat", 'R', 4_194_308)), Ok(true));
    assert!(is_exiting("13149 cat R").is_err());
}

#[test]
fn a_zombie_has_no_cgroups_instead_of_those_of_the_root() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let stat = format!("/proc/{pid}/stat");
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    assert!(matches!(
        of_pid(Path::new("/proc"), pid),
        Err(Error::Exited { .. })
    ));
    child.wait().unwrap();
    assert!(matches!(
        of_pid(Path::new("/proc"), pid),
        Err(Error::Exited { .. })
    ));
}
