//! The goals, in the order of the table.

use super::goal::{Bound, Goal, at, by, cpu, less, over_at, own, ratio};
use super::select::{Measure, Pick};
use crate::row::NO_SHIM;
use crate::{answers, cold, ctr_run, direct, kubelet, probes, saturation, ways};

const PODHOOK: &str = "podhook";

const RUNC: &[&str] = &["2.3", "2.4"];
const CRUN: &[&str] = &["2.4+crun"];
const NEW: &[&str] = &["2.3", "2.4", "2.4+crun"];

const fn most(value: f64) -> Bound {
    Bound::AtMost(value)
}

/// Of podhook's pods without a pause container, beside the original's with one.
const fn pauseless(
    what: &'static str,
    part: &'static str,
    row: &'static str,
    bound: Bound,
) -> Goal {
    let goal = by(
        what,
        Pick::median(part, row, "podhook-pauseless"),
        Pick::median(part, row, "containerd-shim-runc-v2"),
        bound,
    );
    at(goal, RUNC)
}

const fn none(part: &'static str, what: &'static str) -> Pick {
    Pick::median(part, what, NO_SHIM)
}

/// All of them.
pub const GOALS: &[Goal] = &[
    pauseless(
        "without a pause container: CreatePod",
        "cold",
        "RunPodSandbox",
        most(0.40),
    ),
    pauseless(
        "without a pause container: StopPod",
        "cold",
        "StopPodSandbox",
        most(0.40),
    ),
    pauseless(
        "without a pause container: a pod of one, until it runs",
        "cold",
        cold::UP,
        most(0.60),
    ),
    cpu(pauseless(
        "without a pause container: CPU of a pod's life",
        "cold",
        cold::LIFE,
        most(0.50),
    )),
    pauseless(
        "without a pause container: memory of an empty pod",
        "memory",
        "an empty pod: private dirty",
        most(1.0 / 12.0),
    ),
    at(
        by(
            "without a pause container: pods a second, 8 at once",
            Pick::median("crowd", "pods a second", "podhook-pauseless").at_once(8),
            Pick::median("crowd", "pods a second", "containerd-shim-runc-v2").at_once(8),
            Bound::AtLeast(2.5),
        ),
        RUNC,
    ),
    at(
        ratio("StartContainer", "cold", "StartContainer", most(0.75)),
        RUNC,
    ),
    at(
        ratio("StartContainer, crun", "cold", "StartContainer", most(0.70)),
        CRUN,
    ),
    at(
        ratio("StopContainer, 2.3", "cold", "StopContainer", most(0.5)),
        &["2.3"],
    ),
    at(
        ratio("StopContainer, 2.4", "cold", "StopContainer", most(0.35)),
        &["2.4", "2.4+crun"],
    ),
    at(ratio("CreatePod", "cold", "RunPodSandbox", most(0.7)), RUNC),
    at(
        ratio("CreatePod, crun", "cold", "RunPodSandbox", most(0.65)),
        CRUN,
    ),
    at(ratio("StopPod", "cold", "StopPodSandbox", most(0.5)), NEW),
    at(
        over_at(
            ratio(
                "CreatePod, of the original with runc",
                "cold",
                "RunPodSandbox",
                most(0.5),
            ),
            "2.4",
        ),
        CRUN,
    ),
    at(
        cpu(ratio("CPU of a pod's life", "cold", cold::LIFE, most(0.6))),
        NEW,
    ),
    ratio("ctr run --rm", "cold", ctr_run::RUN, most(0.7)),
    ratio(
        "containers a second",
        "crowd",
        saturation::CONTAINERS,
        Bound::AtLeast(2.0),
    ),
    ratio(
        "containers a second, with an exec",
        "crowd",
        saturation::WITH_EXEC,
        Bound::AtLeast(3.0),
    ),
    ratio(
        "the shim alone: Create and Start",
        "direct",
        "Create and Start",
        most(0.75),
    ),
    ratio(
        "the shim alone: Kill to Delete",
        "direct",
        "Kill to Delete",
        most(0.4),
    ),
    less(
        own(
            "start verb, over an empty program",
            Pick::median("direct", "start verb", PODHOOK),
            " ms",
            most(2.0),
        ),
        none("direct", direct::EMPTY),
    ),
    less(
        own(
            "start verb of a pod's second container, over an empty program",
            Pick::median("direct", "start verb, second container of the pod", PODHOOK),
            " ms",
            most(1.0),
        ),
        none("direct", direct::EMPTY),
    ),
    own(
        "the shim's own CPU from Create to Start",
        Pick::median("direct", direct::OWN_CPU, PODHOOK),
        " ms",
        most(2.0),
    ),
    own(
        "a hook a second",
        none("alone", ways::HOOK),
        " ms",
        most(2.0),
    ),
    own(
        "a hook a second: p99",
        none("alone", ways::HOOK).measure(Measure::P99),
        " ms",
        most(4.0),
    ),
    by(
        "a hook a second, of the OCI runtime's exec",
        none("alone", ways::HOOK),
        none("alone", ways::RUNTIME),
        most(1.0 / 12.0),
    ),
    by(
        "hooks in a loop, of bare C",
        none("loop", ways::HOOK),
        none("loop", ways::BARE),
        most(1.25),
    ),
    by(
        "hooks in a loop, of the OCI runtime's exec",
        none("loop", ways::HOOK),
        none("loop", ways::RUNTIME),
        most(1.0 / 18.0),
    ),
    less(
        ratio(
            "client's Exec a second, less its own cost",
            "alone",
            ways::CLIENT,
            most(1.0 / 12.0),
        ),
        none("alone", ways::NOTHING),
    ),
    less(
        ratio(
            "client's Exec in a loop, less its own cost",
            "loop",
            ways::CLIENT,
            most(1.0 / 12.0),
        ),
        none("loop", ways::NOTHING),
    ),
    cpu(ratio(
        "CPU of a probe",
        "probes",
        probes::PROBE,
        most(1.0 / 6.0),
    )),
    ratio(
        "CPU of a probe, the kubelet's included",
        "kubelet",
        kubelet::PROBE,
        most(1.0 / 6.0),
    ),
    own(
        "CPU of a probe: the shim's part",
        Pick::median("probes", probes::PROBE, PODHOOK).measure(Measure::CpuShim),
        " ms",
        most(1.5),
    ),
    own(
        "Kill that starts a preStop: p99",
        Pick::median("hooks", answers::KILL, PODHOOK).measure(Measure::P99),
        " ms",
        most(5.0),
    ),
    own(
        "State while hooks run: p99",
        Pick::median("hooks", answers::STATE, PODHOOK).measure(Measure::P99),
        " ms",
        most(5.0),
    ),
    own(
        "size of the program",
        Pick::median("memory", "size of the program", PODHOOK),
        " kB",
        most(3000.0),
    ),
    own(
        "a pod's shim: private dirty",
        Pick::median("memory", "a pod of one: private dirty", PODHOOK),
        " kB",
        most(400.0),
    ),
    own(
        "each further container: private dirty",
        Pick::median("memory", "each container, 1 to 50: private dirty", PODHOOK),
        " kB",
        most(30.0),
    ),
];

