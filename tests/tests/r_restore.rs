//! R packages restored from repositories on loopback: cold, warm, after an eviction, and from repositories that are wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use lectern_tests::bundle;
use lectern_tests::client::{directory, guid_in, rsconnect};
use lectern_tests::cran::{self, Cran, Package};
use lectern_tests::publisher::{Done, Publisher};
use lectern_tests::server::{Account, Server, has_no_entry};
use lectern_tests::unprivileged::again_as_nobody;
use lectern_tests::wait::until;
use serde_json::{Map, Value, json};

const HELLO: &str = "#* @get /\nfunction() list(ok = TRUE)\n";

/// A server that restores from `cran`, and somebody who publishes there.
fn server(cran: &Cran, env: &[(&str, &str)]) -> (Server, Account) {
    let mut setup = Server::setup().env("LECTERN_R__PACKAGES__REPOSITORIES", format!("CRAN={}", cran.url()));
    for (name, value) in env {
        setup = setup.env(name, *value);
    }
    let server = setup.start();
    let ada = server.account("ada", "publisher");
    (server, ada)
}

fn manifest(packages: &[Package], more: &Value) -> Value {
    let listed: Map<String, Value> = packages.iter().map(Package::listed).collect();
    let mut manifest = json!({
        "version": 1, "locale": "en_US.UTF-8", "platform": "4.2.2",
        "metadata": {"appmode": "api", "primary_rmd": null, "primary_html": null},
        "packages": listed, "files": {"plumber.R": {"checksum": ""}}, "users": null,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        manifest[key] = value.clone();
    }
    manifest
}

/// A Plumber API that wants `packages`; `more` are further keys of its manifest.
fn app(packages: &[Package], more: &Value, code: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![
        ("manifest.json".to_owned(), manifest(packages, more).to_string().into_bytes()),
        ("plumber.R".to_owned(), code.as_bytes().to_vec()),
    ];
    all.extend(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())));
    bundle::pack(&all)
}

/// Publishes an app as a new content item and waits for what comes of it.
fn deploy(server: &Server, ada: &Account, name: &str, bundle: &[u8]) -> (String, Done) {
    let publisher = Publisher::new(server, ada);
    let guid = publisher.create(name);
    let id = publisher.upload(&guid, bundle);
    let done = publisher.deploy(&guid, &id);
    (guid, done)
}

/// How many packages a task says it built, and how many it found in the cache.
fn counts(output: &str) -> (usize, usize) {
    let parts = output.split_once(" R packages are in the cache, ");
    let (before, after) = parts.unwrap_or_else(|| panic!("no count in\n{output}"));
    // The client colours its lines.
    let reused = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    let built = after.split(' ').next().unwrap_or_default();
    (built.parse().unwrap(), reused.parse().unwrap())
}

/// Where the app's process has a package from, and its version.
const WHERE: &str = r"
#* @get /where
function(name) list(path = dirname(getNamespaceInfo(asNamespace(name), 'path')), version = as.character(packageVersion(name)),
                     again = Sys.getenv('AGAIN'))
#* @get /run
function() callr::r(function(x) x * 2, args = list(21))
";

