//! A server for one test: database and store of its own, a handful of accounts, and a recording backstage.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use lectern_api::providers::{FormAnswer, FormFailure, SentForm};
use lectern_api::{
    Backstage, BegunSession, ContentProcess, External, IdToken, IdTokenRefusal, LogLine, LogLines, LogSource, Part,
    PasswordError, RuntimeCache, Runtimes, Scheduler, Services, Settings, router,
};
use lectern_bundles::{Cache, Store};
use lectern_domain::access::{PermissionRole, Principal, PrincipalVia};
use lectern_domain::ids::{BundleHash, BundleId, ContentGuid, ContentId, JobKey, KeyId, TaskId, UserGuid};
use lectern_domain::integrations::Place;
use lectern_domain::user::UserRole;
use lectern_metadata::permissions::Grantee;
use lectern_metadata::testing::TestCluster;
use lectern_metadata::users::{self, NewUser};
use lectern_metadata::{Database, DbError, content, permissions};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The address that has tried too many passwords.
pub(crate) const IMPATIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 99));

/// Largest bundle the test server takes.
pub(crate) const MAX_BUNDLE: u64 = 1 << 20;
/// What signs visitors' tokens.
pub(crate) const VISITOR_KEY: [u8; 32] = [9; 32];
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// What the API told the rest of the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Refresh(Part),
    TaskQueued,
    VariablesChanged(ContentGuid),
    ContentDeleted(ContentGuid, Vec<BundleHash>),
    BundleDeleted(ContentGuid, BundleId),
    JobEnded(JobKey, String),
}

/// A form as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) target: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

#[derive(Default)]
pub(crate) struct Recorder {
    told: Mutex<Vec<Told>>,
    /// Restored environments.
    pub(crate) caches: Mutex<Vec<RuntimeCache>>,
    /// How long each poll was willing to wait.
    pub(crate) waits: Mutex<Vec<Duration>>,
    /// Rings when a poll begins to wait.
    pub(crate) waiting: Notify,
    /// Ends the waiting of a poll.
    pub(crate) news: Notify,
    /// The processes that run.
    pub(crate) running: Mutex<HashSet<JobKey>>,
    /// What providers were sent.
    pub(crate) forms: Mutex<Vec<Sent>>,
    /// What they answer, one after another; then nobody is reached.
    pub(crate) provider: Mutex<VecDeque<(u16, Value)>>,
    /// Rings when one is asked.
    pub(crate) asked: Notify,
    /// Whether one answers only when `answer` rings.
    pub(crate) holds: AtomicBool,
    pub(crate) answer: Notify,
    /// Where passwords are.
    database: std::sync::OnceLock<Database>,
}

