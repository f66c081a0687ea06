//! What other clients do on the wire, request by request: Posit Publisher with a key and with a token that it signs with, R's
//! connectapi, and `quarto publish connect`. None of them can run here; connect-api.md §6.4 and §6.5 say what they send.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use lectern_tests::http::{Ask, Reply};
use lectern_tests::publisher::text;
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use lectern_tests::{apps, browser, bundle};
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

/// Longest wait for a task of these: one page, or an environment that others share.
const SOON: Duration = Duration::from_secs(120);

/// Kinds of content that Publisher asks the scheduler's settings for: all that it knows but `static`.
const MODES: [&str; 17] = [
    "shiny",
    "rmd-shiny",
    "rmd-static",
    "api",
    "tensorflow-saved-model",
    "jupyter-static",
    "python-api",
    "python-dash",
    "python-streamlit",
    "python-bokeh",
    "python-fastapi",
    "quarto-shiny",
    "quarto-static",
    "python-shiny",
    "jupyter-voila",
    "python-gradio",
    "nodejs",
];

/// How a client proves who it is.
enum Proof {
    Key(String),
    Token(Token),
}

/// A key pair and the token it is registered under.
struct Token {
    id: String,
    pem: PathBuf,
}

fn openssl(words: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child =
        Command::new("openssl").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run openssl");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {words:?}");
    output.stdout
}

fn md5(bytes: &[u8]) -> String {
    STANDARD.encode(openssl(&["dgst", "-md5", "-binary"], bytes))
}

impl Token {
    /// Makes a key pair.
    fn new() -> Self {
        let pem = SERVER.scratch().join("publisher.pem");
        openssl(&["genrsa", "-out", pem.to_str().unwrap(), "2048"], b"");
        Self { id: "T8d5c9a3b2f1e4d6c7b8a9f0e1d2c3b4a".to_owned(), pem }
    }

    /// The public key, as it is registered.
    fn public(&self) -> String {
        STANDARD.encode(openssl(&["rsa", "-in", self.pem.to_str().unwrap(), "-pubout", "-outform", "DER"], b""))
    }

    /// Adds the signature to a request.
    fn sign(&self, ask: Ask, method: &Method, path: &str, body: &[u8]) -> Ask {
        let now = time::OffsetDateTime::from(SystemTime::now());
        let shape = time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        let date = now.format(shape).unwrap();
        let checksum = md5(body);
        let path = path.split('?').next().unwrap();
        let signed = format!("{method}\n{path}\n{date}\n{checksum}");
        let signature = openssl(&["dgst", "-sha1", "-sign", self.pem.to_str().unwrap()], signed.as_bytes());
        ask.header("date", &date)
            .header("x-auth-token", &self.id)
            .header("x-content-checksum", &checksum)
            .header("x-auth-signature", &STANDARD.encode(signature))
    }
}

/// One request as the client sends it.
fn ask(proof: &Proof, method: Method, path: &str, kind: &str, body: &[u8]) -> Reply {
    let path = format!("/__api__{path}");
    let mut ask = SERVER.ask(method.clone(), &path).body(body.to_vec());
    if !kind.is_empty() {
        ask = ask.header("content-type", kind);
    }
    let ask = match proof {
        Proof::Key(key) => ask.key(key),
        Proof::Token(token) => token.sign(ask, &method, &path, body),
    };
    let reply = ask.send();
    println!("{method} {path} -> {}", reply.status);
    reply
}

fn get(proof: &Proof, path: &str) -> Reply {
    ask(proof, Method::GET, path, "", b"")
}

fn send(proof: &Proof, method: Method, path: &str, body: &Value) -> Value {
    ask(proof, method, path, "application/json", body.to_string().as_bytes()).json_of_success()
}

/// The JSON of a reply that says it is JSON and that all went well.
trait Success {
    fn json_of_success(&self) -> Value;
}

impl Success for Reply {
    #[track_caller]
    fn json_of_success(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text());
        assert!(self.header("content-type").starts_with("application/json"), "{:?}", self.headers);
        self.json()
    }
}

