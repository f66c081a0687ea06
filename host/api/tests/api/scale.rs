//! Listings take as many queries for ten thousand items as for a hundred.

use std::sync::Arc;

use lectern_api::{Services, router};
use lectern_bundles::Cache;
use lectern_domain::access::Principal;
use lectern_metadata::{Database, DatabaseConfig};

use crate::support::{Recorder, Server, settings};

/// The most queries of any listing: the caller's entries, a count, the page, its tags, and one to find what is named.
const MOST: i64 = 5;

/// How often a statement ran on the one connection of `database`.
async fn statements(database: &Database) -> i64 {
    let client = database.client().await.unwrap();
    let sql = "SELECT coalesce(sum(generic_plans + custom_plans), 0)::bigint FROM pg_prepared_statements";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Makes items until there are `items`: each has two tags, half list the viewer, a tenth have a vanity path and packages.
async fn fill(server: &Server, items: i64) {
    let sql = "WITH made AS (
            INSERT INTO content (guid, name, title, owner_id, access_type)
            SELECT gen_random_uuid(), 'item-' || n, 'Item ' || n, $1, CASE n % 100 WHEN 0 THEN 'all' ELSE 'acl' END
            FROM generate_series((SELECT count(*) FROM content) + 1, $3) n RETURNING id, name),
        tagged AS (INSERT INTO content_tags (content_id, tag_id) SELECT made.id, tags.id FROM made, tags
            WHERE tags.parent_id IS NOT NULL),
        listed AS (INSERT INTO permissions (content_id, user_id, role) SELECT id, $2, 'viewer' FROM made WHERE id % 2 = 0),
        named AS (INSERT INTO vanities (content_id, path) SELECT id, '/' || name || '/' FROM made WHERE id % 10 = 0),
        versions AS (INSERT INTO bundles (content_id, hash, size_bytes, app_mode)
            SELECT id, decode(repeat('00', 32), 'hex'), 1, 'static' FROM made WHERE id % 10 = 0 RETURNING id)
        INSERT INTO bundle_packages (bundle_id, language, name, version) SELECT id, 'python', 'flask', '3.0' FROM versions";
    let client = server.database.client().await.unwrap();
    client.execute(sql, &[&server.owner.user.0, &server.viewer.user.0, &items]).await.unwrap();
    let sql = "UPDATE content SET active_bundle_id = b.id, app_mode = 'static' FROM bundles b WHERE b.content_id = content.id";
    client.execute(sql, &[]).await.unwrap();
    client.batch_execute("ANALYZE").await.unwrap();
}

/// The same server over one connection: a handler that wants a second one while it holds the first would find none.
async fn over_one_connection(server: &Server) -> (axum::Router, Database) {
    let config = DatabaseConfig { pool_size: 1, ..server.database.config().clone() };
    let database = Database::connect(config).await.unwrap();
    let cache = Arc::new(Cache::open(&server.directory.path().join("cache"), 1 << 30).unwrap());
    let backstage = Arc::new(Recorder::default());
    let services = Services::new(database.clone(), Arc::clone(&server.store), cache, backstage, settings(false));
    (router(services), database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_take_the_same_number_of_queries_for_ten_thousand_items() {
    let mut server = Server::new().await;
    let tags = "INSERT INTO tags (name, parent_id) VALUES ('Teams', NULL);
        INSERT INTO tags (name, parent_id) SELECT name, (SELECT id FROM tags) FROM unnest(ARRAY['Sales', 'North']) name";
    server.database.client().await.unwrap().batch_execute(tags).await.unwrap();
    let (router, lone) = over_one_connection(&server).await;
    server.router = router;
    let routes = [
        "/v1/content",
        "/v1/content?include=owner,tags,vanity_url",
        "/v1/content?name=item-7",
        "/v1/search/content?q=item%20tag:sales%20-is:locked&include=owner,tags,vanity_url",
        "/v1/search/content?q=item&sort=last_deployed_time&order=desc&page_number=3",
        "/v1/tags/2/content?include=tags",
        "/v1/tags",
        "/v1/vanities",
        "/v1/packages",
        "/applications?count=1000",
    ];
    let callers: [(&str, Principal); 3] =
        [("administrator", server.admin.clone()), ("owner", server.owner.clone()), ("viewer", server.viewer.clone())];
    let mut measured: Vec<Vec<i64>> = Vec::new();
    for items in [100, 10_000] {
        fill(&server, items).await;
        let mut row = Vec::new();
        for (name, caller) in &callers {
            for route in routes {
                let path = format!("/__api__{route}");
                server.get(caller, &path).await.ok(); // Prepares the statements.
                let before = statements(&lone).await;
                let begun = std::time::Instant::now();
                let reply = server.get(caller, &path).await;
                let (took, queries) = (begun.elapsed(), statements(&lone).await - before);
                println!("{items:6} {name:13} {queries} queries {:8} bytes {took:6.0?} {route}", reply.bytes.len());
                assert!(reply.status.is_success(), "{reply:?}");
                assert!((0..=MOST).contains(&queries), "{queries} queries for {route}");
                row.push(queries);
            }
        }
        measured.push(row);
    }
    assert_eq!(measured[0], measured[1], "the same for a hundred as for ten thousand");
    // What is listed is all there is, and only what may be seen: half by the list, and what is open to all.
    let count = async |who: &Principal| server.get(who, "/__api__/v1/content").await.ok().as_array().unwrap().len();
    assert_eq!(count(&server.admin).await, 10_000);
    let seen = "SELECT count(*) FROM content c WHERE access_type = 'all' \
                OR EXISTS (SELECT FROM permissions p WHERE p.content_id = c.id AND p.user_id = $1)";
    let client = server.database.client().await.unwrap();
    let expected: i64 = client.query_one(seen, &[&server.viewer.user.0]).await.unwrap().get(0);
    assert_eq!(count(&server.viewer).await, usize::try_from(expected).unwrap());
    assert!(expected < 6_000);
}
