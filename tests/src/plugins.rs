//! Plugins for tests, and the operator who installs them through the server's own API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use http::Method;
use lectern_packages::{Parts, Signature, SigningKey};
use serde_json::{Value, json};

use crate::http::{Ask, Reply};
use crate::server::{Account, Server};

/// The component that `examples/<name>.rs` of the gate's guests becomes.
pub fn guest(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(build_guests);
    std::fs::read(directory.join(format!("{name}.wasm"))).expect("a built guest")
}

/// Builds them where the shipped plugins are built, with their dependencies.
fn build_guests() -> PathBuf {
    let test = std::env::current_exe().expect("know the test's own path");
    let target = test.ancestors().nth(3).expect("a target directory").join("plugins");
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/gate/tests/guests"))
        .args(["build", "--locked", "--profile", "plugin", "--target", "wasm32-wasip2", "--examples", "--target-dir"])
        .arg(&target);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.contains("RUSTFLAGS") || text.contains("RUSTC_") || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().expect("run cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("wasm32-wasip2/plugin/examples")
}

/// A plugin to be packed.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The contract that its manifest names.
    pub contract: &'static str,
    /// Its hooks.
    pub hooks: Vec<&'static str>,
    /// The phases that it stands in unless the operator says otherwise.
    pub phases: Vec<&'static str>,
    /// What it asks for.
    pub grants: Vec<&'static str>,
    /// Settings in force where the operator sets none.
    pub config: Value,
    /// The schema of its settings.
    pub schema: Option<String>,
    /// Its component.
    pub component: Vec<u8>,
}

impl Plugin {
    /// A router at the beginning of the chain.
    pub fn router(name: &'static str, version: &'static str, component: Vec<u8>) -> Self {
        Self {
            name,
            version,
            contract: "0.1",
            hooks: vec!["route"],
            phases: vec!["route"],
            grants: Vec::new(),
            config: json!({}),
            schema: None,
            component,
        }
    }

    /// The guest that traps for requests which say so, when its setting `trap` is `yes`; else it answers `answer`, or nothing.
    pub fn flaky(version: &'static str, config: Value) -> Self {
        Self { config, ..Self::router("flaky", version, guest("flaky")) }
    }

    /// The guest that does what it should not.
    pub fn hostile() -> Self {
        Self {
            hooks: vec!["route", "authenticate", "pages"],
            grants: vec!["clock", "content", "directory", "random"],
            ..Self::router("hostile", "1.0.0", guest("hostile"))
        }
    }

    /// Its package.
    pub fn pack(&self) -> Vec<u8> {
        let config: String =
            self.config.as_object().expect("settings").iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
        let grants: String = self.grants.iter().map(|grant| format!("{grant:?} = \"for a test\"\n")).collect();
        let manifest = format!(
            "[plugin]\nname = {:?}\nversion = {:?}\ndescription = \"A test's plugin\"\ncontract = {:?}\nhooks = {:?}\n\n\
             [plugin.defaults]\norder = 10\nphases = {:?}\n\n[grants]\n{grants}\n[config]\n{config}",
            self.name, self.version, self.contract, self.hooks, self.phases
        );
        let parts = Parts {
            manifest,
            component: self.component.clone(),
            schema: self.schema.clone(),
            readme: None,
            cases: BTreeMap::new(),
        };
        parts.write().expect("a package")
    }
}

/// An administrator with a key for packages that the server trusts.
#[derive(Debug)]
pub struct Operator<'a> {
    /// Where.
    pub server: &'a Server,
    /// As whom.
    pub account: Account,
    signing: SigningKey,
}

impl<'a> Operator<'a> {
    /// Makes the account `name` and trusts its key.
    pub fn new(server: &'a Server, name: &str) -> Self {
        let operator = Self {
            server,
            account: server.account(name, "administrator"),
            signing: SigningKey::generate().expect("a key"),
        };
        let public_key = operator.signing.public().to_string();
        operator.post("/keys", &json!({"public_key": public_key, "comment": name})).expect(200);
        operator
    }

    /// The same person at another server of the same database.
    pub fn at(&self, server: &'a Server) -> Operator<'a> {
        let signing = SigningKey::from_pem(&self.signing.to_pem()).expect("a key");
        Operator { server, account: self.account.clone(), signing }
    }

    /// Begins a request to `/__lectern__/v1`.
    pub fn ask(&self, method: Method, path: &str) -> Ask {
        self.server.ask(method, &format!("/__lectern__/v1{path}")).key(&self.account.key)
    }

    /// What the server answers, which must be JSON with the status 200.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path).send().expect(200).json()
    }

    /// Sends a command.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask(Method::POST, path).json(body).send()
    }

    /// The signature of these bytes.
    pub fn sign(&self, bytes: &[u8]) -> String {
        Signature::of(bytes, &self.signing).to_string().trim_end().to_owned()
    }

    /// Sends a package with its signature.
    #[track_caller]
    pub fn try_install(&self, bytes: &[u8]) -> Reply {
        self.ask(Method::POST, "/packages").header("lectern-signature", &self.sign(bytes)).body(bytes.to_vec()).send()
    }

    /// Installs a plugin.
    #[track_caller]
    pub fn install(&self, plugin: &Plugin) -> Value {
        self.try_install(&plugin.pack()).expect(200).json()
    }

    /// A binding as the server shows it.
    #[track_caller]
    pub fn binding(&self, name: &str) -> Value {
        self.get(&format!("/bindings/{name}"))
    }

    /// Entries of the history of a binding, newest first.
    #[track_caller]
    pub fn history(&self, binding: &str) -> Vec<Value> {
        self.get(&format!("/history?binding={binding}&limit=1000")).as_array().expect("entries").clone()
    }

    /// The counters of a binding's releases that are not zero, by name without `lectern_plugin_` and `_total`.
    pub fn counters(&self, binding: &str) -> BTreeMap<String, u64> {
        let text = self.ask(Method::GET, "/metrics").send().expect(200).text();
        let wanted = format!("{{binding={binding:?},");
        let mut counters = BTreeMap::new();
        for line in text.lines().filter(|line| line.contains(&wanted)) {
            let name = line.split('{').next().unwrap_or_default();
            let name = name.trim_start_matches("lectern_plugin_").trim_end_matches("_total").to_owned();
            let value: u64 = line.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            *counters.entry(name).or_default() += value;
        }
        counters.retain(|_, value| *value > 0);
        counters
    }
}

/// A shipped plugin's component.
pub fn shipped(name: &str) -> Vec<u8> {
    lectern_shipped::component(name).expect("a shipped plugin").to_vec()
}
