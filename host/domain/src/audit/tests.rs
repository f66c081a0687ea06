//! The chain: whole as written, broken by any change.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use time::Duration;
use uuid::Uuid;

use super::*;

fn at(micros: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::microseconds(micros)
}

fn ada() -> Actor {
    Actor::account(UserId(7), UserGuid(Uuid::from_u128(7)), "ada")
}

#[test]
fn the_form_is_fixed() {
    // Written entries are checked for as long as there are databases.
    let entry = Entry::after(Head::EMPTY, at(1_234_567), ada(), &Action::UserLocked { user: "bob" });
    assert!(entry.follows(Head::EMPTY));
    assert_eq!(entry.text, "locked the account bob");
    assert_eq!(&entry.hash.to_string()[..16], "c5405945acc28797", "{}", entry.hash);
}

#[test]
fn long_texts_are_cut() {
    let name = "x".repeat(3 * MOST_TEXT);
    let entry = Entry::after(Head::EMPTY, at(0), ada(), &Action::TagMade { tag: &name });
    assert_eq!(entry.text.chars().count(), MOST_TEXT);
    assert!(entry.text.ends_with('…') && entry.follows(Head::EMPTY));
}

fn actors() -> impl Strategy<Value = Actor> {
    prop_oneof![
        any::<(i64, u128, String)>().prop_map(|(id, guid, name)| Actor::account(
            UserId(id),
            UserGuid(Uuid::from_u128(guid)),
            &name
        )),
        Just(Actor::admin_socket()),
        Just(Actor::server()),
    ]
}

prop_compose! {
    fn logs()(steps in prop::collection::vec((actors(), any::<String>(), 0..i64::from(u32::MAX)), 1..12)) -> Vec<Entry> {
        let mut head = Head::EMPTY;
        steps.into_iter().map(|(actor, name, micros)| {
            let entry = Entry::after(head, at(micros), actor, &Action::TagMade { tag: &name });
            head = entry.head();
            entry
        }).collect()
    }
}

/// The number of the first entry that does not follow.
fn broken(log: &[Entry]) -> Option<i64> {
    let mut head = Head::EMPTY;
    for entry in log {
        if !entry.follows(head) {
            return Some(head.seq + 1);
        }
        head = entry.head();
    }
    None
}

fn bend(entry: &mut Entry, how: usize) {
    match how {
        0 => entry.seq += 1,
        1 => entry.at += Duration::microseconds(1),
        2 => {
            entry.actor.user = match entry.actor.user {
                None => Some((UserId(1), UserGuid(Uuid::nil()))),
                Some(_) => None,
            }
        }
        3 => entry.actor.description.push(' '),
        4 => entry.action.push('s'),
        5 => entry.text.insert(0, 'x'),
        6 => entry.prev_hash.0[3] ^= 1,
        7 => entry.hash.0[31] ^= 1,
        // A border between two fields is moved.
        _ => {
            let first = entry.text.remove(0);
            entry.action.push(first);
        }
    }
}

proptest! {
    #[test]
    fn a_log_is_whole_until_it_is_bent(log in logs(), which in any::<prop::sample::Index>(), how in 0_usize..9) {
        prop_assert_eq!(broken(&log), None);
        let place = which.index(log.len());
        let number = log[place].seq;
        let mut bent = log.clone();
        bend(&mut bent[place], how);
        prop_assert_eq!(broken(&bent), Some(number));
        let mut without = log.clone();
        without.remove(place);
        // The last one leaves a log that is whole, and shorter than the head says.
        prop_assert_eq!(broken(&without), (place + 1 < log.len()).then_some(number));
        let mut twice = log.clone();
        twice.insert(place, log[place].clone());
        prop_assert_eq!(broken(&twice), Some(number + 1));
    }
}