/// Polls a task as Publisher does: by `first` alone, and whoever gets an error text stops.
fn follow(proof: &Proof, task: &str) -> Vec<String> {
    let (mut first, mut lines) = (0, Vec::new());
    until("the task's end", SOON, || {
        let seen = get(proof, &format!("/v1/tasks/{task}?first={first}")).json_of_success();
        lines.extend(seen["output"].as_array().unwrap().iter().map(text));
        first = seen["last"].as_i64().unwrap();
        assert_eq!(seen["error"], "", "{lines:?}");
        (seen["finished"] == true).then(|| assert_eq!(seen["code"], 0, "{lines:?}"))
    });
    lines
}

/// All that Publisher asks before it publishes.
fn preflight(proof: &Proof) {
    let me = get(proof, "/v1/user").json_of_success();
    assert_eq!((&me["guid"], &me["locked"], &me["confirmed"]), (&json!(ADA.guid), &json!(false), &json!(true)));
    assert_eq!(me["user_role"], "publisher");
    let settings = get(proof, "/server_settings").json_of_success();
    assert_eq!((&settings["execution_type"], &settings["license"]["allow-apis"]), (&json!("native"), &json!("1")));
    let content = get(proof, "/server_settings/applications").json_of_success();
    assert_eq!(content["access_types"], json!(["acl", "logged_in", "all"]));
    let scheduler = get(proof, "/server_settings/scheduler").json_of_success();
    for mode in MODES {
        let of_mode = get(proof, &format!("/server_settings/scheduler/{mode}")).json_of_success();
        assert_eq!(of_mode.as_object().unwrap().len(), scheduler.as_object().unwrap().len(), "{mode}");
    }
    for language in ["python", "r", "quarto", "nodejs"] {
        let found = get(proof, &format!("/v1/server_settings/{language}")).json_of_success();
        assert!(found["installations"].is_array(), "{language}: {found}");
    }
}

/// Publishes as Publisher does; `known` is the item of an earlier time. Answers the GUID.
fn publish(proof: &Proof, known: Option<&str>, bundle: &[u8], settings: &Value) -> String {
    preflight(proof);
    let guid = match known {
        Some(guid) => {
            let item = get(proof, &format!("/v1/content/{guid}")).json_of_success();
            assert_eq!((&item["locked"], &item["app_mode"]), (&json!(false), &json!("python-fastapi")));
            guid.to_owned()
        }
        None => {
            let made = send(proof, Method::POST, "/v1/content", &json!({"name": ""}));
            assert!(["unknown", ""].contains(&made["app_mode"].as_str().unwrap()), "{made}");
            text(&made["guid"])
        }
    };
    let at = format!("/v1/content/{guid}");
    let upload = match proof {
        Proof::Token(_) => ask(proof, Method::POST, &format!("{at}/bundles"), "application/gzip", bundle),
        Proof::Key(key) => {
            let upload =
                SERVER.post(&format!("/__api__{at}/bundles")).key(key).header("x-content-checksum", &md5(bundle));
            upload.header("content-type", "application/gzip").body(bundle.to_vec()).send()
        }
    };
    let id = text(&upload.json_of_success()["id"]);
    let changed = send(proof, Method::PATCH, &at, settings);
    assert_eq!((&changed["title"], &changed["description"]), (&settings["title"], &settings["description"]));
    let variables = send(
        proof,
        Method::PATCH,
        &format!("{at}/environment"),
        &json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]),
    );
    assert_eq!(variables, json!(["A", "B"]));
    let task = send(proof, Method::POST, &format!("{at}/deploy"), &json!({"bundle_id": id}));
    let lines = follow(proof, &text(&task["task_id"]));
    assert!(lines.contains(&format!("Bundle {id} is active.")), "{lines:?}");
    // It looks whether the content answers, with the same proof, and takes anything below 500.
    let path = format!("/content/{guid}/");
    let look = match proof {
        Proof::Key(key) => SERVER.get(&path).key(key).send(),
        Proof::Token(token) => token.sign(SERVER.get(&path), &Method::GET, &path, b"").send(),
    };
    assert!(look.status < 500, "{} {}", look.status, look.text());
    let archive = get(proof, &format!("{at}/bundles/{id}/download"));
    assert_eq!(archive.expect(200).body, bundle, "what is opened elsewhere is what was published");
    assert_eq!(get(proof, &format!("{at}/environment")).json_of_success(), json!(["A", "B"]));
    guid
}

