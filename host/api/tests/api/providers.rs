//! Signing in to providers, and the tokens that come of it: the database is real, and providers say what each test has them say.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use lectern_api::ApiError;
use lectern_api::providers::{
    Begun, CALLBACK, Given, NotSignedIn, ServiceTokens, begin, finish, service_token, sign_in_path, sign_out,
    viewer_token,
};
use lectern_domain::IntegrationGuid;
use lectern_domain::access::Principal;
use lectern_domain::integrations::{AuthType, Place};
use lectern_metadata::integrations::sessions::{self, SessionRow};
use lectern_metadata::integrations::{self, IntegrationFields, IntegrationRow};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Server, request};

const BACK: &str = "https://lectern.example/pub/__oauth__/integrations/callback";
const SERVER: &str = "https://lectern.example/pub";

fn config() -> Value {
    json!({
        "authorization_uri": "https://idp.example/auth", "token_uri": "https://idp.example/token", "client_id": "web",
        "scopes": "openid",
    })
}

async fn integration(server: &Server, auth_type: AuthType) -> IntegrationRow {
    use lectern_api::Backstage as _;
    let guid = IntegrationGuid(Uuid::new_v4());
    let secrets = json!({"client_secret": "hush"}).to_string();
    let fields = IntegrationFields {
        name: Some("Example".into()),
        description: None,
        auth_type,
        config: config(),
        sealed: Some(server.backstage.seal_for(Place::Integration(guid), secrets.as_bytes()).unwrap()),
    };
    let client = server.database.client().await.unwrap();
    integrations::create(&client, guid, "custom", &fields).await.unwrap().unwrap()
}

/// Has the provider answer these next.
fn answers(server: &Server, answers: &[(u16, Value)]) {
    server.backstage.provider.lock().unwrap().extend(answers.iter().cloned());
}

/// What the provider was sent since the last call: the forms, read.
fn sent(server: &Server) -> Vec<HashMap<String, String>> {
    let forms = std::mem::take(&mut *server.backstage.forms.lock().unwrap());
    forms.iter().map(|form| url::form_urlencoded::parse(form.body.as_bytes()).into_owned().collect()).collect()
}

fn parameter(begun: &Begun, name: &str) -> String {
    let url = url::Url::parse(&begun.location).unwrap();
    let found = url.query_pairs().find(|(key, _)| key == name).unwrap();
    found.1.into_owned()
}

fn cookie(begun: &Begun) -> String {
    format!("other=1; {}={}", begun.cookie.0, *begun.cookie.1)
}

async fn begun(server: &Server, user: &Principal, integration: &IntegrationRow) -> Begun {
    let begun = begin(&server.database, &*server.backstage, user, integration.guid, "/content/x/?a=b", BACK).await;
    begun.unwrap()
}

async fn back(server: &Server, user: &Principal, query: &str, cookies: &str) -> Result<String, NotSignedIn> {
    let came = finish(&server.database, &*server.backstage, user, query, cookies, BACK).await;
    came.map(|came| came.return_to)
}

/// Signs `user` in with what the provider answers.
async fn signed_in(server: &Server, user: &Principal, integration: &IntegrationRow, tokens: Value) {
    answers(server, &[(200, tokens)]);
    let begun = begun(server, user, integration).await;
    let query = format!("code=c&state={}", parameter(&begun, "state"));
    assert!(back(server, user, &query, &cookie(&begun)).await.is_ok());
    sent(server);
}

async fn token(server: &Server, integration: &IntegrationRow, user: &Principal) -> Result<String, ApiError> {
    let given = viewer_token(&server.database, &*server.backstage, integration, user.user, SERVER).await;
    given.map(|Given { access_token, .. }| access_token.to_string())
}

async fn session(server: &Server, user: &Principal, integration: &IntegrationRow) -> Option<SessionRow> {
    let client = server.database.client().await.unwrap();
    sessions::of_user(&client, user.user, integration.id).await.unwrap()
}

fn code(error: &ApiError) -> (u16, i32) {
    (error.status().as_u16(), error.code())
}

