use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::cgroup::notify::tests::inotify;

const PID: i32 = 4711;

/// Regular files with the contents of a v2 cgroup's: inotify treats them alike.
struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new(kills: u64) -> Self {
        let fixture = Self(tempfile::tempdir().unwrap());
        fixture.populated(1);
        fixture.kills(kills);
        fixture
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn kills(&self, kills: u64) {
        let text =
            format!("low 0\nhigh 0\nmax 9\noom {kills}\noom_kill {kills}\noom_group_kill 0\n");
        self.write("memory.events", &text);
    }

    fn populated(&self, populated: u64) {
        self.write(
            "cgroup.events",
            &format!("populated {populated}\nfrozen 0\n"),
        );
    }

    /// As systemd does with an empty scope.
    fn remove(&self) {
        for file in ["memory.events", "cgroup.events"] {
            fs::remove_file(self.0.path().join(file)).unwrap();
        }
    }

    fn watch(&self) -> OomWatch {
        // Without a kernel's log.
        let none = self.0.path().join("none");
        let kernel_log = KernelLog::of_files(self.0.path(), PID, &none, &none);
        OomWatch::v2_with(self.0.path(), kernel_log, inotify).unwrap()
    }

    /// With the log of a kernel that has killed nothing yet.
    fn watch_with_log(&self) -> OomWatch {
        self.machine(0);
        self.write("kmsg", "");
        let (counters, log) = (self.0.path().join("vmstat"), self.0.path().join("kmsg"));
        let kernel_log = KernelLog::of_files(self.0.path(), PID, &counters, &log);
        OomWatch::v2_with(self.0.path(), kernel_log, inotify).unwrap()
    }

    /// So many kills in the whole machine.
    fn machine(&self, kills: u64) {
        self.write("vmstat", &format!("pgfault 1\noom_kill {kills}\n"));
    }

    /// The log of the kernel says that it has killed a process, long after this test.
    fn logged(&self, pid: i32) {
        let message =
            format!("Memory cgroup out of memory: Killed process {pid} (tail) total-vm:1kB");
        self.write("kmsg", &format!("3,1,{},-;{message}\n", u64::MAX));
    }
}

async fn next(watch: &mut OomWatch) -> Option<()> {
    timeout(Duration::from_secs(60), watch.next())
        .await
        .expect("no event")
}

async fn stays_silent(watch: &mut OomWatch) -> bool {
    timeout(Duration::from_millis(100), watch.next())
        .await
        .is_err()
}

#[test]
fn a_watch_can_be_awaited_from_a_spawned_task() {
    fn is_send<T: Send>(_: T) {}
    fn next_is_send(watch: &mut OomWatch) {
        is_send(watch.next());
    }
    let _ = next_is_send;
}

#[tokio::test]
async fn kills_from_before_the_watch_are_not_reported() {
    let fixture = Fixture::new(7);
    let mut watch = fixture.watch();
    assert!(stays_silent(&mut watch).await);
    assert!(!watch.poll_now());
    fixture.kills(8);
    assert_eq!(next(&mut watch).await, Some(()));
}

#[tokio::test]
async fn reclaim_at_the_limit_is_not_a_kill() {
    let fixture = Fixture::new(0);
    let mut watch = fixture.watch();
    fixture.write(
        "memory.events",
        "low 0\nhigh 0\nmax 10\noom 1\noom_kill 0\noom_group_kill 0\n",
    );
    assert!(stays_silent(&mut watch).await);
}

#[tokio::test]
async fn a_kill_is_reported_once_by_next_or_by_the_final_look() {
    let fixture = Fixture::new(0);
    let mut watch = fixture.watch();
    fixture.kills(1);
    assert_eq!(next(&mut watch).await, Some(()));
    assert!(!watch.poll_now());
    fixture.kills(2);
    assert!(watch.poll_now());
    assert!(!watch.poll_now());
    assert!(stays_silent(&mut watch).await);
}

#[tokio::test]
async fn the_kill_of_the_last_process_is_reported_before_the_end() {
    let fixture = Fixture::new(0);
    let mut watch = fixture.watch();
    fixture.kills(1);
    fixture.populated(0);
    assert_eq!(next(&mut watch).await, Some(()));
    assert_eq!(next(&mut watch).await, None);
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn an_oom_without_a_kill_before_the_removal_was_one() {
    // systemd was faster than the last look.
    for polled in [true, false] {
        let fixture = Fixture::new(0);
        let mut watch = fixture.watch();
        fixture.write("memory.events", "max 10\noom 1\noom_kill 0\n");
        assert!(stays_silent(&mut watch).await);
        fixture.remove();
        if polled {
            assert!(watch.poll_now());
        } else {
            assert_eq!(next(&mut watch).await, Some(()));
        }
        assert!(!watch.poll_now());
        assert_eq!(next(&mut watch).await, None);
    }
}

#[tokio::test]
async fn after_a_removal_the_kernels_log_tells() {
    for (pid, killed) in [(PID, true), (PID + 1, false)] {
        let fixture = Fixture::new(0);
        let mut watch = fixture.watch_with_log();
        // At its limit, which need not be the end of anyone.
        fixture.write("memory.events", "max 10\noom 1\noom_kill 0\n");
        assert!(stays_silent(&mut watch).await);
        fixture.machine(1);
        fixture.logged(pid);
        fixture.remove();
        assert_eq!(watch.poll_now(), killed, "{pid}");
        assert!(!watch.poll_now());
        assert_eq!(next(&mut watch).await, None);
    }
}

#[tokio::test]
async fn a_kill_that_was_reported_is_not_found_in_the_log_again() {
    let fixture = Fixture::new(0);
    let mut watch = fixture.watch_with_log();
    fixture.machine(1);
    fixture.logged(PID);
    fixture.kills(1);
    assert_eq!(next(&mut watch).await, Some(()));
    fixture.remove();
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn a_removal_after_a_reported_kill_is_none() {
    let fixture = Fixture::new(0);
    let mut watch = fixture.watch();
    fixture.write("memory.events", "max 10\noom 1\noom_kill 1\n");
    assert_eq!(next(&mut watch).await, Some(()));
    fixture.remove();
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn an_empty_cgroup_ends_a_waiting_watch() {
    let fixture = Fixture::new(0);
    let mut watch = fixture.watch();
    assert!(stays_silent(&mut watch).await);
    fixture.populated(0);
    assert_eq!(next(&mut watch).await, None);
}

#[tokio::test]
async fn a_dropped_wait_loses_no_kill() {
    let fixture = Fixture::new(0);
    let mut watch = fixture.watch();
    for kills in 1..=20 {
        assert!(
            timeout(Duration::from_millis(1), watch.next())
                .await
                .is_err()
        );
        fixture.kills(kills);
        assert_eq!(next(&mut watch).await, Some(()));
    }
}

#[tokio::test]
async fn a_cgroup_without_the_memory_controller_cannot_be_watched() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        OomWatch::v1(dir.path()),
        Err(Error::NoMemoryController { .. })
    ));
    assert!(matches!(
        OomWatch::v2(dir.path(), PID),
        Err(Error::NoMemoryController { .. })
    ));
    let gone = dir.path().join("c1");
    assert!(matches!(OomWatch::v1(&gone), Err(Error::Gone { .. })));
    assert!(matches!(OomWatch::v2(&gone, PID), Err(Error::Gone { .. })));
}
