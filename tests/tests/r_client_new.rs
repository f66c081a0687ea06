//! R's rsconnect as it is since 1.0 (Debian 13 has 1.3.4): other routes than 0.8.29 takes, whose test is `r_client`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use lectern_tests::browser;
use lectern_tests::client::{Run, directory, example, new_r};
use lectern_tests::publisher::{Publisher, text};
use lectern_tests::server::{Account, Server};
use lectern_tests::wait::until;
use serde_json::Value;

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

/// A client starts, asks and waits a second between tries.
const SOON: Duration = Duration::from_secs(90);

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// Runs R code; `None`, and a word about it, where there is no such client.
fn run(account: &Account, code: &str) -> Option<Run> {
    let code = format!("library(rsconnect)\noptions(repos = c(CRAN = 'https://cran.example.org'))\n{code}");
    let run = new_r(&SERVER, account, &code);
    match &run {
        Some(run) => println!("{}", run.printed),
        None => println!("passed over: `./just setup test` gets this client on Debian only"),
    }
    run
}

/// Connects under the server's name `here`, then runs `code`.
fn connected(here: &str, code: &str) -> Option<Run> {
    let connect = format!(
        "addServer(server, name = '{here}', quiet = TRUE)
         connectApiUser(account = name, server = '{here}', apiKey = key, quiet = TRUE)
         options(rsconnect.launch.browser = FALSE)"
    );
    run(&ADA, &format!("{connect}\n{code}"))
}

/// The content items of this name.
fn named(name: &str) -> Value {
    ada().api(Method::GET, &format!("/v1/content?name={name}")).send().expect(200).json()
}

#[test]
fn a_page_is_published_and_listed() {
    let path = directory(&SERVER, "new-page", &[("index.html", "<!doctype html><title>Since 1.0</title>")]);
    let deploy = format!(
        "stopifnot(isTRUE(deployApp('{path}', appName = 'since-one', appTitle = 'Since 1.0', appPrimaryDoc = 'index.html',
            account = name, server = 'pages', forceUpdate = TRUE)))"
    );
    let Some(first) = connected("pages", &deploy) else { return };
    first.expect_success();
    let guid = text(&named("since-one")[0]["guid"]);
    assert!(ada().open(&guid, "").expect(200).text().contains("Since 1.0"));
    assert_eq!(ada().content(&guid)["title"], "Since 1.0");

    std::fs::write(format!("{path}/index.html"), "<!doctype html><title>Again</title>").unwrap();
    let listed = format!(
        "{deploy}
         all <- applications(account = name, server = 'pages')
         one <- all[all$name == 'since-one', ]
         cat('listed', one$guid, one$title, one$url, '\\n')
         cat('known', unique(deployments('{path}')$url), '\\n')
         # Without its own record, the client finds the item by its name.
         forgetDeployment('{path}', force = TRUE)
         {deploy}"
    );
    let printed = connected("pages", &listed).unwrap().expect_success().printed;
    let url = format!("{}/content/{guid}/", SERVER.url());
    assert!(printed.contains(&format!("listed {guid} Since 1.0 {url}")), "{printed}");
    assert!(printed.contains(&format!("known {url}")), "{printed}");
    assert_eq!(named("since-one").as_array().unwrap().len(), 1);
    assert!(ada().open(&guid, "").expect(200).text().contains("Again"));
}

