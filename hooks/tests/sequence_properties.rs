//! Random lives of containers on a virtual clock.

mod simulator;

use std::time::Duration;

use podhook_hooks::sequence::{Event, HookKind, HookTiming, Sequence, Settings, Timing};
use proptest::prelude::*;

use simulator::{SIGKILL, World};

fn seconds() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => (1u64..40).prop_map(Duration::from_secs),
        1 => (0u64..5000).prop_map(Duration::from_millis),
        1 => (0u64..200).prop_map(Duration::from_secs),
    ]
}

fn hook() -> impl Strategy<Value = Option<HookTiming>> {
    let timing = (proptest::option::of(seconds()), any::<bool>());
    proptest::option::weighted(
        0.8,
        timing.prop_map(|(timeout, ignore_failure)| HookTiming {
            timeout,
            ignore_failure,
        }),
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let signal = || prop_oneof![Just(SIGKILL), 1i32..=64];
    let signals = proptest::collection::vec(0i32..66, 0..3);
    let timing = (
        hook(),
        hook(),
        proptest::option::of(signal()),
        seconds(),
        any::<bool>(),
        signals,
        seconds(),
    );
    let timing = timing.prop_map(
        |(
            post_start,
            pre_stop,
            stop_signal,
            grace,
            grace_is_ours,
            stop_signals,
            post_start_timeout,
        )| Timing {
            post_start,
            pre_stop,
            stop_signal,
            grace,
            grace_is_ours,
            own_stop_signal: None,
            stop_signals,
            post_start_timeout,
        },
    );
    (proptest::option::weighted(0.95, timing), any::<bool>())
        .prop_map(|(lifecycle, cri)| Settings { lifecycle, cri })
}

fn event() -> impl Strategy<Value = Event> {
    let hook = || prop_oneof![Just(HookKind::PostStart), Just(HookKind::PreStop)];
    let signal = prop_oneof![3 => Just(libc::SIGTERM), 1 => Just(SIGKILL), 2 => -1i32..66];
    prop_oneof![
        2 => proptest::option::of(seconds()).prop_map(|rpc_deadline| Event::Started { rpc_deadline }),
        4 => (hook(), any::<bool>(), any::<bool>()).prop_map(|(hook, succeeded, init_ending)| Event::HookEnded { hook, succeeded, init_ending }),
        4 => (signal, proptest::bool::weighted(0.1)).prop_map(|(signal, paused)| Event::KillRequested { signal, paused }),
        1 => Just(Event::InitExited),
        1 => Just(Event::ExitPublished),
        1 => Just(Event::Timer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_keeps_every_promise(
        settings in settings(),
        first in proptest::option::of(seconds()),
        events in proptest::collection::vec((seconds(), event()), 0..12),
    ) {
        let mut world = World::new(settings);
        world.event(Event::Started { rpc_deadline: first });
        for (pause, event) in events {
            world.sleep(pause);
            world.event(event);
        }
        world.finish();
    }

    /// Late timers, a clock that jumps, hooks that never die: the times are no longer exact, but Start is answered once
    /// and the machine comes to rest.
    #[test]
    fn no_clock_and_no_order_of_events_leaves_start_alone(
        settings in settings(),
        events in proptest::collection::vec((seconds(), event()), 0..20),
    ) {
        let mut machine = Sequence::new(settings);
        let mut replies = 0;
        let mut latest = Duration::ZERO;
        let asked = events.iter().any(|(_, event)| matches!(event, Event::Started { .. }));
        let last = (Duration::MAX, Event::Timer);
        let published = (Duration::MAX, Event::ExitPublished);
        for (now, event) in events.into_iter().chain([last, published, last]) {
            latest = latest.max(now);
            let actions = machine.step(now, event);
            replies += actions.iter().filter(|action| is_reply(action)).count();
            if let Some(at) = machine.next_timer() {
                prop_assert!(at > latest);
            }
        }
        prop_assert_eq!(replies, usize::from(asked));
        prop_assert_eq!(machine.next_timer(), None);
    }
}

fn is_reply(action: &podhook_hooks::sequence::Action) -> bool {
    use podhook_hooks::sequence::Action::{ReplyFailed, ReplyStarted};
    matches!(action, ReplyStarted | ReplyFailed(_))
}
