//! The way back: what is believed, and what is not.

use lectern_plugin::{Expectations, Keys, SignInRefusal};

use super::*;

#[test]
fn the_whole_way() {
    let document = settings(json!({ "claims": { "keep": ["email"] }, "accounts": { "create": true } }));
    let begun = Begun::new(&document, "/content/x/");
    let mock = tokens(begun.back(&document, GOOD), "t").token("t", Ok(begun.claims(json!({}))));
    let Handled::SignedIn((who, reply)) = OidcLogin::page(&mock, b"").unwrap() else { panic!("not signed in") };
    assert_eq!(
        (who.subject.as_str(), reply.status, reply.field("location")),
        ("guid-of-ada", 303, Some("/content/x/"))
    );
    assert_eq!(who.groups, ["staff"]);
    assert_eq!(who.claims, [("email".to_owned(), "ada@example.org".to_owned())]);
    let profile = &mock.signed_in()[0];
    assert_eq!((profile.issuer.as_str(), profile.subject.as_str(), profile.username.as_str()), (ISSUER, "s-1", "ada"));
    assert_eq!((profile.email.as_str(), profile.create, profile.role.as_deref()), ("ada@example.org", true, None));
    // The code was paid for with the verifier; the secret is the host's to add.
    let request = &mock.fetched()[0];
    let body = form(&request.body);
    let of = |name: &str| body.iter().find_map(|(key, value)| (key == name).then_some(value.as_str()));
    assert_eq!((of("grant_type"), of("code"), of("client_id")), (Some("authorization_code"), Some("c-1"), None));
    assert_eq!(of("redirect_uri"), Some(begun.parameter("redirect_uri")));
    assert_eq!(of("code_verifier").map(str::len), Some(43));
    assert_eq!(request.basic_secret, Some(("lectern".to_owned(), "client-secret".to_owned())));
    // And what the token had to be.
    let (token, keys, expected) = &mock.verified()[0];
    assert_eq!(token, "t");
    assert!(matches!(keys, Keys::JwksUrl(url) if url == JWKS));
    let Expectations { issuers, audiences, algorithms, leeway_seconds, required } = expected;
    assert_eq!(
        (issuers.as_slice(), audiences.as_slice()),
        ([ISSUER.to_owned()].as_slice(), ["lectern".to_owned()].as_slice())
    );
    assert_eq!((algorithms.join(" ").as_str(), *leeway_seconds), ("RS256 ES256", 60));
    assert_eq!(required.join(" "), "sub aud exp iat nonce");
    // Nothing is left but what the provider says of itself.
    assert_eq!(mock.stored_keys(), [PROVIDER]);
    for secret in ["c-1", begun.parameter("state"), begun.parameter("nonce")] {
        assert!(!mock.logged().join("\n").contains(secret));
    }
}

#[test]
fn a_public_client_names_itself() {
    let document = settings(json!({ "client_auth": "none" }));
    let begun = Begun::new(&document, "");
    let mock = tokens(begun.back(&document, GOOD), "t").token("t", Ok(begun.claims(json!({}))));
    assert_eq!(line(&mock), "guid-of-ada to /connect/");
    let request = &mock.fetched()[0];
    assert!(request.basic_secret.is_none());
    assert!(form(&request.body).contains(&("client_id".to_owned(), "lectern".to_owned())));
}

#[test]
fn an_answer_is_used_once() {
    let document = settings(json!({}));
    let begun = Begun::new(&document, "");
    let first = tokens(begun.back(&document, GOOD), "t").token("t", Ok(begun.claims(json!({}))));
    assert_eq!(line(&first), "guid-of-ada to /connect/");
    let again = tokens(begun.back(&document, GOOD).after(&first), "t").token("t", Ok(begun.claims(json!({}))));
    assert!(line(&again).starts_with("400 This sign-in was used already"), "{}", line(&again));
    assert!(again.fetched().is_empty() && again.verified().is_empty());
}

