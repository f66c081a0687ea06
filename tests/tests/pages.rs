//! No dead ends: every address that a client prints or opens answers, and people can sign in.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use http::Method;
use lectern_tests::apps;
use lectern_tests::http::Reply;
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use serde_json::json;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// Asks for a page as a browser with these cookies.
fn browse(path: &str, cookies: &str) -> Reply {
    let ask = SERVER.get(path).header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    if cookies.is_empty() { ask.send() } else { ask.header("cookie", cookies).send() }
}

/// The cookies that a reply sets, as a browser would send them back.
fn cookies(reply: &Reply) -> String {
    let set = reply.header_values("set-cookie");
    set.iter().map(|cookie| cookie.split(';').next().unwrap_or("")).collect::<Vec<_>>().join("; ")
}

/// The value of a form's hidden or other field.
fn field(page: &str, name: &str) -> Option<String> {
    let input = page.split("<input").skip(1).find(|input| input.contains(&format!("name=\"{name}\"")))?;
    let value = input.split('>').next()?.split("value=\"").nth(1)?.split('"').next()?;
    Some(value.replace("&amp;", "&").replace("&quot;", "\""))
}

/// Signs in as a browser does, from the page that asked for it; answers the server's reply to the form.
fn sign_in(from: &str, name: &str, password: &str) -> Reply {
    let challenge = browse(from, "");
    assert!((300..400).contains(&challenge.status), "{} {}", challenge.status, challenge.text());
    let address = challenge.header("location").to_owned();
    let page = browse(&address, "").expect(200);
    let html = page.text();
    let action = html.split("<form").nth(1).and_then(|form| form.split('>').next()).unwrap_or_default();
    let action = action
        .split("action=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or(&address)
        .replace("&amp;", "&");
    let mut fields = vec![("username".to_owned(), name.to_owned()), ("password".to_owned(), password.to_owned())];
    for input in html.split("<input").skip(1) {
        let named = input.split("name=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        if !named.is_empty() && named != "username" && named != "password" {
            fields.push((named.to_owned(), field(&html, named).unwrap_or_default()));
        }
    }
    let pairs: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    SERVER
        .post(&action)
        .header("cookie", &cookies(&page))
        .header("origin", &SERVER.url())
        .header("sec-fetch-site", "same-origin")
        .form(&pairs)
        .send()
}

#[test]
fn signing_in_leads_back_and_signing_out_ends_it() {
    let guid = ada().publish("for-people", &apps::page("For people"));
    let address = format!("/content/{guid}/?from=mail");

    let wrong = sign_in(&address, "ada", "not the password");
    assert!(
        wrong.status == 401 || wrong.status == 403 || (wrong.status == 200 && wrong.text().contains("password")),
        "{wrong:?}"
    );
    assert!(cookies(&wrong).is_empty() || browse(&address, &cookies(&wrong)).status != 200);
    let unknown = sign_in(&address, "nobody-of-that-name", "not the password");
    assert_eq!(
        (unknown.status, unknown.text().len()),
        (wrong.status, wrong.text().replace("ada", "nobody-of-that-name").len())
    );

    let done = sign_in(&address, "ada", &ADA.password);
    assert!((300..400).contains(&done.status), "{} {}", done.status, done.text());
    assert!(
        done.header("location").ends_with(&address),
        "back to where the visitor wanted: {}",
        done.header("location")
    );
    let set = done.header_values("set-cookie").join("\n").to_lowercase();
    assert!(set.contains("httponly") && set.contains("samesite="), "{set}");
    let session = cookies(&done);
    assert!(browse(&address, &session).expect(200).text().contains("For people"));

    // The session is a visitor's like any other: the dashboard greets it, and content of others stays closed.
    let page = browse("/connect/", &session).expect(200);
    assert!(page.text().contains("for-people") || page.text().contains("For people"), "{}", page.text());

    // A sign-out from another site is refused; from here it ends the session on the server.
    let out = find_sign_out(&page.text());
    let ask = SERVER
        .post(&out)
        .header("cookie", &session)
        .header("origin", &SERVER.url())
        .header("sec-fetch-site", "same-origin");
    let left = ask.header("content-type", "application/x-www-form-urlencoded").send();
    assert!(left.status < 400, "{} {}", left.status, left.text());
    assert_ne!(browse(&address, &session).status, 200, "the old cookie opens nothing");
}

/// Where the page's sign-out form posts to.
fn find_sign_out(page: &str) -> String {
    page.split("action=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .find(|action| action.contains("out"))
        .unwrap_or_else(|| panic!("no way to sign out in {page}"))
        .to_owned()
}

#[test]
fn a_redirect_never_leads_to_another_site() {
    let guid = ada().publish("redirects", &apps::page("Redirects"));
    let address = browse(&format!("/content/{guid}/"), "").header("location").to_owned();
    let (path, _) = address.split_once('?').unwrap_or((&address, ""));
    for target in ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"] {
        let encoded: String = target.bytes().map(|b| format!("%{b:02X}")).collect();
        for name in ["next", "url", "to", "return", "from", "rd"] {
            let page = browse(&format!("{path}?{name}={encoded}"), "");
            assert!(!page.header("location").contains("evil"), "{name}={target}");
            assert!(!page.text().contains("evil.example"), "{name}={target}: {}", page.text());
        }
    }
}

#[test]
fn every_printed_address_answers() {
    let guid = ada().create("printed");
    ada().change(&guid, &json!({"title": "Printed"})).expect(200);
    let id = ada().upload(&guid, &apps::probe());
    let task = ada().start_deploy(&guid, &id);
    ada().wait(&task).expect_success();
    ada().open(&guid, "").expect(200);
    let item = ada().content(&guid);
    let session = cookies(&sign_in(&format!("/content/{guid}/"), "ada", &ADA.password));

    let content_url = text(&item["content_url"]);
    assert_eq!(content_url, format!("{}/content/{guid}/", SERVER.url()));
    assert_eq!(item["dashboard_url"], format!("{}/connect/#/apps/{guid}", SERVER.url()));
    // What stands behind `#` never reaches the server: its page leads on.
    assert!(browse("/connect/", &session).expect(200).header("content-type").starts_with("text/html"));
    assert!(browse("/connect", &session).status < 400);
    assert!(browse("/", &session).status < 400);
    let page = ["/connect/content/", "/connect/apps/"]
        .iter()
        .map(|base| browse(&format!("{base}{guid}"), &session))
        .find(|reply| reply.status == 200)
        .expect("a page of the content item");
    for word in ["Printed", &content_url, "bundle"] {
        assert!(page.text().to_lowercase().contains(&word.to_lowercase()), "{word} in {}", page.text());
    }
    for path in ["/__ping__", "/__live__", "/__ready__"] {
        SERVER.get(path).send().expect(200);
    }
}

#[test]
fn the_description_of_the_api_is_there_and_true() {
    let document = SERVER.get("/__api__/openapi.json").send().expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{document}");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 20, "{} paths", paths.len());
    // Each documented GET without parameters exists.
    let mut asked = 0;
    for (path, operations) in paths {
        if operations.get("get").is_none() || path.contains('{') {
            continue;
        }
        let whole = ["/__api__", "/.well-known"].iter().any(|start| path.starts_with(start));
        let path = if whole { path.clone() } else { format!("/__api__{path}") };
        let reply = SERVER.ask(Method::GET, &path).key(&ADA.key).send();
        assert!(reply.status != 404 && reply.status < 500, "{path}: {} {}", reply.status, reply.text());
        asked += 1;
    }
    assert!(asked >= 8, "only {asked}");
}

#[test]
fn a_vanity_path_is_an_address() {
    let guid = ada().publish("vanity", &apps::page("Vanity"));
    let set = ada().api(Method::PUT, &format!("/v1/content/{guid}/vanity")).json(&json!({"path": "/moons/"})).send();
    if set.status == 403 {
        let admin = SERVER.account("vanity-admin", "administrator");
        let admin = Publisher::new(&SERVER, &admin);
        admin
            .api(Method::PUT, &format!("/v1/content/{guid}/vanity"))
            .json(&json!({"path": "/moons/"}))
            .send()
            .expect(200);
    }
    assert!(SERVER.get("/moons/").key(&ADA.key).send().expect(200).text().contains("Vanity"));
    assert!(SERVER.get("/moons/index.html").key(&ADA.key).send().expect(200).text().contains("Vanity"));
    SERVER.get("/moonshine/").key(&ADA.key).send().expect(404);
    assert_ne!(SERVER.get("/moons/").send().status, 200, "the rules of the content hold here too");
}
