//! The server with its accounts, and the owner's private item, which is published and running.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use lectern_tests::apps;
use lectern_tests::http::{Ask, Reply, form};
use lectern_tests::postgres::Postgres;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use serde_json::{Value, json};

use crate::Route;

/// A visit is written down within ten seconds.
const SOON: Duration = Duration::from_secs(20);
/// The pair of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What a client has after signing in with a password.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The whole `Cookie` field.
    pub(crate) cookie: String,
    /// For `X-RSC-XSRF`.
    pub(crate) secret: String,
}

/// An item by both its names.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) guid: String,
    pub(crate) number: String,
}

pub(crate) struct World {
    server: Server,
    database: Postgres,
    pub(crate) admin: Account,
    /// Whose everything is that the routes are asked about.
    pub(crate) owner: Account,
    pub(crate) viewer: Account,
    pub(crate) publisher: Account,
    pub(crate) listed: Account,
    pub(crate) collaborator: Account,
    /// Nobody who asks: whom entries and memberships are about.
    pub(crate) third: Account,
    /// Nobody who asks either: who is to be put on lists and into groups.
    pub(crate) fourth: Account,
    /// The owner's, as it is now.
    pub(crate) session: RefCell<Session>,
    /// Published, running, on nobody's list but of those above.
    pub(crate) private: Item,
    /// Base64 of an RSA key, for tokens.
    pub(crate) public_key: String,
    unique: Cell<u32>,
}