#[test]
fn publisher_with_a_key() {
    let proof = Proof::Key(ADA.key.clone());
    let settings = json!({"name": "", "title": "By Publisher", "description": "first", "access_type": "all",
        "max_processes": 2, "min_processes": 0, "load_factor": 0.5, "idle_timeout": 120});
    let guid = publish(&proof, None, &apps::probe_version("1"), &settings);
    let version = || SERVER.get(&format!("/content/{guid}/")).send().expect(200).json()["version"].clone();
    assert_eq!(version(), "1");
    let settings = json!({"name": "", "title": "By Publisher", "description": "second"});
    publish(&proof, Some(&guid), &apps::probe_version("2"), &settings);
    assert_eq!(version(), "2");
    // Its home view.
    let listed = get(&proof, "/v1/content").json_of_success();
    assert!(listed.as_array().unwrap().iter().any(|item| item["guid"] == *guid));
    // A damaged upload is told as one.
    let bad = SERVER.post(&format!("/__api__/v1/content/{guid}/bundles")).key(&ADA.key);
    let bad = bad.header("x-content-checksum", &md5(b"another")).header("content-type", "application/gzip");
    bad.body(apps::probe()).send().expect_error(400, 104);
    get(&proof, "/v1/content/9f4f2b1e-6c1d-4d1a-9f3e-000000000000").expect_error(404, 4);
}

#[test]
fn publisher_with_a_token_that_it_signs_with() {
    let token = Token::new();
    // It tries the address as typed, then shorter ones, until one gives a token.
    let wanted = json!({"token": token.id, "public_key": token.public(), "user_id": 0});
    let typed = SERVER.post("/connect/__api__/tokens").json(&wanted).send();
    assert!(typed.status >= 400, "{}", typed.status);
    let claim = SERVER.post("/__api__/tokens").json(&wanted).send().json_of_success();
    let url = text(&claim["token_claim_url"]);
    let proof = Proof::Token(token);
    assert_eq!(get(&proof, "/v1/user").status, 401, "nobody has confirmed it");
    browser::confirm_token(&url, &ADA.name, &ADA.password);
    until("the token to be this user's", SOON, || (get(&proof, "/v1/user").status == 200).then_some(()));
    let settings = json!({"name": "", "title": "By a token", "description": ""});
    let guid = publish(&proof, None, &apps::probe(), &settings);
    let item = get(&proof, &format!("/v1/content/{guid}")).json_of_success();
    assert_eq!((&item["owner_guid"], &item["app_role"]), (&json!(ADA.guid), &json!("owner")));
    // A signature is for one path.
    let Proof::Token(token) = &proof else { unreachable!() };
    let other = SERVER.get("/__api__/v1/content");
    assert_eq!(token.sign(other, &Method::GET, "/__api__/v1/user", b"").send().status, 401);
}