#[test]
fn real_packages_cold_warm_and_after_an_eviction() {
    let real = cran::real(&[
        "r-cran-callr",
        "r-cran-processx",
        "r-cran-ps",
        "r-cran-r6",
        "r-cran-magrittr",
        "r-cran-glue",
        "r-cran-mime",
    ]);
    let cran = Cran::new();
    for (package, bytes) in &real {
        cran.add(package, bytes);
    }
    let packages: Vec<Package> = real.iter().map(|(package, _)| package.clone()).collect();
    let (server, ada) = server(&cran, &[]);
    let publisher = Publisher::new(&server, &ada);
    let manifest = manifest(&packages, &json!({})).to_string();
    let publish = |title: &str, new: bool| {
        let path = directory(&server, title, &[("plumber.R", WHERE), ("manifest.json", &manifest)]);
        let path = format!("{path}/manifest.json");
        let words: &[&str] = if new { &["--new", "--title", title, &path] } else { &[&path] };
        let started = Instant::now();
        let run = rsconnect(&server, &ada, "deploy manifest", words).expect_success();
        (guid_in(&run.printed), run.printed, started.elapsed().as_secs_f64())
    };

    let (guid, output, cold) = publish("cold", true);
    println!("{output}");
    assert_eq!(counts(&output), (packages.len(), 0), "{output}");
    assert!(output.contains(&format!("# Building 1 of {}: ", packages.len())), "{output}");
    let at = |name: &str| output.find(&format!(": {name} ")).unwrap_or_else(|| panic!("no {name} in\n{output}"));
    assert!(at("ps") < at("processx") && at("R6") < at("processx") && at("processx") < at("callr"), "{output}");
    let seen = publisher.open(&guid, "where?name=processx").expect(200).json();
    assert!(seen["path"][0].as_str().unwrap().contains("/environments/r"), "{seen}");
    assert_eq!(publisher.open(&guid, "run").expect(200).json()[0], 42, "compiled code runs");
    let asked = cran.asked().len();

    cran.set_down(true);
    let (second, output, warm) = publish("warm", true);
    assert_eq!(counts(&output), (0, packages.len()), "{output}");
    assert_eq!(cran.asked().len(), asked, "nothing is asked when everything is there");
    cran.set_down(false);

    let listed = server.lectern_json(&["packages", "list"], "");
    assert_eq!(listed.as_array().unwrap().len(), packages.len());
    let evicted = server.lectern_json(&["packages", "evict", "glue"], "");
    assert_eq!(evicted["packages"][0]["name"], "glue");
    // Both go on, and start again with it: their libraries keep what they link to.
    for guid in [&guid, &second] {
        publisher.open(guid, "where?name=glue").expect(200);
        let variables = json!([{"name": "AGAIN", "value": "1"}]);
        publisher.api(Method::PATCH, &format!("/v1/content/{guid}/environment")).json(&variables).send().expect(200);
        let again = publisher.open(guid, "where?name=glue").expect(200).json();
        assert_eq!(again["again"][0], "1", "another process: {again}");
    }
    let (_, output, evict) = publish("after", true);
    assert_eq!(counts(&output), (1, packages.len() - 1), "{output}");
    assert!(output.contains("# Building 1 of 1: glue"), "{output}");
    println!(
        "packages built and reused, seconds: cold {}/0 {cold:.1}; warm 0/{} {warm:.1}; after an eviction 1/{} {evict:.1}; \
         cold is {:.1} times warm",
        packages.len(),
        packages.len(),
        packages.len() - 1,
        cold / warm
    );
    let nothing = server.lectern(&["packages", "evict", "nosuch"], "");
    assert!(!nothing.status.success());
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("the cache has no R package nosuch"));
}

/// One package that depends on nothing.
fn plain(name: &str, version: &str) -> (Package, Vec<u8>) {
    let package = Package::new(name, version);
    let code = format!("version <- function() '{version}'\n");
    let bytes = package.source("NeedsCompilation: no\n", &[("R/a.R", &code)]);
    (package, bytes)
}

/// One with compiled code that links to another's header.
fn compiled(name: &str, on: &str) -> (Package, Vec<u8>) {
    let package = Package::new(name, "1.0");
    let files = [
        ("NAMESPACE", &*format!("useDynLib({name})\nexport(twice)\nimport({on})\n")),
        ("R/a.R", "twice <- function(x) .Call('C_twice', as.double(x))\n"),
        (
            "src/a.c",
            "#include <Rinternals.h>\n#include <factor.h>\nSEXP C_twice(SEXP x) { return Rf_ScalarReal(REAL(x)[0] * FACTOR); }\n",
        ),
    ];
    let bytes = package.source(&format!("Imports: {on} (>= 1.0)\nLinkingTo: {on}\nNeedsCompilation: yes\n"), &files);
    (package, bytes)
}

