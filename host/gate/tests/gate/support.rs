//! A directory to ask, requests to send, and components built for the tests.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue, Method, uri::Authority};
use lectern_domain::plugin::Phase;
use lectern_domain::{ContentGuid, KeyId, Principal, PrincipalVia, UserGuid, UserId, UserRole};
use lectern_gate::{
    Backend, Chain, Compiler, Directory, Gate, Head, PasswordRefusal, Release, RequestPath, Scheme, Spec, System,
    Target, TargetView,
};
use uuid::Uuid;

pub(crate) const CONTENT: &str = "0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162";

/// One user, Ada, with the key `k1`, the session `s1`, the password `pw`; one vanity path, `/sales/`.
pub(crate) struct World;

pub(crate) fn ada(via: PrincipalVia) -> Principal {
    Principal {
        user: UserId(1),
        guid: UserGuid(Uuid::from_u128(1)),
        username: "ada".into(),
        role: UserRole::Publisher,
        via,
    }
}

#[async_trait::async_trait]
impl Directory for World {
    fn find_vanity(&self, path: &str) -> Option<(ContentGuid, usize)> {
        (path == "/sales" || path.starts_with("/sales/")).then(|| (CONTENT.parse().unwrap(), 1))
    }
    fn key_digest(&self, key: &str) -> [u8; 32] {
        *blake3::hash(key.as_bytes()).as_bytes()
    }
    fn find_key_by_digest(&self, digest: &[u8; 32]) -> Option<Principal> {
        (*digest == self.key_digest("k1"))
            .then(|| Principal { role: UserRole::Viewer, ..ada(PrincipalVia::Key(KeyId(7))) })
    }
    fn find_user(&self, name: &str) -> Option<Principal> {
        name.eq_ignore_ascii_case("ada").then(|| ada(PrincipalVia::Session))
    }
    fn find_session(&self, token: &str) -> Option<(Principal, Arc<[String]>)> {
        (token == "s1").then(|| (ada(PrincipalVia::Session), Arc::from(["testers".to_owned()])))
    }
    async fn check_password(&self, client: IpAddr, name: &str, password: &str) -> Result<Principal, PasswordRefusal> {
        assert_eq!(client, IpAddr::from([192, 0, 2, 7]));
        // As in the server: the answer comes from another thread.
        let fits = (name, password) == ("ada", "pw");
        tokio::task::spawn_blocking(move || fits)
            .await
            .unwrap()
            .then(|| ada(PrincipalVia::Session))
            .ok_or(PasswordRefusal::Wrong)
    }
}

pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Arc<Head> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Arc::new(Head {
        id: "r-1".into(),
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        scheme: Scheme::Https,
        authority: Some(Authority::from_static("lectern.example")),
        path: RequestPath::parse(path).unwrap(),
        query: query.map(str::to_owned),
        client_ip: IpAddr::from([192, 0, 2, 7]),
        peer_ip: IpAddr::from([198, 51, 100, 1]),
        certificate: None,
        headers,
    })
}

pub(crate) fn get(target: &str) -> Arc<Head> {
    request("GET", target, &[])
}

/// A gate of its own for each test: engines share nothing.
pub(crate) fn gate() -> Gate {
    Gate::start(Backend::with_directory(Arc::new(World)), Compiler::InProcess).unwrap().0
}

/// A plugin with every grant that names nothing.
pub(crate) fn spec(name: &str, component: &[u8]) -> Spec {
    let grants = ["clock", "random", "content", "directory"].iter().map(|grant| grant.parse().unwrap()).collect();
    Spec::new(name, component).granting(grants)
}

/// Where requests go that are asked who sends them.
pub(crate) fn api() -> Arc<TargetView> {
    Arc::new(TargetView { target: Target::System(System::Api), content: None })
}

/// The chain of a server as installed.
pub(crate) async fn shipped(gate: &Gate) -> Chain {
    let mut loaded: HashMap<&str, Arc<Release>> = HashMap::new();
    for (name, component) in lectern_shipped::SHIPPED {
        loaded.insert(name, gate.load(spec(name, component)).await.unwrap());
    }
    let of = |name: &str| Arc::clone(&loaded[name]);
    Chain::of([
        (Phase::Route, of("content-router")),
        (Phase::Authenticate, of("api-key")),
        (Phase::Authenticate, of("password-login")),
    ])
    .unwrap()
}

/// The component that `examples/<name>.rs` of the guests becomes.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(build_guests);
    std::fs::read(directory.join(format!("{name}.wasm"))).unwrap()
}

/// Builds them where the shipped plugins are built, with their dependencies.
fn build_guests() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../plugins");
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests"))
        .args(["build", "--locked", "--profile", "plugin", "--target", "wasm32-wasip2", "--examples", "--target-dir"])
        .arg(&target);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.contains("RUSTFLAGS") || text.contains("RUSTC_") || text.starts_with("CARGO_PROFILE_") {
            command.env_remove(&name);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("wasm32-wasip2/plugin/examples")
}
