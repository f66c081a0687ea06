//! Floods of requests that come once or twice. They may cost speed; what is asked for often stays learned.

use lectern_gate::learn::Settings;

use crate::world::{How, World, direct, key_guest, learned, request, with_key};

/// Keys in use.
const HOT: u64 = 200;

fn settings() -> Settings {
    Settings { leaves: 2_048, bytes: 2 << 20, rerun_one_in: 0 }
}

/// A flood of `per_hot` foreign requests for each one with a key in use, each sent `times` times in a row of rounds. Gives the
/// share of the requests with keys in use that hit in the last half.
fn flood(per_hot: u64, times: u64, rounds: u64, known_before: bool) -> f64 {
    let learned = learned(&settings());
    let (mut foreign, mut hits, mut counted) = (0, 0, 0);
    let send = |world: &mut World| {
        let (got, how) = request(&learned, &mut key_guest, world, 0);
        assert_eq!(got, direct(&mut key_guest, world));
        matches!(how, How::Hit | How::Compared)
    };
    let hot = |n: u64| with_key(&format!("hot {n}"));
    if known_before {
        for n in 0..HOT * 60 {
            send(&mut hot(n % HOT));
        }
    }
    for round in 0..rounds {
        for n in 0..HOT {
            // Not in the same order each time.
            let hit = send(&mut hot((n * 67 + round * 31) % HOT));
            if round >= rounds / 2 {
                counted += 1;
                hits += u32::from(hit);
            }
            for _ in 0..per_hot {
                send(&mut with_key(&format!("foreign {}", foreign / times)));
                foreign += 1;
            }
        }
    }
    let share = f64::from(hits) / f64::from(counted);
    println!(
        "flood {per_hot}:1, each {times} times, known before: {known_before}: {:.1} % of the hot hit",
        share * 100.0
    );
    let counters = learned.counters();
    assert!(counters.leaves <= 2_048 && counters.bytes <= 2 << 20, "{counters:?}");
    assert_eq!(counters.differences, 0);
    share
}

#[test]
fn values_that_come_once_displace_nothing() {
    assert!(flood(10, 1, 20, false) > 0.95);
    assert!(flood(100, 1, 4, true) > 0.95);
}

#[test]
fn values_that_come_twice_displace_each_other() {
    assert!(flood(10, 2, 20, false) > 0.95);
    assert!(flood(100, 2, 4, true) > 0.95);
}

#[test]
fn values_that_come_three_times_do_not_displace_much() {
    assert!(flood(10, 3, 20, true) > 0.9);
}

#[test]
fn a_flood_that_lasts_ends_in_a_rest_and_the_rest_ends() {
    let learned = learned(&settings());
    let hit = |world: &mut World| {
        let (got, how) = request(&learned, &mut key_guest, world, 0);
        assert_eq!(got, direct(&mut key_guest, world));
        matches!(how, How::Hit | How::Compared)
    };
    let hot = |n: u64| with_key(&format!("hot {n}"));
    let before = (0..20_000).filter(|n| hit(&mut hot(n % HOT))).count();
    let during = (0..150_000).filter(|n| hit(&mut with_key(&format!("foreign {n}")))).count();
    assert_eq!((before, during), (19_800, 0));
    let report = learned.explain(0, &|_| false);
    let rest = report.rests.expect("it rests");
    assert!(rest.why.starts_with("`header authorization` had "), "{}", rest.why);
    assert!(!hit(&mut hot(1)));
    let after = (0..150_000).filter(|n| hit(&mut hot(n % HOT))).count();
    println!("after the flood {after} of 150,000 hit");
    assert!(after > 50_000);
    assert_eq!(learned.explain(0, &|_| false).rests, None);
}
