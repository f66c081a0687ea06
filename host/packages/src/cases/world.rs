//! `[case.world]`: who and what there is besides the request.

use lectern_domain::plugin::Origin;
use lectern_domain::user::UserRole;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml::Value;

use super::forms::{guid, headers, method, texts};
use super::{Fetch, FetchAnswer, Linked, User, World};
use crate::fields::{self, Fields};

/// Reads it; what is wrong is noted and left out.
pub(super) fn read(mut world: Fields<'_>) -> World {
    let mut users: Vec<User> = Vec::new();
    for (n, table) in world.tables("users").into_iter().enumerate() {
        let user = read_user(world.nth("users", n, table));
        match user {
            Some(user) if users.iter().any(|other| other.name == user.name) => {
                world.refuse("users", Some(format!("{:?}", user.name)), "is there twice");
            }
            user => users.extend(user),
        }
    }
    let is_user = |name: &str| users.iter().any(|user| user.name == name);
    let user_name = |value: &Value| {
        fields::word(value, "the name of one of world.users", |text| is_user(text).then(|| text.to_owned()))
    };
    let now = world.optional("now", |value| {
        let text = match value {
            Value::Datetime(moment) => moment.to_string(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let moment = OffsetDateTime::parse(&text, &Rfc3339).ok();
        let millis = moment.and_then(|moment| u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok());
        millis.ok_or_else(|| "must be a time after 1970, as \"2026-01-01T00:00:00Z\"".into())
    });
    let vanities = world.map("vanities", |path, value| {
        if path.len() < 2 || !path.starts_with('/') || !path.ends_with('/') {
            return Err("a vanity path has a slash at both ends".into());
        }
        guid(value)
    });
    let keys = world.map("keys", |_, value| user_name(value)).unwrap_or_default();
    let passwords = world.map("passwords", |name, value| {
        if is_user(name) { fields::text(value) } else { Err("is the password of nobody in world.users".into()) }
    });
    let session = world.optional("session", user_name);
    let secrets = world.map("secrets", |_, value| fields::text(value)).unwrap_or_default();
    let key_values = world.map("key_values", |_, value| fields::text(value)).unwrap_or_default();
    let jwks = world.map("jwks", |url, value| {
        let text = fields::text(value)?;
        let is_json = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok();
        match Origin::of_url(url) {
            None => Err("stands under an address that begins with https:// or http://".into()),
            Some(_) if !is_json => Err("must be a JSON object in a text".into()),
            Some(_) => Ok(text),
        }
    });
    let buckets_empty = world.map("buckets_empty", |_, value| {
        let seconds = fields::number(value, 1, i64::from(u32::MAX))
            .map_err(|_| "must be the seconds until the next token, at least 1".to_owned())?;
        u32::try_from(seconds).map_err(|_| "must be fewer seconds".to_owned())
    });
    let tables = world.tables("fetch");
    let fetches =
        tables.into_iter().enumerate().filter_map(|(n, table)| read_fetch(world.nth("fetch", n, table))).collect();
    world.finish();
    World {
        now_unix_ms: now.unwrap_or(World::default().now_unix_ms),
        vanities: vanities.unwrap_or_default(),
        keys,
        passwords: passwords.unwrap_or_default(),
        session,
        secrets,
        key_values,
        jwks: jwks.unwrap_or_default(),
        buckets_empty: buckets_empty.unwrap_or_default(),
        fetches,
        users,
    }
}

fn read_user(mut user: Fields<'_>) -> Option<User> {
    let name = user.required("name", "the user's name", |value| fields::line(value, 256));
    let form = "the user's GUID";
    let guid = user.required("guid", form, |value| fields::word(value, form, |text| text.parse().ok()));
    let display_name = user.optional("display_name", fields::text);
    let groups = user.optional("groups", texts).unwrap_or_default();
    let role = user.optional("role", |value| {
        fields::word(value, "\"viewer\", \"publisher\" or \"administrator\"", UserRole::parse)
    });
    let locked = user.optional("locked", |value| value.as_bool().ok_or_else(|| "must be true or false".into()));
    let linked = user.table("linked").and_then(read_linked);
    user.finish();
    Some(User {
        name: name?,
        guid: guid?,
        display_name,
        groups,
        role: role.unwrap_or(UserRole::Viewer),
        locked: locked.unwrap_or(false),
        linked,
    })
}

fn read_linked(mut linked: Fields<'_>) -> Option<Linked> {
    let issuer = linked.required("issuer", "the other directory's name", |value| fields::line(value, 256));
    let subject = linked.required("subject", "the person's name there", |value| fields::line(value, 256));
    linked.finish();
    Some(Linked { issuer: issuer?, subject: subject? })
}

fn read_fetch(mut fetch: Fields<'_>) -> Option<Fetch> {
    let method = fetch.optional("method", method).unwrap_or_else(|| "GET".into());
    let form = "an address that begins with https:// or http://";
    let url = fetch
        .required("url", form, |value| fields::word(value, form, |text| Origin::of_url(text).map(|_| text.to_owned())));
    let body_contains = fetch.optional("body_contains", fields::text);
    let read_switch = |value: &Value| value.as_bool().ok_or_else(|| "must be true or false".into());
    let answer = if fetch.optional("unreachable", read_switch).unwrap_or(false) {
        None
    } else {
        let status = fetch.optional("status", |value| fields::number(value, 200, 599));
        Some(FetchAnswer {
            status: status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200),
            headers: headers(&mut fetch, "headers").unwrap_or_default(),
            body: fetch.optional("body", fields::text).unwrap_or_default().into_bytes(),
        })
    };
    let away = answer.is_none();
    fetch.finish_with(|key| {
        let of_answer = away && ["status", "headers", "body"].contains(&key);
        of_answer.then(|| "a server that is unreachable answers nothing".into())
    });
    Some(Fetch { method, url: url?, body_contains, answer })
}
