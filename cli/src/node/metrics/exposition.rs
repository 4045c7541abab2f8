//! The counters of the node as a page for Prometheus.

use std::collections::BTreeMap;

use podhook_hooks::counters::{Counters, How};
use podhook_hooks::lifecycle::HandlerKind;
use podhook_hooks::sequence::Phase;

use super::scrape::Scrape;
use crate::clock;
use crate::output::exposition::Page;

/// The page of what was found.
pub fn text(scrape: &Scrape) -> String {
    let mut page = Page::default();
    let counters = &scrape.counters;
    hooks(&mut page, counters);
    ends(&mut page, counters);
    execs(&mut page, counters);
    now(&mut page, scrape);
    state(&mut page, scrape);
    page.into_text()
}

fn hooks(page: &mut Page, counters: &Counters) {
    let each = || {
        let handlers = counters.hooks.iter();
        handlers.flat_map(|(hook, handlers)| {
            handlers.iter().map(move |(handler, runs)| {
                (
                    [("hook", hook.as_str()), ("handler", handler.as_str())],
                    runs,
                )
            })
        })
    };
    let with = |labels: [(&'static str, &'_ str); 2], key: &'static str, value: &str| {
        [labels[0], labels[1], (key, value)].map(|(key, value)| (key, value.to_owned()))
    };
    let name = "podhook_hooks_total";
    page.family(
        name,
        "counter",
        "Lifecycle hooks that have ended or were skipped.",
    );
    for (labels, runs) in each() {
        for (result, count) in &runs.results {
            let labels = with(labels, "result", result);
            page.sample(
                name,
                &labels.each_ref().map(|(k, v)| (*k, v.as_str())),
                count,
            );
        }
    }
    let name = "podhook_hook_duration_seconds";
    page.family(
        name,
        "histogram",
        "How long the hooks took that have ended.",
    );
    for (labels, runs) in each() {
        let buckets = runs.cumulative();
        for (bound, count) in &buckets {
            let bound = if bound.is_finite() {
                bound.to_string()
            } else {
                "+Inf".to_owned()
            };
            let labels = with(labels, "le", &bound);
            let labels = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
            page.sample(&format!("{name}_bucket"), &labels, count);
        }
        page.sample(&format!("{name}_sum"), &labels, seconds(runs.duration_usec));
        let count = buckets.last().map_or(0, |(_, count)| *count);
        page.sample(&format!("{name}_count"), &labels, count);
    }
    let name = "podhook_hook_cpu_seconds_total";
    page.family(name, "counter", "CPU time of exec hooks.");
    let runs_processes =
        |name: &str| HandlerKind::named(name).is_some_and(HandlerKind::runs_processes);
    for (labels, runs) in each().filter(|(labels, _)| runs_processes(labels[1].1)) {
        for (mode, usec) in [
            ("user", runs.cpu_user_usec),
            ("system", runs.cpu_system_usec),
        ] {
            let labels = with(labels, "mode", mode);
            let labels = labels.each_ref().map(|(k, v)| (*k, v.as_str()));
            page.sample(name, &labels, seconds(usec));
        }
    }
}

fn ends(page: &mut Page, counters: &Counters) {
    let name = "podhook_terminations_total";
    page.family(
        name,
        "counter",
        "Ends of containers with lifecycle hooks, by how they came.",
    );
    let mut ends: BTreeMap<&str, u64> = How::ALL.into_iter().map(|how| (how.name(), 0)).collect();
    ends.extend(
        counters
            .terminations
            .iter()
            .map(|(how, count)| (how.as_str(), *count)),
    );
    for (how, count) in ends {
        page.sample(name, &[("end", how)], count);
    }
}

fn execs(page: &mut Page, counters: &Counters) {
    let name = "podhook_execs_total";
    page.family(
        name,
        "counter",
        "Processes that clients have executed, by who made them and why not the engine.",
    );
    page.sample(
        name,
        &[("path", "native"), ("reason", "")],
        counters.execs_native,
    );
    for (reason, count) in &counters.execs_runtime {
        page.sample(name, &[("path", "runtime"), ("reason", reason)], count);
    }
    let name = "podhook_exec_failures_total";
    page.family(
        name,
        "counter",
        "Processes that clients wanted to execute and that could not be made.",
    );
    page.sample(name, &[], counters.execs_failed);
}

