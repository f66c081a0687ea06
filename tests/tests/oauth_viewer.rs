//! Content that reaches a provider in its visitor's name: a real provider, a real browser that signs in, and an app that calls the
//! provider with what it was given. And what must not be reached through an integration.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use lectern_tests::apps;
use lectern_tests::http::{Reply, form};
use lectern_tests::idp::Idp;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::visitor::Visitor;
use lectern_tests::wait::until;
use serde_json::{Value, json};

const SECRET: &str = "the-client's-secret";
const CALLBACK: &str = "/__oauth__/integrations/callback";

/// Exchanges what it is told of its visitor, and asks the provider with what it gets who that is.
const APP: &str = r#"
import json, os, urllib.error, urllib.parse, urllib.request

def ask(url, data=None, headers={}):
    try:
        request = urllib.request.Request(url, data and urllib.parse.urlencode(data).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or "null")

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    kind, token = "user", dict(scope["headers"]).get(b"posit-connect-user-session-token", b"").decode()
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
    if "who" not in query:
        kind, token = "content", os.environ["CONNECT_CONTENT_SESSION_TOKEN"]
    exchange = ask(
        os.environ["CONNECT_SERVER"].rstrip("/") + "/__api__/v1/oauth/integrations/credentials",
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": f"urn:posit:connect:{kind}-session-token",
            "subject_token": token,
        },
    )
    who = None
    if "who" in query and exchange[0] == 200:
        who = ask(query["who"], headers={"Authorization": "Bearer " + exchange[1]["access_token"]})
    body = json.dumps({"exchange": exchange, "who": who}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
"#;

/// An administrator makes an integration; answers its GUID.
fn integrate(server: &Server, admin: &Account, name: &str, token_uri: &str, authorization_uri: &str) -> String {
    let config = json!({
        "auth_mode": "Confidential", "authorization_uri": authorization_uri, "token_uri": token_uri,
        "client_id": "warehouse", "client_secret": SECRET, "scopes": "openid offline_access",
        "token_endpoint_auth_method": "client_secret_basic",
    });
    let body = json!({"name": name, "description": "Tables of the company", "template": "custom", "config": config});
    let made = Publisher::new(server, admin).api(Method::POST, "/v1/oauth/integrations").json(&body).send();
    assert!((200..300).contains(&made.status), "{}", made.text());
    assert!(!made.text().contains(SECRET), "{}", made.text());
    text(&made.json()["guid"])
}

/// Registers this server at the provider, at the address it has now.
fn register(idp: &Idp, server: &Server) {
    idp.set_client(&json!({
        "client_id": "warehouse", "client_secret": SECRET, "redirect_uris": [format!("{}{CALLBACK}", server.url())],
        "grant_types": ["authorization_code", "refresh_token"],
    }));
}

fn sign_in_path(guid: &str) -> String {
    format!("/__oauth__/integrations/{guid}/login")
}

#[test]
fn content_acts_for_a_visitor_who_signed_in() {
    let account = json!({"login": "vic-there", "sub": "sub of vic", "password": "engine"});
    // Tokens end soon, so that they are renewed while the test looks.
    let idp = Idp::start(&json!({"accounts": [account], "ttl": {"AccessToken": 8}}));
    let server = Server::setup()
        .env("LECTERN_OUTBOUND__ALLOW", idp.address().to_string())
        // The provider stands on this machine, where content otherwise cannot go.
        .env("LECTERN_SANDBOX__NETWORK", "host")
        .start();
    let (root, ada) = (server.account("root", "administrator"), server.account("ada", "publisher"));
    let (vic, eve) = (server.account("vic", "viewer"), server.account("eve", "viewer"));
    register(&idp, &server);
    // The provider gives refresh tokens only where consent is asked for: a query of the address's own stays.
    let issuer = &idp.issuer;
    let integration =
        integrate(&server, &root, "Warehouse", &format!("{issuer}/token"), &format!("{issuer}/auth?prompt=consent"));
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("for-visitors", &apps::asgi(APP));
    publisher.change(&guid, &json!({"access_type": "logged_in"})).expect(200);
    let associations = format!("/v1/content/{guid}/oauth/integrations/associations");
    let chosen = json!([{"oauth_integration_guid": integration}]);
    publisher.api(Method::PUT, &associations).json(&chosen).send().expect(200);
    let page = format!("/content/{guid}/?{}", form(&[("who", &format!("{issuer}/me"))]));
    let seen_by = |account: &Account| -> Value { server.get(&page).key(&account.key).send().expect(200).json_text() };

    // Without a sign-in: a 4xx that says where to.
    let before = seen_by(&vic);
    println!("before the sign-in: {}", before["exchange"]);
    assert_eq!((&before["exchange"][0], &before["exchange"][1]["code"]), (&json!(401), &json!(24)));
    assert!(text(&before["exchange"][1]["error"]).contains(&sign_in_path(&integration)), "{before}");

    let path = format!("{}?{}", sign_in_path(&integration), form(&[("next", &page)]));
    let seen = Visitor::new(&server, &vic).uses(
        &path,
        r#"
          const { context, shot } = all;
          let came = null;
          page.on('request', (request) => { if (request.url().startsWith(args.callback)) came = request.url(); });
          await page.getByRole('heading', { name: 'Sign in to Warehouse' }).waitFor();
          const asked = await page.innerText('main');
          await shot('sign-in');
          await page.getByRole('button', { name: 'Go to' }).click();
          await page.getByLabel('Account').fill('vic-there');
          await page.getByLabel('Password').fill('engine');
          await shot('provider');
          await page.getByRole('button', { name: 'Sign in' }).click();
          await page.waitForURL(args.content);
          const content = JSON.parse(await page.innerText('body'));
          const left = (await context.cookies()).filter((one) => one.name.startsWith('lectern-sign-in'));
          // The same address once more, as from the history.
          const replay = await page.goto(came);
          const replayed = [replay.status(), await page.innerText('main')];
          await page.goto(`${args.server}/connect/account`);
          await page.getByRole('link', { name: 'Services that content reaches' }).click();
          await page.getByRole('button', { name: 'Sign out of Warehouse' }).waitFor();
          await shot('integrations');
          return { asked, content, left, replayed, list: await page.innerText('main') };
        "#,
        &json!({
            "server": server.url(), "content": format!("{}{page}", server.url()), "callback": format!("{}{CALLBACK}", server.url()),
        }),
    );
    println!("after it: {}", seen["content"]["who"]);
    assert!(
        text(&seen["asked"]).contains("in the\nname of vic") || text(&seen["asked"]).contains("name of vic"),
        "{seen}"
    );
    assert_eq!(seen["content"]["who"], json!([200, {"sub": "sub of vic"}]), "{seen}");
    assert_eq!(seen["content"]["exchange"][1]["token_type"], "Bearer");
    assert_eq!(seen["left"], json!([]), "the sign-in's cookie is over: {seen}");
    assert_eq!(seen["replayed"][0], 410, "{seen}");
    assert!(text(&seen["list"]).contains("Tables of the company"), "{seen}");

    // It ends and is renewed, without the visitor.
    let first = text(&seen["content"]["exchange"][1]["access_token"]);
    let renewed = until("the token is renewed", Duration::from_secs(60), || {
        let now = seen_by(&vic);
        assert_eq!(now["who"], json!([200, {"sub": "sub of vic"}]), "at no time another answer: {now}");
        Some(text(&now["exchange"][1]["access_token"])).filter(|token| *token != first)
    });
    println!("renewed: the provider was asked for tokens {} times", idp.asked("/token"));
    // Another visitor has no part in it.
    assert_eq!(seen_by(&eve)["exchange"][0], 401);

    // What is stored outlives a restart, and shows nowhere.
    server.stop();
    server.start();
    register(&idp, &server);
    assert_eq!(seen_by(&vic)["who"], json!([200, {"sub": "sub of vic"}]));
    let admin = Publisher::new(&server, &root);
    let audit = admin.api(Method::GET, "/v1/audit_logs").send().expect(200).text();
    assert!(audit.contains("add_oauth_session"), "{audit}");
    for (what, text) in [("log", server.log()), ("audit log", audit)] {
        for secret in [&first, &renewed, SECRET] {
            assert!(!text.contains(secret), "a secret is in the {what}");
        }
    }

    // The provider is away: what has not ended is given, and else 503. Then its users took back what they allowed.
    idp.break_paths(&["/token"]);
    let away = until("the token ends", Duration::from_secs(60), || {
        let now = seen_by(&vic);
        (now["exchange"][0] != 200).then_some(now)
    });
    println!("provider away: {}", away["exchange"]);
    assert_eq!(away["exchange"][0], 503, "{away}");
    idp.break_paths(&[]);
    assert_eq!(seen_by(&vic)["who"][0], 200);

    // Ended by the API: content gets nothing more.
    let own = Publisher::new(&server, &vic);
    let sessions = own.api(Method::GET, "/v1/oauth/sessions").send().expect(200).json();
    assert_eq!(
        (sessions.as_array().unwrap().len(), &sessions[0]["has_refresh_token"]),
        (1, &json!(true)),
        "{sessions}"
    );
    let session = format!("/v1/oauth/sessions/{}", text(&sessions[0]["guid"]));
    Publisher::new(&server, &eve).api(Method::DELETE, &session).send().expect_error(404, 4);
    own.api(Method::DELETE, &session).send().expect(204);
    assert_eq!(seen_by(&vic)["exchange"][0], 401);

    // Refused at the provider; then allowed, and signed out by the page.
    let seen = Visitor::new(&server, &vic).uses(
        &path,
        r#"
          const { shot } = all;
          const begin = async () => {
            await page.getByRole('button', { name: 'Go to' }).click();
          };
          await page.route(`${args.idp}/auth**`, (route) => {
            const asked = new URL(route.request().url()).searchParams;
            const back = new URLSearchParams({ error: 'access_denied', error_description: '<b>no</b>', state: asked.get('state') });
            return route.fulfill({ status: 302, headers: { location: `${asked.get('redirect_uri')}?${back}` } });
          });
          await begin();
          await page.getByRole('heading', { name: 'Not signed in' }).waitFor();
          const denied = await page.innerText('main');
          await shot('denied');
          await page.unroute(`${args.idp}/auth**`);
          await page.getByRole('link', { name: 'Try again' }).click();
          await begin();
          await page.getByLabel('Account').fill('vic-there');
          await page.getByLabel('Password').fill('engine');
          await page.getByRole('button', { name: 'Sign in' }).click();
          await page.waitForURL('**/connect/oauth/integrations');
          await page.getByRole('button', { name: 'Sign out of Warehouse' }).click();
          await page.getByRole('status').waitFor();
          return { denied, out: await page.innerText('main') };
        "#,
        &json!({"idp": idp.issuer}),
    );
    println!("refused: {}", seen["denied"]);
    assert!(text(&seen["denied"]).contains("access for Warehouse was not allowed"), "{seen}");
    assert!(text(&seen["out"]).contains("content gets nothing more in your name"), "{seen}");
    assert_eq!(seen_by(&vic)["exchange"][0], 401);
}

#[test]
fn content_has_an_account_of_its_own() {
    let idp = Idp::start(&json!({}));
    let server = Server::setup()
        .env("LECTERN_OUTBOUND__ALLOW", idp.address().to_string())
        .env("LECTERN_SANDBOX__NETWORK", "host")
        .start();
    let (root, ada) = (server.account("root", "administrator"), server.account("ada", "publisher"));
    idp.set_client(&json!({
        "client_id": "reports", "client_secret": SECRET, "grant_types": ["client_credentials"], "redirect_uris": [],
        "response_types": [], "token_endpoint_auth_method": "client_secret_post",
    }));
    let config = json!({
        "auth_type": "Service Account", "client_id": "reports", "client_secret": SECRET,
        "token_uri": format!("{}/token", idp.issuer), "token_endpoint_auth_method": "client_secret_post",
    });
    let body = json!({"name": "Reports", "template": "custom", "config": config});
    let made = Publisher::new(&server, &root).api(Method::POST, "/v1/oauth/integrations").json(&body).send();
    let integration = text(&made.json()["guid"]);
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.publish("nightly", &apps::asgi(APP));
    let associations = format!("/v1/content/{guid}/oauth/integrations/associations");
    let chosen = json!([{"oauth_integration_guid": integration}]);
    publisher.api(Method::PUT, &associations).json(&chosen).send().expect(200);
    let given = || -> Value { publisher.open(&guid, "").expect(200).json_text()["exchange"].clone() };
    let first = given();
    assert_eq!(first[0], 200, "{first}");
    let token = text(&first[1]["access_token"]);
    // The provider says whose it is.
    let known = idp
        .post_form("/token/introspection", &[("token", &token), ("client_id", "reports"), ("client_secret", SECRET)]);
    let known = known.expect(200).json();
    println!("introspection: {known}");
    assert_eq!((&known["active"], &known["client_id"]), (&json!(true), &json!("reports")), "{known}");
    assert_eq!(text(&given()[1]["access_token"]), token, "one that lasts is given again");
    assert_eq!(idp.asked("/token"), 1);
    // What the process was given is worth nothing anywhere else, nor is one of another kind.
    let exchange = |kind: &str, token: &str| {
        let kind = format!("urn:posit:connect:{kind}-session-token");
        let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
        let fields = [("grant_type", grant), ("subject_token_type", kind.as_str()), ("subject_token", token)];
        server.post("/__api__/v1/oauth/integrations/credentials").form(&fields).send()
    };
    exchange("content", "guessed").expect_error(401, 30);
    exchange("content", &token).expect_error(401, 30);
    exchange("user", &token).expect_error(401, 30);
}

/// The JSON of a reply that is no JSON by its type: what a browser shows as text.
trait JsonText {
    fn json_text(&self) -> Value;
}

impl JsonText for Reply {
    fn json_text(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}

/// A sign-in that was begun without a browser: what one would hold, and where it was sent.
struct Begun {
    cookie: String,
    state: String,
}

/// The text between two others.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("no {after} in {text}")).0
}

/// Signs in as a browser does; answers its cookies.
fn session(server: &Server, account: &Account) -> String {
    let credentials = json!({"username": account.name, "password": account.password});
    let reply = server.post("/__api__/__login__").json(&credentials).send().expect(200);
    let cookies = reply.header_values("set-cookie");
    cookies.iter().map(|one| one.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

fn begin(server: &Server, cookies: &str, guid: &str) -> Result<Begun, Box<Reply>> {
    let path = sign_in_path(guid);
    let opened = server
        .get(&path)
        .header("cookie", cookies)
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .send();
    if opened.status != 200 {
        return Err(Box::new(opened));
    }
    let page = opened.text();
    let (pass, next) = (between(&page, "name=\"pass\" value=\"", "\""), between(&page, "name=\"next\" value=\"", "\""));
    let on = server.post(&path).form(&[("pass", pass), ("next", next)]).send().expect(200);
    let cookies = on.header_values("set-cookie");
    let cookie = cookies.iter().find(|one| one.starts_with("lectern-sign-in-")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains(CALLBACK), "{cookie}");
    let state = between(&on.text(), "state=", "&").to_owned();
    Ok(Begun { cookie: cookie.split(';').next().unwrap().to_owned(), state })
}

fn back(server: &Server, cookies: &str, begun: &Begun, cookie: &str) -> Reply {
    let query = form(&[("code", "a-code"), ("state", &begun.state)]);
    server.get(&format!("{CALLBACK}?{query}")).header("cookie", &format!("{cookies}; {cookie}")).send()
}

/// Counts who connects, and answers each with these bytes.
fn listener(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                use std::io::{Read as _, Write as _};
                let mut stream = stream;
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    (port, count)
}

#[test]
fn integrations_reach_nothing_inside() {
    let (victim, reached) = listener("HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"access_token\":\"took\"}");
    let location =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:{victim}/\r\ncontent-length: 0\r\n\r\n");
    let (redirecting, redirected) = listener(String::leak(location));
    let server = Server::setup().env("LECTERN_OUTBOUND__ALLOW", format!("127.0.0.1:{redirecting}")).start();
    let root = server.account("root", "administrator");
    let cookies = session(&server, &root);
    let local = |host: &str| format!("http://{host}:{victim}/token");
    let inside = "may not be reached from here (outbound.allow makes exceptions)";
    let cases = [
        (local("127.0.0.1"), inside),
        (local("localhost"), inside),
        (local("[::1]"), inside),
        (local("[::ffff:127.0.0.1]"), inside),
        (local("[::ffff:7f00:1]"), inside),
        (local("[64:ff9b::7f00:1]"), inside),
        (local("[2002:7f00:1::]"), inside),
        (local("0.0.0.0"), inside),
        (local("127.1"), "a URL must have a host"),
        (local("2130706433"), "a URL must have a host"),
        (local("0x7f000001"), "a URL must have a host"),
        (local("0177.0.0.1"), "a URL must have a host"),
        ("http://169.254.169.254/latest/meta-data/iam".to_owned(), inside),
        ("http://[fd00:ec2::254]/latest/meta-data/iam".to_owned(), inside),
        ("http://10.0.0.1/token".to_owned(), inside),
        ("http://192.168.1.1/token".to_owned(), inside),
        ("http://100.64.0.1/token".to_owned(), inside),
        ("http://1.1.1.1/token".to_owned(), "use https"),
        (format!("http://127.0.0.1:{redirecting}/token"), "the status 307"),
    ];
    println!("{:50} status  text", "token_uri");
    for (token_uri, expected) in cases {
        let guid = integrate(&server, &root, "Elsewhere", &token_uri, "https://idp.example/auth");
        let reply = match begin(&server, &cookies, &guid) {
            Ok(begun) => Box::new(back(&server, &cookies, &begun, &begun.cookie)),
            Err(reply) => reply,
        };
        let page = reply.text();
        println!("{token_uri:50} {}     {}", reply.status, between(&page, "<p>", "</p>"));
        assert_eq!(reply.status, 400, "{token_uri}: {page}");
        assert!(page.contains(expected), "{token_uri}: {page}");
        assert!(!page.contains(SECRET) && !page.contains("a-code"), "{page}");
    }
    assert_eq!((reached.load(Ordering::SeqCst), redirected.load(Ordering::SeqCst)), (0, 1), "connections");

    // A sign-in belongs to the browser and the account that began it, and counts once.
    let others = session(&server, &server.account("vic", "viewer"));
    let guid = integrate(&server, &root, "Once", &local("127.0.0.1"), "https://idp.example/auth");
    let begun = begin(&server, &cookies, &guid).ok().unwrap();
    let unknown = [("no cookie", ""), ("another browser's", "lectern-sign-in-0123456789abcdef=x")];
    for (what, cookie) in unknown {
        assert_eq!(back(&server, &cookies, &begun, cookie).status, 410, "{what}");
    }
    assert_eq!(back(&server, &others, &begun, &begun.cookie).status, 403, "another account");
    assert_eq!(back(&server, &cookies, &begun, &begun.cookie).status, 410, "it is over with that");
    let anonymous = server.get(&format!("{CALLBACK}?code=x&state=y")).send();
    assert_eq!(anonymous.status, 401);
    // A viewer may sign in where content that they may open asks for it, and else nowhere.
    assert_eq!(begin(&server, &others, &guid).err().unwrap().status, 404);
    // A page's script cannot have the form: only a browser that opens the page gets it.
    let script = server.get(&sign_in_path(&guid)).header("cookie", &cookies);
    let script = script.header("sec-fetch-mode", "cors").header("sec-fetch-dest", "empty").send().expect(403);
    let key = server.get(&sign_in_path(&guid)).key(&root.key);
    let key = key.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document").send();
    assert!(!script.text().contains("name=\"pass\"") && !key.text().contains("name=\"pass\""), "{}", key.text());
}
