//! Measures what the gate adds to a request: decisions that are found, calls on fresh instances, calls on used ones. Run it with
//! `--release`.
//!
//! The plugins are the shipped router and the one for API keys; the requests go to 1,000 contents with 100 keys and never have the
//! same path twice. Times are of one call of the gate from outside, its future included.
#![allow(clippy::unwrap_used, reason = "a measurement may stop")]

use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, uri::Authority};
use lectern_domain::plugin::{Instances, Phase};
use lectern_domain::snapshot::{KeyEntry, Snapshot, UserEntry};
use lectern_domain::{ContentGuid, KeyId, Principal, UserGuid, UserId, UserRole};
use lectern_gate::learn::Settings;
use lectern_gate::{
    Authenticated, Backend, Chain, Compiler, Directory, Gate, Head, Limits, PasswordRefusal, RequestPath, Routed,
    Scheme, Spec, System, Target, TargetView,
};
use uuid::Uuid;

const CONTENTS: u64 = 1_000;
const KEYS: u64 = 100;

/// Accounts in memory, as a server has them.
struct Accounts(Snapshot);

fn digest(key: &str) -> [u8; 32] {
    *blake3::hash(key.as_bytes()).as_bytes()
}

fn key(n: u64) -> String {
    format!("k{:031}", n % KEYS)
}

impl Accounts {
    fn new() -> Self {
        let guid = UserGuid(Uuid::from_u128(1));
        let user = UserEntry { id: UserId(1), guid, username: "ada".into(), role: UserRole::Publisher, locked: false };
        let entry = |n: u64| {
            let id = KeyId(i64::try_from(n).unwrap());
            (digest(&key(n)), KeyEntry { id, user: UserId(1), role: UserRole::Publisher, expires_at: None, stamp: 1 })
        };
        Self(Snapshot {
            users: Arc::new(HashMap::from([(UserId(1), Arc::new(user))])),
            keys: Arc::new((0..KEYS).map(entry).collect()),
            ..Snapshot::default()
        })
    }
}

#[async_trait]
impl Directory for Accounts {
    fn find_vanity(&self, path: &str) -> Option<(ContentGuid, usize)> {
        self.0.find_vanity(path)
    }
    fn key_digest(&self, key: &str) -> [u8; 32] {
        digest(key)
    }
    fn find_key_by_digest(&self, digest: &[u8; 32]) -> Option<Principal> {
        self.0.principal_of_key(digest, time::OffsetDateTime::now_utc())
    }
    fn find_user(&self, _: &str) -> Option<Principal> {
        None
    }
    fn find_session(&self, _: &str) -> Option<(Principal, Arc<[String]>)> {
        None
    }
    async fn check_password(&self, _: IpAddr, _: &str, _: &str) -> Result<Principal, PasswordRefusal> {
        Err(PasswordRefusal::Wrong)
    }
}

/// The request number `n` to some content, with so many fields.
fn head(n: u64, content: u64, fields: usize) -> Arc<Head> {
    let mut headers = HeaderMap::new();
    let credential = format!("Key {}", key(content));
    headers.insert("authorization", HeaderValue::from_str(&credential).unwrap());
    headers.insert("user-agent", HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"));
    for at in headers.len()..fields {
        let name = HeaderName::from_bytes(format!("x-field-{at}").as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_static("forty octets of a value that nobody reads"));
    }
    let guid = Uuid::from_u128(u128::from(content) + (1 << 100));
    Arc::new(Head {
        id: format!("r-{n}"),
        method: Method::GET,
        scheme: Scheme::Https,
        authority: Some(Authority::from_static("apps.example.org")),
        path: RequestPath::parse(&format!("/content/{guid}/page/{n}")).unwrap(),
        query: Some(format!("a=1&n={n}")),
        client_ip: IpAddr::from([192, 0, 2, 7]),
        peer_ip: IpAddr::from([192, 0, 2, 7]),
        certificate: None,
        headers,
    })
}

struct Measured {
    ns: Vec<u64>,
    allocations: f64,
}

impl Measured {
    fn of(&mut self, per_mille: usize) -> f64 {
        self.ns.sort_unstable();
        self.ns[(self.ns.len() - 1) * per_mille / 1_000] as f64 / 1_000.0
    }
}

/// What is measured.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Route,
    Authenticate,
}

