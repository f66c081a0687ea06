//! The provider and the browser that other tests rely on do what they say, without Lectern.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::LazyLock;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use lectern_tests::browser;
use lectern_tests::http::form;
use lectern_tests::idp::Idp;
use serde_json::{Value, json};

/// Where tokens are for.
const API: &str = "https://api.example/";

/// A verifier and its challenge: RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

static IDP: LazyLock<Idp> = LazyLock::new(start);

fn start() -> Idp {
    Idp::start(&json!({
        "accounts": [{
            "login": "ada", "sub": "u-1815", "password": "engine", "name": "Ada", "email": "ada@example.org",
            "groups": ["mathematics", "poetry"],
        }],
        "clients": [{
            "client_id": "ci", "client_secret": "s3cret", "token_endpoint_auth_method": "client_secret_post",
            "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": [],
        }],
        "resources": {
            (API): {"scope": "read deploy", "alg": "ES256", "ttl": 60, "claims": {"repository": "moons"}},
            "https://other.example/": {"alg": "RS256"},
        },
    }))
}

/// The token's claims, if a published key of its kind signed it for `audience`.
fn verify(idp: &Idp, token: &str, audience: &str) -> Result<Value, String> {
    let header = decode_header(token).unwrap();
    assert!([Algorithm::RS256, Algorithm::ES256].contains(&header.alg), "{header:?}");
    let keys: JwkSet = serde_json::from_value(idp.jwks()).unwrap();
    let key = keys.find(header.kid.as_deref().unwrap()).ok_or("no such key")?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[&idp.issuer]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let verified = decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation);
    verified.map(|data| data.claims).map_err(|error| error.to_string())
}

#[test]
fn it_describes_itself() {
    let document = IDP.get("/.well-known/openid-configuration").send().expect(200).json();
    assert_eq!(document["issuer"], IDP.issuer);
    assert_eq!(document["jwks_uri"], format!("{}/jwks", IDP.issuer));
    for path in ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "end_session_endpoint"] {
        assert!(document[path].as_str().unwrap().starts_with(&IDP.issuer), "{path} in {document}");
    }
    let keys = IDP.jwks();
    let kinds: Vec<_> = keys["keys"].as_array().unwrap().iter().map(|key| &key["kty"]).collect();
    assert_eq!(kinds, ["RSA", "EC"]);
    assert!(!keys.to_string().contains("\"d\""), "nothing private: {keys}");
}

#[test]
fn a_job_gets_a_token_for_one_resource() {
    let token = IDP.machine_token("ci", "s3cret", API, "deploy");
    let claims = verify(&IDP, &token, API).unwrap();
    assert_eq!((&claims["sub"], &claims["scope"]), (&json!("ci"), &json!("deploy")));
    assert_eq!(claims["repository"], "moons");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    assert_eq!(decode_header(&token).unwrap().alg, Algorithm::ES256);
    assert!(verify(&IDP, &token, "https://other.example/").is_err(), "it is bound to its audience");

    let other = IDP.machine_token("ci", "s3cret", "https://other.example/", "");
    assert_eq!(decode_header(&other).unwrap().alg, Algorithm::RS256);
    verify(&IDP, &other, "https://other.example/").unwrap();

    let ask = |secret: &str, resource: &str| {
        let fields = [("grant_type", "client_credentials"), ("client_id", "ci"), ("client_secret", secret)];
        IDP.post_form("/token", &[&fields[..], &[("resource", resource)]].concat()).json()["error"].clone()
    };
    assert_eq!(ask("wrong", API), "invalid_client");
    assert_eq!(ask("s3cret", "https://unknown.example/"), "invalid_target");
}

#[test]
fn keys_change_while_it_runs() {
    let idp = start();
    let token = || idp.machine_token("ci", "s3cret", API, "read");
    let first = token();
    idp.add_keys();
    let second = token();
    assert_eq!(idp.jwks()["keys"].as_array().unwrap().len(), 4);
    assert_ne!(decode_header(&first).unwrap().kid, decode_header(&second).unwrap().kid);
    verify(&idp, &first, API).unwrap();
    verify(&idp, &second, API).unwrap();
    idp.rotate_keys();
    let third = token();
    assert_eq!(idp.jwks()["keys"].as_array().unwrap().len(), 2);
    assert_eq!(verify(&idp, &second, API).unwrap_err(), "no such key");
    verify(&idp, &third, API).unwrap();
}

#[test]
fn it_can_be_out_of_order() {
    let idp = start();
    assert_eq!(idp.asked("/jwks"), 0);
    idp.jwks();
    assert_eq!(idp.asked("/jwks"), 1);
    idp.break_paths(&["/jwks"]);
    idp.get("/jwks").send().expect(503);
    idp.get("/.well-known/openid-configuration").send().expect(200);
    idp.break_paths(&[]);
    idp.jwks();
    assert_eq!(idp.asked("/jwks"), 3);
    idp.stop();
    assert!(idp.get("/jwks").try_send().is_none());
}

