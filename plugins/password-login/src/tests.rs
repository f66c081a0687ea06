//! Sign-in, sign-out and challenges on a mocked host.
#![allow(clippy::unwrap_used, clippy::panic)]

use lectern_plugin::{Identity, Mock};

use super::*;

const BASE: &str = "/__plugin__/password-login/";

fn challenge(mock: &Mock) -> Option<String> {
    match PasswordLogin::authenticate(mock).unwrap() {
        Outcome::Abstain => None,
        Outcome::Challenge(reply) => {
            assert_eq!((reply.status, reply.field("cache-control")), (303, Some("no-store")));
            Some(reply.field("location").unwrap().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

fn browser(target: &str) -> Mock {
    Mock::get(target).header("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
}

#[test]
fn a_session_is_believed_before_anything_else_is_asked() {
    let mock = browser("/content/x/").session(Identity::new("ada"));
    assert!(matches!(PasswordLogin::authenticate(&mock).unwrap(), Outcome::Authenticated(who) if who.subject == "ada"));
    assert_eq!(mock.asked(), ["session"]);
}

#[test]
fn browsers_are_sent_to_the_form_and_programs_are_not() {
    let form = Some(format!("{BASE}?next={{here}}"));
    for target in ["/", "/content/a b/?x=1&y=%20", "/__apix/", "//evil.example/"] {
        assert_eq!(challenge(&browser(target)), form, "{target}");
    }
    assert_eq!(challenge(&Mock::get("/x").header("accept", "TEXT/HTML;q=0.5")), form);
    for mock in [
        Mock::get("/x"),
        Mock::get("/x").header("accept", "*/*"),
        Mock::get("/x").header("accept", "application/json, text/htmlx"),
        Mock::post("/x").header("accept", "text/html"),
        browser("/__api__/v1/user"),
        browser("/__api__"),
    ] {
        assert_eq!(challenge(&mock), None, "{mock:?}");
    }
    assert_eq!(challenge(&browser("/x").config("name", "login")), Some("/__plugin__/login/?next={here}".to_owned()));
}

#[test]
fn a_challenge_does_not_read_the_address() {
    let mock = browser("/content/x/?q=1");
    challenge(&mock);
    assert_eq!(mock.asked(), ["session", "method", "header accept", "path-has-prefix /__api__"]);
}

#[test]
fn wrong_configurations_are_refused() {
    let check = |document: &str| PasswordLogin::check(&Mock::get("").document(document)).is_ok();
    assert!(check("{}") && check(r#"{"name": "staff-login"}"#));
    for bad in [r#"{"name": ""}"#, r#"{"name": "a/b"}"#, r#"{"name": "Login"}"#, r#"{"name": 1}"#, r#"{"nam": "a"}"#] {
        assert!(!check(bad), "{bad}");
    }
}

fn reply(mock: &Mock, body: &str) -> Reply {
    match PasswordLogin::page(mock, body.as_bytes()).unwrap() {
        Handled::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

#[test]
fn the_form_carries_where_to_go_and_nothing_active() {
    let shown = reply(&Mock::get(&format!("{BASE}?next=/content/x/%3Fa%3D%22%3E%3Cscript%3E")), "");
    assert_eq!(shown.status, 200);
    let html = text(&shown);
    assert!(!html.contains("<script"), "{html}");
    // A quotation mark is not visible ASCII out of place: it stays, escaped.
    assert!(html.contains(r#"name="next" value="/content/x/?a=&quot;&gt;&lt;script&gt;""#), "{html}");
    assert!(html.contains(r#"<form method="post">"#), "{html}");
    assert!(shown.field("content-security-policy").unwrap().starts_with("default-src 'none'; style-src 'sha256-"));
    for evil in ["https://evil.example/", "//evil.example", "/%5Cevil.example", "/__plugin__/password-login/sign-out"] {
        let html = text(&reply(&Mock::get(&format!("{BASE}?next={evil}")), ""));
        assert!(html.contains(r#"name="next" value="""#), "{evil}");
    }
    let signed_in = reply(&Mock::get(&format!("{BASE}?next=/a")).session(Identity::new("ada")), "");
    assert_eq!((signed_in.status, signed_in.field("location")), (303, Some("/a")));
}

fn post(path: &str) -> Mock {
    Mock::post(path).header("sec-fetch-site", "same-origin").password("ada", "pa ss&1", Identity::new("ada"))
}

#[test]
fn the_right_password_signs_in_and_leads_on() {
    let cases = [
        ("/content/x/%3Fa%3D1", "/content/x/?a=1"),
        ("", "/connect/"),
        ("https://evil.example/", "/connect/"),
        ("//evil.example/", "/connect/"),
        ("/\\evil.example/", "/connect/"),
        ("/a%0d%0aset-cookie:x", "/connect/"),
    ];
    for (next, location) in cases {
        let body = format!("username=ada&password=pa+ss%261&next={next}");
        let Handled::SignedIn((who, reply)) = PasswordLogin::page(&post(BASE), body.as_bytes()).unwrap() else {
            panic!("not signed in");
        };
        assert_eq!(
            (who.subject.as_str(), reply.status, reply.field("location")),
            ("ada", 303, Some(location)),
            "{next}"
        );
    }
}

#[test]
fn refusals_do_not_tell_users_apart() {
    let page = |body: &str| reply(&post(BASE), body);
    let wrong = page("username=ada&password=no&next=/a");
    assert_eq!(wrong.status, 403);
    assert!(text(&wrong).contains("The user name or the password is wrong."));
    assert!(text(&wrong).contains(r#"value="ada""#) && !text(&wrong).contains(r#"value="no""#));
    // The same page for a user that does not exist, but for the name that was typed.
    let unknown = page("username=bob&password=no&next=/a");
    assert_eq!(text(&unknown).replace("bob", "ada"), text(&wrong));
    assert_eq!(unknown.headers, wrong.headers);
    for body in ["", "username=ada", "password=x", &format!("username=ada&password={}", "x".repeat(2000)), "%ff=%ff&&="]
    {
        let mock = post(BASE);
        assert_eq!(reply(&mock, body).status, 403, "{body}");
        assert!(!mock.asked().iter().any(|question| question.starts_with("check-password")), "{body}");
    }
    assert!(text(&page("username=%3Cb%3E%22&password=x")).contains(r#"value="&lt;b&gt;&quot;""#));
}

#[test]
fn throttled_and_unavailable_are_said_as_such() {
    let body = "username=ada&password=x";
    let throttled = reply(&post(BASE).refusing(Refusal::Throttled(30)), body);
    assert_eq!((throttled.status, throttled.field("retry-after")), (429, Some("30")));
    let away = reply(&post(BASE).refusing(Refusal::Unavailable), body);
    assert_eq!((away.status, away.field("retry-after")), (503, Some("5")));
}

#[test]
fn forms_of_other_sites_are_refused() {
    let forged = |fields: &[(&str, &str)]| {
        let mock = Mock::post(BASE).password("ada", "x", Identity::new("ada"));
        let mock = fields.iter().fold(mock, |mock, (name, value)| mock.header(name, value));
        let handled = PasswordLogin::page(&mock, b"username=ada&password=x").unwrap();
        match handled {
            Handled::SignedIn(_) => false,
            Handled::Reply(reply) => {
                assert_eq!(reply.status, 403);
                assert!(!mock.asked().iter().any(|question| question.starts_with("check-password")));
                true
            }
            Handled::SignedOut(_) => panic!("signed out"),
        }
    };
    let own = "https://lectern.example";
    assert!(!forged(&[]));
    assert!(!forged(&[("sec-fetch-site", "same-origin"), ("origin", own)]));
    assert!(!forged(&[("origin", own)]));
    assert!(!forged(&[("origin", "http://LECTERN.example")]));
    assert!(forged(&[("sec-fetch-site", "cross-site"), ("origin", own)]));
    assert!(forged(&[("sec-fetch-site", "same-site")]));
    for origin in ["null", "https://evil.example", "https://lectern.example.evil.example", "lectern.example", ""] {
        assert!(forged(&[("origin", origin)]), "{origin}");
    }
}

#[test]
fn signing_out_takes_a_form_of_our_own() {
    let path = format!("{BASE}sign-out");
    let asked = reply(&Mock::get(&path), "");
    assert!(text(&asked).contains(r#"<form method="post">"#));
    assert!(matches!(PasswordLogin::page(&post(&path), b"").unwrap(), Handled::SignedOut(r) if r.status == 303));
    assert_eq!(reply(&Mock::post(&path).header("sec-fetch-site", "cross-site"), "").status, 403);
}

#[test]
fn other_pages_and_methods() {
    assert_eq!(reply(&Mock::get(&format!("{BASE}admin")), "").status, 404);
    assert_eq!(reply(&Mock::new("DELETE", BASE), "").status, 405);
    assert_eq!(reply(&Mock::new("PUT", &format!("{BASE}sign-out")), "").status, 405);
    assert_eq!(reply(&Mock::get(BASE.trim_end_matches('/')), "").status, 200);
}