impl Recorder {
    fn tell(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    /// What was told since the last call.
    pub(crate) fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

#[async_trait]
impl Backstage for Recorder {
    fn runtimes(&self) -> Runtimes {
        Runtimes { python: vec!["3.11.2".into()], r: vec!["4.2.2".into()], ..Runtimes::default() }
    }

    async fn refresh(&self, part: Part) {
        self.tell(Told::Refresh(part));
    }

    fn task_queued(&self) {
        self.tell(Told::TaskQueued);
    }

    async fn wait_for_news(&self, _: &TaskId, _: i64, wait: Duration) {
        self.waits.lock().unwrap().push(wait);
        self.waiting.notify_one();
        let _ = tokio::time::timeout(wait, self.news.notified()).await;
    }

    async fn variables_changed(&self, content: ContentGuid) {
        self.tell(Told::VariablesChanged(content));
    }

    async fn content_deleted(&self, content: ContentGuid, bundles: &[BundleHash]) {
        self.tell(Told::ContentDeleted(content, bundles.to_vec()));
    }

    async fn bundle_deleted(&self, content: ContentGuid, bundle: BundleId, _: BundleHash) {
        self.tell(Told::BundleDeleted(content, bundle));
    }

    fn seal(&self, _: ContentGuid, name: &str, value: &str) -> anyhow::Result<Vec<u8>> {
        Ok(format!("{name}:{value}").bytes().map(|byte| byte ^ 0x55).collect())
    }

    fn visitor_key(&self) -> [u8; 32] {
        VISITOR_KEY
    }

    fn seal_for(&self, place: Place, value: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut sealed = place.bound_to();
        sealed.push(0);
        sealed.extend(value.iter().map(|byte| byte ^ 0x55));
        Ok(sealed)
    }

    fn open_for(&self, place: Place, sealed: &[u8]) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let begin = [place.bound_to(), vec![0]].concat();
        let value = sealed.strip_prefix(begin.as_slice()).ok_or_else(|| anyhow::anyhow!("another place's"))?;
        Ok(Zeroizing::new(value.iter().map(|byte| byte ^ 0x55).collect()))
    }

    fn takes_id_tokens(&self) -> bool {
        false
    }

    async fn verify_id_token(&self, _: &str) -> Result<IdToken, IdTokenRefusal> {
        Err(IdTokenRefusal::NotTaken)
    }

    fn content_of_token(&self, token: &str) -> Option<ContentGuid> {
        token.strip_prefix("process of ")?.parse().ok()
    }

    async fn send_form(&self, form: SentForm) -> Result<FormAnswer, FormFailure> {
        let target = form.target.to_string();
        let sent = Sent {
            target,
            authorization: form.authorization.map(|text| text.to_string()),
            body: form.body.to_string(),
        };
        self.forms.lock().unwrap().push(sent);
        self.asked.notify_one();
        if self.holds.load(Ordering::SeqCst) {
            self.answer.notified().await;
        }
        let next = self.provider.lock().unwrap().pop_front();
        let (status, body) = next.ok_or_else(|| FormFailure::Refused("nobody is reached here".into()))?;
        Ok(FormAnswer { status, body: Zeroizing::new(body.to_string().into_bytes()) })
    }

    async fn job_log(&self, job: &JobKey, most: usize) -> std::io::Result<Vec<LogLine>> {
        let at = time::OffsetDateTime::UNIX_EPOCH;
        let line = |number, source, text: &str| LogLine { number, source, at, text: text.to_owned() };
        let all = [line(1, LogSource::Stdout, "started"), line(2, LogSource::Stderr, job.as_str())];
        Ok(all[all.len().saturating_sub(most)..].to_vec())
    }

    fn job_log_after(&self, job: &JobKey, after: u64, follow: bool) -> LogLines {
        let at = time::OffsetDateTime::UNIX_EPOCH;
        let line = |number, text: String| LogLine { number, source: LogSource::Stdout, at, text };
        let lines = (after + 1..=3).map(|number| line(number, format!("{number}\nof {job}"))).collect();
        let piece = stream::once(std::future::ready(Ok(lines)));
        if follow && self.job_runs(job) { piece.chain(stream::pending()).boxed() } else { piece.boxed() }
    }

    fn job_runs(&self, job: &JobKey) -> bool {
        self.running.lock().unwrap().contains(job)
    }

    async fn end_job(&self, job: &JobKey, username: &str) -> anyhow::Result<bool> {
        self.tell(Told::JobEnded(job.clone(), username.to_owned()));
        Ok(self.job_runs(job))
    }

    async fn processes(&self) -> Vec<ContentProcess> {
        vec![ContentProcess {
            pid: 4242,
            job: JobKey::from_random([1; 16]),
            content: ContentId(7),
            guid: ContentGuid(Uuid::nil()),
            name: "busy".into(),
            run_as: None,
            tag: "run_api",
            cores: 1.504,
            cpu: Duration::from_millis(2900),
            memory_bytes: 1 << 33,
        }]
    }

    async fn runtime_caches(&self) -> anyhow::Result<Vec<RuntimeCache>> {
        Ok(self.caches.lock().unwrap().clone())
    }

    async fn remove_runtime_cache(&self, cache: &RuntimeCache) -> anyhow::Result<usize> {
        let mut caches = self.caches.lock().unwrap();
        let before = caches.len();
        caches.retain(|other| other != cache);
        Ok(before - caches.len())
    }

    async fn hash_password(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        if password.len() < 8 {
            return Err(PasswordError::Refused("a password needs at least 8 characters".into()));
        }
        Ok(format!("hash of {}", password.as_str()))
    }

    async fn check_password(
        &self,
        client: IpAddr,
        username: &str,
        password: Zeroizing<String>,
    ) -> Result<bool, PasswordError> {
        if client == IMPATIENT {
            return Err(PasswordError::Throttled(Duration::from_secs(7)));
        }
        let database = self.database.get().unwrap();
        let stored = match users::password_hash_of(&database.client().await.unwrap(), username).await {
            Err(DbError::BadText) => None,
            stored => stored.unwrap(),
        };
        let stored = stored.and_then(|(_, hash)| hash);
        Ok(stored.is_some_and(|hash| hash.0 == format!("hash of {}", password.as_str())))
    }

    async fn begin_session(&self, user: UserGuid) -> anyhow::Result<BegunSession> {
        let client = self.database.get().unwrap().client().await.unwrap();
        let row = users::get_by_guid(&client, user).await.unwrap().unwrap();
        let (hash, max_age) = ([7; 32], Duration::from_secs(3600));
        let end = time::OffsetDateTime::now_utc() + max_age;
        lectern_metadata::sessions::create(&client, &hash, row.id, end, &[], None).await.unwrap();
        Ok(BegunSession { cookie: "session", token: Zeroizing::new("secret".into()), max_age, hash })
    }
}

pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) database: Database,
    pub(crate) store: Arc<Store>,
    pub(crate) backstage: Arc<Recorder>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) admin: Principal,
    /// Owns what [`Self::content`] makes.
    pub(crate) owner: Principal,
    /// A publisher without rights to others' content.
    pub(crate) stranger: Principal,
    /// A viewer's account without rights.
    pub(crate) viewer: Principal,
}