fn with_header(name: &str) -> (Package, Vec<u8>) {
    let package = Package::new(name, "1.0");
    let files = [("R/a.R", "one <- function() 1\n"), ("inst/include/factor.h", "#define FACTOR 2.0\n")];
    let bytes = package.source("NeedsCompilation: no\n", &files);
    (package, bytes)
}

#[test]
fn binaries_go_first_and_sources_stand_in() {
    let (header, linked) = (with_header("headr"), compiled("linkd", "headr"));
    let (sources, binaries) = (Cran::new(), Cran::new());
    let library = tempfile::tempdir().unwrap();
    for (package, bytes) in [&header, &linked] {
        sources.add(package, bytes);
    }
    let built = header.0.binary(&header.1, library.path());
    binaries.add(&header.0, &built);
    // Built for another R: of no use here.
    let strange = Package::new("linkd", "1.0");
    let fields = "Imports: headr\nBuilt: R 3.1.0; x86_64-pc-linux-gnu; 2014-01-01 00:00:00 UTC; unix\n";
    binaries.add(&strange, &strange.source(fields, &[]));
    let (server, ada) =
        server(&sources, &[("LECTERN_R__PACKAGES__BINARY_REPOSITORIES", &format!("CRAN={}", binaries.url()))]);
    let code = "#* @get /\nfunction() linkd::twice(21)\n";
    let packages = [header.0.clone(), linked.0.clone()];
    let (guid, done) = deploy(&server, &ada, "binaries", &app(&packages, &json!({}), code, &[]));
    let done = done.expect_success();
    println!("{}", done.output);
    assert!(done.output.contains("# Installing 1 of 2: headr 1.0"), "{}", done.output);
    assert!(done.output.contains("linkd 1.0 built for R 3.1.0"), "{}", done.output);
    assert!(done.output.contains("# Building 2 of 2: linkd 1.0"), "{}", done.output);
    assert_eq!(Publisher::new(&server, &ada).open(&guid, "").expect(200).json()[0], 42);
    let listed = server.lectern_json(&["packages", "list"], "");
    let kinds: Vec<(&str, bool)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["binary"].as_bool().unwrap()))
        .collect();
    assert_eq!(kinds, [("headr", true), ("linkd", false)]);
    let agent = binaries.agents().pop().unwrap();
    assert!(agent.starts_with("R/4.") && agent.contains("linux-gnu"), "binaries are chosen by it: {agent}");

    // One that says that it fits, and does not load.
    let (broken, bytes) = plain("brokenbin", "1.0");
    sources.add(&broken, &bytes);
    let built = format!("Built: R {}; ; 2024-01-01 00:00:00 UTC; unix\n", cran::r_version());
    binaries.add(&broken, &broken.source(&built, &[]));
    let (_, done) = deploy(&server, &ada, "broken", &app(&[header.0.clone(), broken], &json!({}), HELLO, &[]));
    let output = done.expect_success().output;
    assert!(output.contains("The binary of brokenbin 1.0 does not load here"), "{output}");
    assert!(output.contains("# Building 1 of 1: brokenbin 1.0"), "{output}");

    // Away, it is passed over.
    binaries.set_down(true);
    let (package, bytes) = plain("plainone", "1.0");
    sources.add(&package, &bytes);
    let (_, done) = deploy(&server, &ada, "down", &app(&[package], &json!({}), HELLO, &[]));
    assert!(done.expect_success().output.contains("took plainone from CRAN"));
}