fn measure(runtime: &tokio::runtime::Runtime, gate: &Gate, chain: &Chain, what: What, heads: &[Arc<Head>]) -> Measured {
    let api = Arc::new(TargetView { target: Target::System(System::Api), content: None });
    let ask = async |head: &Arc<Head>| match what {
        What::Route => assert!(matches!(black_box(gate.route(chain, head).await), Ok(Routed::Forward(_)))),
        What::Authenticate => {
            assert!(matches!(black_box(gate.authenticate(chain, head, &api).await), Ok(Authenticated::Identity(_))));
        }
    };
    let mut ns = Vec::with_capacity(heads.len());
    let half = heads.len() / 2;
    runtime.block_on(async {
        for head in &heads[..half] {
            let began = Instant::now();
            ask(head).await;
            ns.push(u64::try_from(began.elapsed().as_nanos()).unwrap());
        }
    });
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            for head in &heads[half..] {
                ask(head).await;
            }
        });
    });
    Measured { ns, allocations: counted.count_total as f64 / (heads.len() - half) as f64 }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gate = Gate::start(Backend::with_directory(Arc::new(Accounts::new())), Compiler::InProcess).unwrap().0;
    let limits = |learned| Limits { learned, ..Limits::default() };
    let settings = || Settings { rerun_one_in: 0, ..Settings::default() };
    let chain = |instances: Instances, learned: Option<Settings>| {
        let load = |name: &str| {
            let component = lectern_shipped::component(name).unwrap();
            let grants = ["content", "directory"].iter().map(|grant| grant.parse().unwrap()).collect();
            let spec =
                Spec { instances, limits: limits(learned.clone()), ..Spec::new(name, component).granting(grants) };
            runtime.block_on(gate.load(spec)).unwrap()
        };
        let places = [(Phase::Route, load("content-router")), (Phase::Authenticate, load("api-key"))];
        Chain::of(places).unwrap()
    };
    let mut notes = Vec::new();
    println!("| call | instances | fields | p50 µs | p99 µs | allocations |");
    println!("|---|---|---|---|---|---|");
    for fields in [5, 20] {
        for (what, name) in [(What::Route, "route"), (What::Authenticate, "authenticate")] {
            let heads = |requests: u64| -> Vec<Arc<Head>> {
                (0..requests).map(|n| head(n, n * 379 % CONTENTS, fields)).collect()
            };
            let print = |kind: &str, mut measured: Measured| {
                let (p50, p99) = (measured.of(500), measured.of(990));
                println!("| {name} | {kind} | {fields} | {p50:.2} | {p99:.2} | {:.2} |", measured.allocations);
            };
            let learning = chain(Instances::Fresh, Some(settings()));
            measure(&runtime, &gate, &learning, what, &heads(CONTENTS * 8));
            print("found", measure(&runtime, &gate, &learning, what, &heads(200_000)));
            // Everything is seen for the first time.
            let missing = chain(Instances::Fresh, Some(settings()));
            let unseen: Vec<_> = (0..4_000).map(|n| unseen(n, fields, what)).collect();
            print("fresh, recorded and learned", measure(&runtime, &gate, &missing, what, &unseen));
            print("fresh, not learned", measure(&runtime, &gate, &chain(Instances::Fresh, None), what, &heads(20_000)));
            print("used", measure(&runtime, &gate, &chain(Instances::Warm, None), what, &heads(20_000)));
            for (_, bound) in learning.bindings() {
                let learned = bound.answering().stats().read().learned;
                if let Some(bytes) = learned.bytes.checked_div(learned.leaves) {
                    notes.push(format!("{name}, {fields} fields: {} decisions of {bytes} bytes", learned.leaves));
                }
            }
        }
    }
    let (chain, head) = (gate.chain(), head(1, 1, 5));
    let api = Arc::new(TargetView { target: Target::System(System::Api), content: None });
    let futures = (size_of_val(&gate.route(&chain, &head)), size_of_val(&gate.authenticate(&chain, &head, &api)));
    notes.push(format!("bytes of a future: route {}, authenticate {}", futures.0, futures.1));
    println!("\n{}", notes.join("\n"));
}

/// A request that no other is like, to the router; for keys, one with a field that makes the tree branch.
fn unseen(n: u64, fields: usize, what: What) -> Arc<Head> {
    let mut head = head(n, 10_000 + n, fields);
    if what == What::Authenticate {
        // Both fields are read: another first one is another branch.
        let fields = &mut Arc::make_mut(&mut head).headers;
        fields.insert("authorization", HeaderValue::from_str(&format!("Bearer {n}")).unwrap());
        fields.insert("x-rsc-authorization", HeaderValue::from_str(&key(n)).unwrap());
    }
    head
}
