//! The server with a certificate of its own: proxies known by theirs, publishers over https, renewal without a restart.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use http::Method;
use lectern_tests::apps;
use lectern_tests::authority::{Authority, Signed, shown};
use lectern_tests::client::{directory, example, guid_in, r, rsconnect, rsconnect_raw};
use lectern_tests::http::Ask;
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Server, command, write_private};
use lectern_tests::wait::until;
use serde_json::json;

#[test]
fn a_proxy_is_known_by_its_certificate() {
    let (here, proxies, strangers) = (Authority::new("here"), Authority::new("proxies"), Authority::new("proxies"));
    let server = Server::setup().tls(&here).clients_of(&proxies).start();
    let ada = server.account("ada", "publisher");
    server.account("viola", "viewer");
    let guid = Publisher::new(&server, &ada).publish("probe", &apps::probe());

    // As the plugin's README says it.
    let config = server.scratch().join("trusted-header.json");
    std::fs::write(&config, json!({"certificate": {"dns_names": ["proxy.example.org"]}}).to_string()).unwrap();
    let words = ["plugin", "bind", "trusted-header", "--config", config.to_str().unwrap()];
    let grants = ["--grant", "directory", "--grant", "accounts:viewer", "--grant", "secret:none"];
    let bound = server.lectern(&[words.as_slice(), &grants].concat(), "");
    assert!(bound.status.success(), "{}", String::from_utf8_lossy(&bound.stderr));

    let ask = |path: &str, certificate: Option<&Signed>, fields: &[(&str, &str)]| {
        let ask = Ask::new(server.address(), Method::GET, path).over(&here.trusted(certificate));
        fields.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).try_send()
    };
    let who = |certificate: Option<&Signed>, fields: &[(&str, &str)]| {
        let reply = ask("/__api__/v1/user", certificate, fields)?;
        Some((
            reply.status,
            if reply.status == 200 { reply.json()["username"].as_str().unwrap().to_owned() } else { String::new() },
        ))
    };
    let (proxy, other) = (proxies.client("proxy.example.org"), proxies.client("other.example.org"));
    let forged = strangers.client("proxy.example.org");
    let nobody = Some((401, String::new()));
    for name in ["ada", "viola"] {
        assert_eq!(who(Some(&proxy), &[("x-auth-user", name)]), Some((200, name.to_owned())));
    }
    assert_eq!(who(None, &[("x-auth-user", "ada")]), nobody, "no certificate");
    assert_eq!(who(Some(&other), &[("x-auth-user", "ada")]), nobody, "another's certificate");
    assert_eq!(who(Some(&forged), &[("x-auth-user", "ada")]), None, "another authority's: no connection");
    assert_eq!(who(Some(&proxy), &[]), nobody, "the proxy itself is nobody");
    assert_eq!(who(Some(&proxy), &[("x-auth-user", "mallory")]), nobody, "nobody here");
    assert_eq!(who(Some(&proxy), &[("x-auth-user", "viola"), ("x-auth-user", "ada")]), nobody, "two names");
    assert_eq!(who(Some(&proxy), &[("x_auth_user", "ada")]), nobody, "another spelling");

    // Content learns who asks and how the request came, and not what the proxy wrote.
    let path = format!("/content/{guid}/echo");
    let opened = ask(&path, Some(&proxy), &[("x-auth-user", "ada")]).unwrap().expect(200).text();
    for expected in [r#"["x-forwarded-proto", "https"]"#, &format!("https://{}/content/{guid}/echo", server.address())]
    {
        assert!(opened.contains(expected), "{expected}: {opened}");
    }
    assert!(!opened.contains("x-auth-user"), "{opened}");
    assert_eq!(ask(&path, Some(&proxy), &[("x-auth-user", "viola")]).unwrap().status, 403, "the rules are the rules");
    assert_eq!(ask(&path, Some(&other), &[("x-auth-user", "ada")]).unwrap().status, 401);
    let log = server.log();
    assert!(log.contains("a client's certificate is refused"), "{log}");
    assert!(log.contains("a user's name without the proxy's proof"), "{log}");
}