#[test]
fn versions_lock_files_and_switches() {
    let cran = Cran::new();
    for version in ["1.0", "1.1", "2.0"] {
        let (package, bytes) = plain("plainone", version);
        cran.add(&package, &bytes);
    }
    let (child, bytes) =
        (Package::new("childone", "0.1"), Package::new("childone", "0.1").source("Imports: plainone\n", &[]));
    cran.add(&child, &bytes);
    let (server, ada) = server(&cran, &[]);
    let publisher = Publisher::new(&server, &ada);
    let code = "#* @get /\nfunction() plainone::version()\n";
    let serves = |name: &str, packages: &[Package], more: Value, files: &[(&str, &str)]| {
        let (guid, done) = deploy(&server, &ada, name, &app(packages, &more, code, files));
        let output = done.expect_success().output;
        (publisher.open(&guid, "").expect(200).json()[0].as_str().unwrap().to_owned(), output)
    };
    // Older versions are in the archive; one item's does not disturb another's.
    assert_eq!(serves("old", &[Package::new("plainone", "1.0")], json!({}), &[]).0, "1.0");
    assert_eq!(serves("new", &[Package::new("plainone", "2.0")], json!({}), &[]).0, "2.0");
    // What only others need is taken in its newest version.
    let (version, output) = serves("unlisted", &[child], json!({}), &[]);
    assert!(version == "2.0" && output.contains("does not list plainone, which childone needs"), "{output}");
    let lock = json!({"R": {"Version": "4.2.2", "Repositories": [{"Name": "CRAN", "URL": "https://cran.invalid"}]},
        "Packages": {"plainone": {"Package": "plainone", "Version": "1.1", "Source": "Repository", "Repository": "CRAN"}}});
    let files = [("renv.lock", &*lock.to_string())];
    let resolution = |word: &str| json!({"environment": {"r": {"package_repository_resolution": word}}});
    assert_eq!(serves("lock", &[Package::new("plainone", "1.0")], resolution("lockfile"), &files).0, "1.1");
    assert_eq!(serves("lock-alone", &[], json!({}), &files).0, "1.1");
    assert_eq!(serves("listed", &[Package::new("plainone", "1.0")], resolution("strict"), &files).0, "1.0");
    let named = json!({"r": {"package_file": "renv.lock"}});
    assert_eq!(serves("named", &[Package::new("plainone", "1.0")], named, &files).0, "1.1");

    // Evicted, it is built again with the next deployment, be it of the same bundle.
    let (guid, done) = deploy(&server, &ada, "same", &app(&[Package::new("plainone", "1.0")], &json!({}), code, &[]));
    let done = done.expect_success();
    assert_eq!(counts(&done.output), (0, 1), "{}", done.output);
    let id = publisher.content(&guid)["bundle_id"].as_str().unwrap().to_owned();
    assert!(publisher.deploy(&guid, &id).expect_success().output.contains("environment is used again"));
    let evicted = server.lectern_json(&["packages", "evict", "plainone", "1.0"], "");
    assert_eq!(evicted["packages"].as_array().unwrap().len(), 1, "the other versions stay: {evicted}");
    let output = publisher.deploy(&guid, &id).expect_success().output;
    assert_eq!(counts(&output), (1, 0), "{output}");

    // Switched off, by the manifest or by the content item, nothing is restored.
    let off = json!({"environment": {"environment_management": {"r": false}}});
    let (_, done) = deploy(&server, &ada, "off", &app(&[Package::new("plainone", "1.0")], &off, HELLO, &[]));
    let output = done.expect_success().output;
    assert!(output.contains("does not have: plainone 1.0"), "{output}");
    let guid = publisher.create("off-by-content");
    publisher.change(&guid, &json!({"default_r_environment_management": false})).expect(200);
    let id = publisher.upload(&guid, &app(&[Package::new("plainone", "1.0")], &json!({}), HELLO, &[]));
    assert!(publisher.deploy(&guid, &id).expect_success().output.contains("does not have: plainone 1.0"));

    for (name, packages, more, expected) in [
        (
            "missing",
            vec![Package::new("nosuch", "1.0")],
            json!({}),
            "nosuch 1.0 is in none of this server's repositories",
        ),
        (
            "version",
            vec![Package::new("plainone", "9.9")],
            json!({}),
            "has 2.0, and not this version among the older ones",
        ),
        ("word", vec![], resolution("loose"), "must be lax, strict, legacy or lockfile"),
        ("no-lock", vec![], resolution("lockfile"), "the lock file renv.lock cannot be read"),
        (
            "r-version",
            vec![],
            json!({"environment": {"r": {"requires": ">=9.0"}}}),
            "no R on this server satisfies \">=9.0\"",
        ),
    ] {
        let (_, done) = deploy(&server, &ada, name, &app(&packages, &more, HELLO, &[]));
        let done = done.expect_failure();
        assert!(done.error.contains(expected), "{name}: {} lacks {expected}", done.error);
    }
    let github = |sha: &str| {
        let remote = json!({"Package": "mine", "Version": "1.0", "RemoteType": "github", "RemoteUsername": "ada",
            "RemoteRepo": "mine", "RemoteSha": sha});
        json!({"packages": {"mine": {"Source": "github", "Repository": null, "description": remote}}})
    };
    let (_, done) = deploy(&server, &ada, "github", &app(&[], &github(&"a".repeat(40)), HELLO, &[]));
    let error = done.expect_failure().error;
    assert!(error.contains("mine 1.0 comes from github") && error.contains("r.packages.remotes"), "{error}");
}

