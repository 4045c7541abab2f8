use std::fs;

use super::*;

/// A container limited to 64 MiB on Linux 6.18, shortened nowhere.
const MEMORY_STAT: &str = "\
cache 9248768
rss 9117696
rss_huge 2097152
shmem 9068544
mapped_file 7639040
dirty 4096
writeback 8192
workingset_refault_anon 0
workingset_refault_file 1726
swap 0
swapcached 0
pgpgin 36858
pgpgout 32374
pgfault 37578
pgmajfault 11
inactive_anon 12288
active_anon 1531904
inactive_file 16384
active_file 180224
unevictable 16654336
hierarchical_memory_limit 67108864
hierarchical_memsw_limit 9223372036854771712
total_cache 22519808
total_rss 16572416
total_rss_huge 2097153
total_shmem 9068544
total_mapped_file 11079680
total_dirty 65536
total_writeback 8193
total_workingset_refault_anon 0
total_workingset_refault_file 626631
total_swap 0
total_swapcached 0
total_pgpgin 8976783
total_pgpgout 8968672
total_pgfault 9992125
total_pgmajfault 1707
total_inactive_anon 7335936
total_active_anon 1589248
total_inactive_file 4644864
total_active_file 8790016
total_unevictable 16654337
";

struct Fixture {
    root: tempfile::TempDir,
    cgroup: Hierarchies,
}

