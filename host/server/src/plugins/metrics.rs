//! The gate's counters in the text format of Prometheus, and what other parts of the server have to show.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use lectern_gate::{Counts, Fare};

use super::manage::Plugins;

/// One counter of a release.
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

/// Every counter, with what it counts.
const COUNTERS: &[Counter] = &[
    ("lectern_plugin_routes_total", "Calls of routing.route that ran the component", |counts| counts.routes),
    ("lectern_plugin_authentications_total", "Calls of auth.authenticate that ran the component", |counts| {
        counts.authentications
    }),
    ("lectern_plugin_pages_total", "Calls of pages.handle", |counts| counts.pages),
    ("lectern_plugin_fresh_instances_total", "Calls on a new instance", |counts| counts.fresh),
    ("lectern_plugin_warm_calls_total", "Calls on a used instance", |counts| counts.warm),
    ("lectern_plugin_traps_total", "Calls that crashed", |counts| counts.traps),
    ("lectern_plugin_over_cpu_total", "Calls that computed for too long", |counts| counts.over_cpu),
    ("lectern_plugin_over_wall_total", "Calls that did not answer in time", |counts| counts.over_wall),
    ("lectern_plugin_over_memory_total", "Calls that wanted too much memory", |counts| counts.over_memory),
    ("lectern_plugin_over_table_total", "Calls that wanted too large a table", |counts| counts.over_table),
    ("lectern_plugin_over_hostcall_total", "Calls that passed too much to the host", |counts| counts.over_hostcall),
    ("lectern_plugin_invalid_answers_total", "Answers that broke the contract", |counts| counts.invalid),
    ("lectern_plugin_refusals_total", "Calls that the plugin said it could not answer", |counts| counts.failed),
    ("lectern_plugin_busy_total", "Calls that waited too long for their turn", |counts| counts.busy),
    ("lectern_plugin_broken_total", "Calls not made because the plugin failed too often", |counts| counts.broken),
    ("lectern_plugin_host_faults_total", "Calls that the host could not run", |counts| counts.host),
    ("lectern_plugin_learned_hits_total", "Decisions found without a call", |counts| counts.learned.hits),
    ("lectern_plugin_learned_misses_total", "Decisions looked for and not found", |counts| counts.learned.misses),
    ("lectern_plugin_learned_inserts_total", "Decisions learned", |counts| counts.learned.inserts),
    ("lectern_plugin_learned_evictions_total", "Decisions forgotten for lack of room", |counts| {
        counts.learned.evictions
    }),
    ("lectern_plugin_learned_reruns_total", "Decisions found and compared with a call", |counts| counts.learned.reruns),
    ("lectern_plugin_learned_differences_total", "Comparisons that differed: not deterministic", |counts| {
        counts.learned.differences
    }),
    ("lectern_plugin_log_dropped_total", "Log lines that were not written", |counts| counts.log_dropped),
];

/// What there is of learned decisions.
const LEARNED: &[Counter] = &[
    ("lectern_plugin_learned_decisions", "Decisions that are known", |counts| counts.learned.leaves),
    ("lectern_plugin_learned_bytes", "Memory of the decisions that are known", |counts| counts.learned.bytes),
];

/// All of them.
pub(super) async fn answer(State(plugins): State<Arc<Plugins>>) -> impl IntoResponse {
    let chain = plugins.gate().chain();
    let mut seen: Vec<(String, &'static str, Fare)> = Vec::new();
    for (_, bound) in chain.bindings() {
        if seen.iter().any(|(name, ..)| name == bound.name()) {
            continue;
        }
        let (live, previous, canary) = bound.fares();
        seen.push((bound.name().to_owned(), "live", live));
        seen.extend(previous.map(|fare| (bound.name().to_owned(), "previous", fare)));
        seen.extend(canary.map(|fare| (bound.name().to_owned(), "candidate", fare)));
    }
    let mut text = format!(
        "# HELP lectern_gate_generation Which change of the bindings this server shows\n\
         # TYPE lectern_gate_generation gauge\nlectern_gate_generation {}\n",
        chain.generation()
    );
    for (name, help, read) in COUNTERS {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
        for (binding, place, fare) in &seen {
            let release = plugins.release_at(binding, place).unwrap_or_else(|| fare.release.id()).short();
            let value = read(&fare.release.stats().read());
            let _ = writeln!(text, "{name}{{binding=\"{binding}\",place=\"{place}\",release=\"{release}\"}} {value}");
        }
    }
    for (name, help, read) in LEARNED {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (binding, place, fare) in &seen {
            let release = plugins.release_at(binding, place).unwrap_or_else(|| fare.release.id()).short();
            let value = read(&fare.release.stats().read());
            let _ = writeln!(text, "{name}{{binding=\"{binding}\",place=\"{place}\",release=\"{release}\"}} {value}");
        }
    }
    text.push_str(&plugins.more_metrics());
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text)
}
