//! Interactive kinds of R, each published with a stock client and used in a real browser.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::LazyLock;

use http::Method;
use lectern_tests::bundle;
use lectern_tests::client::{directory, example, guid_in, r, rsconnect};
use lectern_tests::publisher::Publisher;
use lectern_tests::scratch::Scratch;
use lectern_tests::server::{Account, Server};
use lectern_tests::visitor::Visitor;
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "administrator"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

/// Publishes an example with `rsconnect deploy manifest`; answers its GUID.
fn published(name: &str) -> String {
    let manifest = format!("{}/manifest.json", example(&SERVER, name));
    let run = rsconnect(&SERVER, &ADA, "deploy manifest", &["--new", "--title", name, &manifest]).expect_success();
    guid_in(&run.printed)
}

/// Opens `path` in a browser, signed in as ada, and runs `script` on the page.
fn used(path: &str, script: &str) -> Value {
    Visitor::new(&SERVER, &ADA).uses(path, script, &Value::Null)
}

/// Asks for another difference and notes the plan down.
const PLAN: &str = "
    await page.locator('#answer strong').filter({ hasText: '64' }).waitFor();
    const who = await page.locator('#who').innerText();
    await page.locator('#effect').evaluate((input) => window.jQuery(input).data('ionRangeSlider').update({ from: 1 }));
    await page.locator('#answer strong').filter({ hasText: '17' }).waitFor();
    await page.getByRole('button', { name: 'Note it down' }).click();
    await page.locator('#notes td').first().waitFor();
    await page.locator('#curve img').waitFor();
    await all.shot('planned');
    return { who, cells: await page.locator('#notes td').allInnerTexts() };
";

#[test]
fn shiny_at_its_guid_and_under_a_vanity_path() {
    let guid = published("shiny");
    assert_eq!(ada().content(&guid)["app_mode"], "shiny");
    let seen = used(&format!("/content/{guid}/"), PLAN);
    assert_eq!(seen["who"], "signed in as ada");
    assert_eq!(seen["cells"], json!(["1", "0.800", "0.050", "17"]));

    let vanity = json!({"path": "/planning/samples/"});
    ada().api(Method::PUT, &format!("/v1/content/{guid}/vanity")).json(&vanity).send().expect(200);
    let seen = used("/planning/samples/", PLAN);
    assert_eq!((&seen["who"], &seen["cells"][3]), (&json!("signed in as ada"), &json!("17")));
}

#[test]
fn shiny_with_rs_own_client() {
    let path = directory(&SERVER, "samples", &[("app.R", include_str!("../../examples/shiny/app.R"))]);
    let code = format!(
        "library(rsconnect)
         options(rsconnect.check.certificate = FALSE, repos = c(CRAN = 'https://cran.example.org'))
         addConnectServer(server, 'here', quiet = TRUE)
         connectApiUser(account = name, server = 'here', apiKey = key, quiet = TRUE)
         ok <- deployApp('{path}', appName = 'samples', account = name, server = 'here', launch.browser = FALSE)
         stopifnot(isTRUE(ok))"
    );
    r(&SERVER, &ADA, &code).expect_success();
    let listed = ada().api(Method::GET, "/v1/content?name=samples").send().expect(200).json();
    let guid = listed[0]["guid"].as_str().unwrap();
    assert!(ada().open(guid, "").expect(200).text().contains("Sample size"));
}

#[test]
fn an_interactive_document_of_r_markdown() {
    let guid = published("rmarkdown-shiny");
    assert_eq!(ada().content(&guid)["app_mode"], "rmd-shiny");
    let read = "
        const text = page.locator('#prediction');
        await text.filter({ hasText: 'about 66 minutes' }).waitFor();
        await page.locator('#minutes').evaluate((input) => window.jQuery(input).data('ionRangeSlider').update({ from: 5 }));
        await text.filter({ hasText: 'about 87 minutes' }).waitFor();
        await page.locator('#plot img').waitFor();
        await all.shot('moved');
        return await page.locator('body').innerText();
    ";
    let seen = used(&format!("/content/{guid}/"), read);
    // Computed when it was rendered.
    assert!(seen.as_str().unwrap().contains("shorter than 4 minutes"), "{seen}");
}