fn now(page: &mut Page, scrape: &Scrape) {
    let name = "podhook_containers";
    page.family(
        name,
        "gauge",
        "Containers with lifecycle hooks, by the phase of their life.",
    );
    // Each phase has its line, so that a graph has no gaps.
    let mut phases: BTreeMap<&str, u64> =
        Phase::ALL.iter().map(|phase| (phase.name(), 0)).collect();
    for container in &scrape.containers {
        let count = phases.entry(container.record.phase.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    for (phase, count) in phases {
        page.sample(name, &[("phase", phase)], count);
    }
    let name = "podhook_hook_start_time_seconds";
    page.family(
        name,
        "gauge",
        "When the hooks that run now began, since the epoch.",
    );
    for container in &scrape.containers {
        let record = &container.record;
        let Some(hook) = record.running() else {
            continue;
        };
        let Some(since) = hook.started_at else {
            continue;
        };
        let labels = [
            ("namespace", record.namespace()),
            ("pod", record.pod_name().unwrap_or_default()),
            ("container", record.container()),
            ("hook", hook.hook.as_str()),
            ("handler", hook.handler.as_str()),
        ];
        page.sample(
            name,
            &labels,
            clock::timestamp(since.into()).as_millisecond() as f64 / 1000.0,
        );
    }
}

fn state(page: &mut Page, scrape: &Scrape) {
    for (name, help, value) in [
        ("podhook_shims", "Shims that have answered.", scrape.up),
        (
            "podhook_shims_silent",
            "Shims that have not answered in time; what they said last counts.",
            scrape.silent,
        ),
        (
            "podhook_records_unreadable",
            "Containers whose record cannot be read.",
            scrape.unreadable,
        ),
    ] {
        page.family(name, "gauge", help);
        page.sample(name, &[], value);
    }
    let name = "podhook_scrape_duration_seconds";
    page.family(name, "gauge", "How long collecting these numbers took.");
    page.sample(name, &[], scrape.took.as_secs_f64());
    let name = "podhook_build_info";
    page.family(name, "gauge", "The version of the podhook command.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
}

fn seconds(usec: u64) -> f64 {
    usec as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use podhook_hooks::counters::FallbackReason;
    use podhook_hooks::handler::{HookRun, Outcome};
    use podhook_hooks::moment::Moment;
    use podhook_hooks::sequence::HookKind;

    use super::*;
    use crate::node::bundles::{Bundle, Recorded};

    fn scrape() -> Scrape {
        let mut counters = Counters::default();
        let mut run = HookRun::new(Outcome::Succeeded, Moment::now());
        run.took = Duration::from_millis(60);
        run.cpu_user = Duration::from_micros(1500);
        counters.hook_ended(HookKind::PreStop, HandlerKind::Exec, "Succeeded", &run);
        counters.hook_ended(HookKind::PreStop, HandlerKind::Sleep, "Aborted", &run);
        counters.hook_skipped(HookKind::PreStop, HandlerKind::Exec);
        counters.terminated(How::Signalled);
        counters.execs_native = 3;
        counters.exec_by_runtime(FallbackReason::Configured);
        let json = serde_json::json!({"id": "c1", "namespace": "moby", "phase": "PreStop",
            "pod": {"namespace": "s\"h\\op\n", "name": "web", "container": "nginx"},
            "hooks": [{"hook": "preStop", "handler": "exec", "startedAt": "2026-11-23T20:01:00.5Z"}]});
        Scrape {
            counters,
            up: 2,
            containers: vec![Recorded {
                bundle: Bundle {
                    namespace: "moby".to_owned(),
                    id: "c1".to_owned(),
                    path: "/nowhere".into(),
                },
                record: serde_json::from_value(json.clone()).unwrap(),
                json,
            }],
            ..Scrape::default()
        }
    }

    #[test]
    fn the_page() {
        let text = text(&scrape());
        for line in [
            "# TYPE podhook_hooks_total counter",
            r#"podhook_hooks_total{hook="preStop",handler="exec",result="Skipped"} 1"#,
            r#"podhook_hooks_total{hook="preStop",handler="exec",result="Succeeded"} 1"#,
            r#"podhook_hooks_total{hook="preStop",handler="sleep",result="Aborted"} 1"#,
            r#"podhook_hook_duration_seconds_bucket{hook="preStop",handler="exec",le="0.05"} 0"#,
            r#"podhook_hook_duration_seconds_bucket{hook="preStop",handler="exec",le="0.1"} 1"#,
            r#"podhook_hook_duration_seconds_bucket{hook="preStop",handler="exec",le="+Inf"} 1"#,
            r#"podhook_hook_duration_seconds_sum{hook="preStop",handler="exec"} 0.06"#,
            r#"podhook_hook_duration_seconds_count{hook="preStop",handler="exec"} 1"#,
            r#"podhook_hook_cpu_seconds_total{hook="preStop",handler="exec",mode="user"} 0.0015"#,
            r#"podhook_terminations_total{end="GraceKilled"} 0"#,
            r#"podhook_terminations_total{end="Signalled"} 1"#,
            r#"podhook_execs_total{path="native",reason=""} 3"#,
            r#"podhook_execs_total{path="runtime",reason="configured"} 1"#,
            "podhook_exec_failures_total 0",
            r#"podhook_containers{phase="PreStop"} 1"#,
            r#"podhook_hook_start_time_seconds{namespace="s\"h\\op\n",pod="web",container="nginx",hook="preStop",handler="exec"} 1795464060.5"#,
            "podhook_shims 2",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line}\n--- not in\n{text}"
            );
        }
        assert!(
            !text.contains(r#"handler="sleep",mode="#),
            "only exec hooks use CPU time"
        );
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal_of_who_reads_the_page() {
        let mut scrape = scrape();
        let pod = scrape.containers[0].record.pod.as_mut().unwrap();
        pod.name = Some("\x1b]0;owned\x07\u{9b}2J\u{202e}\r".to_owned());
        let text = text(&scrape);
        let label = r#"pod="\\x1b]0;owned\\x07\\u009b2J\\u202e\\r""#;
        assert!(text.contains(label), "{text:?}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
    }

    #[test]
    fn a_node_without_anything_has_its_zeros() {
        let text = text(&Scrape::default());
        for line in [
            r#"podhook_terminations_total{end="Exited"} 0"#,
            r#"podhook_execs_total{path="native",reason=""} 0"#,
            r#"podhook_containers{phase="Running"} 0"#,
            "podhook_shims 0",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line}\n--- not in\n{text}"
            );
        }
    }
}
