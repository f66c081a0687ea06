//! Addresses that are none of the plugin's.

use super::*;

#[test]
fn other_pages_and_methods() {
    let status = |method: &str, path: &str| reply(&Mock::new(method, path).document(&settings(json!({})))).status;
    for (method, path, expected) in [
        ("GET", "admin", 404),
        ("GET", "start/", 404),
        ("GET", "callback/x", 404),
        ("POST", "start", 405),
        ("DELETE", "sign-out", 405),
        ("POST", "signed-out", 405),
        ("POST", "error", 405),
        ("GET", "error", 400),
        ("HEAD", "signed-out", 200),
    ] {
        assert_eq!(status(method, &format!("{BASE}{path}")), expected, "{method} {path}");
    }
    assert_eq!(status("GET", "/__plugin__/other/start"), 404);
    assert_eq!(status("GET", "/start"), 404);
}

#[test]
fn the_root_of_its_pages_begins_a_sign_in_too() {
    let begun = |path: &str| {
        let mock = known(Mock::get(&format!("{BASE}{path}")).document(&settings(json!({}))));
        let reply = reply(&mock);
        let to = reply.field("location").unwrap().to_owned();
        (reply.status, to.split('?').next().unwrap().to_owned())
    };
    assert_eq!(begun(""), begun("start"));
    assert_eq!(begun("").0, 303);
}

#[test]
fn without_settings_nobody_is_signed_in() {
    let failed = OidcLogin::page(&Mock::get(&format!("{BASE}start")), b"");
    assert!(matches!(failed, Err(Failure::Misconfigured(_))));
}
