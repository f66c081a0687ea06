//! R's rsconnect as Debian ships it, with an API key.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use lectern_tests::client::{directory, example, r};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// Connects, then runs `code`.
fn connected(code: &str) -> lectern_tests::client::Run {
    let connect = "library(rsconnect)
        options(rsconnect.check.certificate = FALSE, repos = c(CRAN = 'https://cran.example.org'))
        addConnectServer(server, 'here', quiet = TRUE)
        connectApiUser(account = name, server = 'here', apiKey = key, quiet = TRUE)";
    r(&SERVER, &ADA, &format!("{connect}\n{code}"))
}

/// The content item of this name.
fn guid_of(name: &str) -> String {
    let listed = ada().api(http::Method::GET, &format!("/v1/content?name={name}")).send().expect(200).json();
    listed[0]["guid"].as_str().unwrap_or_else(|| panic!("no content named {name}: {listed}")).to_owned()
}

#[test]
fn a_page_with_deploy_app() {
    let path = directory(&SERVER, "page", &[("index.html", "<!doctype html><title>From R</title>")]);
    let deploy = format!(
        "ok <- deployApp('{path}', appName = 'from-r', appTitle = 'From R', appPrimaryDoc = 'index.html',
            account = name, server = 'here', launch.browser = FALSE, forceUpdate = TRUE)
         stopifnot(isTRUE(ok))"
    );
    connected(&deploy).expect_success();
    let guid = guid_of("from-r");
    assert!(ada().open(&guid, "").expect(200).text().contains("From R"));
    assert_eq!(ada().content(&guid)["title"], "From R");

    // Again: the client's own record leads to the same item.
    std::fs::write(format!("{path}/index.html"), "<!doctype html><title>Again</title>").unwrap();
    connected(&deploy).expect_success();
    assert_eq!(guid_of("from-r"), guid);
    assert!(ada().open(&guid, "").expect(200).text().contains("Again"));
}

#[test]
fn a_plumber_api_with_deploy_api() {
    let path = example(&SERVER, "plumber");
    // The client writes the manifest itself.
    std::fs::remove_file(format!("{path}/manifest.json")).unwrap();
    std::fs::remove_file(format!("{path}/README.md")).unwrap();
    let deploy = format!(
        "ok <- deployAPI('{path}', appName = 'fuel-use', account = name, server = 'here',
            launch.browser = FALSE, forceUpdate = TRUE)
         stopifnot(isTRUE(ok))"
    );
    connected(&deploy).expect_success();
    let guid = guid_of("fuel-use");
    assert_eq!(ada().open(&guid, "predict?weight=3&horsepower=110").expect(200).json()["mpg"], 22.1);

    let look = "restartApp('fuel-use', account = name, server = 'here')
         listed <- applications(account = name, server = 'here')
         cat('listed', listed[listed$name == 'fuel-use', ]$guid, listed[listed$name == 'fuel-use', ]$url)";
    let printed = connected(look).expect_success().printed;
    assert!(printed.contains("Application successfully restarted"), "{printed}");
    assert!(printed.contains(&format!("listed {guid} {}/content/{guid}/", SERVER.url())), "{printed}");
    assert_eq!(ada().open(&guid, "predict?weight=3&horsepower=110").expect(200).json()["mpg"], 22.1);
}

#[test]
fn documents_as_pages() {
    let report = [
        ("report.html", "<!doctype html><title>A report</title>"),
        ("report.Rmd", "---\ntitle: A report\n---\n\nHi\n"),
    ];
    let path = directory(&SERVER, "documents", &report);
    let deploy = |file: &str, name: &str| {
        format!(
            "deployDoc('{path}/{file}', appName = '{name}', account = name, server = 'here', launch.browser = FALSE,
                forceUpdate = TRUE)"
        )
    };
    connected(&deploy("report.html", "a-page")).expect_success();
    assert!(ada().open(&guid_of("a-page"), "").expect(200).text().contains("A report"));

    let printed =
        connected(&format!("stopifnot(isTRUE({}))", deploy("report.Rmd", "a-source"))).expect_failure().printed;
    let told = "this server does not render R Markdown documents: render where you write it, with rmarkdown::render(), \
                and publish the page, with rsconnect::deployDoc(";
    assert!(printed.contains(told), "{printed}");
}

#[test]
fn a_wrong_key_is_refused() {
    let wrong = Account { key: "wrong".into(), ..ADA.clone() };
    let code = "rsconnect::addConnectServer(server, 'there', quiet = TRUE)
        rsconnect::connectApiUser(account = name, server = 'there', apiKey = key, quiet = TRUE)
        rsconnect::applications(account = name, server = 'there')";
    r(&SERVER, &wrong, code).expect_failure();
}