#[cfg(test)]
mod tests {
    use super::super::Report;
    use super::super::tests::sheet;
    use super::*;

    const ORIGINAL: &str = "containerd-shim-runc-v2";

    fn goal(what: &str) -> &'static Goal {
        GOALS.iter().find(|goal| goal.what == what).expect("a goal")
    }

    #[test]
    fn a_ratio_is_podhooks_number_by_the_originals_of_that_place() {
        let mut report = Report::default();
        let rows = [
            ("StartContainer", PODHOOK, 30.0),
            ("StartContainer", ORIGINAL, 40.0),
        ];
        report.take(sheet("cold", "2.4", &rows));
        let start = goal("StartContainer");
        assert_eq!(start.value(&report, "2.4"), Some(0.75));
        assert!(start.bound.holds(0.75) && !start.bound.holds(0.76));
        assert_eq!(start.value(&report, "2.3"), None);
        assert!(start.is_of("2.4") && !start.is_of("2.4+crun"));
    }

    #[test]
    fn a_throughput_is_to_be_more() {
        let bound = goal("containers a second").bound;
        assert!(bound.holds(2.1) && !bound.holds(1.9));
    }

    #[test]
    fn what_the_client_costs_itself_counts_for_neither() {
        let mut report = Report::default();
        let rows = [
            (ways::CLIENT, PODHOOK, 3.0),
            (ways::CLIENT, ORIGINAL, 25.0),
            (ways::NOTHING, NO_SHIM, 1.0),
        ];
        report.take(sheet("alone", "2.4", &rows));
        let value = goal("client's Exec a second, less its own cost").value(&report, "2.4");
        assert_eq!(value, Some(2.0 / 24.0));
    }

    #[test]
    fn another_runtime_is_compared_with_what_a_user_would_change_from() {
        let mut report = Report::default();
        report.take(sheet("cold", "2.4", &[("RunPodSandbox", ORIGINAL, 100.0)]));
        report.take(sheet(
            "cold",
            "2.4+crun",
            &[("RunPodSandbox", PODHOOK, 50.0)],
        ));
        let value = goal("CreatePod, of the original with runc").value(&report, "2.4+crun");
        assert_eq!(value, Some(0.5));
    }
}
