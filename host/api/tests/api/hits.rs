//! Visits: who may see whose, which are found, and how they are paged.

use lectern_domain::access::Principal;
use lectern_domain::{BundleId, ContentGuid, UserId};
use lectern_metadata::hits::{self, NewHit};
use lectern_metadata::{content, permissions};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::Server;

const HITS: &str = "/__api__/v1/instrumentation/content/hits";
const VISITS: &str = "/__api__/v1/instrumentation/content/visits";

async fn visit(server: &Server, guid: &str, user: Option<UserId>, path: &str, at: OffsetDateTime) {
    let client = server.database.client().await.unwrap();
    let guid = ContentGuid(guid.parse::<Uuid>().unwrap());
    let content = content::get_by_guid(&client, guid).await.unwrap().unwrap().id;
    let (path, user_agent) = (path.to_owned(), String::new());
    hits::add(&client, &[NewHit { content, user, bundle: BundleId(7), at, path, user_agent }]).await.unwrap();
}

fn day(number: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(number) + Duration::hours(1)
}

async fn paths(server: &Server, who: &Principal, query: &str) -> Vec<String> {
    let found = server.get(who, &format!("{HITS}?{query}")).await.ok();
    found.as_array().unwrap().iter().map(|hit| hit["data"]["path"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn visits_are_shown_to_those_who_may_change_the_item() {
    let server = Server::new().await;
    let (one, two) = (server.content("one").await, server.content("two").await);
    visit(&server, &one, Some(server.viewer.user), "/a", day(0)).await;
    visit(&server, &two, None, "/b", day(1)).await;
    visit(&server, &one, None, "/c", day(2)).await;
    assert_eq!(server.ask(None, "GET", HITS, Value::Null).await.refusal(), (401, 24));
    assert_eq!(server.ask(None, "GET", VISITS, Value::Null).await.refusal(), (401, 24));
    assert_eq!(server.get(&server.viewer, HITS).await.refusal(), (403, 22));
    assert_eq!(server.get(&server.viewer, VISITS).await.refusal(), (403, 22));
    for who in [&server.admin, &server.owner] {
        assert_eq!(paths(&server, who, "").await, ["/a", "/b", "/c"]);
    }
    assert!(paths(&server, &server.stranger, "").await.is_empty());
    assert!(paths(&server, &server.stranger, &format!("content_guid={one}")).await.is_empty());
    // A collaborator sees it, a viewer of the item does not.
    let client = server.database.client().await.unwrap();
    let row = content::get_by_guid(&client, ContentGuid(one.parse().unwrap())).await.unwrap().unwrap();
    let grantee = permissions::Grantee::User(server.stranger.user, server.stranger.guid);
    let viewer = lectern_domain::access::PermissionRole::Viewer;
    let entry = permissions::add(&client, row.id, &grantee, viewer).await.unwrap();
    assert!(paths(&server, &server.stranger, "").await.is_empty());
    let editor = lectern_domain::access::PermissionRole::Owner;
    permissions::set_role(&client, row.id, entry.id, editor).await.unwrap();
    assert_eq!(paths(&server, &server.stranger, "").await, ["/a", "/c"]);

    let hit = &server.get(&server.admin, &format!("{HITS}?content_guid={one}")).await.ok()[0];
    let expected = json!({"id": hit["id"].as_i64().unwrap(), "content_guid": one,
        "user_guid": server.viewer.guid.to_string(), "timestamp": "1970-01-01T01:00:00Z",
        "data": {"path": "/a", "user_agent": null}});
    assert_eq!(*hit, expected);
    // What is gone takes its visits along, and visits of what is gone are no mistake.
    let sent = NewHit {
        content: row.id,
        user: None,
        bundle: BundleId(1),
        at: day(3),
        path: "/".into(),
        user_agent: String::new(),
    };
    content::delete(&client, row.id).await.unwrap();
    hits::add(&client, &[sent]).await.unwrap();
    assert_eq!(paths(&server, &server.admin, "").await, ["/b"]);
    let age = std::time::Duration::from_secs(24 * 3600);
    assert_eq!(hits::prune(&client, age, 10).await.unwrap(), 1);
    assert!(paths(&server, &server.admin, "").await.is_empty());
}

#[tokio::test]
async fn visits_are_found_by_item_and_time() {
    let server = Server::new().await;
    let (one, two) = (server.content("one").await, server.content("two").await);
    visit(&server, &one, None, "/a", day(0)).await;
    visit(&server, &two, None, "/b", day(1)).await;
    visit(&server, &one, None, "/c", day(2)).await;
    let unknown = Uuid::new_v4();
    for (query, expected) in [
        (format!("content_guid={one}"), &["/a", "/c"][..]),
        (format!("content_guid={one}%7C{two}"), &["/a", "/b", "/c"]),
        (format!("content_guid={unknown}"), &[]),
        (format!("content_guid={unknown}%7C{two}"), &["/b"]),
        ("content_guid=&from=&to=".to_owned(), &["/a", "/b", "/c"]),
        ("from=1970-01-02".to_owned(), &["/b", "/c"]),
        ("to=1970-01-02".to_owned(), &["/a", "/b"]),
        ("from=1970-01-02T01:00:00Z&to=1970-01-02T01:00:00Z".to_owned(), &["/b"]),
        ("from=1970-01-02T03:00:01%2B02:00".to_owned(), &["/c"]),
        ("from=1980-01-01".to_owned(), &[]),
    ] {
        assert_eq!(paths(&server, &server.owner, &query).await, expected, "{query}");
    }
    let many = vec![one.as_str(); 501].join("%7C");
    for bad in
        ["content_guid=x", &format!("content_guid={one}%7C"), &format!("content_guid={many}"), "from=soon", "to=1"]
    {
        assert_eq!(server.get(&server.owner, &format!("{HITS}?{bad}")).await.refusal(), (400, 25), "{bad}");
        assert_eq!(server.get(&server.owner, &format!("{VISITS}?{bad}")).await.refusal(), (400, 25), "{bad}");
    }
    for bad in ["limit=0", "limit=x", "next=x", "next=1&previous=2", "asc_order=maybe", "min_data_version=x"] {
        assert_eq!(server.get(&server.owner, &format!("{VISITS}?{bad}")).await.refusal(), (400, 25), "{bad}");
    }
}

#[tokio::test]
async fn visits_are_paged_with_their_filters() {
    let server = Server::new().await;
    let (one, two) = (server.content("one").await, server.content("two").await);
    for number in 0..5 {
        visit(&server, &one, None, &format!("/{number}"), day(number)).await;
        visit(&server, &two, None, "/other", day(number)).await;
    }
    for (order, expected) in [("true", "/1/2/3/4"), ("false", "/4/3/2/1")] {
        let mut at = format!("{VISITS}?content_guid={one}&from=1970-01-02&limit=3&asc_order={order}");
        let (mut found, mut pages) = (String::new(), 0);
        loop {
            let page = server.get(&server.owner, &at).await.ok();
            assert_eq!(page.as_object().unwrap().keys().collect::<Vec<_>>(), ["paging", "results"]);
            found.extend(page["results"].as_array().unwrap().iter().map(|visit| visit["path"].as_str().unwrap()));
            pages += 1;
            let Some(next) = page["paging"]["next"].as_str() else { break };
            at = next[next.find("/__api__").unwrap()..].to_owned();
        }
        assert_eq!((found.as_str(), pages), (expected, 2));
    }
    let first = &server.get(&server.owner, &format!("{VISITS}?limit=1")).await.ok()["results"][0];
    let expected = json!({"content_guid": one, "user_guid": null, "variant_key": null, "rendering_id": null,
        "bundle_id": "7", "time": "1970-01-01T01:00:00Z", "data_version": 3, "path": "/0"});
    assert_eq!(*first, expected);
    let later = server.get(&server.owner, &format!("{VISITS}?min_data_version=4")).await.ok();
    assert_eq!(later["results"], json!([]));
}

#[tokio::test]
async fn uses_of_shiny_have_a_beginning_and_an_end() {
    use lectern_metadata::shiny_usage::{self, NewUsage};
    let server = Server::new().await;
    let guid = server.content("app").await;
    let mut client = server.database.client().await.unwrap();
    let row = content::get_by_guid(&client, ContentGuid(guid.parse().unwrap())).await.unwrap().unwrap();
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let start = |key, user, at| NewUsage::Started { key, content: row.id, user, at };
    let first = [start(one, Some(server.viewer.user), day(0)), start(two, None, day(1))];
    // An end of what was never written down is no mistake; nor is a batch that is written twice.
    let ends = [NewUsage::Ended { key: one, at: day(2) }, NewUsage::Ended { key: Uuid::new_v4(), at: day(2) }];
    for events in [&first[..], &first, &ends] {
        let tx = client.transaction().await.unwrap();
        shiny_usage::add(&tx, events).await.unwrap();
        tx.commit().await.unwrap();
    }
    let path = "/__api__/v1/instrumentation/shiny/usage";
    let page = server.get(&server.owner, &format!("{path}?content_guid={guid}")).await.ok();
    let viewer = server.viewer.guid.to_string();
    let expected = json!([
        {"content_guid": guid, "user_guid": viewer, "started": "1970-01-01T01:00:00Z", "ended": "1970-01-03T01:00:00Z",
            "data_version": 3},
        {"content_guid": guid, "user_guid": null, "started": "1970-01-02T01:00:00Z", "ended": null, "data_version": 3},
    ]);
    assert_eq!(page["results"], expected);
    assert_eq!(page["paging"]["next"], Value::Null);
    let next = server.get(&server.owner, &format!("{path}?limit=1")).await.ok();
    let cursor = next["paging"]["cursors"]["next"].as_str().unwrap();
    let second = server.get(&server.owner, &format!("{path}?limit=1&next={cursor}")).await.ok();
    assert_eq!((&second["results"][0], &second["paging"]["next"]), (&expected[1], &Value::Null));
    assert_eq!(server.get(&server.stranger, path).await.ok()["results"], json!([]));
    assert_eq!(server.get(&server.viewer, path).await.refusal(), (403, 22));
    assert_eq!(server.ask(None, "GET", path, Value::Null).await.refusal(), (401, 24));
    for bad in ["limit=0", "from=soon", "content_guid=x", "min_data_version=x", "previous=x"] {
        assert_eq!(server.get(&server.owner, &format!("{path}?{bad}")).await.refusal(), (400, 25), "{bad}");
    }
    assert_eq!(shiny_usage::prune(&client, std::time::Duration::from_secs(60), 10).await.unwrap(), 2);
}
