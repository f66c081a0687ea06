//! Many threads, one plugin.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use lectern_gate::learn::{Key, Learned, Recorder, Settings};

use crate::world::{How, Verdict, World, direct, key_guest, request, with_key};

#[test]
fn threads_learn_for_themselves_and_are_seen_as_one() {
    let threads = 4;
    // Fewer shards than threads: some share one.
    let shards = NonZeroUsize::new(3).unwrap();
    let learned: Arc<Learned<Verdict>> = Arc::new(Learned::new(shards, &Settings::default(), Key::random().unwrap()));
    let run = |learned: Arc<Learned<Verdict>>| {
        move || {
            for n in 0..2_000 {
                let mut world = with_key(&format!("key {}", n % 50));
                let (got, _) = request(&learned, &mut key_guest, &mut world, 0);
                assert_eq!(got, direct(&mut key_guest, &mut world));
            }
        }
    };
    let running: Vec<_> = (0..threads).map(|_| thread::spawn(run(Arc::clone(&learned)))).collect();
    running.into_iter().for_each(|thread| thread.join().unwrap());
    let counters = learned.counters();
    assert_eq!(counters.walks, 8_000);
    assert_eq!(counters.hits + counters.misses, 8_000);
    assert!((50..=150).contains(&counters.leaves), "{counters:?}");
    let report = learned.explain(0, &|_| false);
    assert_eq!((report.threads, report.tree.asked.len(), report.tree.asked[0].answers), (3, 1, 50));
}

#[test]
fn one_thread_finds_out_and_all_stop() {
    let learned = Arc::new(Learned::new(NonZeroUsize::new(2).unwrap(), &Settings::default(), Key::random().unwrap()));
    let fill = |learned: Arc<Learned<Verdict>>| move || drop(request(&learned, &mut key_guest, &mut with_key("k"), 0));
    let others: Vec<_> = (0..4).map(|_| thread::spawn(fill(Arc::clone(&learned)))).collect();
    others.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(learned.counters().leaves > 0);
    // The same questions, and another decision each time.
    let mut calls = 0;
    let mut fickle = |recorder: &mut Recorder, world: &mut World| {
        calls += 1;
        (Verdict(calls), key_guest(recorder, world).1)
    };
    for _ in 0..3 {
        request(&learned, &mut fickle, &mut with_key("k"), 0);
    }
    assert!(learned.off().is_some());
    assert_eq!(learned.counters().leaves, 0);
    assert_eq!(request(&learned, &mut key_guest, &mut with_key("k"), 0).1, How::CalledUnrecorded);
}