#[test]
fn a_commit_from_a_host_that_is_allowed() {
    let cran = Cran::new();
    let sha = "0123456789abcdef0123456789abcdef01234567";
    // As source hosts pack a commit: everything below a directory of their own naming.
    let members = [
        ("mine-0123456/r/pkg/DESCRIPTION", "Package: mine\nVersion: 1.0\nLicense: GPL-3\nTitle: T\nDescription: D.\n"),
        ("mine-0123456/r/pkg/NAMESPACE", "exportPattern('^[a-z]')\n"),
        ("mine-0123456/r/pkg/R/a.R", "here <- function() 'here'\n"),
    ];
    let files: Vec<_> = members.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    std::fs::create_dir_all(cran.contrib().join("ada/mine")).unwrap();
    std::fs::write(cran.contrib().join("ada/mine").join(sha), bundle::pack(&files)).unwrap();
    let remotes = format!("github={}/src/contrib/{{user}}/{{repo}}/{{sha}}", cran.url());
    let (server, ada) = server(&cran, &[("LECTERN_R__PACKAGES__REMOTES", &remotes)]);
    let remote = json!({"Package": "mine", "Version": "1.0", "GithubUsername": "ada", "GithubRepo": "mine",
        "GithubSHA1": sha, "GithubSubdir": "r/pkg"});
    let packages = json!({"packages": {"mine": {"Source": "github", "Repository": null, "description": remote}}});
    let code = "#* @get /\nfunction() mine::here()\n";
    let (guid, done) = deploy(&server, &ada, "commit", &app(&[], &packages, code, &[]));
    done.expect_success();
    assert_eq!(Publisher::new(&server, &ada).open(&guid, "").expect(200).json()[0], "here");
}

#[test]
fn two_deployments_at_once_build_once() {
    let cran = Cran::new();
    let (header, linked) = (with_header("headr"), compiled("linkd", "headr"));
    for (package, bytes) in [&header, &linked] {
        cran.add(package, bytes);
    }
    let (server, ada) = server(&cran, &[]);
    let publisher = Publisher::new(&server, &ada);
    let bundle = app(&[header.0, linked.0], &json!({}), HELLO, &[]);
    let tasks = ["one", "two"].map(|name| {
        let guid = publisher.create(name);
        let id = publisher.upload(&guid, &bundle);
        publisher.start_deploy(&guid, &id)
    });
    let outputs = tasks.map(|task| publisher.wait(&task).expect_success().output);
    let ready =
        |name: &str| outputs.iter().filter(|output| output.contains(&format!("{name} 1.0 from CRAN is ready"))).count();
    assert_eq!([ready("headr"), ready("linkd")], [1, 1], "{outputs:?}");
    assert_eq!(server.lectern_json(&["packages", "list"], "").as_array().unwrap().len(), 2);
    let libraries = server.data().join("environments").read_dir().unwrap().flatten();
    assert_eq!(libraries.filter(|entry| entry.file_name().to_string_lossy().starts_with('r')).count(), 1);
}