#[test]
fn only_the_browser_that_began_it() {
    let document = settings(json!({}));
    let begun = Begun::new(&document, "");
    // An attacker's own sign-in, begun in another browser.
    let name = begun.cookie.split('=').next().unwrap();
    let bare = begun.cookie.trim_start_matches("__Host-");
    let same_length = format!("{name}={}", "A".repeat(43));
    for cookie in ["", "other=1", &format!("{name}="), &same_length, bare] {
        let mock = tokens(begun.back_without_cookie(&document, GOOD).header("cookie", cookie), "t");
        assert!(line(&mock).starts_with("403 This sign-in was begun in another browser"), "{cookie}");
        assert!(mock.fetched().is_empty());
        // It is still there for the browser that has the cookie.
        let owner = tokens(begun.back(&document, GOOD).after(&mock), "t").token("t", Ok(begun.claims(json!({}))));
        assert_eq!(line(&owner), "guid-of-ada to /connect/");
    }
}

#[test]
fn answers_that_are_none() {
    let document = settings(json!({}));
    let begun = Begun::new(&document, "");
    let long = format!("code={}&state=STATE", "x".repeat(4_097));
    for query in [
        "",
        "code=c-1",
        "code=c-1&state=",
        "code=c-1&state=short",
        "code=c-1&state=STATE&state=STATE",
        "code=c-1&code=c-2&state=STATE",
        "code=c-1&state=STATE&iss=https://idp.example&iss=https://evil.example",
        "state=STATE",
        "state=STATE&code=",
        &long,
    ] {
        let mock = tokens(begun.back(&document, query), "t");
        assert!(line(&mock).starts_with("400 This address does not belong to a sign-in"), "{query}: {}", line(&mock));
    }
    let unknown = begun.back(&document, &format!("code=c-1&state={}", "A".repeat(43)));
    assert!(line(&unknown).starts_with("400 This sign-in was used already or took too long"));
    for method in ["POST", "HEAD", "PUT"] {
        let mock = Mock::new(method, &format!("{BASE}callback?code=c-1")).document(&document);
        assert_eq!(reply(&mock).status, 405);
    }
}

#[test]
fn answers_of_another_provider() {
    // Mix-up (RFC 9207): the code would go to the wrong token endpoint.
    let document = settings(json!({}));
    for (iss, refused) in [
        ("", false),
        ("&iss=https%3A%2F%2Fidp.example", false),
        ("&iss=https%3A%2F%2Fidp.example%2F", true),
        ("&iss=https%3A%2F%2Fevil.example", true),
        ("&iss=", true),
    ] {
        let begun = Begun::new(&document, "");
        let mock = tokens(begun.back(&document, &format!("{GOOD}{iss}")), "t").token("t", Ok(begun.claims(json!({}))));
        assert_eq!(line(&mock).starts_with("403 The answer did not come from"), refused, "{iss}");
        assert_eq!(mock.fetched().is_empty(), refused);
        // An error is not believed either.
        let error = Begun::new(&document, "").back(&document, &format!("error=x&state=STATE{iss}"));
        assert_eq!(line(&error).starts_with("403 The answer did not come from"), refused, "{iss}");
    }
    // A provider that promises to name itself, and does not.
    let promise = json!({ "authorization_response_iss_parameter_supported": true });
    let start = Mock::get(&format!("{BASE}start")).document(&document);
    let start = start.fetching("GET", DISCOVERY, Ok(discovery(promise)));
    let begun = Begun { parameters: Vec::new(), cookie: String::new(), mock: start };
    let sent = reply(&begun.mock);
    let begun = Begun {
        parameters: form(sent.field("location").unwrap().as_bytes()),
        cookie: sent.field("set-cookie").unwrap().split(';').next().unwrap().to_owned(),
        ..begun
    };
    assert!(line(&begun.back(&document, GOOD)).starts_with("403 The answer did not come from"));
    // The operator changed the provider while somebody was signing in.
    let other = settings(json!({ "issuer": "https://other.example" }));
    let begun = Begun::new(&document, "");
    assert!(line(&begun.back(&other, GOOD)).starts_with("400 This sign-in was used already"));
}

