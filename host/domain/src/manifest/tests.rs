#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Manifest {
    Manifest::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    match Manifest::parse(text.as_bytes()) {
        Ok(manifest) => panic!("{text} was accepted: {manifest:?}"),
        Err(error) => error.to_string(),
    }
}

fn entrypoint(mode: &str, text: &str) -> Result<String, String> {
    let json = serde_json::json!({"metadata": {"appmode": mode, "entrypoint": text}}).to_string();
    match Manifest::parse(json.as_bytes()) {
        Err(error) => Err(error.to_string()),
        Ok(manifest) => Ok(match manifest.entrypoint {
            None => "none".into(),
            Some(Entrypoint::Python(python)) => format!("python {python}"),
            Some(Entrypoint::File(file)) => format!("file {file}"),
            Some(Entrypoint::Other(other)) => format!("other {other}"),
        }),
    }
}

#[test]
fn what_the_python_client_writes() {
    let manifest = parse(
        r#"{"version": 1, "locale": "en_US.UTF-8", "metadata": {"appmode": "python-fastapi", "entrypoint": "app"},
        "python": {"version": "3.11.7", "package_manager": {"name": "pip", "version": "23.2.1", "package_file": "requirements.txt"}},
        "environment": {"python": {"requires": ">=3.11"}, "image": ""}, "files": {"app.py": {"checksum": "x"}, "requirements.txt": {}}}"#,
    );
    assert_eq!(manifest.mode, AppMode::PythonFastapi);
    assert_eq!(manifest.entrypoint, Some(Entrypoint::Python(PythonEntrypoint::parse("app").unwrap())));
    let python = manifest.python.as_ref().unwrap();
    assert_eq!(python.version.as_deref(), Some("3.11.7"));
    assert_eq!(python.package_manager.as_ref().unwrap().name, PackageManagerName::Pip);
    assert_eq!(manifest.package_file(), "requirements.txt");
    assert_eq!(manifest.constraints.python.as_deref(), Some(">=3.11"));
    assert_eq!(manifest.files, ["app.py", "requirements.txt"]);
    assert!(manifest.restores_python(true) && !manifest.restores_python(false));
}

#[test]
fn what_the_r_client_writes() {
    let manifest = parse(
        r#"{"version":1,"locale":"en_US","platform":"4.2.2",
        "metadata":{"appmode":"api","primary_rmd":null,"primary_html":null,"content_category":null,"has_parameters":false},
        "packages":{"plumber":{"Source":"CRAN","Repository":"https://cran.example","description":{"Package":"plumber","Version":"1.2.1"}},
                    "odd":null, "local":{"Source":"github","Repository":null,"description":{}}},
        "files":null,"users":null,"python":null,"environment":null}"#,
    );
    assert_eq!((manifest.mode, manifest.entrypoint), (AppMode::Api, None));
    assert_eq!(manifest.r_version.as_deref(), Some("4.2.2"));
    assert_eq!(manifest.r_packages.len(), 3);
    assert_eq!(manifest.r_packages["plumber"].version.as_deref(), Some("1.2.1"));
    assert_eq!(manifest.r_packages["plumber"].repository.as_deref(), Some("https://cran.example"));
    assert_eq!(manifest.r_packages["local"].source.as_deref(), Some("github"));
    assert!(manifest.files.is_empty() && manifest.python.is_none());
}

#[test]
fn tolerates_what_does_not_matter() {
    let manifest = parse(
        r#"{"metadata":{"appmode":"static","entrypoint":"","primary_html":"./site//index.html","has_parameters":"no",
        "content_category":""},"packages":[],"files":[1],"locale":7,"python":{},"integration_requests":[{}]}"#,
    );
    assert_eq!(manifest.primary_html.unwrap().as_str(), "site/index.html");
    assert_eq!((manifest.entrypoint, manifest.content_category, manifest.has_parameters), (None, None, false));
    assert_eq!(manifest.python, Some(PythonSection::default()));
    assert_eq!(parse("\u{feff}{\"metadata\":{\"appmode\":\"nodejs-api\"}}").mode, AppMode::Nodejs);
}

