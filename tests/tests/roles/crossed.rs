//! Things of others asked for below one's own: a bundle of theirs under an item of mine, a key of theirs under my account.
//!
//! Each must be answered as a thing that does not exist, so that nothing is learnt by guessing numbers, and stay as it is.

use std::fmt::Write as _;

use http::Method;
use lectern_tests::publisher::text;
use lectern_tests::server::Account;
use serde_json::{Value, json};

use crate::things::{made, put};
use crate::world::{Item, World};
use crate::{Route, WIDTH, bodies, cell, compare, routes};

/// A name of the same form that names nothing.
fn absent(name: &str) -> String {
    if let Ok(number) = name.parse::<i64>() {
        return (number + 1_000_000_000).to_string();
    }
    let flipped = |c: char| match c {
        '0'..='8' | 'a'..='e' | 'A'..='E' => char::from(u8::try_from(c).unwrap() + 1),
        _ => '0',
    };
    let (head, tail) = name.split_at(name.len() - 4);
    head.chars().chain(tail.chars().map(flipped)).collect()
}

/// Who asks, and who makes what is below the first name of the address.
fn asker<'a>(world: &'a World, route: &Route) -> &'a Account {
    // Only administrators reach what is below an environment.
    if route.path.contains("/environments/") { &world.admin } else { &world.publisher }
}

#[test]
fn things_of_others_below_ones_own() {
    let world = World::new();
    let mut wrong = Vec::new();
    let mut table = format!(
        "What an owner is answered of things below what is theirs and is not; see roles.txt.\n\n\
         {:<WIDTH$}{:<20}{:<20}{:<20}",
        "route", "theirs below mine", "nothing below mine", "then by themselves"
    );
    for route in routes(world.server()).into_iter().filter(|route| route.path.matches('{').count() > 1) {
        let who = asker(&world, &route);
        let theirs = made(&world, &world.owner, &route);
        let mine = first_of(&world, who, &route);
        let ask = |who: &Account, things: &[String]| {
            let path = put(&route, things);
            let ask = world.server().ask(route.method.clone(), &path).key(&who.key);
            cell(&world, &bodies::of(&world, &route, &path).put(ask).send())
        };
        let mut crossed = theirs.clone();
        crossed[0] = mine;
        let found = ask(who, &crossed);
        let last = crossed.pop().unwrap();
        crossed.push(absent(&last));
        let none = ask(who, &crossed);
        if found != none || found.starts_with('2') {
            wrong.push(format!("{route}: {found} for what is another's, {none} for what is nobody's"));
        }
        let administered = route.path.contains("/environments/");
        let direct = ask(if administered { &world.admin } else { &world.owner }, &theirs);
        if !direct.starts_with('2') {
            wrong.push(format!("{route}: {direct} to whom it belongs: is it still there?"));
        }
        write!(table, "\n{:<WIDTH$}{found:<20}{none:<20}{direct:<20}", route.to_string()).unwrap();
    }
    println!("{table}");
    compare("crossed.txt", &table);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What only a body names: a bundle that belongs to another item, an address that is another item's.
#[test]
fn things_of_others_in_bodies() {
    let world = World::new();
    let (mine, theirs) = (world.item(&world.publisher), world.item(&world.owner));
    let bundles = world.look(&world.owner, &format!("/v1/content/{}/bundles", theirs.guid));
    let bundle = text(&bundles[0]["id"]);
    let number: i64 = bundle.parse().unwrap();
    let at = |item: &Item, rest: &str| format!("/v1/content/{}/{rest}", item.guid);
    let ask = |method: Method, path: &str, body: Value| world.api(&world.publisher, method, path).json(&body).send();
    for verb in ["deploy", "build"] {
        ask(Method::POST, &at(&mine, verb), json!({"bundle_id": bundle})).expect_error(400, 82);
        ask(Method::POST, &at(&mine, verb), json!({"bundle_id": number})).expect_error(400, 82);
    }
    let legacy = format!("/applications/{}/deploy", mine.number);
    ask(Method::POST, &legacy, json!({"bundle": number})).expect_error(400, 82);
    let path = json!({"path": "/private-path/"});
    ask(Method::PUT, &at(&mine, "vanity"), path.clone()).expect_error(409, 51);
    let forced = ask(Method::PUT, &at(&mine, "vanity"), json!({"path": "/private-path/", "force": true}));
    forced.expect_error(403, 19);
    let below = ask(Method::PUT, &at(&mine, "vanity"), json!({"path": "/private-path/below/", "force": true}));
    below.expect_error(409, 51);
    // Whose item it is, is said by who owns it.
    let taken =
        ask(Method::PATCH, &format!("/v1/content/{}", theirs.guid), json!({"owner_guid": world.publisher.guid}));
    taken.expect_error(403, 19);
    let given =
        json!({"name": world.unique(), "owner_guid": world.owner.guid, "guid": theirs.guid, "id": theirs.number});
    let made = ask(Method::POST, "/v1/content", given).json();
    assert_ne!(made["guid"], json!(theirs.guid), "{made}");
    assert_ne!(made["owner_guid"], json!(world.owner.guid), "nobody publishes in another's name: {made}");
    assert_eq!(world.look(&world.owner, &at(&theirs, "bundles")), bundles);
    let private = world.look(&world.owner, &at(&world.private, "vanity"));
    assert_eq!(private["path"], "/private-path/");
}

/// What of `who` stands first in the address.
fn first_of(world: &World, who: &Account, route: &Route) -> String {
    let end = route.path.find('}').unwrap();
    let shorter = Route { method: Method::POST, path: route.path[..=end].to_owned() };
    made(world, who, &shorter).remove(0)
}
