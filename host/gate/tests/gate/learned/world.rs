//! A server whose accounts, content, secrets and time the tests change while it runs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lectern_domain::plugin::{Grants, Phase};
use lectern_domain::snapshot::{KeyEntry, Snapshot, UserEntry};
use lectern_domain::{ContentGuid, KeyId, Principal, PrincipalVia, UserGuid, UserId, UserRole};
use lectern_gate::learn::Settings;
use lectern_gate::{
    Authenticated, Backend, Chain, Clock, Compiler, Counts, Directory, Gate, GateError, Head, Limits, Outbound,
    OutboundError, OutboundRequest, OutboundResponse, PasswordRefusal, Release, Routed, Secret, Secrets, Spec,
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::support::{api, guest};

/// Calls after which a decision is found without one: the first, and two that are compared.
pub(crate) const CALLS: u64 = 3;

/// Longer than any machine stops.
const PATIENCE: Duration = Duration::from_secs(120);

/// Midday of some day.
pub(crate) const NOON_MS: u64 = 1_000_000_000_000;

/// Whose sessions they are, and with which groups, by token.
type Sessions = HashMap<String, (UserId, Arc<[String]>)>;

/// What stands behind the imports.
pub(crate) struct Server {
    pub(crate) view: Mutex<Snapshot>,
    pub(crate) sessions: Mutex<Sessions>,
    pub(crate) secrets: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) now_ms: AtomicU64,
    /// What the address of the keys answers.
    pub(crate) key_set: Mutex<String>,
}

pub(crate) fn digest(key: &str) -> [u8; 32] {
    *blake3::hash(key.as_bytes()).as_bytes()
}

impl Server {
    /// With Ada (1), who has the key `k1`, and Bob (2), who has `k2`.
    pub(crate) fn new() -> Arc<Self> {
        let user = |id: i64, name: &str| UserEntry {
            id: UserId(id),
            guid: UserGuid(Uuid::from_u128(id.unsigned_abs().into())),
            username: name.to_owned(),
            role: UserRole::Publisher,
            locked: false,
        };
        let key = |id: i64| KeyEntry {
            id: KeyId(id),
            user: UserId(id),
            role: UserRole::Publisher,
            expires_at: None,
            stamp: 1,
        };
        let users = [(1, "ada"), (2, "bob")].map(|(id, name)| (UserId(id), Arc::new(user(id, name))));
        let keys = [("k1", 1), ("k2", 2)].map(|(text, id)| (digest(text), key(id)));
        let view = Snapshot { users: Arc::new(users.into()), keys: Arc::new(keys.into()), ..Snapshot::default() };
        Arc::new(Self {
            view: Mutex::new(view),
            sessions: Mutex::default(),
            secrets: Mutex::default(),
            now_ms: AtomicU64::new(NOON_MS),
            key_set: Mutex::default(),
        })
    }

    pub(crate) fn change_user(&self, id: i64, change: impl Fn(&mut UserEntry)) {
        let mut view = self.view.lock();
        let user = Arc::make_mut(&mut view.users).get_mut(&UserId(id)).unwrap();
        change(Arc::make_mut(user));
    }

    pub(crate) fn change_keys(&self, change: impl Fn(&mut HashMap<[u8; 32], KeyEntry>)) {
        change(Arc::make_mut(&mut self.view.lock().keys));
    }

    pub(crate) fn change_vanities(&self, change: impl Fn(&mut HashMap<String, ContentGuid>)) {
        change(Arc::make_mut(&mut self.view.lock().vanities));
    }