#[test]
fn what_repositories_may_not_do() {
    let cran = Cran::new();
    let (server, ada) = server(&cran, &[]);
    let fails = |name: &str, packages: &[Package], expected: &str| {
        let (_, done) = deploy(&server, &ada, name, &app(packages, &json!({}), HELLO, &[]));
        let done = done.expect_failure();
        println!("{name}: {}", done.error.lines().next().unwrap_or_default());
        assert!(done.error.contains(expected), "{name}: {} lacks {expected:?}", done.error);
        done
    };

    let (changed, bytes) = plain("changed", "1.0");
    cran.add(&changed, &bytes);
    std::fs::write(cran.file(&changed), plain("changed", "1.0 ").1).unwrap();
    fails("hash-mismatch", std::slice::from_ref(&changed), "its MD5 is ");
    std::fs::remove_file(cran.file(&changed)).unwrap();

    // Older versions have no hash: the archive itself must be whole, and be what it says.
    let old = |package: &Package, bytes: &[u8]| {
        let place = cran.contrib().join("Archive").join(&package.name);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(format!("{}_{}.tar.gz", package.name, package.version)), bytes).unwrap();
    };
    let (cut, bytes) = plain("cutoff", "1.0");
    old(&cut, &bytes[..bytes.len() - 20]);
    fails("truncated", &[cut], "it is damaged or was cut short");
    let other = Package::new("other", "1.0");
    old(&other, &plain("different", "1.0").1);
    fails("another-package", &[other], "it holds different 1.0, not other 1.0");
    let tricks = Package::new("tricks", "1.0");
    let description = b"Package: tricks\nVersion: 1.0\n";
    let file = tar::EntryType::Regular;
    let members: [bundle::Member<'_>; 2] = [
        (b"tricks/DESCRIPTION", file, None, description),
        (b"tricks/../../../../etc/cron.d/evil", file, None, b"* * * * * root id"),
    ];
    old(&tricks, &bundle::pack_raw(&members));
    fails("path-tricks", std::slice::from_ref(&tricks), "leads out of its directory");
    let members: [bundle::Member<'_>; 2] =
        [(b"tricks/DESCRIPTION", file, None, description), (b"tricks/R", tar::EntryType::Symlink, Some("/etc"), b"")];
    old(&tricks, &bundle::pack_raw(&members));
    fails("link-tricks", &[tricks], "links to a place outside its directory");

    let (one, two) = (Package::new("ouro", "1.0"), Package::new("boros", "1.0"));
    cran.add(&one, &one.source("Imports: boros\n", &[]));
    cran.add(&two, &two.source("Imports: ouro\n", &[]));
    fails("cycle", &[one, two], "boros → ouro → boros");

    let needs = Package::new("toonew", "1.0");
    cran.add(&needs, &needs.source("Depends: R (>= 9.0)\n", &[]));
    fails("r-too-old", &[needs], "toonew 1.0 needs R >= 9.0");

    let missing = Package::new("nosodium", "1.0");
    let code = "#include <no_such_sodium.h>\n";
    let files = [("NAMESPACE", "useDynLib(nosodium)\n"), ("src/a.c", code)];
    cran.add(&missing, &missing.source("SystemRequirements: libsodium (>= 1.0.3)\nNeedsCompilation: yes\n", &files));
    let done = fails("system-library", &[missing], "A header of a system library is missing: no_such_sodium.h");
    assert!(done.error.contains("libsodium (>= 1.0.3)") && done.error.contains("fatal error"), "{}", done.error);

    cran.set_down(true);
    fails("down", &[Package::new("anything", "1.0")], "deploy again when the repository answers");
    cran.set_down(false);

    // 100 MiB of index: compressed it is small. It is refused in bounded memory.
    let line = "Package: filler\nVersion: 1.0\nDescription: nothing at all, again and again and again\n\n";
    let huge = bundle::gzip(line.repeat((100 << 20) / line.len()).as_bytes());
    std::fs::write(cran.contrib().join("PACKAGES.gz"), huge).unwrap();
    fails("huge-index", &[Package::new("anything", "1.0")], "its index is longer than 67108864 bytes");
    let left = |place: &str| has_no_entry(&server.data().join(place), |name| name.starts_with(".building"));
    assert!(left("r-packages") && left("environments"));
    assert_eq!(server.lectern_json(&["packages", "list"], ""), json!([]));
}

