//! The fleet's figures in the text format of Prometheus.

use std::fmt::Write as _;

use lectern_edge::{Refusal, WAIT_BUCKETS_MS};

use super::Crew;

/// All of them.
pub(super) fn text(crew: &Crew) -> String {
    // Writing to a String does not fail.
    let mut text = String::new();
    let pools = crew.pools.load();
    let mut pools: Vec<_> = pools.iter().collect();
    pools.sort_by_key(|(key, _)| (key.0.0, key.1.0));

    head(&mut text, "lectern_content_workers", "gauge", "Workers of a version by state");
    for (key, face) in &pools {
        let workers = face.pool.workers();
        let busy = workers.iter().filter(|worker| worker.in_flight() > 0).count();
        let (starting, draining) = crew.machine.unready(**key, workers.len());
        for (state, count) in
            [("busy", busy), ("idle", workers.len() - busy), ("starting", starting), ("draining", draining)]
        {
            let _ = writeln!(text, "lectern_content_workers{{{},state=\"{state}\"}} {count}", labels(key));
        }
    }
    head(&mut text, "lectern_content_in_flight", "gauge", "Requests and WebSockets that workers of a version have");
    for (key, face) in &pools {
        let in_flight: usize = face.pool.workers().iter().map(|worker| worker.in_flight()).sum();
        let _ = writeln!(text, "lectern_content_in_flight{{{}}} {in_flight}", labels(key));
    }
    head(&mut text, "lectern_content_waiting", "gauge", "Requests that wait for a worker of a version");
    for (key, face) in &pools {
        let _ = writeln!(text, "lectern_content_waiting{{{}}} {}", labels(key), face.pool.waiting());
    }
    head(&mut text, "lectern_content_answers_total", "counter", "Requests that workers of a version answered");
    for (key, face) in &pools {
        let _ = writeln!(text, "lectern_content_answers_total{{{}}} {}", labels(key), face.pool.answers());
    }
    head(&mut text, "lectern_content_held_back", "gauge", "1 while no worker of a version is started for lack of room");
    for (key, face) in &pools {
        let held = u8::from(face.pool.held_back().is_some());
        let _ = writeln!(text, "lectern_content_held_back{{{}}} {held}", labels(key));
    }

    zygotes(&mut text, crew);

    head(
        &mut text,
        "lectern_admission_wait_seconds",
        "histogram",
        "How long admitted requests had waited for a worker",
    );
    let (counts, sum) = crew.admissions.waits();
    let mut total = 0;
    for (count, most) in counts.iter().zip(WAIT_BUCKETS_MS.iter().map(|ms| Some(*ms)).chain([None])) {
        total += count;
        let most = most.map_or("+Inf".to_owned(), |ms| (ms as f64 / 1_000.0).to_string());
        let _ = writeln!(text, "lectern_admission_wait_seconds_bucket{{le=\"{most}\"}} {total}");
    }
    let _ = writeln!(text, "lectern_admission_wait_seconds_sum {}", sum.as_secs_f64());
    let _ = writeln!(text, "lectern_admission_wait_seconds_count {total}");
    head(&mut text, "lectern_admission_refusals_total", "counter", "Requests that got no worker, by reason");
    for why in Refusal::ALL {
        let count = crew.admissions.refusals(why);
        let _ = writeln!(text, "lectern_admission_refusals_total{{reason=\"{}\"}} {count}", why.word());
    }

    head(&mut text, "lectern_content_budget", "gauge", "What all content processes take, and may take");
    for (what, used, most) in crew.machine.figures() {
        let _ = writeln!(text, "lectern_content_budget{{of=\"{what}\",is=\"used\"}} {used}");
        let _ = writeln!(text, "lectern_content_budget{{of=\"{what}\",is=\"most\"}} {most}");
    }
    text
}

fn zygotes(text: &mut String, crew: &Crew) {
    let all = crew.zygotes.figures();
    head(text, "lectern_content_zygotes", "gauge", "Interpreters that wait to fork workers of a version, by use");
    for (key, _, used) in &all {
        let state = if *used { "used" } else { "idle" };
        let _ = writeln!(text, "lectern_content_zygotes{{{},state=\"{state}\"}} 1", labels(key));
    }
    head(
        text,
        "lectern_content_zygote_memory_bytes",
        "gauge",
        "Memory of the zygote of a version, its share of shared pages",
    );
    for (key, bytes, _) in &all {
        let _ = writeln!(text, "lectern_content_zygote_memory_bytes{{{}}} {bytes}", labels(key));
    }
    head(text, "lectern_content_starts_total", "counter", "Workers that became ready, by where they came from");
    for (from, count) in crew.zygotes.starts() {
        let _ = writeln!(text, "lectern_content_starts_total{{from=\"{from}\"}} {count}");
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn labels(key: &super::Key) -> String {
    format!("content=\"{}\",bundle=\"{}\"", key.0, key.1)
}
