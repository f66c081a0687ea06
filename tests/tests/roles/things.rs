//! What addresses name, made anew for whoever asks: one line per place in an address.
//!
//! A place is written as in the OpenAPI document, from below `/__api__` to the parameter. Where a longer place has no line of
//! its own, nothing is guessed: the test fails and names it.

use http::Method;
use lectern_tests::apps;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::Account;
use serde_json::{Value, json};

use crate::Route;
use crate::world::{Item, World};

/// What is known when a thing is made.
pub(crate) struct Asked<'a> {
    pub(crate) world: &'a World,
    /// Whose it shall be, as far as it is anybody's.
    pub(crate) owner: &'a Account,
    pub(crate) route: &'a Route,
    /// What was put in the parameters before.
    pub(crate) before: &'a [String],
}

type Make = fn(&Asked<'_>) -> String;

/// How each thing is made.
const THINGS: &[(&str, Make)] = &[
    ("/v1/content/{guid}", |asked| item(asked).guid),
    ("/v1/content/{guid}/bundles/{id}", bundle),
    ("/v1/content/{guid}/jobs/{key}", job),
    ("/v1/content/{guid}/permissions/{id}", permission),
    ("/v1/content/{guid}/permission_requests/{id}", permission_request),
    ("/v1/content/{guid}/tags/{id}", given_tag),
    ("/applications/{app}", |asked| item(asked).number),
    ("/v1/tasks/{id}", task),
    ("/tasks/{id}", task),
    ("/v1/tags/{id}", tag),
    ("/v1/users/{guid}", |asked| asked.owner.guid.clone()),
    ("/v1/users/{guid}/keys/{id}", key),
    ("/v1/users/{guid}/sessions/{id}", session),
    ("/v1/users/{guid}/tokens/{id}", claimed_token),
    ("/v1/users/{guid}/oauth_grants/{id}", grant),
    ("/tokens/{id}", token),
    ("/v1/groups/{guid}", group),
    ("/v1/experimental/groups/{guid}", group),
    ("/v1/groups/{guid}/members/{user}", |asked| asked.world.third.guid.clone()),
    ("/users/{id}", number),
    ("/variants/{id}", variant),
    ("/variants/{id}/subscribers/{guid}", subscriber),
    ("/schedules/{id}", schedule),
    ("/v1/oauth/integrations/{guid}", integration),
    ("/v1/oauth/sessions/{guid}", integration_session),
    ("/v1/oauth/templates/{key}", |_| "connect".into()),
    ("/v1/environments/{guid}", environment),
    ("/v1/environments/{guid}/permissions/{id}", environment_permission),
    ("/server_settings/scheduler/{app_mode}", |_| "python-fastapi".into()),
];

/// The route's path with things of `owner` in it.
pub(crate) fn filled(world: &World, owner: &Account, route: &Route) -> String {
    let path = put(route, &made(world, owner, route));
    // Where the server does not go: who may ask is told so, and nothing is fetched.
    if path.contains("/repo/") { format!("{path}?url=http%3A%2F%2F127.0.0.1%2Fx.git") } else { path }
}

/// The route's path with these in place of its parameters.
pub(crate) fn put(route: &Route, things: &[String]) -> String {
    let mut things = things.iter();
    let segment = |segment: &str| match segment.starts_with('{') {
        true => things.next().cloned().unwrap(),
        false => segment.to_owned(),
    };
    route.path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Makes what the route's path names, in its order.
pub(crate) fn made(world: &World, owner: &Account, route: &Route) -> Vec<String> {
    let mut made = Vec::new();
    let below = route.path.strip_prefix("/__api__").unwrap_or(&route.path);
    for (at, _) in below.match_indices('}') {
        let place = &below[..=at];
        let make = THINGS.iter().find(|(known, _)| *known == place).map(|(_, make)| make);
        let make = make.unwrap_or_else(|| panic!("{route}: add a line to THINGS of roles/things.rs for {place}"));
        made.push(make(&Asked { world, owner, route, before: &made }));
    }
    made
}

impl Asked<'_> {
    /// Makes something as its owner.
    fn make(&self, path: &str, body: &Value) -> Value {
        self.world.make(self.owner, Method::POST, path, body)
    }
}

/// Looking leaves the private item as it is, and its processes are there to be ended; anything else gets an item of its own.
fn item(asked: &Asked<'_>) -> Item {
    let world = asked.world;
    // Content that follows a repository takes no uploads any more, and the private item does.
    let follows = asked.route.path.contains("/repository");
    let looks = (asked.route.reads() && !follows) || asked.route.path.contains("/jobs/");
    let item =
        if looks && asked.owner.guid == world.owner.guid { world.private.clone() } else { world.item(asked.owner) };
    let at = format!("/v1/content/{}", item.guid);
    if asked.route.method == Method::DELETE && asked.route.path.ends_with("/vanity") {
        world.make(asked.owner, Method::PUT, &format!("{at}/vanity"), &json!({"path": world.unique()}));
    }
    if asked.route.method == Method::DELETE
        && (asked.route.path.ends_with("/thumbnail") || asked.route.path.ends_with("/image"))
    {
        world.api(asked.owner, Method::PUT, &format!("{at}/thumbnail")).body(crate::world::png()).send().expect(204);
    }
    if follows && asked.route.method != Method::PUT {
        let wanted = json!({"repository": "https://git.example.org/team/app.git", "polling": false});
        world.make(asked.owner, Method::PUT, &format!("{at}/repository"), &wanted);
    }
    item
}

fn bundle(asked: &Asked<'_>) -> String {
    let (item, word) = (&asked.before[0], asked.world.unique());
    // The private item stays of its kind.
    let bundle = if *item == asked.world.private.guid { apps::probe_version(&word) } else { apps::page(&word) };
    Publisher::new(asked.world.server(), asked.owner).upload(item, &bundle)
}

/// A run of the item's process that can be ended, or a finished one to look at: who follows a run stays until it ends.
fn job(asked: &Asked<'_>) -> String {
    let guid = &asked.before[0];
    let owner = Publisher::new(asked.world.server(), asked.owner);
    let wanted = if asked.route.reads() { 2 } else { 0 };
    if wanted == 0 {
        owner.open(guid, "").expect(200);
    }
    let jobs = asked.world.look(asked.owner, &format!("/v1/content/{guid}/jobs"));
    let job = jobs.as_array().unwrap().iter().find(|job| (job["status"] == 0) == (wanted == 0));
    text(&job.unwrap_or_else(|| panic!("no job of the kind wanted: {jobs}"))["key"])
}

fn permission(asked: &Asked<'_>) -> String {
    let at = format!("/v1/content/{}/permissions", asked.before[0]);
    let listed = asked.world.look(asked.owner, &at);
    let third = &asked.world.third.guid;
    match listed.as_array().unwrap().iter().find(|entry| entry["principal_guid"] == json!(third)) {
        Some(entry) => text(&entry["id"]),
        None => {
            let entry = json!({"principal_guid": third, "principal_type": "user", "role": "viewer"});
            text(&asked.make(&at, &entry)["id"])
        }
    }
}

fn permission_request(asked: &Asked<'_>) -> String {
    let at = format!("/v1/content/{}/permission_requests", asked.before[0]);
    text(&asked.world.make(&asked.world.third, Method::POST, &at, &json!({"role": "viewer"}))["id"])
}

/// A category, which administrators make.
fn category(world: &World) -> String {
    text(&world.make(&world.admin, Method::POST, "/v1/tags", &json!({"name": world.unique()}))["id"])
}

/// A tag that the owner's item bears.
pub(crate) fn tag_of(world: &World, owner: &Account, item: &str) -> String {
    let parent = category(world);
    let tag = json!({"name": world.unique(), "parent_id": parent});
    let tag = text(&world.make(&world.admin, Method::POST, "/v1/tags", &tag)["id"]);
    world.make(owner, Method::POST, &format!("/v1/content/{item}/tags"), &json!({"tag_id": tag}));
    tag
}

fn given_tag(asked: &Asked<'_>) -> String {
    tag_of(asked.world, asked.owner, &asked.before[0])
}

fn tag(asked: &Asked<'_>) -> String {
    tag_of(asked.world, &asked.world.owner, &asked.world.private.guid)
}

fn task(asked: &Asked<'_>) -> String {
    let guid = item(asked).guid;
    let bundle = json!({"bundle_id": null, "activate": false});
    let task = text(&asked.make(&format!("/v1/content/{guid}/build"), &bundle)["task_id"]);
    Publisher::new(asked.world.server(), asked.owner).wait(&task).expect_success();
    task
}

fn key(asked: &Asked<'_>) -> String {
    let at = format!("/v1/users/{}/keys", asked.owner.guid);
    text(&asked.make(&at, &json!({"name": asked.world.unique(), "role": "viewer"}))["id"])
}

fn session(asked: &Asked<'_>) -> String {
    let who = json!({"username": asked.owner.name, "password": asked.owner.password});
    asked.world.server().post("/__api__/__login__").json(&who).send().expect(200);
    let listed = asked.world.look(asked.owner, &format!("/v1/users/{}/sessions", asked.owner.guid));
    text(&listed[0]["id"])
}

/// A token that waits to be claimed.
fn token(asked: &Asked<'_>) -> String {
    let id = format!("T{:0>32}", asked.world.unique());
    let wanted = json!({"token": id, "public_key": asked.world.public_key, "user_id": 0});
    asked.world.server().post("/__api__/tokens").json(&wanted).send().expect(200);
    id
}

fn claimed_token(asked: &Asked<'_>) -> String {
    let id = token(asked);
    asked.make(&format!("/tokens/{id}/claim"), &json!({}));
    id
}

fn grant(asked: &Asked<'_>) -> String {
    let at = format!("/v1/users/{}/oauth_grants", asked.owner.guid);
    let known = asked.world.look(asked.owner, &at);
    asked.world.program(asked.owner);
    let now = asked.world.look(asked.owner, &at);
    let new = now.as_array().unwrap().iter().find(|grant| !known.as_array().unwrap().contains(grant));
    text(&new.unwrap()["id"])
}

/// A group that the private item lists, and nobody who asks in it. In the owner's is the third.
fn group(asked: &Asked<'_>) -> String {
    let group = text(&asked.make("/v1/groups", &json!({"name": asked.world.unique()}))["guid"]);
    if asked.owner.guid == asked.world.owner.guid {
        asked.make(&format!("/v1/groups/{group}/members"), &json!({"user_guid": asked.world.third.guid}));
    }
    let private = &asked.world.private.guid;
    let entry = json!({"principal_guid": group, "principal_type": "group", "role": "viewer"});
    asked.world.make(&asked.world.owner, Method::POST, &format!("/v1/content/{private}/permissions"), &entry);
    group
}

/// The number by which R's old client knows an account.
fn number(asked: &Asked<'_>) -> String {
    asked.world.look(asked.owner, "/users/current")["id"].to_string()
}

fn default_variant(world: &World, owner: &Account, item: &Item) -> String {
    world.look(owner, &format!("/applications/{}/variants", item.guid))[0]["id"].to_string()
}

fn variant(asked: &Asked<'_>) -> String {
    default_variant(asked.world, asked.owner, &item(asked))
}

fn subscriber(asked: &Asked<'_>) -> String {
    let third = asked.world.third.guid.clone();
    asked.make(&format!("/variants/{}/subscribers", asked.before[0]), &json!([third]));
    third
}

/// What a schedule is made of, for a new document of the owner's.
pub(crate) fn new_schedule(world: &World, owner: &Account) -> Value {
    let item = world.item(owner);
    let publisher = Publisher::new(world.server(), owner);
    publisher.wait(&text(
        &world.make(owner, Method::POST, &format!("/v1/content/{}/deploy", item.guid), &json!({}))["task_id"],
    ));
    // Documents are only stored yet.
    world.sql(&format!("UPDATE content SET app_mode = 'rmd-static' WHERE id = {}", item.number));
    let (app, variant): (i64, i64) =
        (item.number.parse().unwrap(), default_variant(world, owner, &item).parse().unwrap());
    json!({"app_id": app, "variant_id": variant, "type": "day", "schedule": "{\"N\":1}"})
}

fn schedule(asked: &Asked<'_>) -> String {
    asked.make("/schedules", &new_schedule(asked.world, asked.owner))["id"].to_string()
}

fn integration(asked: &Asked<'_>) -> String {
    let wanted = json!({"name": asked.world.unique(), "template": "connect", "config": {"max_role": "Viewer"}});
    text(&asked.world.make(&asked.world.admin, Method::POST, "/v1/oauth/integrations", &wanted)["guid"])
}

/// The owner's, as a provider would have answered.
fn integration_session(asked: &Asked<'_>) -> String {
    let integration = integration(asked);
    let session = format!("00000000-0000-4000-8000-{:0>12}", asked.world.unique().trim_start_matches("unique"));
    asked.world.sql(&format!(
        "INSERT INTO oauth_sessions (guid, user_id, integration_id, sealed, has_refresh_token) \
         SELECT '{session}', u.id, i.id, '', false FROM users u, oauth_integrations i \
         WHERE u.guid = '{}' AND i.guid = '{integration}'",
        asked.owner.guid
    ));
    session
}

fn environment(asked: &Asked<'_>) -> String {
    let wanted = json!({"title": "x", "name": asked.world.unique(), "cluster_name": "Kubernetes"});
    text(&asked.world.make(&asked.world.admin, Method::POST, "/v1/environments", &wanted)["guid"])
}

fn environment_permission(asked: &Asked<'_>) -> String {
    let at = format!("/v1/environments/{}/permissions", asked.before[0]);
    let who = json!({"user_guid": asked.world.third.guid});
    text(&asked.world.make(&asked.world.admin, Method::POST, &at, &who)["guid"])
}