impl World {
    pub(crate) fn new() -> Self {
        let database = Postgres::start();
        let server = Server::setup()
            .env("LECTERN_DATABASE__URL", database.url())
            .env("LECTERN_DATABASE__TLS_CA_FILE", database.authority.to_str().unwrap())
            .start();
        let account = |name, role| server.account(name, role);
        let pem = server.scratch().join("program.pem");
        let mut world = Self {
            admin: account("admin", "administrator"),
            owner: account("owner", "publisher"),
            viewer: account("viewer", "viewer"),
            publisher: account("publisher", "publisher"),
            listed: account("listed", "viewer"),
            collaborator: account("collaborator", "publisher"),
            third: account("third", "publisher"),
            fourth: account("fourth", "publisher"),
            session: RefCell::default(),
            private: Item { guid: String::new(), number: String::new() },
            public_key: public_key(&pem),
            unique: Cell::new(0),
            server,
            database,
        };
        world.sign_in();
        world.private = world.item(&world.owner);
        world.publish();
        world
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Makes what no client can: by SQL, past the server.
    pub(crate) fn sql(&self, text: &str) {
        self.database.sql(text);
    }

    /// A request to the API with an account's key.
    pub(crate) fn api(&self, who: &Account, method: Method, path: &str) -> Ask {
        self.server.ask(method, &format!("/__api__{path}")).key(&who.key)
    }

    /// Makes something, which must succeed; answers what the server shows of it.
    #[track_caller]
    pub(crate) fn make(&self, who: &Account, method: Method, path: &str, body: &Value) -> Value {
        let reply = self.api(who, method.clone(), path).json(body).send();
        assert!(reply.status < 300, "{method} {path}: {} {}", reply.status, reply.text());
        serde_json::from_slice(&reply.body).unwrap_or_default()
    }

    /// Looks, which must succeed.
    #[track_caller]
    pub(crate) fn look(&self, who: &Account, path: &str) -> Value {
        self.api(who, Method::GET, path).send().expect(200).json()
    }

    /// A word that was not used before.
    pub(crate) fn unique(&self) -> String {
        self.unique.set(self.unique.get() + 1);
        format!("unique{:05}", self.unique.get())
    }

    /// A new item of `owner` with a bundle, and with the listed and the collaborator on its list.
    pub(crate) fn item(&self, owner: &Account) -> Item {
        let made = self.make(owner, Method::POST, "/v1/content", &json!({"name": self.unique()}));
        let item = Item { guid: text(&made["guid"]), number: text(&made["id"]) };
        Publisher::new(&self.server, owner).upload(&item.guid, &apps::page("Page"));
        let path = format!("/v1/content/{}/permissions", item.guid);
        for (who, role) in [(&self.listed, "viewer"), (&self.collaborator, "owner")] {
            let entry = json!({"principal_guid": who.guid, "principal_type": "user", "role": role});
            self.make(owner, Method::POST, &path, &entry);
        }
        item
    }

    /// Makes the private item one that everything can be said of: it runs, was visited, and has what items may have.
    fn publish(&self) {
        let Item { guid, .. } = &self.private;
        let owner = Publisher::new(&self.server, &self.owner);
        owner.redeploy(guid, &apps::probe());
        owner.open(guid, "").expect(200);
        let at = |rest: &str| format!("/v1/content/{guid}/{rest}");
        self.make(&self.owner, Method::PUT, &at("vanity"), &json!({"path": "/private-path/"}));
        self.api(&self.owner, Method::PUT, &at("thumbnail")).body(png()).send().expect(204);
        self.make(&self.owner, Method::PATCH, &at("environment"), &json!([{"name": "SECRET", "value": "x"}]));
        let visits = format!("/v1/instrumentation/content/hits?content_guid={guid}");
        let seen = || self.look(&self.owner, &visits).as_array().is_some_and(|hits| !hits.is_empty());
        until("the visit is written down", SOON, || seen().then_some(()));
    }

    /// Whether an answer tells of the private item.
    pub(crate) fn is_named_in(&self, reply: &Reply) -> bool {
        let text = reply.text();
        text.contains(&self.private.guid) || text.contains("private-path")
    }

    /// Signs the owner in.
    fn sign_in(&self) {
        let who = json!({"username": self.owner.name, "password": self.owner.password});
        let reply = self.server.post("/__api__/__login__").json(&who).send().expect(200);
        let cookies: Vec<String> = reply.header_values("set-cookie");
        let pairs: Vec<&str> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
        let secret = pairs.iter().find_map(|pair| pair.strip_prefix("RSC-XSRF=")).unwrap().to_owned();
        *self.session.borrow_mut() = Session { cookie: pairs.join("; "), secret };
    }

    /// Undoes what a route did to the owner's account, so that the next is asked by the same.
    pub(crate) fn restore(&self, route: &Route) {
        if !route.path.contains("/v1/users/{guid}/") {
            return;
        }
        let lock = format!("/v1/users/{}/lock", self.owner.guid);
        self.make(&self.admin, Method::POST, &lock, &json!({"locked": false}));
        self.sign_in();
    }

    /// A key of the account that is for looking only.
    pub(crate) fn lesser_key(&self, who: &Account) -> String {
        let wanted = json!({"name": self.unique(), "role": "viewer"});
        text(&self.make(who, Method::POST, &format!("/v1/users/{}/keys", who.guid), &wanted)["key"])
    }

    /// Lets a program act in the owner's name, as its page in a browser does; answers its access token.
    pub(crate) fn program(&self, who: &Account) -> String {
        assert_eq!(who.guid, self.owner.guid, "only the owner is signed in");
        let back = "http://127.0.0.1:8123/callback";
        let new = json!({"client_name": "Program", "redirect_uris": ["http://127.0.0.1/callback"]});
        let client = self.server.post("/__api__/oauth/register").json(&new).send().expect(201).json();
        let client = text(&client["client_id"]);
        let query = form(&[
            ("response_type", "code"),
            ("client_id", &client),
            ("redirect_uri", back),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        let page = self.server.get(&format!("/connect/oauth/authorize?{query}"));
        let page = page.header("cookie", &self.session.borrow().cookie);
        let page = page.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document").send().expect(200);
        let page = page.text();
        let pass = page.split("name=\"pass\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let answer = [("pass", pass), ("query", &query), ("answer", "allow")];
        let reply = self.server.post("/connect/oauth/authorize").form(&answer).send().expect(303);
        let code = reply.header("location").split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        let redeem = [
            ("grant_type", "authorization_code"),
            ("client_id", &client),
            ("code", &code),
            ("redirect_uri", back),
            ("code_verifier", VERIFIER),
        ];
        text(&self.server.post("/__api__/oauth/token").form(&redeem).send().expect(200).json()["access_token"])
    }
}

/// A picture of one point.
pub(crate) fn png() -> Vec<u8> {
    let text = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    STANDARD.decode(text).unwrap()
}

/// Makes an RSA key with openssl; answers its public half as programs send it.
fn public_key(pem: &Path) -> String {
    let pem = pem.to_str().unwrap();
    let openssl = |words: &[&str]| {
        let run = Command::new("openssl").args(words).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    };
    openssl(&["genrsa", "-out", pem, "2048"]);
    STANDARD.encode(openssl(&["rsa", "-in", pem, "-pubout", "-outform", "DER"]))
}
