//! Objects that addresses name, so that what is behind the look-up is reached.

use lectern_domain::JobKey;
use lectern_domain::access::PermissionRole;
use lectern_metadata::content;
use lectern_metadata::jobs::{self, NewJob};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Server;

/// One object of every kind.
pub(super) struct Objects {
    /// What stands before a name in an address, with the name; and what to put there.
    known: Vec<(String, String)>,
    /// An item of the owner's.
    pub(super) content: String,
}

impl Objects {
    pub(super) async fn new(server: &Server) -> Self {
        let content = server.content("target").await;
        let bundle = server.bundle(&content).await;
        let item = format!("/__api__/v1/content/{content}");
        let owner = Some(&server.owner);
        let started = server.ask(owner, "POST", &format!("{item}/deploy"), json!({})).await.ok();
        server.activate(&content, &bundle).await;
        server.bundle(&content).await;
        let (admin, owner_guid) = (Some(&server.admin), server.owner.guid.to_string());
        let made = async |path: &str, body: Value| -> Value { server.ask(admin, "POST", path, body).await.ok() };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let root = made("/__api__/v1/tags", json!({"name": "root"})).await;
        let tag = made("/__api__/v1/tags", json!({"name": "leaf", "parent_id": root["id"]})).await;
        let group = made("/__api__/v1/groups", json!({"name": "targets"})).await;
        let member = json!({"user_guid": server.viewer.guid.to_string()});
        let members = format!("/__api__/v1/groups/{}/members", text(&group["guid"]));
        assert_eq!(server.ask(admin, "POST", &members, member).await.status, 204);
        let new = json!({"title": "Target", "name": "target", "cluster_name": "Kubernetes"});
        let environment = made("/__api__/v1/environments", new).await;
        server.permit(&content, &server.viewer, PermissionRole::Viewer).await;
        let permissions = server.get(&server.owner, &format!("{item}/permissions")).await.ok();
        let requests = format!("{item}/permission_requests");
        let wanted = server.ask(Some(&server.stranger), "POST", &requests, json!({})).await.ok();
        let keys = format!("/__api__/v1/users/{owner_guid}/keys");
        let key = server.ask(owner, "POST", &keys, json!({"name": "target"})).await.ok();
        let client = server.database.client().await.unwrap();
        let row = content::get_by_guid(&client, content.parse().unwrap()).await.unwrap().unwrap();
        let job = NewJob {
            key: JobKey::from_random([7; 16]),
            content: row.id,
            bundle: None,
            tag: "run_fastapi_app".into(),
            server: Uuid::new_v4(),
            hostname: "host".into(),
            run_as: None,
            log_path: None,
            task: None,
        };
        let job = jobs::create(&client, &job).await.unwrap().key;
        let known = [
            ("content/{guid}", content.clone()),
            ("applications/{app}", content.clone()),
            ("bundles/{id}", bundle),
            ("content/{guid}/permissions/{id}", text(&permissions[0]["id"])),
            ("permission_requests/{id}", text(&wanted["id"])),
            ("tags/{id}", text(&tag["id"])),
            ("jobs/{key}", job.to_string()),
            ("tasks/{id}", text(&started["task_id"])),
            ("users/{guid}", owner_guid),
            ("keys/{id}", text(&key["id"])),
            ("groups/{guid}", text(&group["guid"])),
            ("members/{user}", server.viewer.guid.to_string()),
            ("environments/{guid}", text(&environment["guid"])),
        ];
        let known = known.into_iter().map(|(before, value)| (before.to_owned(), value)).collect();
        Self { known, content }
    }

    /// The address with names of objects; where there is none of the kind, of nothing.
    pub(super) fn fill(&self, path: &str) -> String {
        let parts = path.split('/').enumerate();
        let filled = parts.map(|(at, part)| self.part(path, at, part));
        filled.collect::<Vec<_>>().join("/")
    }

    /// The address with `value` for the name `wanted`.
    pub(super) fn fill_but(&self, path: &str, wanted: &str, value: &str) -> String {
        let parts = path.split('/').enumerate();
        let filled = parts.map(|(at, part)| if part == wanted { value.to_owned() } else { self.part(path, at, part) });
        filled.collect::<Vec<_>>().join("/")
    }

    fn part(&self, path: &str, at: usize, part: &str) -> String {
        if !part.starts_with('{') {
            return part.to_owned();
        }
        let until = path.split('/').take(at + 1).collect::<Vec<_>>().join("/");
        let known = self.known.iter().find(|(before, _)| until.ends_with(before.as_str()));
        match known {
            Some((_, value)) => value.clone(),
            None if part == "{guid}" => Uuid::new_v4().to_string(),
            None => "1".to_owned(),
        }
    }
}
