//! `/v1/tags` and `/v1/content/{guid}/tags`.

use lectern_domain::access::PermissionRole;
use serde_json::{Value, json};

use crate::support::Server;

const PATH: &str = "/__api__/v1/tags";

impl Server {
    /// Makes a tag as the administrator and answers it.
    async fn tag(&self, name: &str, parent: Option<&Value>) -> Value {
        self.ask(Some(&self.admin), "POST", PATH, json!({"name": name, "parent_id": parent})).await.ok()
    }

    async fn tags_at(&self, path: &str) -> Vec<String> {
        let list = self.get(&self.admin, path).await.ok();
        list.as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_tree_is_made_listed_and_cut() {
    let server = Server::new().await;
    assert_eq!(server.get(&server.viewer, PATH).await.ok(), json!([]));
    let category = server.tag("Teams", None).await;
    assert!(category["id"].is_string() && category["parent_id"].is_null() && category["created_time"].is_string());
    let tag = server.tag("Sales", Some(&category["id"])).await;
    assert_eq!(tag["parent_id"], category["id"]);
    let sub = server.tag("North", Some(&tag["id"])).await;
    server.tag("East", Some(&tag["id"])).await;
    server.tag("Other", None).await;
    let at = |tag: &Value| format!("{PATH}/{}", tag["id"].as_str().unwrap());
    assert_eq!(server.get(&server.viewer, &at(&sub)).await.ok(), sub);
    assert_eq!(server.tags_at(PATH).await, ["Teams", "Sales", "North", "East", "Other"], "in the order of creation");
    let below = format!("{PATH}?parent_id={}", tag["id"].as_str().unwrap());
    assert_eq!(server.tags_at(&below).await, ["North", "East"]);
    assert_eq!(server.tags_at(&format!("{PATH}?name=NORTH")).await, ["North"]);
    assert_eq!(server.tags_at(&format!("{PATH}?name=none")).await, [""; 0]);
    let renamed = server.ask(Some(&server.admin), "PATCH", &at(&sub), json!({"name": "Nord"})).await.ok();
    assert_eq!((&renamed["name"], &renamed["parent_id"]), (&json!("Nord"), &tag["id"]));
    assert_eq!(server.ask(Some(&server.admin), "DELETE", &at(&category), Value::Null).await.status, 204);
    assert_eq!(server.tags_at(PATH).await, ["Other"], "what is below goes with it");
    assert_eq!(server.ask(Some(&server.admin), "DELETE", &at(&category), Value::Null).await.refusal(), (404, 4));
    assert_eq!(server.get(&server.admin, &at(&sub)).await.refusal(), (404, 4));
}

#[tokio::test]
async fn rules_of_the_tree_have_their_codes() {
    let server = Server::new().await;
    let category = server.tag("Teams", None).await;
    let tag = server.tag("Sales", Some(&category["id"])).await;
    let sub = server.tag("North", Some(&tag["id"])).await;
    let post = async |body: Value| server.ask(Some(&server.admin), "POST", PATH, body).await.refusal();
    let refused = [
        (json!({}), (400, 12)),
        (json!({"name": ""}), (400, 81)),
        (json!({"name": "teams"}), (400, 81)),
        (json!({"name": "SALES", "parent_id": category["id"]}), (400, 81)),
        (json!({"name": "x".repeat(256)}), (400, 81)),
        (json!({"name": "x", "parent_id": "999"}), (400, 157)),
        (json!({"name": "x", "parent_id": "x"}), (400, 3)),
        (json!({"name": "x", "parent_id": 7}), (400, 121)),
        (json!({"name": "nul \u{0}"}), (400, 81)),
    ];
    for (body, refusal) in refused {
        assert_eq!(post(body.clone()).await, refusal, "{body}");
    }
    let at = format!("{PATH}/{}", tag["id"].as_str().unwrap());
    let patch = async |body: Value| server.ask(Some(&server.admin), "PATCH", &at, body).await.refusal();
    assert_eq!(patch(json!({"parent_id": sub["id"]})).await, (400, 158), "below itself");
    assert_eq!(patch(json!({"parent_id": null})).await, (400, 158), "a tag stays a tag");
    assert_eq!(patch(json!({"parent_id": "999"})).await, (400, 157));
    let mut parent = sub["id"].clone();
    for level in 4..=16 {
        parent = server.tag(&format!("level {level}"), Some(&parent)).await["id"].clone();
    }
    assert_eq!(post(json!({"name": "too deep", "parent_id": parent})).await, (400, 157));

    for who in [&server.owner, &server.viewer] {
        assert_eq!(server.ask(Some(who), "POST", PATH, json!({"name": "mine"})).await.refusal(), (403, 22));
        assert_eq!(server.ask(Some(who), "PATCH", &at, json!({"name": "mine"})).await.refusal(), (403, 22));
        assert_eq!(server.ask(Some(who), "DELETE", &at, Value::Null).await.refusal(), (403, 22));
    }
    assert_eq!(server.ask(None, "GET", PATH, Value::Null).await.refusal(), (401, 24));
    for bad in ["0", "x", "-1", "007", "99999999999999999999"] {
        assert_eq!(server.get(&server.admin, &format!("{PATH}/{bad}")).await.refusal(), (400, 3), "{bad}");
    }
}

#[tokio::test]
async fn content_bears_tags_with_those_above() {
    let server = Server::new().await;
    let category = server.tag("Teams", None).await;
    let tag = server.tag("Sales", Some(&category["id"])).await;
    let sub = server.tag("North", Some(&tag["id"])).await;
    let other = server.tag("Research", Some(&category["id"])).await;
    let guid = server.content("tagged").await;
    let at = format!("/__api__/v1/content/{guid}/tags");
    let give = async |who, tag: &Value| server.ask(Some(who), "POST", &at, json!({"tag_id": tag["id"]})).await;
    assert_eq!(server.get(&server.owner, &at).await.ok(), json!([]));
    assert_eq!(give(&server.owner, &category).await.refusal(), (400, 79));
    assert_eq!(give(&server.owner, &json!({"id": "999"})).await.refusal(), (404, 4));
    assert_eq!(give(&server.owner, &json!({})).await.refusal(), (400, 12));
    assert_eq!(give(&server.stranger, &tag).await.refusal(), (403, 19));
    assert_eq!(give(&server.owner, &sub).await.ok(), json!([tag, sub]), "the tag above comes with it");
    assert_eq!(give(&server.owner, &sub).await.ok(), json!([tag, sub]), "again changes nothing");
    give(&server.owner, &other).await.ok();

    // Included only on request, and only where there are any.
    let plain = server.content("plain").await;
    let list = server.get(&server.owner, "/__api__/v1/content?include=tags").await.ok();
    assert_eq!(list[0]["tags"], json!([tag, sub, other]));
    assert!(list[1].get("tags").is_none() && list[1]["guid"] == plain);
    let one = server.get(&server.owner, &format!("/__api__/v1/content/{guid}?include=tags")).await.ok();
    assert_eq!(one, list[0]);
    assert!(server.get(&server.owner, &format!("/__api__/v1/content/{guid}")).await.ok().get("tags").is_none());

    // Listed by tag, for who may see the content.
    let by_tag = |tag: &Value| format!("{PATH}/{}/content", tag["id"].as_str().unwrap());
    let without = server.get(&server.owner, &format!("/__api__/v1/content/{guid}")).await.ok();
    assert_eq!(server.get(&server.owner, &by_tag(&tag)).await.ok(), json!([without]));
    assert_eq!(server.get(&server.owner, &format!("{}?include=tags", by_tag(&tag))).await.ok(), json!([one]));
    assert_eq!(server.get(&server.viewer, &by_tag(&tag)).await.ok(), json!([]));
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    assert_eq!(server.get(&server.viewer, &by_tag(&tag)).await.ok()[0]["guid"], guid);
    assert_eq!(give(&server.viewer, &tag).await.refusal(), (403, 21));
    assert_eq!(server.get(&server.admin, &format!("{PATH}/999/content")).await.refusal(), (404, 4));

    // A move brings the new tags above.
    let moved = format!("{PATH}/{}", sub["id"].as_str().unwrap());
    let third = server.tag("Third", Some(&category["id"])).await;
    let to = json!({"parent_id": third["id"]});
    server.ask(Some(&server.admin), "PATCH", &moved, to).await.ok();
    assert_eq!(server.tags_at(&at).await, ["Sales", "North", "Research", "Third"]);

    // Losing a tag loses those below it.
    let take = async |tag: &Value| {
        let path = format!("{at}/{}", tag["id"].as_str().unwrap());
        server.ask(Some(&server.owner), "DELETE", &path, Value::Null).await
    };
    assert_eq!(take(&third).await.status, 204);
    assert_eq!(server.tags_at(&at).await, ["Sales", "Research"]);
    assert_eq!(take(&third).await.refusal(), (404, 17));
    server
        .ask(Some(&server.admin), "DELETE", &format!("{PATH}/{}", category["id"].as_str().unwrap()), Value::Null)
        .await;
    assert_eq!(server.tags_at(&at).await, [""; 0]);
}