#[tokio::test]
async fn a_code_is_redeemed_once_by_who_began() {
    let server = Server::new().await;
    let integration = integration(&server, AuthType::Viewer).await;
    assert!(BACK.ends_with(CALLBACK));
    let first = begun(&server, &server.viewer, &integration).await;
    assert!(
        first.location.starts_with("https://idp.example/auth?response_type=code&client_id=web&"),
        "{}",
        first.location
    );
    assert_eq!((parameter(&first, "redirect_uri"), first.provider.as_str()), (BACK.to_owned(), "https://idp.example"));
    let (state, challenge) = (parameter(&first, "state"), parameter(&first, "code_challenge"));
    let query = format!("code=the+code&state={state}");

    // Another browser, another account, somebody who knows only the state.
    assert!(matches!(back(&server, &server.viewer, &query, "").await, Err(NotSignedIn::Unknown)));
    let forged = format!("{}=0123456789abcdef", first.cookie.0);
    assert!(matches!(back(&server, &server.viewer, &query, &forged).await, Err(NotSignedIn::Unknown)));
    assert!(matches!(back(&server, &server.viewer, "state=x", &cookie(&first)).await, Err(NotSignedIn::Incomplete)));
    assert!(sent(&server).is_empty(), "no code leaves before its state was judged");

    answers(
        &server,
        &[(
            200,
            json!({"access_token": "ACCESS", "refresh_token": "REFRESH", "token_type": "Bearer", "expires_in": 3600}),
        )],
    );
    assert_eq!(back(&server, &server.viewer, &query, &cookie(&first)).await.ok().as_deref(), Some("/content/x/?a=b"));
    let authorization = server.backstage.forms.lock().unwrap()[0].authorization.clone();
    assert_eq!(authorization.as_deref(), Some("Basic d2ViOmh1c2g="), "web:hush");
    let form = sent(&server).remove(0);
    assert_eq!(
        (form["grant_type"].as_str(), form["code"].as_str(), form["redirect_uri"].as_str()),
        ("authorization_code", "the code", BACK)
    );
    use base64::Engine as _;
    use sha2::Digest as _;
    let expected =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(form["code_verifier"].as_bytes()));
    assert_eq!(challenge, expected);
    assert!(
        matches!(back(&server, &server.viewer, &query, &cookie(&first)).await, Err(NotSignedIn::Unknown)),
        "a replay"
    );

    // The session is there, its tokens are not readable in the row, and the log says who signed in and no token.
    let row = session(&server, &server.viewer, &integration).await.unwrap();
    assert!(row.has_refresh_token && !String::from_utf8_lossy(&row.sealed).contains("ACCESS"));
    assert_eq!(token(&server, &integration, &server.viewer).await.unwrap(), "ACCESS");
    let log = server.get(&server.admin, "/__api__/v1/audit_logs").await.ok().to_string();
    assert!(log.contains("add_oauth_session") && !log.contains("ACCESS") && !log.contains("REFRESH"), "{log}");
    assert_eq!(code(&token(&server, &integration, &server.owner).await.unwrap_err()), (401, 24), "another has none");

    // Begun by one account, brought back by another in the same browser: over for both.
    let second = begun(&server, &server.owner, &integration).await;
    let query = format!("code=c&state={}", parameter(&second, "state"));
    assert!(matches!(back(&server, &server.viewer, &query, &cookie(&second)).await, Err(NotSignedIn::Another)));
    assert!(matches!(back(&server, &server.owner, &query, &cookie(&second)).await, Err(NotSignedIn::Unknown)));
    assert!(sent(&server).is_empty());

    assert!(sign_out(&server.database, &server.viewer, integration.guid).await.unwrap());
    assert!(!sign_out(&server.database, &server.viewer, integration.guid).await.unwrap());
    let error = token(&server, &integration, &server.viewer).await.unwrap_err();
    let there = format!("{SERVER}{}", sign_in_path(integration.guid));
    assert!(code(&error) == (401, 24) && error.message().contains(&there), "{error}");
}

