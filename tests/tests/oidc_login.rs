//! Sign-in with a provider: a whole one in a real browser, and everything that must not become one.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use lectern_tests::apps;
use lectern_tests::browser;
use lectern_tests::forger::{Forger, Key, base64url};
use lectern_tests::http::{Ask, Reply, form};
use lectern_tests::idp::Idp;
use lectern_tests::plugins::Operator;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::Server;
use serde_json::{Value, json};

const SECRET: &str = "the client's secret";

/// Binds `oidc-login` to a provider. `name` is where its pages stand.
fn bind(operator: &Operator, name: &str, issuer: &str, client: &str) {
    let binding = json!({
        "plugin": "oidc-login", "name": name,
        "release": {
            "config": {
                "issuer": issuer, "client_id": client, "name": name, "provider_name": "Example ID",
                "scopes": ["profile", "email", "groups"], "leeway_seconds": 0, "starts_per_minute": 1_000,
                "accounts": {
                    "create": true, "allowed_groups": ["staff", "admins"],
                    "roles": {"administrator": ["admins"], "publisher": ["staff"]},
                },
            },
            "grants": [
                "directory", "accounts:publisher", "tokens", "key-value", "random", "clock", "limiter",
                format!("outbound:{issuer}"), format!("redirect:{issuer}"), "secret:client-secret",
            ],
        },
    });
    let secret = operator.ask(Method::PUT, &format!("/bindings/{name}/secrets/client-secret")).body(SECRET);
    secret.send().expect(200);
    operator.post("/bindings", &binding).expect(200);
}

/// Registers this server at the real provider.
fn register(idp: &Idp, server: &Server, client: &str) {
    idp.set_client(&json!({
        "client_id": client, "client_secret": SECRET,
        "redirect_uris": [format!("{}/__plugin__/oidc-login/callback", server.url())],
        "post_logout_redirect_uris": [format!("{}/__plugin__/oidc-login/signed-out", server.url())],
    }));
}