/// An R installation of its own: the system's, with a library that has an engine.
fn with_an_engine() -> Server {
    let scratch = Scratch::new();
    let (bin, library) = (scratch.join("r/bin"), scratch.join("r/lib"));
    for place in [&bin, &library] {
        std::fs::create_dir_all(place).unwrap();
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/apps/tinyserver");
    let options = ["CMD", "INSTALL", "--no-docs", "--no-test-load", "--library"];
    let built = Command::new("R").args(options).arg(&library).arg(source).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let front = format!("#!/bin/sh\nR_LIBS={} exec /usr/bin/R \"$@\"\n", library.display());
    std::fs::write(bin.join("R"), front).unwrap();
    std::fs::set_permissions(bin.join("R"), Permissions::from_mode(0o755)).unwrap();
    Server::setup().env("LECTERN_R__INTERPRETERS", bin.join("R").display().to_string()).start_in(scratch)
}

#[test]
fn an_engine_that_a_server_yml_names() {
    let server = with_an_engine();
    let account = server.account("ada", "publisher");
    let ada = Publisher::new(&server, &account);
    let settings = "engine: tinyserver\nanswers:\n  /: Hello\n  /moon: full\n";
    let guid = ada.publish("engine", &bundle::app("api", "", &[("_server.yml", settings)]));
    assert_eq!(ada.open(&guid, "").expect(200).text(), "Hello");
    assert_eq!(ada.open(&guid, "moon").expect(200).text(), "full");
    assert_eq!(ada.open(&guid, "sun").expect(404).text(), "no such answer");
    assert_eq!(ada.open(&guid, "who").expect(200).text(), format!("127.0.0.1 /content/{guid}"));

    for (name, settings, words) in [
        ("absent", "engine: plumber99\n", "the R package plumber99 is not installed"),
        ("none", "engine: stats\n", "the R package stats is no engine"),
        ("unnamed", "routes: api.R\n", "no line like `engine: plumber2`"),
    ] {
        let guid = ada.create(name);
        let id = ada.upload(&guid, &bundle::app("api", "", &[("_server.yml", settings)]));
        let done = ada.wait(&ada.start_draft(&guid, &id)).expect_failure();
        let said = format!("{}\n{}", done.output, done.error);
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}

/// A Quarto document with what it was rendered to: the R Markdown example, whose page has the same form.
fn rendered() -> Vec<bundle::File> {
    let source = include_str!("../../examples/rmarkdown-shiny/index.Rmd");
    let path = directory(&SERVER, "quarto", &[("plan.Rmd", source)]);
    let made =
        Command::new("Rscript").args(["--vanilla", "-e", "rmarkdown::render('plan.Rmd')"]).current_dir(&path).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let page = std::fs::read(format!("{path}/plan.html")).unwrap();
    let document = source.replace("runtime: shiny_prerendered", "server: shiny");
    vec![("plan.qmd".into(), document.into_bytes()), ("plan.html".into(), page)]
}

/// Packs files as a document of Quarto.
fn quarto(files: &[bundle::File]) -> Vec<u8> {
    let mut manifest = bundle::manifest("quarto-shiny", "plan.qmd", files);
    manifest["quarto"] = json!({"version": "1.5.57", "engines": ["knitr"]});
    let manifest = ("manifest.json".to_owned(), manifest.to_string().into_bytes());
    bundle::pack(&[&[manifest], files].concat())
}

#[test]
fn a_quarto_document_that_was_rendered_before() {
    let files = rendered();
    let guid = ada().publish("quarto", &quarto(&files));
    assert_eq!(ada().content(&guid)["app_mode"], "quarto-shiny");
    let read = "
        const text = page.locator('#prediction');
        await text.filter({ hasText: 'about 66 minutes' }).waitFor();
        await page.locator('#minutes').evaluate((input) => window.jQuery(input).data('ionRangeSlider').update({ from: 5 }));
        await text.filter({ hasText: 'about 87 minutes' }).waitFor();
        await all.shot('moved');
        return await page.title();
    ";
    assert_eq!(used(&format!("/content/{guid}/"), read), "Old Faithful");
    // Without the page it needs Quarto, which is no package anywhere: it is only looked for.
    if !Command::new("quarto").arg("--version").output().is_ok_and(|output| output.status.success()) {
        let words = "needs Quarto, which this server does not have";
        assert!(refusal("no-quarto", &quarto(&files[..1])).contains(words));
    }
}

/// What the deployment of a bundle says that cannot work.
fn refusal(name: &str, bundle: &[u8]) -> String {
    let guid = ada().create(name);
    let id = ada().upload(&guid, bundle);
    let done = ada().deploy(&guid, &id).expect_failure();
    format!("{}\n{}", done.output, done.error)
}

#[test]
fn models_are_refused_with_what_to_do_instead() {
    let said = refusal("model", &bundle::app("tensorflow-saved-model", "", &[("1/saved_model.pb", "")]));
    assert!(said.contains("publish an API that loads the model instead"), "{said}");
}
