//! Every code of the protocol's table, at a route where a client meets it, with its status.
//!
//! A code that the protocol lists, or that the API knows, needs a case here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::body::Body;
use lectern_api::{ClientAddress, Code};
use lectern_domain::UserRole;
use lectern_domain::access::{PermissionRole, Principal, PrincipalVia};
use lectern_metadata::jobs::{self, JobEnd, NewJob};
use lectern_metadata::users::{self, NewUser};
use lectern_metadata::{content, signed_tokens};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::{
    IMPATIENT, MAX_BUNDLE, Reply, Server, archive, empty_server, manifest, page_bundle, request, send,
};
use crate::tokens::Program;

/// The protocol's codes and their statuses.
const SPECIFIED: &[(i64, u16)] = &[
    (1, 500),
    (3, 400),
    (4, 404),
    (5, 400),
    (8, 409),
    (9, 404),
    (12, 400),
    (15, 409),
    (16, 409),
    (17, 404),
    (18, 404),
    (19, 403),
    (20, 403),
    (21, 403),
    (22, 403),
    (24, 401),
    (25, 400),
    (26, 409),
    (28, 404),
    (29, 401),
    (30, 401),
    (33, 403),
    (34, 400),
    (38, 400),
    (40, 400),
    (45, 400),
    (48, 403),
    (50, 403),
    (51, 409),
    (52, 400),
    (75, 400),
    (79, 400),
    (81, 400),
    (82, 400),
    (84, 403),
    (85, 400),
    (86, 400),
    (87, 400),
    (92, 403),
    (104, 400),
    (106, 409),
    (108, 409),
    (110, 403),
    (111, 403),
    (113, 400),
    (114, 400),
    (121, 400),
    (125, 400),
    (126, 400),
    // The protocol's 400, where the bundle is too large; a store without room is no fault of the client's: 507.
    (134, 413),
    (135, 400),
    (141, 404),
    (149, 409),
    (150, 400),
    (151, 400),
    (153, 404),
    (154, 409),
    (155, 409),
    (156, 403),
    (157, 400),
    (158, 400),
    (161, 400),
    (163, 409),
    (165, 403),
    (166, 401),
    (191, 400),
    (192, 400),
    // What posit-sdk's users test for where content has no integration that fits; the protocol page does not list it.
    (212, 400),
];

/// Codes that only a real repository brings about, and the tests that have one.
const ELSEWHERE: &[(i64, &str)] = &[
    (142, "tests/tests/git_content.rs"),
    (143, "tests/tests/git_content.rs"),
    (144, "tests/tests/git_content.rs"),
    (145, "tests/tests/git_content.rs"),
    (146, "tests/tests/git_content.rs"),
    (164, "tests/tests/git_content.rs"),
];

/// Whether one of those tests expects `code`.
fn expected_elsewhere(code: i64) -> bool {
    let file = ELSEWHERE.iter().find(|(known, _)| *known == code).map(|(_, file)| *file);
    let text = file
        .and_then(|file| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).ok());
    text.is_some_and(|text| {
        text.lines().any(|line| line.contains("expect_error(4") && line.contains(&format!(", {code})")))
    })
}

/// What was refused with which code.
#[derive(Default)]
struct Met {
    routes: BTreeMap<i64, BTreeSet<String>>,
    wrong: Vec<String>,
}

impl Met {
    /// Notes a refusal, which must have this code and the status that goes with it.
    fn note(&mut self, code: i64, what: &str, reply: &Reply) {
        let specified = SPECIFIED.iter().find(|(known, _)| *known == code);
        let (_, status) = specified.unwrap_or_else(|| panic!("code {code} is not in the table"));
        if reply.status.is_success() || reply.refusal() != (*status, code) {
            let said = String::from_utf8_lossy(&reply.bytes);
            self.wrong.push(format!("{what}: {status}/{code} expected: {} {said}", reply.status));
        }
        self.routes.entry(code).or_default().insert(what.to_owned());
    }
}

/// Somebody who asks a server, below `/__api__`.
struct As<'a> {
    server: &'a Server,
    who: Option<&'a Principal>,
    met: &'a mut Met,
}

