//! Every life a container can have, event by event, for every kind of container. What changes nothing
//! is checked and not followed, so every path ends: the machine has no endless life. (A signal that is delivered
//! untouched is remembered with its time, so that each is something new: one per life is followed.)

mod simulator;

use std::time::Duration;

use podhook_hooks::sequence::{Event, HookKind, HookTiming, Settings, Timing};

use simulator::{SIGKILL, World};

/// Longer than any life of events that change something.
const MAX_LENGTH: usize = 15;

/// Not a stop signal.
const UNTOUCHED: Event = Event::KillRequested {
    signal: libc::SIGUSR1,
    paused: false,
};

fn alphabet(deadline: Option<Duration>) -> [Option<Event>; 13] {
    let ended = |hook, succeeded, init_ending| {
        Some(Event::HookEnded {
            hook,
            succeeded,
            init_ending,
        })
    };
    let kill = |signal, paused| Some(Event::KillRequested { signal, paused });
    [
        Some(Event::Started {
            rpc_deadline: deadline,
        }),
        ended(HookKind::PostStart, true, false),
        ended(HookKind::PostStart, false, false),
        ended(HookKind::PostStart, false, true),
        ended(HookKind::PreStop, true, false),
        ended(HookKind::PreStop, false, false),
        ended(HookKind::PreStop, false, true),
        kill(libc::SIGTERM, false),
        kill(libc::SIGTERM, true),
        kill(SIGKILL, false),
        Some(UNTOUCHED),
        Some(Event::InitExited),
        // Time passes until something is due.
        None,
    ]
}

fn explore(world: &World, events: &[Option<Event>], length: usize, visited: &mut usize) {
    *visited += 1;
    let rest: Vec<_>;
    let events = if world.untouched > 0 {
        rest = events
            .iter()
            .copied()
            .filter(|event| *event != Some(UNTOUCHED))
            .collect();
        &rest
    } else {
        events
    };
    assert!(length <= MAX_LENGTH, "a life without end");
    world.clone().finish();
    for event in events {
        let mut next = world.clone();
        match event {
            Some(event) => {
                // A moment passes, so that times can be told apart.
                next.sleep(Duration::from_millis(100));
                let before = next.clone();
                next.event(*event);
                // What changes nothing at all leads to nothing new.
                if next == before {
                    continue;
                }
            }
            None => match next.machine.next_timer() {
                Some(at) => next.sleep(at - next.now),
                None => continue,
            },
        }
        explore(&next, events, length + 1, visited);
    }
}

fn containers() -> Vec<Settings> {
    let hook = |timeout, ignore_failure| {
        Some(HookTiming {
            timeout: Option::map(timeout, Duration::from_secs),
            ignore_failure,
        })
    };
    let mut containers = vec![Settings {
        lifecycle: None,
        cri: true,
    }];
    for cri in [false, true] {
        for grace_is_ours in [false, true] {
            for grace in [0, 3, 30] {
                for post_start in [None, hook(None, false), hook(Some(5), true)] {
                    for pre_stop in [None, hook(Some(10), false)] {
                        let lifecycle = Some(Timing {
                            post_start,
                            pre_stop,
                            stop_signal: (grace == 3).then_some(libc::SIGQUIT),
                            grace: Duration::from_secs(grace),
                            grace_is_ours,
                            own_stop_signal: None,
                            stop_signals: Vec::new(),
                            post_start_timeout: Duration::from_secs(110),
                        });
                        containers.push(Settings { lifecycle, cri });
                    }
                }
            }
        }
    }
    containers
}

#[test]
fn no_order_of_events_breaks_a_promise() {
    let mut visited = 0;
    for settings in containers() {
        // A Start without a deadline, too late, with hardly any time, with some, with the usual time.
        for deadline in [None, Some(0), Some(3), Some(8), Some(120)] {
            let events = alphabet(deadline.map(Duration::from_secs));
            explore(&World::new(settings.clone()), &events, 0, &mut visited);
        }
    }
    assert!(visited > 20_000, "{visited}");
}
