//! What a lifecycle does to a container, seen by those who use it: through ctr, through CRI, and with
//! `podhook`.

mod accounting;
mod book;
mod conformance;
mod deadlines;
mod delete;
mod fallback;
mod hostile;
mod http;
mod http_memory;
mod http_reach;
mod http_servers;
mod inspect;
mod install;
mod journal;
mod kill;
mod left_running;
mod metrics;
mod names;
mod network;
mod node_config;
mod output;
mod pains;
mod pains_stop;
mod pauseless;
mod pauseless_killed;
mod post_start;
mod post_start_failure;
mod process;
mod record;
mod recorded;
mod refused;
mod restart;
mod script;
mod sources;
mod stop;
mod stopped;
mod told;
mod tree;
mod tutorial;
mod watching;
mod web;

use std::process::ExitCode;

use podhook_integration::suite::{each_once, podhook_only, run_with_threads};

/// Hooks that are waited for cost nothing: many more tests than cores.
const THREADS: usize = 8;

fn main() -> ExitCode {
    let tests = [
        // The longest first: what is left at the end then runs side by side.
        restart::tests(),
        install::tests(),
        pauseless::tests(),
        pauseless_killed::tests(),
        refused::tests(),
        tutorial::tests(),
        book::tests(),
        stop::tests(),
        stopped::tests(),
        kill::tests(),
        output::tests(),
        left_running::tests(),
        told::tests(),
        deadlines::tests(),
        fallback::tests(),
        node_config::tests(),
        post_start::tests(),
        post_start_failure::tests(),
        http::tests(),
        http_memory::tests(),
        http_servers::tests(),
        http_reach::tests(),
        conformance::tests(),
        pains::tests(),
        pains_stop::tests(),
        tree::tests(),
        process::tests(),
        accounting::tests(),
        hostile::tests(),
        sources::tests(),
        record::tests(),
        inspect::tests(),
        journal::tests(),
        delete::tests(),
        names::tests(),
        metrics::tests(),
    ];
    // On each containerd and with each configuration, which hooks know nothing of: not on every combination of the two.
    run_with_threads(podhook_only(each_once(tests.concat())), THREADS)
}