#[test]
fn says_what_is_wrong() {
    assert!(refusal("").starts_with("manifest.json is not JSON: EOF"));
    assert!(refusal("{\"metadata\":").starts_with("manifest.json is not JSON"));
    assert_eq!(refusal("[]"), "manifest.json holds an array, not an object");
    for none in ["{}", r#"{"metadata":null}"#, r#"{"metadata":{"appmode":null}}"#, r#"{"metadata":{"appmode":""}}"#] {
        assert_eq!(refusal(none), "manifest.json has no metadata.appmode", "{none}");
    }
    for mode in ["python-flask", "unknown"] {
        assert!(refusal(&format!(r#"{{"metadata":{{"appmode":"{mode}"}}}}"#)).contains(mode));
    }
    let path = refusal(r#"{"metadata":{"appmode":"static","primary_html":"../../etc/passwd"}}"#);
    assert_eq!(path, r#"manifest.json: metadata.primary_html is "../../etc/passwd": it must not leave the bundle"#);
    let file =
        refusal(r#"{"metadata":{"appmode":"python-api"},"python":{"package_manager":{"package_file":"/etc/shadow"}}}"#);
    assert!(file.contains("python.package_manager.package_file"), "{file}");
    assert!(refusal(&" ".repeat(MAX_MANIFEST_BYTES + 1)).contains("more than"));
    assert!(refusal(&"[".repeat(100_000)).starts_with("manifest.json is not JSON"));
}

#[test]
fn entry_points() {
    for (text, read) in [
        ("app", "python app"),
        ("app:server", "python app:server"),
        ("pkg.main:api.app", "python pkg.main:api.app"),
        ("app:create_app()", "python app:create_app()"),
        ("app.py", "python app"),
        ("./src/app.py:app", "python src.app:app"),
        ("my-app", "python my-app"),
        ("shiny.express.app:app_2e_py", "python shiny.express.app:app_2e_py"),
        ("", "none"),
        ("  ", "none"),
    ] {
        assert_eq!(entrypoint("python-fastapi", text).as_deref(), Ok(read), "{text}");
    }
    for bad in [
        "a:b:c",
        ":app",
        "app:",
        "../app.py",
        "/app.py",
        "..app",
        "a b",
        "app:x y",
        "app:f(1)",
        "app:__import__('os')",
        "a/b",
    ] {
        assert!(entrypoint("python-api", bad).is_err(), "{bad}");
    }
    assert_eq!(entrypoint("api", "api/plumber.R").as_deref(), Ok("file api/plumber.R"));
    assert!(entrypoint("api", "../plumber.R").is_err());
    assert_eq!(entrypoint("python-dash", "app:server").as_deref(), Ok("python app:server"));
    for (text, read) in [("app", "file app"), ("./pages//app.py:app", "file pages/app.py"), ("a b.py", "file a b.py")] {
        assert_eq!(entrypoint("python-streamlit", text).as_deref(), Ok(read), "{text}");
    }
    for bad in ["../app.py", "/app.py", ".", ":app"] {
        assert!(entrypoint("jupyter-voila", bad).is_err(), "{bad}");
    }
    assert_eq!(entrypoint("rmd-static", "anything: goes").as_deref(), Ok("other anything: goes"));
}

#[test]
fn restoring_can_be_switched_off() {
    let base = r#"{"metadata":{"appmode":"python-api"}"#;
    let off = format!(r#"{base},"environment":{{"environment_management":{{"python":false,"r":true}}}}}}"#);
    assert!(!parse(&off).restores_python(true));
    assert_eq!(parse(&off).management.r, Some(true));
    let none = format!(r#"{base},"python":{{"package_manager":{{"name":"none"}}}}}}"#);
    assert!(!parse(&none).restores_python(true));
}

fn json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("metadata"),
        Just("appmode"),
        Just("entrypoint"),
        Just("python"),
        Just("package_manager"),
        Just("package_file"),
        Just("packages"),
        Just("files"),
        Just("environment"),
        Just("description"),
    ]
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("python-api")),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn never_panics_on_json(value in json()) {
        let _ = Manifest::parse(value.to_string().as_bytes());
    }

    #[test]
    fn entry_points_survive_printing_and_never_leave_the_bundle(text in "[a-z./:() _\\-]{1,24}") {
        if let Ok(python) = PythonEntrypoint::parse(&text) {
            prop_assert_eq!(PythonEntrypoint::parse(&python.to_string()).unwrap(), python.clone());
            prop_assert!(!python.module().contains('/'));
        }
        if let Ok(path) = BundlePath::parse(KEY_UNDER_TEST, &text) {
            prop_assert!(!path.as_str().split('/').any(|part| part.is_empty() || part == "." || part == ".."));
        }
    }
}

const KEY_UNDER_TEST: &str = "metadata.entrypoint";