#[test]
fn a_person_signs_in_and_out_in_a_browser() {
    let account = |login: &str, groups: Value| {
        json!({
            "login": login, "sub": format!("sub of {login}"), "password": "engine", "name": login,
            "preferred_username": login, "email": format!("{login}@example.org"), "email_verified": true, "groups": groups,
        })
    };
    let idp = Idp::start(&json!({
        "accounts": [account("ada", json!(["staff"])), account("mallory", json!(["strangers"]))],
    }));
    let server = Server::setup().env("LECTERN_GATE__OUTBOUND_ALLOW", idp.address().to_string()).start();
    let operator = Operator::new(&server, "grace");
    register(&idp, &server, "web");
    bind(&operator, "oidc-login", &idp.issuer, "web");
    let publisher = Publisher::new(&server, &operator.account);
    let guid = publisher.publish("for-people", &apps::page("For people"));
    // The provider says who belongs to the group, and the group may open the content.
    let group = json!({"name": "People of the provider", "unique_id": "staff"});
    let group = publisher.api(Method::POST, "/v1/groups").json(&group).send().expect(200).json();
    let entry = json!({"principal_guid": group["guid"], "principal_type": "group", "role": "viewer"});
    publisher.api(Method::POST, &format!("/v1/content/{guid}/permissions")).json(&entry).send().expect(200);

    let script = r#"
        export default async ({ page, context, args, shot }) => {
          const content = `${args.server}/content/${args.guid}/?from=mail`;
          const signIn = async (login) => {
            await page.getByLabel('Account').fill(login);
            await page.getByLabel('Password').fill('engine');
            await page.getByRole('button', { name: 'Sign in' }).click();
          };
          const me = async () => {
            const reply = await context.request.get(`${args.server}/__api__/v1/user`);
            return reply.ok() ? await reply.json() : reply.status();
          };
          const before = await me();
          await page.goto(content);
          await page.getByLabel('Account').waitFor();
          const asked = page.url();
          await shot('provider');
          await signIn('ada');
          await page.waitForURL(content);
          const title = await page.title();
          await shot('content');
          const cookies = (await context.cookies(args.server)).filter((one) => !one.name.startsWith('idp-'));
          const during = await me();
          await page.goto(`${args.server}/connect/`);
          await shot('dashboard');
          const outLeadsTo = await page.locator('form').getAttribute('action');
          await page.goto(`${args.server}/__plugin__/oidc-login/sign-out`);
          await shot('sign-out');
          await page.getByRole('button').first().click();
          await page.getByRole('button', { name: 'Sign out' }).click();
          await page.waitForURL(`${args.server}/__plugin__/oidc-login/signed-out**`);
          await shot('signed-out');
          const after = await me();
          // The provider asks again: it ended its session too. Somebody of no allowed group is told so.
          await page.goto(`${args.server}/connect/`);
          const inLeadsTo = await page.getByRole('link', { name: 'Sign in' }).getAttribute('href');
          await page.getByRole('link', { name: 'Sign in' }).click();
          await signIn('mallory');
          await page.waitForURL(`${args.server}/**`);
          await shot('not-allowed');
          return { before, asked, title, during, after, cookies, inLeadsTo, outLeadsTo, stranger: await me(), told: await page.innerText('body') };
        };
    "#;
    let seen = browser::run(script, &json!({"server": server.url(), "guid": guid}));
    println!("{}", serde_json::to_string_pretty(&seen).unwrap());
    assert!(seen["asked"].as_str().unwrap().starts_with(&idp.issuer), "{seen}");
    assert_eq!(seen["title"], "For people");
    assert_eq!(
        (&seen["during"]["username"], &seen["during"]["user_role"]),
        (&json!("ada"), &json!("publisher")),
        "{seen}"
    );
    let members = format!("/v1/groups/{}/members", group["guid"].as_str().unwrap());
    let members = publisher.api(Method::GET, &members).send().expect(200).json();
    assert_eq!((&members["total"], &members["results"][0]["username"]), (&json!(1), &json!("ada")), "{members}");
    for signed_out in ["before", "after", "stranger"] {
        assert_eq!(seen[signed_out], 401, "{signed_out}: {seen}");
    }
    // password-login is bound too, and asked later.
    assert_eq!(
        (&seen["inLeadsTo"], &seen["outLeadsTo"]),
        (&json!("/__plugin__/oidc-login/?next=/connect/"), &json!("/__plugin__/oidc-login/sign-out")),
    );
    let cookies = seen["cookies"].as_array().unwrap();
    assert!(
        !cookies.is_empty() && cookies.iter().all(|one| one["httpOnly"] == true && one["sameSite"] == "Lax"),
        "{seen}"
    );
}

/// A sign-in that was begun: what the browser holds, and where it was sent.
struct Begun {
    cookie: String,
    location: String,
}

impl Begun {
    fn at(server: &Server, name: &str) -> Self {
        let reply = server.get(&format!("/__plugin__/{name}/start?next=/connect/")).send().expect(303);
        let cookies = reply.header_values("set-cookie");
        let cookie = cookies.iter().map(|one| one.split(';').next().unwrap()).collect::<Vec<_>>().join("; ");
        Self { cookie, location: reply.header("location").to_owned() }
    }

    /// A parameter of the address, as it is there.
    fn parameter(&self, name: &str) -> String {
        let query = self.location.split_once('?').unwrap().1;
        let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.location)).to_owned()
    }
}

/// The cookies of a reply, as a browser would send them back.
fn cookies(reply: &Reply) -> Vec<String> {
    let set = reply.header_values("set-cookie");
    set.iter().map(|one| one.split(';').next().unwrap().to_owned()).filter(|one| !one.ends_with('=')).collect()
}

