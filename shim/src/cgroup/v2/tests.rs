use std::fs;

use super::*;

/// Debian 12's kernel 6.1.
const MEMORY_STAT: &str = "\
anon 1363968
file 5304320
kernel 2306048
kernel_stack 98304
pagetables 163840
sec_pagetables 0
percpu 16736
sock 4096
vmalloc 0
shmem 12288
zswap 0
zswapped 0
file_mapped 2703360
file_dirty 135168
file_writeback 8192
swapcached 0
anon_thp 2097152
file_thp 0
shmem_thp 0
inactive_anon 1335296
active_anon 20480
inactive_file 4079616
active_file 1212416
unevictable 1
slab_reclaimable 1547432
slab_unreclaimable 412240
slab 1959672
workingset_refault_anon 0
workingset_refault_file 0
workingset_activate_anon 0
workingset_activate_file 0
workingset_restore_anon 0
workingset_restore_file 0
workingset_nodereclaim 2
pgscan 24
pgsteal 25
pgscan_kswapd 0
pgscan_direct 0
pgsteal_kswapd 0
pgsteal_direct 0
pgfault 4123
pgmajfault 31
pgrefill 23
pgactivate 294
pgdeactivate 27
pglazyfree 28
pglazyfreed 29
zswpin 0
zswpout 0
thp_fault_alloc 30
thp_collapse_alloc 32
";
const PRESSURE: &str = "\
some avg10=1.50 avg60=0.25 avg300=0.03 total=123456
full avg10=0.50 avg60=0.00 avg300=0.00 total=12345
";

struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(root.path().join(name), text).unwrap();
        }
        Self(root)
    }

    fn metrics(&self) -> Result<Metrics, Error> {
        metrics(
            self.0.path(),
            HostFiles {
                proc: self.0.path(),
                sys: self.0.path(),
            },
        )
    }
}

#[test]
fn every_field_of_memory_has_its_own_value() {
    let fixture = Fixture::new(&[
        ("memory.stat", MEMORY_STAT),
        ("memory.current", "9011200\n"),
        ("memory.max", "max\n"),
        ("memory.peak", "9994240\n"),
        ("memory.swap.current", "5\n"),
        ("memory.swap.max", "0\n"),
        ("memory.swap.peak", "7\n"),
        ("memory.pressure", PRESSURE),
    ]);
    let memory = fixture.metrics().unwrap().memory.unwrap();
    let expected = MemoryStat {
        anon: 1_363_968,
        file: 5_304_320,
        kernel_stack: 98304,
        slab: 1_959_672,
        sock: 4096,
        shmem: 12288,
        file_mapped: 2_703_360,
        file_dirty: 135_168,
        file_writeback: 8192,
        anon_thp: 2_097_152,
        inactive_anon: 1_335_296,
        active_anon: 20480,
        inactive_file: 4_079_616,
        active_file: 1_212_416,
        unevictable: 1,
        slab_reclaimable: 1_547_432,
        slab_unreclaimable: 412_240,
        pgfault: 4123,
        pgmajfault: 31,
        workingset_nodereclaim: 2,
        pgrefill: 23,
        pgscan: 24,
        pgsteal: 25,
        pgactivate: 294,
        pgdeactivate: 27,
        pglazyfree: 28,
        pglazyfreed: 29,
        thp_fault_alloc: 30,
        thp_collapse_alloc: 32,
        usage: 9_011_200,
        usage_limit: u64::MAX,
        swap_usage: 5,
        swap_limit: 0,
        max_usage: 9_994_240,
        swap_max_usage: 7,
        psi: memory.psi.clone(),
        ..Default::default()
    };
    assert_eq!(memory, expected);
    assert_eq!(memory.psi.some.avg10.to_bits(), 1.5_f64.to_bits());
    assert_eq!(memory.psi.full.total, 12345);
}

#[test]
fn the_single_workingset_counters_of_older_kernels_are_reported() {
    let memory = parse_memory("workingset_refault 4\nworkingset_activate 5\n").unwrap();
    assert_eq!(
        (memory.workingset_refault, memory.workingset_activate),
        (4, 5)
    );
}

#[test]
fn a_cgroup_without_controllers_reports_nothing_instead_of_zeros() {
    assert_eq!(Fixture::new(&[]).metrics().unwrap(), Metrics::new());
}