/// A server without accounts.
pub(crate) async fn empty_server(bootstrap: bool) -> (Router, Database, Arc<Recorder>, tempfile::TempDir, Arc<Store>) {
    let database = TestCluster::shared().await.migrated().await;
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&directory.path().join("store")).unwrap());
    let cache = Arc::new(Cache::open(&directory.path().join("cache"), 1 << 30).unwrap());
    let backstage = Arc::new(Recorder::default());
    backstage.database.set(database.clone()).unwrap();
    let settings = settings(bootstrap);
    let services = Services::new(database.clone(), Arc::clone(&store), cache, backstage.clone(), settings);
    (router(services), database, backstage, directory, store)
}

struct SignOut;

impl lectern_api::Logout for SignOut {
    fn path(&self) -> String {
        "/sign-out".into()
    }

    fn takes_passwords(&self) -> bool {
        true
    }
}

pub(crate) fn settings(bootstrap: bool) -> Settings {
    Settings {
        public_url: None,
        hostname: "test-host".into(),
        max_bundle_bytes: MAX_BUNDLE,
        scheduler: Scheduler::default(),
        logout: Arc::new(SignOut),
        run_as: "lectern".into(),
        bootstrap_secret: bootstrap.then(|| Zeroizing::new(SECRET.to_vec())),
    }
}

pub(crate) async fn account(database: &Database, name: &str, role: UserRole) -> Principal {
    let user = NewUser {
        guid: UserGuid(Uuid::new_v4()),
        username: name.into(),
        email: format!("{name}@example.org"),
        first_name: name.to_uppercase(),
        last_name: "Example".into(),
        role,
        password_hash: None,
        confirmed: true,
    };
    let row = users::create(&database.client().await.unwrap(), &user).await.unwrap();
    Principal { user: row.id, guid: row.guid, username: row.username, role, via: PrincipalVia::Key(KeyId(1)) }
}

impl Server {
    pub(crate) async fn new() -> Self {
        let (router, database, backstage, directory, store) = empty_server(false).await;
        let admin = account(&database, "admin", UserRole::Administrator).await;
        let owner = account(&database, "owner", UserRole::Publisher).await;
        let stranger = account(&database, "stranger", UserRole::Publisher).await;
        let viewer = account(&database, "viewer", UserRole::Viewer).await;
        Self { router, database, store, backstage, directory, admin, owner, stranger, viewer }
    }

    /// Sends a request as `who`, with a JSON body unless it is null.
    pub(crate) async fn ask(&self, who: Option<&Principal>, method: &str, path: &str, body: Value) -> Reply {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(who, request(method, path).body(body).unwrap()).await
    }

    pub(crate) async fn get(&self, who: &Principal, path: &str) -> Reply {
        self.ask(Some(who), "GET", path, Value::Null).await
    }