#[test]
fn connectapi_publishes_and_asks_around() {
    let proof = Proof::Key(ADA.key.clone());
    let ping = SERVER.get("/__ping__").send().expect(200);
    assert_eq!(ping.json(), json!({}));
    assert!(text(&get(&proof, "/server_settings").json_of_success()["version"]).starts_with("20"));
    // A made-up key is refused where none would be needed.
    assert_eq!(get(&Proof::Key("made-up".into()), "/server_settings").status, 401);

    assert_eq!(get(&proof, "/v1/content?name=by-connectapi").json_of_success(), json!([]));
    let wanted = json!({"name": "by-connectapi", "title": "By connectapi"});
    let made = send(&proof, Method::POST, "/v1/content", &wanted);
    let guid = text(&made["guid"]);
    assert_eq!(get(&proof, "/v1/content?name=BY-connectapi").json_of_success()[0], made);
    let at = format!("/v1/content/{guid}");
    let page = apps::page("By connectapi");
    let id = ask(&proof, Method::POST, &format!("{at}/bundles"), "application/octet-stream", &page).json_of_success();
    let deployed = send(&proof, Method::POST, &format!("{at}/deploy"), &json!({"bundle_id": id["id"]}));
    let task = text(&deployed["task_id"]);
    let done = until("the task's end", SOON, || {
        let seen = get(&proof, &format!("/v1/tasks/{task}?first=0&wait=1")).json_of_success();
        (seen["finished"] == true).then_some(seen)
    });
    assert_eq!((&done["code"], &done["id"]), (&json!(0), &json!(task)));

    // An absent route is no absent object: the client goes on with an older one only without a `code`.
    let absent = get(&proof, "/v1/nothing/of/the/kind").expect(404);
    assert!(serde_json::from_slice::<Value>(&absent.body).is_err(), "{}", absent.text());
    get(&proof, "/v1/content/9f4f2b1e-6c1d-4d1a-9f3e-000000000000").expect_error(404, 4);

    // Pages, by number and by the address of the next.
    let users = get(&proof, "/v1/users?page_number=1&page_size=1").json_of_success();
    let keys: std::collections::BTreeSet<_> = users.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["current_page", "results", "total"].into());
    let opened = SERVER.get(&format!("/content/{guid}/")).key(&ADA.key).send();
    opened.expect(200);
    let visits = until("the visit is noted", SOON, || {
        let seen =
            get(&proof, &format!("/v1/instrumentation/content/visits?content_guid={guid}&limit=1")).json_of_success();
        (seen["results"] != json!([])).then_some(seen)
    });
    assert_eq!(visits["results"][0]["user_guid"], *ADA.guid);
    if let Some(next) = visits["paging"]["next"].as_str() {
        let next = next.strip_prefix(&SERVER.url()).unwrap().strip_prefix("/__api__").unwrap();
        assert_eq!(get(&proof, next).json_of_success()["results"], json!([]));
    }
    let search = get(&proof, "/v1/search/content?q=connectapi&page_number=1&page_size=500&include=owner,vanity_url");
    let found = search.json_of_success();
    assert_eq!((&found["total"], &found["results"][0]["guid"]), (&json!(1), &json!(guid)));
    for language in ["python", "r", "quarto", "tensorflow"] {
        get(&proof, &format!("/v1/server_settings/{language}")).json_of_success();
    }
    let zones = get(&proof, "/v1/timezones").json_of_success();
    assert!(zones.as_array().unwrap().iter().any(|zone| zone["timezone"] == "Europe/Berlin"), "{zones}");
    assert_eq!(ask(&proof, Method::DELETE, &at, "", b"").status, 204);
}

#[test]
fn quarto_publishes_what_it_rendered() {
    let proof = Proof::Key(ADA.key.clone());
    // An address is a server's only if it asks who is there.
    assert_eq!(SERVER.get("/__api__/v1/user").send().status, 401);
    assert_ne!(get(&proof, "/v1/user").json_of_success()["user_role"], "viewer");
    // Its bodies are JSON in what fetch sends by default.
    let as_text = |path: &str, body: &Value| {
        ask(&proof, Method::POST, path, "text/plain;charset=UTF-8", body.to_string().as_bytes())
    };
    let wanted = json!({"name": "penguins-3f2a", "title": "Penguins"});
    let made = as_text("/v1/content", &wanted).json_of_success();
    as_text("/v1/content", &wanted).expect_error(409, 26);
    let guid = text(&made["guid"]);
    assert_eq!(made["content_url"], format!("{}/content/{guid}/", SERVER.url()));
    assert_eq!(made["dashboard_url"], format!("{}/connect/#/apps/{guid}", SERVER.url()));
    for round in ["first", "second"] {
        if round == "second" {
            assert_eq!(get(&proof, &format!("/v1/content/{guid}")).json_of_success()["title"], "Penguins");
        }
        let site = bundle::app(
            "static",
            "index.html",
            &[
                ("index.html", &format!("<!doctype html><link rel=stylesheet href=site_libs/a.css>{round}")),
                ("site_libs/a.css", "body {}"),
            ],
        );
        let path = format!("/v1/content/{guid}/bundles");
        let uploaded = ask(&proof, Method::POST, &path, "", &site).json_of_success();
        let of = text(&uploaded["content_guid"]);
        let deploy = as_text(&format!("/v1/content/{of}/deploy"), &json!({"bundle_id": uploaded["id"]}));
        let task = text(&deploy.json_of_success()["task_id"]);
        // In a loop without a pause and always from the first line, which is bearable because the server holds each for a second.
        let mut asked = 0;
        let done = until("the task's end", SOON, || {
            asked += 1;
            let seen = get(&proof, &format!("/v1/tasks/{task}?wait=1")).json_of_success();
            (seen["finished"] == true).then_some(seen)
        });
        assert_eq!(done["code"], 0, "{done}");
        assert!(asked < 60, "{asked}");
        let page = SERVER.get(&format!("/content/{guid}/")).key(&ADA.key).send().expect(200);
        assert!(page.text().contains(round), "{}", page.text());
    }
}