#[test]
fn errors_are_shown_as_text_and_only_to_whom_they_are_sent() {
    let document = settings(json!({ "provider_name": "Example <ID>" }));
    let evil = "error=%3Cscript%3Ealert(1)%3C/script%3E&error_description=%22%3E%3Cimg%20src=x%3E%0d%0ax&state=STATE";
    let begun = Begun::new(&document, "");
    let shown = reply(&begun.back(&document, evil));
    let html = text(&shown);
    assert_eq!(shown.status, 403);
    assert!(html.contains("Example &lt;ID&gt; could not sign you in."), "{html}");
    assert!(html.contains("&quot;&gt;&lt;img src=x&gt;\u{fffd}\u{fffd}x (&lt;script&gt;"), "{html}");
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    let denied = Begun::new(&document, "").back(&document, "error=access_denied&state=STATE");
    assert!(line(&denied).starts_with("403 Example &lt;ID&gt; did not let you in."));
    // A link to the callback cannot put words on a page of this server.
    for query in [
        "error=x&error_description=Call+0900",
        &format!("error=x&error_description=Call+0900&state={}", "A".repeat(43)),
    ] {
        let html = text(&reply(&begun.back(&document, query)));
        assert!(!html.contains("0900"), "{html}");
    }
    let long = Begun::new(&document, "")
        .back(&document, &format!("error=x&error_description={}&state=STATE", "y".repeat(5_000)));
    assert!(text(&reply(&long)).matches('y').count() < 600);
    for (word, part) in
        [("locked", "locked"), ("%3Cb%3E", "does not belong"), ("over", "took too long"), ("", "does not belong")]
    {
        let html = text(&reply(&Mock::get(&format!("{BASE}error?reason={word}")).document(&document)));
        assert!(html.contains(part) && !html.contains("<b>"), "{word}: {html}");
    }
}

#[test]
fn people_who_may_not_enter() {
    let refused = |document: &str, answer: Result<Identity, SignInRefusal>| {
        let begun = Begun::new(document, "");
        let mock = tokens(begun.back(document, GOOD), "t").token("t", Ok(begun.claims(json!({})))).signing_in(answer);
        (line(&mock), mock)
    };
    let plain = settings(json!({}));
    for (refusal, expected) in [
        (SignInRefusal::Unknown, "403 You proved who you are, but there is no account"),
        (SignInRefusal::Locked, "403 Your account here is locked"),
        (SignInRefusal::NameTaken, "409 Your user name belongs to another account"),
        (SignInRefusal::Invalid("username".into()), "403 No account can be made"),
        (SignInRefusal::NotGranted, "403 You proved who you are, but you may not sign in"),
        (SignInRefusal::Unavailable, "503 Signing in is not possible"),
    ] {
        let (shown, mock) = refused(&plain, Err(refusal));
        assert!(shown.starts_with(expected), "{shown}");
        assert!(!mock.logged().is_empty());
    }
    // Rules of the operator, before any account is touched.
    for rules in [
        json!({ "accounts": { "allowed_groups": ["directors"] } }),
        json!({ "required": { "hd": "example.org" } }),
        json!({ "required": { "email_verified": true } }),
    ] {
        let (shown, mock) = refused(&settings(rules.clone()), Ok(Identity::new("a")));
        assert!(shown.starts_with("403 You proved who you are, but you may not"), "{rules}: {shown}");
        assert!(mock.signed_in().is_empty());
    }
    let mapped = settings(json!({ "accounts": { "roles": { "publisher": ["staff"], "administrator": ["admins"] } } }));
    let (_, mock) = refused(&mapped, Ok(Identity::new("a")));
    assert_eq!(mock.signed_in()[0].role.as_deref(), Some("publisher"));
}