    pub(crate) async fn send(&self, who: Option<&Principal>, mut request: Request<Body>) -> Reply {
        request.extensions_mut().insert(who.cloned());
        send(&self.router, request).await
    }

    /// Makes a content item of the owner's and gives its GUID.
    pub(crate) async fn content(&self, name: &str) -> String {
        let made = self.ask(Some(&self.owner), "POST", "/__api__/v1/content", json!({"name": name})).await.ok();
        made["guid"].as_str().unwrap().to_owned()
    }

    /// Uploads bytes as they are.
    pub(crate) async fn upload(&self, guid: &str, archive: Vec<u8>) -> Reply {
        let path = format!("/__api__/v1/content/{guid}/bundles");
        self.send(Some(&self.owner), request("POST", &path).body(Body::from(archive)).unwrap()).await
    }

    /// Uploads a good bundle and gives its number.
    pub(crate) async fn bundle(&self, guid: &str) -> String {
        self.upload(guid, page_bundle("hello")).await.ok()["id"].as_str().unwrap().to_owned()
    }

    /// Makes a bundle the active one, as a finished deployment does.
    pub(crate) async fn activate(&self, guid: &str, bundle: &str) {
        use lectern_domain::launch::{Prepared, Program};
        let mut client = self.database.client().await.unwrap();
        let row = content::get_by_guid(&client, guid.parse().unwrap()).await.unwrap().unwrap();
        let bundle: BundleId = bundle.parse().unwrap();
        let program = Program::Static { primary: "index.html".into() };
        let prepared = Prepared { program, interpreter: None, environment: None };
        let traits = content::Traits::default();
        lectern_metadata::bundles::set_prepared(&client, bundle, &prepared, &traits).await.unwrap();
        let tx = client.transaction().await.unwrap();
        content::set_active_bundle(&tx, row.id, bundle).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Lists `who` for an item.
    pub(crate) async fn permit(&self, guid: &str, who: &Principal, role: PermissionRole) {
        let client = self.database.client().await.unwrap();
        let row = content::get_by_guid(&client, guid.parse().unwrap()).await.unwrap().unwrap();
        permissions::add(&client, row.id, &Grantee::User(who.user, who.guid), role).await.unwrap();
    }

    /// Files in the store: whole bundles, and uploads that were begun.
    pub(crate) fn stored(&self) -> (usize, usize) {
        let root = self.directory.path().join("store");
        let begun = std::fs::read_dir(root.join(".tmp")).unwrap().count();
        (self.store.list().unwrap().len(), begun)
    }
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Reply {
    /// The JSON of the body.
    pub(crate) fn json(&self) -> Value {
        let kind = self.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        assert!(kind.starts_with("application/json"), "{self:?}");
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// The JSON of a success.
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.json()
    }

    /// Status and code of an error, whose body is in the protocol's form.
    pub(crate) fn refusal(&self) -> (u16, i64) {
        let body = self.json();
        let body = body.as_object().unwrap();
        assert!(body.contains_key("payload") && !body["error"].as_str().unwrap().is_empty(), "{self:?}");
        assert!(!self.status.is_success(), "{self:?}");
        (self.status.as_u16(), body["code"].as_i64().unwrap())
    }
}

pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    let external = External { scheme: "https".into(), authority: "lectern.example".into(), prefix: "/pub".into() };
    Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path).extension(external)
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Reply { status: parts.status, headers: parts.headers, bytes: body.collect().await.unwrap().to_bytes() }
}

/// A gzipped tar of these files.
pub(crate) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

pub(crate) fn manifest(mode: &str) -> String {
    let metadata = match mode {
        "static" => json!({"appmode": mode, "primary_html": "index.html", "entrypoint": "index.html"}),
        _ => json!({"appmode": mode, "entrypoint": "app"}),
    };
    json!({"version": 1, "metadata": metadata, "python": {"version": "3.11.7"}, "files": {}}).to_string()
}

/// A bundle of one page that says `text`.
pub(crate) fn page_bundle(text: &str) -> Vec<u8> {
    archive(&[("manifest.json", &manifest("static")), ("index.html", text)])
}

/// Waits for a state, at most some seconds.
pub(crate) async fn eventually(mut reached: impl FnMut() -> bool) {
    for _ in 0..500 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the state waited for did not come");
}