/// Answers every request with a page, as a client's callback would; answers its address.
fn callback() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/callback", listener.local_addr().unwrap());
    let serve = |mut connection: TcpStream| {
        // A browser opens connections ahead of need, and may never ask on them.
        let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: 4\r\n\r\nback";
        connection.write_all(page.as_bytes()).ok();
    };
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|one| drop(std::thread::spawn(move || serve(one))))
    });
    address
}

#[test]
fn a_person_signs_in_and_out_in_a_browser() {
    let callback = callback();
    IDP.set_client(&json!({
        "client_id": "web", "client_secret": "hidden", "redirect_uris": [callback],
        "post_logout_redirect_uris": [callback],
    }));
    let fields = [
        ("client_id", "web"),
        ("response_type", "code"),
        ("redirect_uri", &callback),
        ("scope", "openid profile email groups"),
        ("state", "of mind"),
        ("nonce", "once"),
    ];
    let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    let begin = format!("/auth?{}", form(&[&fields[..], &pkce].concat()));
    let without = IDP.get(&format!("/auth?{}", form(&fields))).send();
    assert!(without.header("location").contains("error=invalid_request"), "PKCE is required: {without:?}");

    let script = r#"
        export default async ({ page, context, args, shot }) => {
          const signIn = async (password) => {
            await page.getByLabel('Account').fill('ada');
            await page.getByLabel('Password').fill(password);
            await page.getByRole('button', { name: 'Sign in' }).click();
          };
          const landed = async () => {
            await page.waitForURL(`${args.callback}?**`);
            return Object.fromEntries(new URL(page.url()).searchParams);
          };
          await page.goto(args.issuer + args.begin);
          await signIn('difference');
          await page.getByText('wrong password').waitFor();
          await shot('wrong');
          await signIn('engine');
          const first = await landed();
          // The provider's session makes the second time silent.
          await page.goto(args.issuer + args.begin);
          const second = await landed();
          const exchange = (code_verifier) => context.request.post(`${args.issuer}/token`, {
            headers: { authorization: 'Basic ' + Buffer.from('web:hidden').toString('base64') },
            form: { grant_type: 'authorization_code', redirect_uri: args.callback, code: second.code, code_verifier },
          });
          const refused = await (await exchange('x'.repeat(43))).json();
          await page.goto(args.issuer + args.begin);
          second.code = (await landed()).code;
          const tokens = await (await exchange(args.verifier)).json();
          const me = await context.request.get(`${args.issuer}/me`, {
            headers: { authorization: `Bearer ${tokens.access_token}` },
          });
          const end = new URLSearchParams({
            id_token_hint: tokens.id_token, post_logout_redirect_uri: args.callback, state: 'gone',
          });
          await page.goto(`${args.issuer}/session/end?${end}`);
          await page.getByRole('button', { name: 'Sign out' }).click();
          const out = await landed();
          await page.goto(args.issuer + args.begin);
          await page.getByLabel('Account').waitFor();
          return { first, refused, tokens, me: await me.json(), out };
        };
    "#;
    let args = json!({"issuer": IDP.issuer, "begin": begin, "callback": callback, "verifier": VERIFIER});
    let seen = browser::run(script, &args);
    assert_eq!((&seen["first"]["state"], &seen["first"]["iss"]), (&json!("of mind"), &json!(IDP.issuer)), "{seen}");
    assert_eq!(seen["refused"]["error"], "invalid_grant", "another verifier: {seen}");
    assert_eq!(seen["out"], json!({"state": "gone"}));

    let claims = verify(&IDP, seen["tokens"]["id_token"].as_str().unwrap(), "web").unwrap();
    assert_eq!((&claims["sub"], &claims["nonce"]), (&json!("u-1815"), &json!("once")));
    for told in [&claims, &seen["me"]] {
        assert_eq!((&told["name"], &told["email"]), (&json!("Ada"), &json!("ada@example.org")), "{told}");
        assert_eq!(told["groups"], json!(["mathematics", "poetry"]));
        assert!(told.get("password").is_none() && told.get("login").is_none(), "{told}");
    }
}

#[test]
fn a_browser_reaches_nothing_but_this_machine() {
    let script = r#"
        export default ({ page }) => page.goto('http://example.org/').then(() => 'reached', (error) => error.message);
    "#;
    let seen = browser::run(script, &json!({}));
    assert!(seen.as_str().unwrap().contains("ERR_NAME_NOT_RESOLVED"), "{seen}");
}

#[test]
#[should_panic(expected = "no such button")]
fn a_script_that_fails_fails_the_test() {
    browser::run("export default async () => { throw new Error('no such button'); };", &json!({}));
}