impl As<'_> {
    /// Asks, and is refused with `code`.
    async fn refused(&mut self, code: i64, method: &str, path: &str, body: Value) {
        let reply = self.server.ask(self.who, method, &format!("/__api__{path}"), body).await;
        self.met.note(code, &format!("{method} {}", shape(path)), &reply);
    }

    /// The same with bytes as they are, and a header field.
    async fn refused_bytes(&mut self, code: i64, path: &str, field: (&str, &str), body: impl Into<Body>) {
        let asked = request("POST", &format!("/__api__{path}")).header(field.0, field.1).body(body.into()).unwrap();
        let reply = self.server.send(self.who, asked).await;
        self.met.note(code, &format!("POST {}", shape(path)), &reply);
    }

    /// Asks, and is not refused.
    async fn made(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.server.ask(self.who, method, &format!("/__api__{path}"), body).await;
        assert!(reply.status.is_success(), "{method} {path}: {reply:?}");
        serde_json::from_slice(&reply.bytes).unwrap_or_default()
    }
}

/// A path without what it names.
fn shape(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let segment = |segment: &str| {
        let word = segment.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') || segment.starts_with('v');
        if word { segment.to_owned() } else { "{}".to_owned() }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// `who` at `server`.
fn by<'a>(server: &'a Server, who: Option<&'a Principal>, met: &'a mut Met) -> As<'a> {
    As { server, who, met }
}