#[test]
fn a_build_finds_nothing_and_does_not_last() {
    let cran = Cran::new();
    let (server, ada) = server(&cran, &[("LECTERN_R__RESTORE_TIMEOUT_SECONDS", "25")]);
    let data = server.data().to_str().unwrap().to_owned();
    let attempt =
        |name: &str, command: &str| format!("echo \"ATTEMPT {name}: $( {{ {command}; }} 2>&1 | tr '\\n' ' ')\"\n");
    let port = server.address().port();
    let connect = |host: &str, port: u16| format!("bash -c 'exec 3<>/dev/tcp/{host}/{port} && echo connected'");
    let script = [
        "#!/bin/sh\n".to_owned(),
        attempt("key", &format!("cat {data}/secret.key")),
        attempt("database", &format!("cat {data}/postgres/PG_VERSION")),
        attempt("socket", &format!("ls {data}/run/admin.sock")),
        attempt("cache", &format!("touch {data}/r-packages/built/x && ls {data}/r-packages/built")),
        attempt("shadow", "cat /etc/shadow"),
        attempt("loopback", &connect("127.0.0.1", port)),
        attempt("repository", &connect("127.0.0.1", cran.url().rsplit(':').next().unwrap().parse().unwrap())),
        attempt("metadata", &connect("169.254.169.254", 80)),
        attempt("signal", &format!("sh -c 'kill -9 {}'", server.pid())),
        attempt("deps", "touch ../../../deps/x"),
        attempt("account", "id -u"),
        "exit 1\n".to_owned(),
    ]
    .concat();
    let evil = Package::new("evilone", "1.0");
    cran.add(&evil, &evil.source("NeedsCompilation: no\n", &[("configure", &script)]));
    let (_, done) = deploy(&server, &ada, "evil", &app(&[evil], &json!({}), HELLO, &[]));
    let error = done.expect_failure().error;
    println!("{error}");
    let of = |name: &str| {
        let start = format!("ATTEMPT {name}: ");
        error.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {name} in\n{error}"))
    };
    for (name, good) in [
        ("key", &["No such file"][..]),
        ("database", &["No such file"]),
        ("socket", &["No such file"]),
        ("cache", &["No such file", "Permission denied"]),
        ("shadow", &["No such file", "Permission denied"]),
        ("loopback", &["refused"]),
        ("repository", &["refused"]),
        ("metadata", &["unreachable", "Permission denied"]),
        ("signal", &["No such process"]),
        ("deps", &["Read-only file system", "Permission denied"]),
    ] {
        assert!(good.iter().any(|good| of(name).contains(good)), "{name}: {}", of(name));
    }
    assert_ne!(of("account"), "0");

    // One that never ends takes its time, and what was built before it stays.
    let (fine, bytes) = plain("finefirst", "1.0");
    cran.add(&fine, &bytes);
    let loops = Package::new("loopone", "1.0");
    let script = "#!/bin/sh\necho BEFORE THE LOOP\nwhile :; do sleep 1; done\n";
    cran.add(&loops, &loops.source("Imports: finefirst\n", &[("configure", script)]));
    let (_, done) = deploy(&server, &ada, "loop", &app(&[fine, loops], &json!({}), HELLO, &[]));
    let error = done.expect_failure().error;
    assert!(error.contains("r.restore_timeout_seconds"), "{error}");
    let listed = server.lectern_json(&["packages", "list"], "");
    assert_eq!(listed[0]["name"], "finefirst");
    let still =
        std::process::Command::new("pgrep").args(["-f", "loopone.*configure|BEFORE THE LOOP"]).output().unwrap();
    assert!(still.stdout.is_empty(), "nothing of it is left");
    assert!(Path::new(&data).join("r-packages/built").is_dir());
}

