//! Tells of tests that take long: a run that says nothing for a minute cannot be told from one that hangs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, thread};

/// What libtest takes for long, too.
const LONG: Duration = Duration::from_secs(60);
/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(10);

/// A test under way.
struct Running {
    number: u64,
    name: String,
    since: Instant,
    /// How often it was told of.
    told: u32,
}

/// How many of the longest are named.
const NAMED: usize = 10;

static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());
static LONGEST: Mutex<Vec<(Duration, String)>> = Mutex::new(Vec::new());

/// Runs a test, and says so every minute as long as it runs.
pub fn watched<T>(name: &str, test: impl FnOnce() -> T) -> T {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static TELLING: Once = Once::new();
    TELLING.call_once(|| drop(thread::spawn(tell)));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    running().push(Running {
        number,
        name: name.to_owned(),
        since: Instant::now(),
        told: 0,
    });
    let _over = Over(number);
    test()
}

/// Ends the watch, also when the test panics.
struct Over(u64);

impl Drop for Over {
    fn drop(&mut self) {
        let mut running = running();
        let over = running.extract_if(.., |test| test.number == self.0);
        lock(&LONGEST).extend(over.map(|test| (test.since.elapsed(), test.name)));
    }
}

/// Names the tests that took longest, by which a run becomes shorter.
pub fn tell_longest() {
    let mut all = mem::take(&mut *lock(&LONGEST));
    if all.len() > NAMED {
        all.sort_by(|one, other| other.cmp(one));
        println!("\nthe longest tests:");
        for (took, name) in all.iter().take(NAMED) {
            println!("{:6.1} s {name}", took.as_secs_f64());
        }
    }
}

fn tell() {
    loop {
        thread::sleep(INTERVAL);
        for test in running().iter_mut() {
            if test.since.elapsed() > LONG * (test.told + 1) {
                test.told += 1;
                let seconds = test.since.elapsed().as_secs();
                eprintln!("test {} has been running for {seconds} seconds", test.name);
            }
        }
    }
}

fn running() -> MutexGuard<'static, Vec<Running>> {
    lock(&RUNNING)
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
