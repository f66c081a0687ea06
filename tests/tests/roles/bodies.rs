//! What each route is sent: enough to be done for who may.
//!
//! Most routes pass over fields that they do not know, so most are sent the same object.

use http::Method;
use lectern_tests::apps;
use lectern_tests::http::Ask;
use serde_json::{Value, json};

use crate::Route;
use crate::things::{new_schedule, tag_of};
use crate::world::{World, png};

/// A body of a request.
pub(crate) enum Sent {
    Nothing,
    Json(Value),
    Bytes(Vec<u8>),
    Form(&'static [(&'static str, &'static str)]),
}

impl Sent {
    pub(crate) fn put(self, ask: Ask) -> Ask {
        match self {
            Self::Nothing => ask,
            Self::Json(value) => ask.json(&value),
            Self::Bytes(bytes) => ask.header("content-type", "application/octet-stream").body(bytes),
            Self::Form(fields) => ask.form(fields),
        }
    }
}

/// What `route` is sent; `filled` is its path with things in it.
pub(crate) fn of(world: &World, route: &Route, filled: &str) -> Sent {
    let path = route.path.strip_prefix("/__api__").unwrap_or(&route.path);
    match (route.method.as_str(), path) {
        ("GET", _) => Sent::Nothing,
        ("DELETE", "/v1/system/caches/runtime") => {
            Sent::Json(json!({"language": "Python", "version": "0", "image_name": "Local", "dry_run": true}))
        }
        ("DELETE", _) => Sent::Nothing,
        (_, "/v1/content/{guid}/bundles" | "/applications/{app}/upload") => Sent::Bytes(apps::page("Another")),
        (_, "/v1/content/{guid}/thumbnail" | "/applications/{app}/image") => Sent::Bytes(png()),
        (_, "/v1/content/{guid}/environment") => Sent::Json(json!([{"name": "NAME", "value": "value"}])),
        // A wrong password would be counted against the tests' address.
        (_, "/__login__") => Sent::Json(json!({"username": world.owner.name, "password": world.owner.password})),
        ("PATCH", "/v1/content/{guid}") => Sent::Json(json!({"title": "Another title"})),
        ("PUT", "/v1/users/{guid}") => Sent::Json(json!({"email": "new@example.org"})),
        ("PUT", "/v1/content/{guid}/permissions/{id}") => Sent::Json(json!({"role": "viewer"})),
        (_, "/v1/content/{guid}/oauth/integrations/associations") => Sent::Json(json!([])),
        ("PATCH", "/v1/oauth/integrations/{guid}") => Sent::Json(json!({"description": "Another"})),
        (_, "/v1/oauth/integrations/credentials") => Sent::Form(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:posit:connect:user-session-token"),
            ("subject_token", "x"),
        ]),
        (_, "/v1/content/{guid}/repository") => {
            Sent::Json(json!({"repository": "https://git.example.org/team/app.git"}))
        }
        ("POST", "/variants/{id}/subscribers") => Sent::Json(json!([world.third.guid])),
        (_, "/schedules") => Sent::Json(new_schedule(world, &world.owner)),
        (_, "/schedules/{id}") => Sent::Json(json!({"type": "day", "schedule": "{\"N\":2}"})),
        (_, path) if path.starts_with("/oauth/") && path != "/oauth/register" => {
            Sent::Form(&[("client_id", "x"), ("token", "x"), ("grant_type", "refresh_token")])
        }
        _ => Sent::Json(all(world, route, filled)),
    }
}

/// Of each field that some route asks for, a value that it takes.
fn all(world: &World, route: &Route, filled: &str) -> Value {
    let mut all = json!({
        "name": world.unique(), "username": world.unique(), "title": "A title", "path": world.unique(),
        "email": "x@example.org", "locked": true, "role": "viewer", "user_role": "viewer",
        "user_guid": world.fourth.guid, "principal_guid": world.fourth.guid, "principal_type": "user",
        "temp_ticket": "x", "current_password": world.owner.password, "password": world.owner.password,
        "cluster_name": "Kubernetes", "token": format!("T{:0>32}", world.unique()), "public_key": world.public_key,
        "template": "connect", "config": {"max_role": "Viewer"},
        "client_name": "Program", "redirect_uris": ["http://127.0.0.1/callback"],
    });
    if route.method == Method::POST && route.path.ends_with("/content/{guid}/tags") {
        let guid = filled.split('/').nth(4).unwrap();
        all["tag_id"] = tag_of(world, &world.owner, guid).into();
    }
    all
}