#[test]
fn an_api_with_variables() {
    let path = example(&SERVER, "plumber");
    std::fs::remove_file(format!("{path}/manifest.json")).unwrap();
    std::fs::remove_file(format!("{path}/README.md")).unwrap();
    let code = format!(
        "Sys.setenv(COLOUR = 'blue')
         stopifnot(isTRUE(deployAPI('{path}', appName = 'new-fuel-use', account = name, server = 'apis', envVars = 'COLOUR')))
         all <- listAccountEnvVars(account = name, server = 'apis')
         cat('variables', unlist(all$envVars[all$name == 'new-fuel-use']), '\\n')
         updateAccountEnvVars('COLOUR', account = name, server = 'apis')"
    );
    let Some(run) = connected("apis", &code) else { return };
    let printed = run.expect_success().printed;
    assert!(printed.contains("variables COLOUR"), "{printed}");
    let guid = text(&named("new-fuel-use")[0]["guid"]);
    assert_eq!(ada().open(&guid, "predict?weight=3&horsepower=110").expect(200).json()["mpg"], 22.1);
}

#[test]
fn documents() {
    let files = [
        ("report.html", "<!doctype html><title>A report</title>"),
        ("report.Rmd", "---\ntitle: A report\noutput: html_document\n---\n\nHi\n"),
        ("site/_site.yml", "name: a-site\noutput_dir: _site\n"),
        ("site/index.Rmd", "---\ntitle: A site\n---\n\nHi\n"),
    ];
    let path = directory(&SERVER, "new-documents", &files);
    let code = format!(
        "stopifnot(isTRUE(deployDoc('{path}/report.html', appName = 'new-report', account = name, server = 'documents')))
         stopifnot(isTRUE(deploySite('{path}/site', siteName = 'new-site', render = 'local', account = name,
             server = 'documents')))"
    );
    let Some(run) = connected("documents", &code) else { return };
    run.expect_success();
    for (name, title) in [("new-report", "A report"), ("new-site", "A site")] {
        let guid = text(&named(name)[0]["guid"]);
        assert!(ada().open(&guid, "").expect(200).text().contains(&format!("<title>{title}</title>")), "{name}");
    }
    let code = format!(
        "stopifnot(isTRUE(deployDoc('{path}/report.Rmd', appName = 'new-source', account = name, server = 'documents')))"
    );
    let printed = connected("documents", &code).unwrap().expect_failure().printed;
    assert!(printed.contains("this server does not render R Markdown documents"), "{printed}");
}

#[test]
fn connect_user_with_its_page_in_a_browser() {
    let page = directory(&SERVER, "new-signed", &[("index.html", "<!doctype html><title>New and signed</title>")]);
    let asked = SERVER.scratch().join("new-claim-url");
    let code = format!(
        "addServer(server, name = 'signed', quiet = TRUE)
         connectUser(server = 'signed', quiet = TRUE, launch.browser = function(url) {{
           writeLines(url, '{asked}.new'); file.rename('{asked}.new', '{asked}') }})
         stopifnot('ada' %in% accounts('signed')$name)
         stopifnot(isTRUE(deployApp('{page}', appName = 'new-signed', appPrimaryDoc = 'index.html', account = 'ada',
             server = 'signed', launch.browser = FALSE)))",
        asked = asked.display(),
    );
    let nobody = Account { key: String::new(), ..ADA.clone() };
    let client = std::thread::spawn(move || run(&nobody, &code));
    let url = until("R asks for a token, or is not there", SOON, || {
        std::fs::read_to_string(&asked).ok().or_else(|| client.is_finished().then(String::new))
    });
    if !url.is_empty() {
        browser::confirm_token(&url, "ada", &ADA.password);
    }
    let Some(run) = client.join().unwrap() else { return };
    run.expect_success();
    let guid = text(&named("new-signed")[0]["guid"]);
    assert!(ada().open(&guid, "").expect(200).text().contains("New and signed"));
}

#[test]
fn a_wrong_key_is_refused() {
    let wrong = Account { key: "wrong".into(), ..ADA.clone() };
    let code = "addServer(server, name = 'wrong', quiet = TRUE)
        connectApiUser(account = name, server = 'wrong', apiKey = key, quiet = TRUE)";
    let Some(run) = run(&wrong, code) else { return };
    let printed = run.expect_failure().printed;
    assert!(printed.contains("the credential presented is not valid"), "{printed}");
}