#[tokio::test]
async fn refusals_are_told_without_secrets() {
    let server = Server::new().await;
    let integration = integration(&server, AuthType::Viewer).await;
    let denied = begun(&server, &server.viewer, &integration).await;
    let query = format!("error=access_denied&error_description=x&state={}", parameter(&denied, "state"));
    let outcome = back(&server, &server.viewer, &query, &cookie(&denied)).await;
    assert!(matches!(outcome, Err(NotSignedIn::Refused { ref word, .. }) if word == "access_denied"));
    for (answer, status, word) in [
        ((401, json!({"error": "invalid_client", "error_description": "hush is wrong"})), 400, "invalid_client"),
        ((400, json!({"error": "invalid_grant"})), 400, "invalid_grant"),
        ((503, json!({})), 503, "503"),
        ((200, json!({"token_type": "Bearer"})), 400, "no access_token"),
        ((302, json!({})), 400, "302"),
    ] {
        answers(&server, &[answer]);
        let begun = begun(&server, &server.viewer, &integration).await;
        let query = format!("code=CODE&state={}", parameter(&begun, "state"));
        let Err(NotSignedIn::Failed(error)) = back(&server, &server.viewer, &query, &cookie(&begun)).await else {
            panic!("{word}: signed in");
        };
        let text = error.to_string();
        assert!(error.status().as_u16() == status && text.contains(word), "{text}");
        assert!(!text.contains("hush") && !text.contains("CODE"), "{text}");
    }
    // The operator's guard says no.
    let begun = begun(&server, &server.viewer, &integration).await;
    let query = format!("code=c&state={}", parameter(&begun, "state"));
    let outcome = back(&server, &server.viewer, &query, &cookie(&begun)).await;
    assert!(matches!(outcome, Err(NotSignedIn::Failed(error)) if error.message().contains("nobody is reached here")));
    assert!(session(&server, &server.viewer, &integration).await.is_none());
}

#[tokio::test]
async fn what_cannot_be_begun() {
    let server = Server::new().await;
    let (viewer, service) =
        (integration(&server, AuthType::Viewer).await, integration(&server, AuthType::ServiceAccount).await);
    let begin =
        async |guid, next: &str| begin(&server.database, &*server.backstage, &server.viewer, guid, next, BACK).await;
    let code_of = |outcome: Result<Begun, ApiError>| outcome.err().map(|error| code(&error));
    assert_eq!(code_of(begin(service.guid, "/").await), Some((404, 4)), "nobody signs in to a service account");
    assert_eq!(code_of(begin(IntegrationGuid(Uuid::new_v4()), "/").await), Some((404, 4)));
    for next in ["", "//evil.example", "https://evil.example/", "/\\evil.example"] {
        assert_eq!(code_of(begin(viewer.guid, next).await), Some((400, 25)), "{next}");
    }
    // A loop of a page does not fill the table.
    let mut refused = 0;
    for _ in 0..25 {
        refused += usize::from(begin(viewer.guid, "/").await.is_err());
    }
    assert_eq!(refused, 5);
}