#[tokio::test]
async fn every_code_is_met() {
    let mut met = Met::default();
    credentials(&mut met).await;
    accounts(&mut met).await;
    items(&mut met).await;
    lists(&mut met).await;
    trees(&mut met).await;
    uploads(&mut met).await;
    deployments(&mut met).await;
    failures(&mut met).await;
    assert!(met.wrong.is_empty(), "{}", met.wrong.join("\n"));
    for (code, routes) in &met.routes {
        let status = SPECIFIED.iter().find(|(known, _)| known == code).map_or(0, |(_, status)| *status);
        println!("{code:>4} {status} {}", routes.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    for (code, _) in SPECIFIED {
        assert!(met.routes.contains_key(code), "code {code} has no case");
    }
    for code in Code::ALL {
        let number = i64::from(code.number());
        let has_case = met.routes.contains_key(&number) || expected_elsewhere(number);
        assert!(has_case, "{code:?} ({number}) has no case here, nor where ELSEWHERE says");
    }
}

/// Who asks, and with what.
async fn credentials(met: &mut Met) {
    let server = Server::new().await;
    let mut anybody = by(&server, None, met);
    anybody.refused(24, "GET", "/v1/user", Value::Null).await;
    anybody.refused(24, "GET", "/v1/content", Value::Null).await;
    anybody.refused_bytes(30, "/v1/content", ("authorization", "Key wrong"), "{}").await;
    anybody.refused(86, "POST", "/tokens", json!({"token": "T0123456789abcdef"})).await;
    anybody.refused_bytes(92, "/__login__", ("origin", "https://elsewhere.example"), "{}").await;
    let session = Principal { via: PrincipalVia::Session, ..server.owner.clone() };
    by(&server, Some(&session), met).refused(92, "POST", "/v1/content", json!({"name": "forged"})).await;

    // Tokens: asked for twice, confirmed twice, confirmed late.
    let program = Program::new(&server, "2048");
    by(&server, None, met).made("POST", "/tokens", program.wanted()).await;
    by(&server, None, met).refused(85, "POST", "/tokens", program.wanted()).await;
    let claim = format!("/tokens/{}/claim", text(&program.wanted()["token"]));
    let mut owner = by(&server, Some(&server.owner), met);
    owner.made("POST", &claim, Value::Null).await;
    owner.refused(84, "POST", &claim, Value::Null).await;
    let client = server.database.client().await.unwrap();
    let past = OffsetDateTime::now_utc() - Duration::MINUTE;
    signed_tokens::create(&client, "T99999999999999999999999999", b"k", "x", past).await.unwrap();
    owner.refused(29, "POST", "/tokens/T99999999999999999999999999/claim", Value::Null).await;

    let (router, ..) = empty_server(true).await;
    let bootstrap = |token: &str| {
        let asked = request("POST", "/__api__/v1/experimental/bootstrap").header("authorization", token);
        asked.body(Body::empty()).unwrap()
    };
    let what = "POST /v1/experimental/bootstrap";
    met.note(166, what, &send(&router, bootstrap("Connect-Bootstrap x.y.z")).await);
    let token = format!("Connect-Bootstrap {}", crate::bootstrap::token());
    assert_eq!(send(&router, bootstrap(&token)).await.status, 200);
    met.note(165, what, &send(&router, bootstrap(&token)).await);
}

/// Accounts and groups.
async fn accounts(met: &mut Met) {
    let server = Server::new().await;
    let absent = Uuid::new_v4();
    let mut admin = by(&server, Some(&server.admin), met);
    admin.refused(8, "POST", "/v1/users", json!({"username": "owner", "password": "long enough"})).await;
    admin.refused(12, "POST", "/v1/users", json!({})).await;
    admin.refused(9, "GET", &format!("/v1/users/{absent}"), Value::Null).await;
    admin.refused(9, "POST", &format!("/v1/users/{absent}/lock"), json!({"locked": true})).await;
    admin.refused(153, "GET", &format!("/v1/groups/{absent}"), Value::Null).await;
    let group = text(&admin.made("POST", "/v1/groups", json!({"name": "team"})).await["guid"]);
    admin.refused(15, "POST", "/v1/groups", json!({"name": "team"})).await;
    let member = json!({"user_guid": server.viewer.guid});
    let members = format!("/v1/groups/{group}/members");
    admin.made("POST", &members, member.clone()).await;
    admin.refused(16, "POST", &members, member).await;
    admin.refused(17, "DELETE", &format!("{members}/{}", server.stranger.guid), Value::Null).await;
    let mut stranger = by(&server, Some(&server.stranger), met);
    stranger.refused(20, "DELETE", &format!("/v1/groups/{group}"), Value::Null).await;
    stranger.refused(22, "POST", "/v1/users", json!({"username": "new"})).await;
    stranger.refused(21, "PUT", &format!("/v1/users/{}", server.owner.guid), json!({"email": "x@example.org"})).await;
    stranger.refused(19, "GET", &format!("/v1/users/{}/keys", server.owner.guid), Value::Null).await;

    // Who is not confirmed, or locked, is told so by who knows the password.
    for (name, confirmed, code) in [("fresh", false, 40), ("locked", true, 50)] {
        let client = server.database.client().await.unwrap();
        let user = NewUser {
            guid: lectern_domain::ids::UserGuid(Uuid::new_v4()),
            username: name.into(),
            email: String::new(),
            first_name: String::new(),
            last_name: String::new(),
            role: UserRole::Publisher,
            password_hash: Some(users::PasswordHash("hash of long enough".into())),
            confirmed,
        };
        let row = users::create(&client, &user).await.unwrap();
        if confirmed {
            users::set_locked(&client, row.id, true).await.unwrap();
        }
        let who = json!({"username": name, "password": "long enough"});
        by(&server, None, met).refused(code, "POST", "/__login__", who).await;
    }
    let often = request("POST", "/__api__/__login__").extension(ClientAddress(IMPATIENT));
    let who = json!({"username": "owner", "password": "long enough"}).to_string();
    let often = server.send(None, often.body(Body::from(who)).unwrap()).await;
    assert_eq!(often.refusal(), (429, 30), "the protocol's code under a status that says to wait");
}

/// Settings of content.
async fn items(met: &mut Met) {
    let server = Server::new().await;
    let guid = server.content("mine").await;
    let at = format!("/v1/content/{guid}");
    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
         &subject_token_type=urn:posit:connect:content-session-token&subject_token=process of {guid}"
    );
    let as_form = ("content-type", "application/x-www-form-urlencoded");
    by(&server, None, met).refused_bytes(212, "/v1/oauth/integrations/credentials", as_form, form).await;
    let mut owner = by(&server, Some(&server.owner), met);
    owner.refused(3, "GET", "/v1/content/not-a-guid", Value::Null).await;
    owner.refused(4, "GET", &format!("/v1/content/{}", Uuid::new_v4()), Value::Null).await;
    owner.refused(5, "POST", "/v1/content", json!({"name": "a b"})).await;
    owner.refused(26, "POST", "/v1/content", json!({"name": "MINE"})).await;
    owner.refused(87, "PATCH", &at, json!({"title": "x"})).await;
    owner.refused(121, "PATCH", &at, json!({"title": 7})).await;
    owner.refused_bytes(121, "/v1/content", ("content-type", "application/json"), "{").await;
    owner.refused(161, "GET", "/v1/content?include=everything", Value::Null).await;
    owner.refused(25, "GET", "/applications?filter=x", Value::Null).await;
    owner.refused(22, "PATCH", &at, json!({"run_as": "root"})).await;
    owner.refused(156, "PATCH", &at, json!({"owner_guid": server.viewer.guid})).await;
    owner.refused(45, "PATCH", &at, json!({"max_processes": 0})).await;
    owner.refused(113, "PATCH", &at, json!({"max_processes": 10_000})).await;
    owner.refused(114, "PATCH", &at, json!({"min_processes": 3, "max_processes": 2})).await;
    owner.refused(191, "PATCH", &at, json!({"min_processes": 10_000})).await;
    owner.refused(192, "PATCH", &at, json!({"max_conns_per_process": i32::MAX})).await;
    owner.refused(150, "PATCH", &at, json!({"load_factor": 1.5})).await;
    owner.refused(151, "PATCH", &at, json!({"idle_timeout": -1})).await;
    // The same where content is made.
    owner.refused(113, "POST", "/v1/content", json!({"name": "greedy", "max_processes": 10_000})).await;
    owner.refused(151, "POST", "/v1/content", json!({"name": "patient", "read_timeout": 2_592_001})).await;

    let variables = format!("{at}/environment");
    let set = |name: &str| json!({"name": name, "value": "x"});
    owner.refused(149, "PATCH", &variables, json!([set("A"), set("A")])).await;
    owner.refused(108, "PUT", &variables, json!([set("LECTERN_SOCKET")])).await;
    let many: Vec<Value> = (0..1001).map(|number| set(&format!("V{number}"))).collect();
    owner.refused(106, "PUT", &variables, json!(many)).await;

    let other = server.content("other").await;
    owner.made("PUT", &format!("/v1/content/{other}/vanity"), json!({"path": "/taken/"})).await;
    owner.refused(51, "PUT", &format!("{at}/vanity"), json!({"path": "/taken/"})).await;
    owner.refused(52, "PUT", &format!("{at}/vanity"), json!({"path": "/../etc/"})).await;
    owner.refused(4, "GET", &format!("{at}/vanity"), Value::Null).await;
    owner.refused(17, "DELETE", &format!("{at}/vanity"), Value::Null).await;
    owner.refused(17, "DELETE", &format!("{at}/thumbnail"), Value::Null).await;

    by(&server, Some(&server.stranger), met).refused(19, "GET", &at, Value::Null).await;
    by(&server, Some(&server.viewer), met).refused(22, "POST", "/v1/content", json!({"name": "viewers"})).await;
    server.permit(&guid, &server.viewer, PermissionRole::Viewer).await;
    by(&server, Some(&server.viewer), met).refused(21, "PATCH", &at, json!({"title": "theirs"})).await;
}

/// Who is on an item's list.
async fn lists(met: &mut Met) {
    let server = Server::new().await;
    let guid = server.content("shared").await;
    let at = format!("/v1/content/{guid}/permissions");
    let mut owner = by(&server, Some(&server.owner), met);
    let entry =
        |guid: String, kind: &str, role: &str| json!({"principal_guid": guid, "principal_type": kind, "role": role});
    let viewer = server.viewer.guid.to_string();
    owner.refused(33, "POST", &at, entry(viewer.clone(), "user", "owner")).await;
    owner.refused(34, "POST", &at, entry(server.owner.guid.to_string(), "user", "viewer")).await;
    owner.refused(9, "POST", &at, entry(Uuid::new_v4().to_string(), "user", "viewer")).await;
    owner.refused(153, "POST", &at, entry(Uuid::new_v4().to_string(), "group", "viewer")).await;
    owner.made("POST", &at, entry(viewer.clone(), "user", "viewer")).await;
    owner.refused(154, "POST", &at, entry(viewer, "user", "viewer")).await;
    let group = text(&owner.made("POST", "/v1/groups", json!({"name": "team"})).await["guid"]);
    owner.made("POST", &at, entry(group.clone(), "group", "viewer")).await;
    owner.refused(155, "POST", &at, entry(group, "group", "viewer")).await;
    owner.refused(18, "PUT", &format!("{at}/999999"), json!({"role": "viewer"})).await;
    owner.refused(17, "DELETE", &format!("{at}/999999"), Value::Null).await;
}

/// The tree of tags.
async fn trees(met: &mut Met) {
    let server = Server::new().await;
    let guid = server.content("tagged").await;
    let mut admin = by(&server, Some(&server.admin), met);
    let category = text(&admin.made("POST", "/v1/tags", json!({"name": "Teams"})).await["id"]);
    let tag = text(&admin.made("POST", "/v1/tags", json!({"name": "Sales", "parent_id": category})).await["id"]);
    let below = text(&admin.made("POST", "/v1/tags", json!({"name": "North", "parent_id": tag})).await["id"]);
    admin.refused(81, "POST", "/v1/tags", json!({"name": "teams"})).await;
    admin.refused(157, "POST", "/v1/tags", json!({"name": "Lost", "parent_id": "999999"})).await;
    admin.refused(158, "PATCH", &format!("/v1/tags/{tag}"), json!({"parent_id": below})).await;
    let mut owner = by(&server, Some(&server.owner), met);
    owner.refused(79, "POST", &format!("/v1/content/{guid}/tags"), json!({"tag_id": category})).await;
    owner.refused(17, "DELETE", &format!("/v1/content/{guid}/tags/{tag}"), Value::Null).await;
}

/// Bundles on their way in.
async fn uploads(met: &mut Met) {
    let server = Server::new().await;
    let guid = server.content("uploads").await;
    let at = format!("/v1/content/{guid}/bundles");
    let none = ("x-nothing", "x");
    let mut owner = by(&server, Some(&server.owner), met);
    owner.refused_bytes(104, &at, ("x-content-checksum", "AAAAAAAAAAAAAAAAAAAAAA=="), page_bundle("x")).await;
    owner.refused_bytes(125, &at, none, "").await;
    let multipart = ("content-type", "multipart/form-data; boundary=b");
    owner
        .refused_bytes(126, &at, multipart, "--b\r\nContent-Disposition: form-data; name=\"archive\"\r\n\r\ncut")
        .await;
    owner.refused_bytes(134, &at, none, vec![0; usize::try_from(MAX_BUNDLE).unwrap() * 2]).await;
    owner.refused_bytes(135, &at, none, "no archive").await;
    owner.refused_bytes(38, &at, none, archive(&[("index.html", "no manifest")])).await;
    // Another kind than at the first deployment.
    let page = server.bundle(&guid).await;
    server.activate(&guid, &page).await;
    let with = |more: Value| {
        let mut metadata = json!({"appmode": "static", "primary_html": "index.html"});
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let manifest = json!({"version": 1, "metadata": metadata, "files": {}}).to_string();
        archive(&[("manifest.json", &manifest), ("index.html", "x")])
    };
    let app = archive(&[("manifest.json", &manifest("python-fastapi")), ("app.py", "")]);
    let mut owner = by(&server, Some(&server.owner), met);
    owner.refused_bytes(48, &at, none, app).await;
    owner.refused_bytes(110, &at, none, with(json!({"content_category": "pin"}))).await;
    owner.refused_bytes(111, &at, none, with(json!({"has_parameters": true}))).await;
    owner.refused(75, "DELETE", &format!("{at}/{page}"), Value::Null).await;
}

/// Tasks and jobs.
async fn deployments(met: &mut Met) {
    let server = Server::new().await;
    let guid = server.content("deployed").await;
    let at = format!("/v1/content/{guid}");
    let mut owner = by(&server, Some(&server.owner), met);
    owner.refused(28, "POST", &format!("{at}/deploy"), json!({})).await;
    owner.refused(28, "POST", &format!("{at}/build"), json!({"bundle_id": "999999"})).await;
    let other = server.content("other").await;
    let foreign = server.bundle(&other).await;
    owner.refused(82, "POST", &format!("{at}/deploy"), json!({"bundle_id": foreign})).await;
    owner.refused(141, "GET", "/v1/tasks/0123456789abcdef0123456789abcdef", Value::Null).await;
    owner.refused(141, "GET", "/tasks/0123456789abcdef0123456789abcdef", Value::Null).await;
    let client = server.database.client().await.unwrap();
    let row = content::get_by_guid(&client, guid.parse().unwrap()).await.unwrap().unwrap();
    let job = NewJob {
        key: lectern_domain::JobKey::from_random([1; 16]),
        content: row.id,
        bundle: None,
        tag: "run_api".into(),
        server: Uuid::nil(),
        hostname: "host".into(),
        run_as: None,
        log_path: None,
        task: None,
    };
    let job = jobs::create(&client, &job).await.unwrap();
    let end = JobEnd { exit_code: Some(0), reason: None, cpu_seconds: None, peak_memory_bytes: None, at: None };
    jobs::finish(&client, &job.key, &end).await.unwrap();
    owner.refused(163, "DELETE", &format!("{at}/jobs/{}", job.key), Value::Null).await;
    let absent = lectern_domain::JobKey::from_random([2; 16]);
    owner.refused(4, "GET", &format!("{at}/jobs/{absent}"), Value::Null).await;
}

/// A failure of ours: a stored bundle that is not what was stored.
async fn failures(met: &mut Met) {
    let server = Server::new().await;
    let guid = server.content("damaged").await;
    let bundle = server.bundle(&guid).await;
    let stored = server.store.list().unwrap()[0].hash.to_string();
    for place in ["store", "cache"] {
        std::fs::write(server.directory.path().join(place).join(&stored), b"damaged").unwrap();
    }
    let download = format!("/v1/content/{guid}/bundles/{bundle}/download");
    by(&server, Some(&server.owner), met).refused(1, "GET", &download, Value::Null).await;
}