impl Fixture {
    fn new(controllers: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut cgroup = Hierarchies::default();
        for controller in controllers {
            let dir = root.path().join(controller);
            fs::create_dir(&dir).unwrap();
            cgroup.v1.push((vec![Box::from(*controller)], dir));
        }
        Self { root, cgroup }
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn metrics(&self) -> Result<Metrics, Error> {
        let root = self.root.path();
        metrics(
            &self.cgroup,
            HostFiles {
                proc: root,
                sys: root,
            },
        )
    }
}

#[test]
fn every_field_of_memory_stat_has_its_own_value() {
    let memory = parse_memory(MEMORY_STAT).unwrap();
    let expected = MemoryStat {
        cache: 9_248_768,
        rss: 9_117_696,
        rss_huge: 2_097_152,
        mapped_file: 7_639_040,
        dirty: 4096,
        writeback: 8192,
        pg_pg_in: 36858,
        pg_pg_out: 32374,
        pg_fault: 37578,
        pg_maj_fault: 11,
        inactive_anon: 12288,
        active_anon: 1_531_904,
        inactive_file: 16384,
        active_file: 180_224,
        unevictable: 16_654_336,
        hierarchical_memory_limit: 67_108_864,
        hierarchical_swap_limit: 9_223_372_036_854_771_712,
        total_cache: 22_519_808,
        total_rss: 16_572_416,
        total_rss_huge: 2_097_153,
        total_mapped_file: 11_079_680,
        total_dirty: 65536,
        total_writeback: 8193,
        total_pg_pg_in: 8_976_783,
        total_pg_pg_out: 8_968_672,
        total_pg_fault: 9_992_125,
        total_pg_maj_fault: 1707,
        total_inactive_anon: 7_335_936,
        total_active_anon: 1_589_248,
        total_inactive_file: 4_644_864,
        total_active_file: 8_790_016,
        total_unevictable: 16_654_337,
        ..Default::default()
    };
    assert_eq!(memory, expected);
}

#[test]
fn without_controllers_nothing_is_reported() {
    assert_eq!(
        Fixture::new(&["freezer"]).metrics().unwrap(),
        Metrics::new()
    );
    let empty = Fixture::new(&[
        "memory", "cpu", "cpuacct", "pids", "blkio", "rdma", "hugetlb",
    ]);
    assert_eq!(empty.metrics().unwrap(), Metrics::new());
}

#[test]
fn parts_of_a_message_are_there_even_without_their_files_because_clients_follow_them() {
    let fixture = Fixture::new(&["memory", "cpu"]);
    fixture
        .file("memory/memory.stat", MEMORY_STAT)
        .file("cpu/cpu.stat", "nr_periods 3\n");
    let metrics = fixture.metrics().unwrap();
    assert!(metrics.memory.usage.is_some());
    assert!(
        metrics.memory.swap.is_some(),
        "no swap accounting must not crash containerd"
    );
    assert!(metrics.memory.kernel.is_some() && metrics.memory.kernel_tcp.is_some());
    assert!(
        metrics.cpu.usage.is_some(),
        "no cpuacct must not crash docker"
    );
    assert_eq!(metrics.cpu.throttling.periods, 3);
    assert!(metrics.memory_oom_control.is_none());
}

#[test]
fn memory_entries_are_read_from_their_own_files() {
    let fixture = Fixture::new(&["memory"]);
    fixture.file("memory/memory.stat", "cache 0\n");
    let counters = ["memory", "memory.memsw", "memory.kmem", "memory.kmem.tcp"];
    for (i, counter) in counters.iter().enumerate() {
        for (j, name) in [
            "limit_in_bytes",
            "usage_in_bytes",
            "max_usage_in_bytes",
            "failcnt",
        ]
        .iter()
        .enumerate()
        {
            fixture.file(
                &format!("memory/{counter}.{name}"),
                &format!("{}\n", 10 * i + j),
            );
        }
    }
    let memory = fixture.metrics().unwrap().memory;
    for (i, entry) in [
        &memory.usage,
        &memory.swap,
        &memory.kernel,
        &memory.kernel_tcp,
    ]
    .iter()
    .enumerate()
    {
        let i = 10 * i as u64;
        assert_eq!(
            (entry.limit, entry.usage, entry.max, entry.failcnt),
            (i, i + 1, i + 2, i + 3)
        );
    }
}

#[test]
fn cpu_times_are_in_nanoseconds() {
    let fixture = Fixture::new(&["cpu", "cpuacct"]);
    fixture
        .file(
            "cpu/cpu.stat",
            "nr_periods 12\nnr_throttled 7\nthrottled_time 912345678\nnr_bursts 1\nburst_time 5\n",
        )
        .file("cpuacct/cpuacct.usage", "3456789012\n")
        .file("cpuacct/cpuacct.stat", "user 123\nsystem 45\n")
        .file("cpuacct/cpuacct.usage_percpu", "1456789012 2000000000 \n");
    let cpu = fixture.metrics().unwrap().cpu;
    assert_eq!(
        (cpu.usage.total, cpu.usage.user, cpu.usage.kernel),
        (3_456_789_012, 1_230_000_000, 450_000_000)
    );
    assert_eq!(cpu.usage.per_cpu, [1_456_789_012, 2_000_000_000]);
    let throttling = (
        cpu.throttling.periods,
        cpu.throttling.throttled_periods,
        cpu.throttling.throttled_time,
    );
    assert_eq!(throttling, (12, 7, 912_345_678));
}

#[test]
fn no_pid_limit_is_zero_in_v1_as_containerd_has_it() {
    let fixture = Fixture::new(&["pids"]);
    fixture
        .file("pids/pids.current", "3\n")
        .file("pids/pids.max", "max\n");
    assert_eq!(
        (
            fixture.metrics().unwrap().pids.current,
            fixture.metrics().unwrap().pids.limit
        ),
        (3, 0)
    );
    fixture.file("pids/pids.max", "100\n");
    assert_eq!(fixture.metrics().unwrap().pids.limit, 100);
}

#[test]
fn huge_pages_rdma_and_oom_control_are_reported() {
    let fixture = Fixture::new(&["hugetlb", "rdma", "memory"]);
    fs::create_dir_all(
        fixture
            .root
            .path()
            .join("kernel/mm/hugepages/hugepages-2048kB"),
    )
    .unwrap();
    fs::create_dir_all(
        fixture
            .root
            .path()
            .join("kernel/mm/hugepages/hugepages-1048576kB"),
    )
    .unwrap();
    fixture
        .file("hugetlb/hugetlb.2MB.usage_in_bytes", "4194304\n")
        .file("hugetlb/hugetlb.2MB.max_usage_in_bytes", "6291456\n")
        .file("hugetlb/hugetlb.2MB.failcnt", "2\n")
        .file("rdma/rdma.current", "mlx4_0 hca_handle=2 hca_object=20\n")
        .file("rdma/rdma.max", "mlx4_0 hca_handle=max hca_object=2000\n")
        .file(
            "memory/memory.oom_control",
            "oom_kill_disable 1\nunder_oom 0\noom_kill 5\n",
        );
    let metrics = fixture.metrics().unwrap();
    let huge = &metrics.hugetlb;
    assert_eq!(huge.len(), 1, "a size without files is left out");
    assert_eq!(
        (
            huge[0].pagesize.as_str(),
            huge[0].usage,
            huge[0].max,
            huge[0].failcnt
        ),
        ("2MB", 4_194_304, 6_291_456, 2)
    );
    assert_eq!(
        (
            metrics.rdma.current[0].hca_objects,
            metrics.rdma.limit[0].hca_handles
        ),
        (20, u32::MAX)
    );
    let oom = metrics.memory_oom_control;
    assert_eq!(
        (oom.oom_kill_disable, oom.under_oom, oom.oom_kill),
        (1, 0, 5)
    );
}

#[test]
fn a_file_that_cannot_be_parsed_fails_the_whole_and_is_named() {
    let cases = [
        ("memory/memory.stat", "cache\n"),
        ("memory/memory.oom_control", "oom_kill x\n"),
        ("cpu/cpu.stat", "nr_periods 1.5\n"),
        ("cpuacct/cpuacct.usage_percpu", "1 x\n"),
        ("cpuacct/cpuacct.stat", "user 1\n"),
        ("pids/pids.max", "\n"),
        ("blkio/blkio.throttle.io_serviced", "8:0 Read\n"),
        ("rdma/rdma.max", "mlx4_0 hca_handle\n"),
    ];
    for (path, text) in cases {
        let fixture = Fixture::new(&["memory", "cpu", "cpuacct", "pids", "blkio", "rdma"]);
        fixture
            .file("cpuacct/cpuacct.usage", "1\n")
            .file("pids/pids.current", "1\n")
            .file(path, text);
        let Err(error) = fixture.metrics() else {
            panic!("{path} was taken")
        };
        assert!(error.to_string().contains(path), "{error}");
    }
}