#[tokio::test]
async fn one_renews_and_all_get_the_new_token() {
    let server = Server::new().await;
    let integration = integration(&server, AuthType::Viewer).await;
    let ended = json!({"access_token": "old", "refresh_token": "r1", "expires_in": 0});
    signed_in(&server, &server.viewer, &integration, ended).await;
    server.backstage.holds.store(true, Ordering::SeqCst);
    answers(&server, &[(200, json!({"access_token": "new", "refresh_token": "r2", "expires_in": 3600}))]);
    let asking =
        async { futures_util::future::join_all((0..6).map(|_| token(&server, &integration, &server.viewer))).await };
    let answering = async {
        // Held until the others have had time to look, which they do until it is there.
        server.backstage.asked.notified().await;
        server.backstage.answer.notify_one();
    };
    let (given, ()) = tokio::join!(asking, answering);
    assert!(given.iter().all(|token| token.as_ref().is_ok_and(|token| token == "new")), "{given:?}");
    let forms = sent(&server);
    assert_eq!(forms.len(), 1, "a refresh token is used once: {forms:?}");
    assert_eq!((forms[0]["grant_type"].as_str(), forms[0]["refresh_token"].as_str()), ("refresh_token", "r1"));

    // A provider that sends no other refresh token goes on taking the last one.
    server.backstage.holds.store(false, Ordering::SeqCst);
    let ended = json!({"access_token": "old", "refresh_token": "r1", "expires_in": 0});
    signed_in(&server, &server.viewer, &integration, ended).await;
    let next = |name: &str| (200, json!({"access_token": name, "expires_in": 0}));
    answers(&server, &[next("a"), next("b")]);
    assert_eq!(token(&server, &integration, &server.viewer).await.unwrap(), "a");
    assert_eq!(token(&server, &integration, &server.viewer).await.unwrap(), "b");
    assert!(sent(&server).iter().all(|form| form["refresh_token"] == "r1"));
}

#[tokio::test]
async fn renewals_that_fail() {
    let server = Server::new().await;
    let integration = integration(&server, AuthType::Viewer).await;
    let ended = || json!({"access_token": "old", "refresh_token": "REFRESH", "expires_in": 0});
    signed_in(&server, &server.viewer, &integration, ended()).await;
    // For a moment: the next one asks again, so the lease was given back.
    answers(&server, &[(503, json!({})), (200, json!({"access_token": "new", "expires_in": 0}))]);
    let error = token(&server, &integration, &server.viewer).await.unwrap_err();
    assert_eq!(code(&error).0, 503, "{error}");
    assert_eq!(token(&server, &integration, &server.viewer).await.unwrap(), "new");
    // The settings are wrong: the session stays, for when they are mended.
    answers(&server, &[(401, json!({"error": "invalid_client"}))]);
    let error = token(&server, &integration, &server.viewer).await.unwrap_err();
    assert!(code(&error) == (400, 25) && !error.to_string().contains("REFRESH"), "{error}");
    assert!(session(&server, &server.viewer, &integration).await.is_some());
    // The grant is over: so is the session.
    answers(&server, &[(400, json!({"error": "invalid_grant"}))]);
    assert_eq!(code(&token(&server, &integration, &server.viewer).await.unwrap_err()), (401, 24));
    assert!(session(&server, &server.viewer, &integration).await.is_none());
    // The integration leads to another provider: it gets nothing of what the first one gave.
    signed_in(&server, &server.viewer, &integration, ended()).await;
    let mut fields = integration.fields.clone();
    fields.config["token_uri"] = json!("https://other.example/token");
    let client = server.database.client().await.unwrap();
    let moved = integrations::change(&client, integration.guid, &fields).await.unwrap();
    assert_eq!(code(&token(&server, &moved, &server.viewer).await.unwrap_err()), (401, 24));
    assert!(sent(&server).is_empty() && session(&server, &server.viewer, &integration).await.is_none());
    integrations::change(&client, integration.guid, &integration.fields).await.unwrap();
    // Without a refresh token it ends by itself.
    signed_in(&server, &server.viewer, &integration, json!({"access_token": "old", "expires_in": 0})).await;
    let error = token(&server, &integration, &server.viewer).await.unwrap_err();
    assert!(code(&error) == (401, 24) && sent(&server).is_empty(), "{error}");
}

#[tokio::test]
async fn a_session_that_ends_meanwhile_gives_nothing() {
    let server = Server::new().await;
    let integration = integration(&server, AuthType::Viewer).await;
    signed_in(
        &server,
        &server.viewer,
        &integration,
        json!({"access_token": "old", "refresh_token": "r", "expires_in": 0}),
    )
    .await;
    server.backstage.holds.store(true, Ordering::SeqCst);
    answers(&server, &[(200, json!({"access_token": "new", "expires_in": 3600}))]);
    let ending = async {
        server.backstage.asked.notified().await;
        assert!(sign_out(&server.database, &server.viewer, integration.guid).await.unwrap());
        server.backstage.answer.notify_one();
    };
    let (given, ()) = tokio::join!(token(&server, &integration, &server.viewer), ending);
    assert_eq!(code(&given.unwrap_err()), (401, 24));
    assert!(session(&server, &server.viewer, &integration).await.is_none());
}

