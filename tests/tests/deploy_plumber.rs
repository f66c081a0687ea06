//! Plumber APIs published with the real `rsconnect`, from a manifest.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::LazyLock;

use lectern_tests::bundle;
use lectern_tests::client::{directory, example, guid_in, rsconnect};
use lectern_tests::publisher::Publisher;
use lectern_tests::server::{Account, Server};
use serde_json::{Value, json};

static SERVER: LazyLock<Server> = LazyLock::new(Server::new);
static ADA: LazyLock<Account> = LazyLock::new(|| SERVER.account("ada", "publisher"));

fn ada() -> Publisher<'static> {
    Publisher::new(&SERVER, &ADA)
}

#[test]
fn plumber_with_rsconnect() {
    let manifest = format!("{}/manifest.json", example(&SERVER, "plumber"));
    let run =
        rsconnect(&SERVER, &ADA, "deploy manifest", &["--new", "--title", "Fuel use", &manifest]).expect_success();
    let guid = guid_in(&run.printed);
    let answer = ada().open(&guid, "predict?weight=3&horsepower=110").expect(200).json();
    assert_eq!(answer["mpg"], 22.1);
    ada().open(&guid, "predict?weight=heavy&horsepower=110").expect(400);
    ada().open(&guid, "nothing").expect(404);
    let seen = ada().content(&guid);
    assert_eq!(seen["app_mode"], "api");
    assert!(seen["r_version"].as_str().unwrap().starts_with(char::is_numeric), "{seen}");
    // The interactive documentation finds its own description below the content's address.
    ada().open(&guid, "__docs__/").expect(200);
    let document = ada().open(&guid, "openapi.json").expect(200).json();
    assert!(document["paths"]["/predict"].is_object(), "{document}");
}

/// The example's manifest with a change.
fn manifest_with(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plumber");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(path.join("manifest.json")).unwrap()).unwrap();
    change(&mut manifest);
    let code = std::fs::read(path.join("plumber.R")).unwrap();
    bundle::pack(&[("manifest.json".into(), manifest.to_string().into_bytes()), ("plumber.R".into(), code)])
}

#[test]
fn missing_packages_are_named() {
    let bundle = manifest_with(|manifest| {
        let package = json!({"Package": "nosuchpackage", "Version": "1.2.3"});
        manifest["packages"]["nosuchpackage"] = json!({"Source": "CRAN", "Repository": null, "description": package});
    });
    let guid = ada().create("missing-package");
    let id = ada().upload(&guid, &bundle);
    let done = ada().deploy(&guid, &id);
    assert!(done.output.contains("nosuchpackage"), "{}", done.output);
}

#[test]
fn an_api_that_fails_to_load_says_why() {
    let files = [("plumber.R", "stop('the moon is in the wrong phase')\n")];
    let path = directory(&SERVER, "failing", &files);
    let manifest = json!({
        "version": 1, "locale": "en_US.UTF-8", "platform": "4.2.2",
        "metadata": {"appmode": "api", "primary_rmd": null, "primary_html": null},
        "packages": {}, "files": {"plumber.R": {"checksum": ""}}, "users": null,
    });
    let manifest_path = format!("{path}/manifest.json");
    std::fs::write(&manifest_path, manifest.to_string()).unwrap();
    let run =
        rsconnect(&SERVER, &ADA, "deploy manifest", &["--new", "--title", "Failing", &manifest_path]).expect_failure();
    assert!(run.printed.contains("the moon is in the wrong phase"), "{}", run.printed);
}