#[test]
fn cpu_times_are_there_without_the_cpu_controller() {
    let fixture = Fixture::new(&[(
        "cpu.stat",
        "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnice_usec 0\n",
    )]);
    let cpu = fixture.metrics().unwrap().cpu.unwrap();
    assert_eq!(
        (cpu.usage_usec, cpu.user_usec, cpu.system_usec),
        (30, 20, 10)
    );
    assert!(cpu.psi.is_none());
}

#[test]
fn throttling_bursts_and_pressure_of_cpu_are_reported() {
    let stat = "usage_usec 30\nuser_usec 20\nsystem_usec 10\ncore_sched.force_idle_usec 0\nnr_periods 6\nnr_throttled 5\nthrottled_usec 4\nnr_bursts 3\nburst_usec 2\n";
    let cpu = Fixture::new(&[("cpu.stat", stat), ("cpu.pressure", PRESSURE)])
        .metrics()
        .unwrap()
        .cpu;
    assert_eq!(
        (cpu.nr_periods, cpu.nr_throttled, cpu.throttled_usec),
        (6, 5, 4)
    );
    assert_eq!(
        (cpu.nr_bursts, cpu.burst_usec, cpu.psi.some.total),
        (3, 2, 123_456)
    );
}

#[test]
fn memory_events_are_reported_in_full() {
    let text = "low 1\nhigh 2\nmax 57\noom 4\noom_kill 3\noom_group_kill 6\nsock_throttled 0\n";
    let events = Fixture::new(&[("memory.events", text)])
        .metrics()
        .unwrap()
        .memory_events;
    assert_eq!((events.low, events.high, events.max), (1, 2, 57));
    assert_eq!(
        (events.oom, events.oom_kill, events.oom_group_kill),
        (4, 3, 6)
    );
}

#[test]
fn no_pid_limit_is_the_largest_value_in_v2() {
    let fixture = Fixture::new(&[("pids.current", "3\n"), ("pids.max", "max\n")]);
    let pids = fixture.metrics().unwrap().pids;
    assert_eq!((pids.current, pids.limit), (3, u64::MAX));
}

#[test]
fn io_lines_of_every_kernel_are_understood() {
    let text = "\
8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0 cost.usage=9
8:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021
7:1 7:0 254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0
259:0 \n";
    let entries = parse_io(text).unwrap();
    let entry = |major, minor, rbytes, wbytes, rios, wios| IOEntry {
        major,
        minor,
        rbytes,
        wbytes,
        rios,
        wios,
        ..Default::default()
    };
    let expected = [
        entry(8, 16, 1_459_200, 314_773_504, 192, 353),
        entry(8, 0, 90_430_464, 299_008_000, 8950, 1252),
        entry(254, 0, 1, 2, 3, 4),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn io_pressure_is_reported_without_the_io_controller() {
    let io = Fixture::new(&[("io.pressure", PRESSURE)])
        .metrics()
        .unwrap()
        .io;
    assert!(io.usage.is_empty());
    assert_eq!(io.psi.some.total, 123_456);
}

#[test]
fn huge_page_failures_come_from_the_events_file() {
    let fixture = Fixture::new(&[
        ("hugetlb.2MB.current", "2097152\n"),
        ("hugetlb.2MB.max", "max\n"),
        ("hugetlb.2MB.events", "max 9\n"),
    ]);
    fs::create_dir_all(
        fixture
            .0
            .path()
            .join("kernel/mm/hugepages/hugepages-2048kB"),
    )
    .unwrap();
    let huge = fixture.metrics().unwrap().hugetlb;
    assert_eq!(
        (huge.len(), huge[0].current, huge[0].max, huge[0].failcnt),
        (1, 2_097_152, u64::MAX, 9)
    );
}

#[test]
fn a_file_that_cannot_be_parsed_fails_the_whole_and_is_named() {
    let cases = [
        ("memory.stat", "anon\n"),
        ("memory.events", "oom_kill -x\n"),
        ("cpu.stat", "usage_usec\n"),
        ("io.stat", "8:x rbytes=1\n"),
        ("io.stat", "rbytes=1\n"),
        ("io.stat", "8:0 rbytes=x\n"),
        ("io.pressure", "some avg10=x\n"),
        ("rdma.current", "x y\n"),
        ("pids.current", "\n"),
    ];
    for (name, text) in cases {
        let fixture = Fixture::new(&[(name, text)]);
        let Err(error) = fixture.metrics() else {
            panic!("{name}: {text:?} was taken")
        };
        assert!(error.to_string().contains(name), "{error}");
    }
}