#[tokio::test]
async fn service_accounts_ask_when_they_must() {
    let server = Server::new().await;
    let integration = integration(&server, AuthType::ServiceAccount).await;
    let tokens = ServiceTokens::default();
    let ask = async |integration: &IntegrationRow| {
        let given = service_token(&tokens, &*server.backstage, integration).await;
        given.map(|given| given.access_token.to_string())
    };
    let lasting = |name: &str, seconds: u64| (200, json!({"access_token": name, "expires_in": seconds}));
    answers(&server, &[lasting("a", 3600)]);
    let both = tokio::join!(ask(&integration), ask(&integration));
    assert_eq!((both.0.unwrap(), both.1.unwrap()), ("a".into(), "a".into()));
    assert_eq!(ask(&integration).await.unwrap(), "a");
    let forms = sent(&server);
    assert_eq!(
        (forms.len(), forms[0]["grant_type"].as_str(), forms[0]["scope"].as_str()),
        (1, "client_credentials", "openid")
    );
    // Another configuration is another client.
    let client = server.database.client().await.unwrap();
    let changed = integrations::change(&client, integration.guid, &integration.fields).await.unwrap();
    answers(&server, &[lasting("b", 0), lasting("c", 3600), (200, json!({"access_token": "d"}))]);
    assert_eq!(ask(&changed).await.unwrap(), "b");
    assert_eq!(ask(&changed).await.unwrap(), "c", "what ends at once is asked for again");
    let again = integrations::change(&client, integration.guid, &integration.fields).await.unwrap();
    assert_eq!(ask(&again).await.unwrap(), "d");
    let error = ask(&again).await.unwrap_err();
    assert!(error.message().contains("nobody is reached here"), "a token of unknown end is not kept: {error}");
}

#[tokio::test]
async fn content_gets_the_token_of_its_own_account() {
    let server = Server::new().await;
    let (service, viewer) =
        (integration(&server, AuthType::ServiceAccount).await, integration(&server, AuthType::Viewer).await);
    let content = server.content("report").await;
    let exchange = async |token: &str, audience: Option<IntegrationGuid>| {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
        form.append_pair("subject_token_type", "urn:posit:connect:content-session-token");
        form.append_pair("subject_token", token);
        if let Some(audience) = audience {
            form.append_pair("audience", &audience.to_string());
        }
        let path = "/__api__/v1/oauth/integrations/credentials";
        server.send(None, request("POST", path).body(form.finish().into()).unwrap()).await
    };
    let token = format!("process of {content}");
    assert_eq!(exchange(&token, None).await.refusal(), (400, 212), "it uses none");
    let chosen: Vec<Value> =
        [&service, &viewer].iter().map(|one| json!({"oauth_integration_guid": one.guid.to_string()})).collect();
    let associations = format!("/__api__/v1/content/{content}/oauth/integrations/associations");
    server.ask(Some(&server.owner), "PUT", &associations, json!(chosen)).await.ok();
    answers(&server, &[(200, json!({"access_token": "own", "expires_in": 3600}))]);
    let given = exchange(&token, None).await.ok();
    assert_eq!((&given["access_token"], &given["token_type"]), (&json!("own"), &json!("Bearer")), "{given}");
    assert_eq!(exchange(&token, Some(service.guid)).await.ok()["access_token"], "own");
    assert_eq!(exchange(&token, Some(viewer.guid)).await.refusal(), (400, 25), "a visitor's is not the content's");
    assert_eq!(sent(&server).len(), 1);
    for other in [format!("process of {}", Uuid::new_v4()), "forged".to_owned()] {
        assert_eq!(exchange(&other, None).await.refusal(), (401, 30), "{other}");
    }
}