/// Whether a reply signed somebody in: with what it sets, the API says who.
fn signed_in(server: &Server, reply: &Reply) -> bool {
    server.get("/__api__/v1/user").header("cookie", &cookies(reply).join("; ")).send().status == 200
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn forged_answers_and_tokens_sign_nobody_in() {
    let forger = Forger::start();
    let server = Server::setup().env("LECTERN_GATE__OUTBOUND_ALLOW", forger.address().to_string()).start();
    let operator = Operator::new(&server, "grace");
    bind(&operator, "oidc-login", &forger.issuer, "web");
    let callback = |state: &str, code: &str, cookie: &str| -> Reply {
        let query = form(&[("code", code), ("state", state)]);
        server.get(&format!("/__plugin__/oidc-login/callback?{query}")).header("cookie", cookie).send()
    };
    let claims = |begun: &Begun| {
        json!({
            "iss": forger.issuer, "aud": "web", "sub": "s-1", "iat": now(), "exp": now() + 300,
            "nonce": begun.parameter("nonce"), "preferred_username": "ada", "groups": ["staff"],
        })
    };
    println!("{:45} status  signed in", "sign-in");
    let show = |what: &str, reply: &Reply| {
        let signed_in = signed_in(&server, reply);
        println!("{what:45} {}     {signed_in}", reply.status);
        signed_in
    };
    // The good one: what is refused below is refused for the one thing that is wrong with it.
    let begun = Begun::at(&server, "oidc-login");
    forger.hand_out(&forger.key.sign(&claims(&begun)));
    let good = callback(&begun.parameter("state"), "c", &begun.cookie);
    assert!(show("a good answer", &good), "{good:?}");
    assert_eq!((good.status, good.header("location")), (303, "/connect/"));
    let replayed = callback(&begun.parameter("state"), "c", &begun.cookie);
    assert!(!show("the same answer again", &replayed), "{replayed:?}");

    let begun = Begun::at(&server, "oidc-login");
    forger.hand_out(&forger.key.sign(&claims(&begun)));
    let state = begun.parameter("state");
    let without = callback(&state, "c", "");
    assert!(!show("stolen: without the browser's cookie", &without), "{without:?}");
    let other = Begun::at(&server, "oidc-login");
    let crossed = callback(&state, "c", &other.cookie);
    assert!(!show("stolen: with another browser's cookie", &crossed), "{crossed:?}");
    let changed = format!("{}{}", if state.starts_with('A') { "B" } else { "A" }, &state[1..]);
    assert!(!show("forged state", &callback(&changed, "c", &begun.cookie)));
    assert!(!show("no state", &callback("", "c", &begun.cookie)));
    assert!(show("the right browser still can", &callback(&state, "c", &begun.cookie)));

    let stranger = Key::new();
    type Forge<'a> = Box<dyn Fn(Value) -> String + 'a>;
    let with = |name: &'static str, value: Value| -> Forge {
        let key = &forger.key;
        Box::new(move |mut claims: Value| {
            claims[name] = value.clone();
            key.sign(&claims)
        })
    };
    let none = base64url(br#"{"alg":"none","kid":"published"}"#);
    let forged: Vec<(&str, Forge)> = vec![
        ("wrong nonce", with("nonce", json!("another"))),
        ("no nonce", with("nonce", Value::Null)),
        ("audience: another client", with("aud", json!("other-client"))),
        ("audience: two, authorized party another", {
            let key = &forger.key;
            Box::new(move |mut claims: Value| {
                (claims["aud"], claims["azp"]) = (json!(["web", "other-client"]), json!("other-client"));
                key.sign(&claims)
            })
        }),
        ("issuer: another", with("iss", json!("http://127.0.0.1:1"))),
        ("expired", with("exp", json!(now() - 10))),
        ("not yet valid", with("nbf", json!(now() + 3_600))),
        ("no subject", with("sub", Value::Null)),
        ("of no allowed group", with("groups", json!(["strangers"]))),
        ("signed with another key", Box::new(|claims| stranger.sign(&claims))),
        ("alg none", Box::new(|claims| format!("{none}.{}.", base64url(claims.to_string().as_bytes())))),
        ("no token at all", Box::new(|_| String::new())),
    ];
    for (what, forge) in &forged {
        let begun = Begun::at(&server, "oidc-login");
        forger.hand_out(&forge(claims(&begun)));
        let reply = callback(&begun.parameter("state"), "c", &begun.cookie);
        assert!(!show(what, &reply), "{what}: {reply:?}");
        assert!(reply.status >= 400, "{what}: {reply:?}");
        assert!(!reply.text().contains(SECRET), "{what}");
    }
    // A group gives no role above the grant.
    let begun = Begun::at(&server, "oidc-login");
    let mut boss = claims(&begun);
    (boss["sub"], boss["preferred_username"], boss["groups"]) = (json!("s-2"), json!("boss"), json!(["admins"]));
    forger.hand_out(&forger.key.sign(&boss));
    let reply = callback(&begun.parameter("state"), "c", &begun.cookie);
    show("a group above the grant", &reply);
    let session = cookies(&reply).join("; ");
    let user = server.get("/__api__/v1/user").header("cookie", &session).send();
    assert!(user.status != 200 || user.json()["user_role"] == "publisher", "{}", user.text());
    println!("  -> {} {}", user.status, user.text());
    // Somebody else's name is not taken over.
    let begun = Begun::at(&server, "oidc-login");
    let mut impostor = claims(&begun);
    (impostor["sub"], impostor["preferred_username"]) = (json!("s-3"), json!("grace"));
    forger.hand_out(&forger.key.sign(&impostor));
    let reply = callback(&begun.parameter("state"), "c", &begun.cookie);
    assert!(!show("the name of an account that is not linked", &reply), "{reply:?}");
}

#[test]
fn a_code_of_another_sign_in_or_client_is_worth_nothing() {
    let idp = Idp::start(&json!({"accounts": [{"login": "ada", "preferred_username": "ada", "groups": ["staff"]}]}));
    let server = Server::setup().env("LECTERN_GATE__OUTBOUND_ALLOW", idp.address().to_string()).start();
    let operator = Operator::new(&server, "grace");
    register(&idp, &server, "web");
    register(&idp, &server, "other");
    bind(&operator, "oidc-login", &idp.issuer, "web");
    // Signs in at the provider without a browser; answers the address with which it sends the browser back.
    let authorize = |address: &str| -> String {
        let mut jar = std::collections::BTreeMap::<String, String>::new();
        let mut next = address.to_owned();
        for _ in 0..10 {
            if next.starts_with(&server.url()) {
                return next;
            }
            let is_form = next.contains("/interaction/");
            let method = if is_form { Method::POST } else { Method::GET };
            let sent = jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            let ask = Ask::new(idp.address(), method, &next).header("cookie", &sent);
            let reply = if is_form { ask.form(&[("login", "ada"), ("password", "p")]).send() } else { ask.send() };
            for cookie in cookies(&reply) {
                let (name, value) = cookie.split_once('=').unwrap();
                jar.insert(name.to_owned(), value.to_owned());
            }
            let location = reply.header("location");
            assert!(!location.is_empty(), "{next}: {reply:?}");
            next = if location.starts_with('/') { format!("{}{location}", idp.issuer) } else { location.to_owned() };
        }
        panic!("the provider sends nobody back: {next}");
    };
    let replaced = |begun: &Begun, name: &str, value: &str| {
        begun.location.replace(&format!("{name}={}", begun.parameter(name)), &format!("{name}={value}"))
    };
    let send = |back: &str, cookie: &str| server.get(back).header("cookie", cookie).send();

    let begun = Begun::at(&server, "oidc-login");
    let good = send(&authorize(&begun.location), &begun.cookie);
    assert!(signed_in(&server, &good), "{good:?}\n{}", idp.log());

    println!("{:60} status", "code");
    type Attack<'a> = (&'a str, &'a dyn Fn(&Begun) -> String);
    let attacks: [Attack<'_>; 3] = [
        ("of a sign-in with another nonce, same challenge", &|begun| replaced(begun, "nonce", "another")),
        ("of another client", &|begun| replaced(begun, "client_id", "other")),
        ("with another challenge", &|begun| {
            replaced(begun, "code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
        }),
    ];
    for (what, change) in attacks {
        let begun = Begun::at(&server, "oidc-login");
        let reply = send(&authorize(&change(&begun)), &begun.cookie);
        println!("{what:60} {}", reply.status);
        assert!(reply.status >= 400 && !signed_in(&server, &reply), "{what}: {reply:?}");
    }
}