    pub(crate) fn wait_seconds(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    fn principal(&self, id: UserId) -> Option<Principal> {
        let view = self.view.lock();
        let user = view.users.get(&id).filter(|user| !user.locked)?;
        Some(Principal {
            user: user.id,
            guid: user.guid,
            username: user.username.clone(),
            role: user.role,
            via: PrincipalVia::Session,
        })
    }
}

/// The gate's hold on it.
#[derive(Clone)]
struct Behind(Arc<Server>);

#[async_trait]
impl Directory for Behind {
    fn find_vanity(&self, path: &str) -> Option<(ContentGuid, usize)> {
        self.0.view.lock().find_vanity(path)
    }
    fn key_digest(&self, key: &str) -> [u8; 32] {
        digest(key)
    }
    fn find_key_by_digest(&self, digest: &[u8; 32]) -> Option<Principal> {
        self.0.view.lock().principal_of_key(digest, time::OffsetDateTime::now_utc())
    }
    fn find_user(&self, name: &str) -> Option<Principal> {
        let id = self.0.view.lock().users.values().find(|user| user.username == name)?.id;
        self.0.principal(id)
    }
    fn find_session(&self, token: &str) -> Option<(Principal, Arc<[String]>)> {
        let (id, groups) = self.0.sessions.lock().get(token).cloned()?;
        Some((self.0.principal(id)?, groups))
    }
    async fn check_password(&self, _: IpAddr, _: &str, _: &str) -> Result<Principal, PasswordRefusal> {
        Err(PasswordRefusal::Wrong)
    }
}

impl Secrets for Behind {
    fn secret(&self, plugin: &str, name: &str) -> Option<Secret> {
        assert_eq!(plugin, "asking");
        self.0.secrets.lock().get(name).cloned().map(Secret::new)
    }
}

impl Clock for Behind {
    fn unix_millis(&self) -> u64 {
        self.0.now_ms.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Outbound for Behind {
    async fn fetch(&self, _: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        let body = self.0.key_set.lock().clone().into_bytes();
        Ok(OutboundResponse { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body })
    }
}

pub(crate) fn gate(server: &Arc<Server>) -> Gate {
    let behind = Arc::new(Behind(Arc::clone(server)));
    let backend = Backend {
        secrets: Arc::clone(&behind) as _,
        clock: Arc::clone(&behind) as _,
        outbound: Arc::clone(&behind) as _,
        ..Backend::with_directory(behind)
    };
    Gate::start(backend, Compiler::InProcess).unwrap().0
}

/// Everything that the guest asks for.
pub(crate) fn grants() -> Grants {
    let all = [
        "clock",
        "random",
        "content",
        "directory",
        "limiter",
        "tokens",
        "key-value",
        "secret:s",
        "outbound:https://issuer.example",
    ];
    all.iter().map(|grant| grant.parse().unwrap()).collect()
}

pub(crate) fn asking() -> Spec {
    Spec::new("asking", &guest("asking")).granting(grants())
}

/// The same release without learning.
pub(crate) fn forgetful(spec: &Spec) -> Spec {
    Spec { limits: Limits { learned: None, ..spec.limits.clone() }, ..spec.clone() }
}

/// Compared only when new, so that calls can be counted. No call may fail for want of time, however busy the machine is: that
/// would be another number of calls.
pub(crate) fn counted(spec: Spec) -> Spec {
    let learned = Some(Settings { rerun_one_in: 0, ..Settings::default() });
    let limits = Limits { learned, cpu_ticks: 10_000, wall: PATIENCE, waiting_wall: PATIENCE, ..spec.limits.clone() };
    Spec { limits, ..spec }
}

/// One release in a chain of its own.
pub(crate) struct One<'a> {
    pub(crate) gate: &'a Gate,
    pub(crate) release: Arc<Release>,
    pub(crate) chain: Chain,
}

impl<'a> One<'a> {
    pub(crate) async fn load(gate: &'a Gate, spec: Spec) -> Self {
        Self::of(gate, gate.load(spec).await.unwrap())
    }

    pub(crate) fn of(gate: &'a Gate, release: Arc<Release>) -> Self {
        let mut places = Vec::new();
        for (phase, fits) in [
            (Phase::Route, release.routes()),
            (Phase::Authenticate, release.authenticates()),
            (Phase::Select, release.routes()),
        ] {
            places.extend(fits.then(|| (phase, Arc::clone(&release))));
        }
        Self { gate, chain: Chain::of(places).unwrap(), release }
    }

    pub(crate) async fn route(&self, head: &Arc<Head>) -> String {
        routed(self.gate.route(&self.chain, head).await)
    }

    pub(crate) async fn authenticate(&self, head: &Arc<Head>) -> String {
        authenticated(self.gate.authenticate(&self.chain, head, &api()).await)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.release.stats().read()
    }

    /// Calls that ran the component.
    pub(crate) fn calls(&self) -> u64 {
        self.counts().routes + self.counts().authentications
    }

    /// What was not learned in a phase, by reason.
    pub(crate) fn not_learned(&self, phase: Phase) -> Vec<(String, u64)> {
        self.release.explain(phase, NOON_MS).unwrap().counters.not_learned.into_iter().collect()
    }
}

/// Everything about a decision but who made it.
pub(crate) fn routed(routed: Result<Routed, GateError>) -> String {
    match routed {
        Ok(Routed::Forward(forward)) => format!("{forward:?}"),
        Ok(Routed::Respond { reply, .. }) => {
            format!("{} {} {:?}", reply.status, String::from_utf8_lossy(&reply.body), reply.headers)
        }
        Ok(Routed::NotMine) => "not mine".into(),
        Err(error) => format!("{}: {error}", error.kind()),
    }
}

pub(crate) fn authenticated(authenticated: Result<Authenticated, GateError>) -> String {
    match authenticated {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("{}: {error}", error.kind()),
    }
}