#[test]
fn publishers_deploy_over_https() {
    let here = Authority::new("here");
    let server = Server::setup().tls(&here).start();
    let printed = std::fs::read_to_string(server.scratch().join("stdout")).unwrap();
    assert!(printed.starts_with(&format!("listening on https://{}\n", server.address())), "{printed}");
    let ada = server.account("ada", "publisher");
    let authority = server.scratch().join("authority.pem");
    let authority = authority.to_str().unwrap();
    let path = example(&server, "fastapi");

    let words = ["--cacert", authority, "--new", "--title", "Forecast", &path];
    let run = rsconnect(&server, &ada, "deploy fastapi", &words).expect_success();
    let guid = guid_in(&run.printed);
    assert!(run.printed.contains(&format!("{}/connect/#/apps/{guid}", server.url())), "{}", run.printed);
    let opened = server.get(&format!("/content/{guid}/forecast?values=10,12,14,16&steps=2")).key(&ada.key).send();
    assert_eq!(opened.expect(200).json()["forecast"], json!([18.0, 20.0]));

    let untrusted = rsconnect(&server, &ada, "details", &[]).expect_failure();
    assert!(untrusted.printed.contains("SSLCertVerificationError"), "{}", untrusted.printed);
    let plain = format!("http://{}", server.address());
    let words = ["details", "--server", &plain, "--api-key", &ada.key];
    rsconnect_raw(&server, &words, &[]).expect_failure();

    // The programs of content are told where the server is.
    let probe = Publisher::new(&server, &ada).publish("probe", &apps::probe());
    let seen = Publisher::new(&server, &ada).open(&probe, "environment").expect(200).json();
    assert_eq!(seen["variables"]["CONNECT_SERVER"], format!("{}/", server.url()));

    // So does the command line of an operator elsewhere, who trusts the authority.
    let grace = server.account("grace", "administrator");
    let list = |trust: &str| {
        let env = [("SSL_CERT_FILE".to_owned(), trust.to_owned())];
        command(&env).args(["plugin", "list", "--server", &server.url(), "--api-key", &grace.key]).output().unwrap()
    };
    let listed = list(authority);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("content-router"), "{listed:?}");
    assert!(!list("/dev/null").status.success());
}

#[test]
fn r_deploys_over_https() {
    let here = Authority::new("here");
    let server = Server::setup().tls(&here).start();
    let ada = server.account("ada", "publisher");
    let authority = server.scratch().join("authority.pem");
    let path = directory(&server, "page", &[("index.html", "<!doctype html><title>From R</title>")]);
    let deploy = |options: &str| {
        let code = format!(
            "library(rsconnect)
             options({options})
             addConnectServer(server, 'here', quiet = TRUE)
             connectApiUser(account = name, server = 'here', apiKey = key, quiet = TRUE)
             ok <- deployApp('{path}', appName = 'from-r', appPrimaryDoc = 'index.html', account = name, server = 'here',
                 launch.browser = FALSE, forceUpdate = TRUE)
             stopifnot(isTRUE(ok))"
        );
        r(&server, &ada, &code)
    };
    let untrusted = deploy("repos = c(CRAN = 'https://cran.example.org')").expect_failure();
    assert!(untrusted.printed.contains("certificate"), "{}", untrusted.printed);
    let trusting =
        format!("rsconnect.ca.bundle = '{}', repos = c(CRAN = 'https://cran.example.org')", authority.display());
    deploy(&trusting).expect_success();
    let publisher = Publisher::new(&server, &ada);
    let listed = publisher.api(Method::GET, "/v1/content?name=from-r").send().expect(200).json();
    let guid = listed[0]["guid"].as_str().unwrap();
    assert!(publisher.open(guid, "").expect(200).text().contains("From R"));
}

#[test]
fn certificates_are_renewed_without_a_restart() {
    let (here, next) = (Authority::new("here"), Authority::new("next"));
    let server = Server::setup().tls(&here).start();
    let (old, new) = (here.trusted(None), next.trusted(None));
    let address = server.address();
    let file = |name: &str| server.scratch().join(name);
    assert!(shown(address, &old).is_some() && shown(address, &new).is_none());

    // A certificate whose key does not come is not used.
    let (orphan, renewed) = (next.server(), next.server());
    write_private(&file("tls.pem"), &orphan.pem);
    until("the refusal", Duration::from_secs(60), || {
        server.log().contains("the changed certificate is not used").then_some(())
    });
    assert!(server.log().contains("the key does not belong to the first certificate"), "{}", server.log());
    assert!(shown(address, &old).is_some());

    write_private(&file("tls.pem"), &renewed.pem);
    write_private(&file("tls.key"), &renewed.key_pem);
    let now = until("the new certificate", Duration::from_secs(60), || shown(address, &new));
    assert_eq!(now, renewed.der);
    assert!(shown(address, &old).is_none());
    let reply = Ask::new(address, Method::GET, "/__ping__").over(&new).send();
    reply.expect(200);
    assert!(server.log().contains("new connections get the changed certificate"), "{}", server.log());

    // Who does not ask for https is told.
    let plain = Ask::new(address, Method::GET, "/").send();
    assert_eq!(plain.status, 400);
    assert!(plain.text().contains("https://"), "{}", plain.text());
    assert!(server.stop().success());
}