#[test]
fn the_servers_own_library_may_count() {
    let cran = Cran::new();
    let (server, ada) = server(&cran, &[("LECTERN_R__PACKAGES__USE_INSTALLED", "true")]);
    let version = |name: &str| {
        let code = format!("cat(as.character(packageVersion('{name}')))");
        let output = std::process::Command::new("Rscript").args(["--vanilla", "-e", &code]).output().unwrap();
        Package::new(name, &String::from_utf8(output.stdout).unwrap())
    };
    let child = Package::new("childone", "0.1");
    cran.add(
        &child,
        &child.source("Imports: jsonlite, R6\n", &[("R/a.R", "json <- function() jsonlite::toJSON(1)\n")]),
    );
    let code = "#* @get /\nfunction() as.character(childone::json())\n";
    let packages = [version("plumber"), version("R6"), child];
    let (guid, done) = deploy(&server, &ada, "installed", &app(&packages, &json!({}), code, &[]));
    let output = done.expect_success().output;
    assert!(output.contains("wants 3 R packages (lax); 2 of them are the server's own"), "{output}");
    assert_eq!(counts(&output), (1, 0), "{output}");
    assert_eq!(Publisher::new(&server, &ada).open(&guid, "").expect(200).json()[0], "[1]");
}

#[test]
fn a_server_killed_during_a_build_leaves_nothing_half() {
    /// Far longer than anything here takes.
    const LONG: Duration = Duration::from_secs(120);
    let cran = Cran::new();
    let loops = Package::new("loopone", "1.0");
    let script = "#!/bin/sh\nwhile :; do sleep 1; done\n";
    cran.add(&loops, &loops.source("", &[("configure", script)]));
    let (fine, bytes) = plain("plainone", "1.0");
    cran.add(&fine, &bytes);
    let (server, ada) = server(&cran, &[("LECTERN_R__RESTORE_TIMEOUT_SECONDS", "15")]);
    let publisher = Publisher::new(&server, &ada);
    let guid = publisher.create("loops");
    let id = publisher.upload(&guid, &app(&[loops], &json!({}), HELLO, &[]));
    let task = publisher.start_deploy(&guid, &id);
    let cache = server.data().join("r-packages");
    let is_building = |name: &str| name.starts_with(".building-");
    until("a build", LONG, || (!has_no_entry(&cache, is_building)).then_some(()));
    server.kill();
    server.start();
    // The task begins anew with the server, or with the end of its lease.
    let error = publisher.wait(&task).expect_failure().error;
    assert!(error.contains("r.restore_timeout_seconds"), "{error}");
    until("nothing unfinished", LONG, || has_no_entry(&cache, is_building).then_some(()));
    let (_, done) = deploy(&server, &ada, "fine", &app(&[fine], &json!({}), HELLO, &[]));
    done.expect_success();
    assert_eq!(server.lectern_json(&["packages", "list"], "").as_array().unwrap().len(), 1);
}

/// Everything here again, with a server that runs as an ordinary account; but for what needs the publishers' tools.
#[test]
fn restores_without_root_either() {
    again_as_nobody(&["without_root_either", "real_packages"]);
}
