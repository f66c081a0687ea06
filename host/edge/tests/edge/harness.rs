//! One edge per test, with accounts, content and workers of its own. What lives in other rooms (directory, sessions, workers, trees,
//! API) is played here; the gate and its components are the real ones.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lectern_domain::access::AccessRules;
use lectern_domain::app_mode::AppMode;
use lectern_domain::content::ProcessSettings;
use lectern_domain::launch::{Prepared, Program};
use lectern_domain::plugin::{Grants, Phase};
use lectern_domain::scaling::choose::Room;
use lectern_domain::snapshot::{BundleEntry, ContentEntry, KeyEntry, Snapshot, UserEntry};
use lectern_domain::{
    AccessType, BundleHash, BundleId, ContentGuid, ContentId, JobKey, KeyId, Principal, UserGuid, UserId, UserRole,
};
use lectern_edge::{
    Caller, Edge, EdgeBody, EdgeConfig, Health, NewSession, Pool, RequestBody, RunError, Seen, Services, Sessions,
    SignIn, StartFailure, Stopped, Stops, SystemService, Trees, Unavailable, Visits, Worker, Workers,
};
use lectern_gate::{Backend, Chain, Compiler, Directory, Gate, PasswordRefusal, Spec};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Longest wait for something that is expected: generous, because it only matters when a test fails.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Accounts: row number, name, role, locked. Each has the API key `key-<name>` and the password `pw-<name>`.
const ACCOUNTS: [(i64, &str, UserRole, bool); 5] = [
    (1, "owner", UserRole::Publisher, false),
    (2, "viewer", UserRole::Viewer, false),
    (3, "stranger", UserRole::Viewer, false),
    (4, "admin", UserRole::Administrator, false),
    (5, "gone", UserRole::Publisher, true),
];

/// The content items of every test.
pub(crate) const PUBLIC: u128 = 0x100;
pub(crate) const SIGNED_IN: u128 = 0x200;
pub(crate) const LISTED: u128 = 0x300;
pub(crate) const FILES: u128 = 0x400;
pub(crate) const LOCKED: u128 = 0x500;
pub(crate) const EMPTY: u128 = 0x600;
pub(crate) const VANITY: u128 = 0x700;
pub(crate) const SHINY: u128 = 0x800;
pub(crate) const UNKNOWN: u128 = 0x999;

/// What signs the tokens that tell content who visits.
pub(crate) const VISITOR_KEY: [u8; 32] = [8; 32];

/// The path of a content item, without a last slash.
pub(crate) fn mount(guid: u128) -> String {
    format!("/content/{}", Uuid::from_u128(guid))
}

fn accounts() -> HashMap<UserId, Arc<UserEntry>> {
    let entry = |(id, name, role, locked): (i64, &str, UserRole, bool)| {
        let guid = UserGuid(Uuid::from_u128(id as u128));
        (UserId(id), Arc::new(UserEntry { id: UserId(id), guid, username: name.to_owned(), role, locked }))
    };
    ACCOUNTS.into_iter().map(entry).collect()
}

fn keys() -> HashMap<[u8; 32], KeyEntry> {
    let entry = |(id, name, role, _): (i64, &str, UserRole, bool)| {
        let hash = *blake3::hash(format!("key-{name}").as_bytes()).as_bytes();
        (hash, KeyEntry { id: KeyId(id), user: UserId(id), role, expires_at: None, stamp: 1 })
    };
    ACCOUNTS.into_iter().map(entry).collect()
}

fn content(guid: u128, mode: AppMode, access_type: AccessType, program: Program) -> ContentEntry {
    let bundle = |id| {
        let prepared = Prepared { program: program.clone(), interpreter: None, environment: None };
        (BundleId(id), Arc::new(BundleEntry { id: BundleId(id), hash: BundleHash([id as u8; 32]), prepared }))
    };
    ContentEntry {
        id: ContentId(guid as i64),
        guid: ContentGuid(Uuid::from_u128(guid)),
        name: format!("content-{guid}"),
        title: None,
        mode,
        access: AccessRules {
            owner: UserId(1),
            access_type,
            viewers: [UserId(2)].into(),
            editors: Default::default(),
            groups: Vec::new(),
        },
        active: Some(BundleId(1)),
        bundles: BTreeMap::from([bundle(1), bundle(2)]),
        locked_message: None,
        processes: ProcessSettings::default(),
        sealed_variables: Vec::new(),
        limits: Default::default(),
        vanity: None,
        thumbnail: None,
        has_integrations: false,
        variant_key: "a7c3f09e".into(),
    }
}

/// The snapshot of every test; `change` may alter each content item.
pub(crate) fn snapshot(change: impl Fn(&mut ContentEntry)) -> Snapshot {
    let asgi = || Program::PythonAsgi { entrypoint: "app:app".into() };
    let files = Program::Static { primary: "index.html".into() };
    let fastapi = AppMode::PythonFastapi;
    let mut all = vec![
        content(PUBLIC, fastapi, AccessType::All, asgi()),
        content(SIGNED_IN, fastapi, AccessType::LoggedIn, asgi()),
        content(LISTED, fastapi, AccessType::Acl, asgi()),
        content(FILES, AppMode::Static, AccessType::Acl, files),
        ContentEntry {
            locked_message: Some("Back on <b>Monday</b>".into()),
            ..content(LOCKED, fastapi, AccessType::All, asgi())
        },
        ContentEntry { active: None, bundles: BTreeMap::new(), ..content(EMPTY, fastapi, AccessType::All, asgi()) },
        ContentEntry { vanity: Some("/sales/plan/".into()), ..content(VANITY, fastapi, AccessType::All, asgi()) },
        content(SHINY, AppMode::Shiny, AccessType::All, asgi()),
    ];
    all.iter_mut().for_each(change);
    Snapshot {
        vanities: Arc::new(all.iter().filter_map(|entry| Some((entry.vanity.clone()?, entry.guid))).collect()),
        content: Arc::new(all.into_iter().map(|entry| (entry.guid, Arc::new(entry))).collect()),
        groups: Arc::new(HashMap::from([(UserId(ACCOUNTS[0].0), ["Staff".to_owned()].into())])),
        users: Arc::new(accounts()),
        keys: Arc::new(keys()),
        sessions: Arc::default(),
    }
}

/// The picture that every item with a thumbnail has.
pub(crate) const PICTURE: &[u8] = b"GIF89a\x01\0\x01\0";

struct Pictured;

#[async_trait]
impl lectern_edge::Thumbnails for Pictured {
    async fn thumbnail(&self, _: &ContentEntry, hash: &[u8; 32]) -> Result<Option<Bytes>, Unavailable> {
        Ok((*hash == [7; 32]).then(|| Bytes::from_static(PICTURE)))
    }
}

/// Accounts as the gate's plugins see them: the same in every test, so that the components are compiled once.
struct Accounts {
    view: Snapshot,
    /// Tokens of the sessions that tests made.
    sessions: Mutex<HashMap<String, UserGuid>>,
}

impl Accounts {
    fn by_guid(&self, guid: UserGuid) -> Option<&Arc<UserEntry>> {
        self.view.users.values().find(|user| user.guid == guid)
    }

    fn principal(&self, name: &str) -> Option<Principal> {
        self.view.principal_of_key(
            blake3::hash(format!("key-{name}").as_bytes()).as_bytes(),
            time::OffsetDateTime::now_utc(),
        )
    }
}

#[async_trait]
impl Directory for Accounts {
    fn find_vanity(&self, path: &str) -> Option<(ContentGuid, usize)> {
        self.view.find_vanity(path)
    }

    fn key_digest(&self, key: &str) -> [u8; 32] {
        *blake3::hash(key.as_bytes()).as_bytes()
    }

    fn find_key_by_digest(&self, digest: &[u8; 32]) -> Option<Principal> {
        self.view.principal_of_key(digest, time::OffsetDateTime::now_utc())
    }

    fn find_user(&self, name: &str) -> Option<Principal> {
        self.principal(name)
    }

    fn find_session(&self, token: &str) -> Option<(Principal, Arc<[String]>)> {
        let guid = *self.sessions.lock().get(token)?;
        Some((self.principal(&self.by_guid(guid)?.username)?, Arc::default()))
    }

    async fn check_password(
        &self,
        _: std::net::IpAddr,
        username: &str,
        password: &str,
    ) -> Result<Principal, PasswordRefusal> {
        let right = password == format!("pw-{username}");
        self.principal(username).filter(|_| right).ok_or(PasswordRefusal::Wrong)
    }
}

static ACCOUNTS_OF_ALL: LazyLock<Arc<Accounts>> =
    LazyLock::new(|| Arc::new(Accounts { view: snapshot(|_| {}), sessions: Mutex::default() }));

/// Loads the shipped components once per test process, on a thread and a runtime of their own.
static GATE: LazyLock<Arc<Gate>> = LazyLock::new(|| gate(None));

fn grants() -> Grants {
    ["clock", "random", "content", "directory"].iter().map(|grant| grant.parse().unwrap()).collect()
}

/// A gate with the shipped components, and before them `first`, which both routes and authenticates.
pub(crate) fn gate(first: Option<Vec<u8>>) -> Arc<Gate> {
    gate_with(first, Vec::new())
}

/// The same, with more plugins that are asked first who somebody is.
pub(crate) fn gate_with(first: Option<Vec<u8>>, asked: Vec<Spec>) -> Arc<Gate> {
    let load = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let gate =
            Arc::new(Gate::start(Backend::with_directory(ACCOUNTS_OF_ALL.clone()), Compiler::InProcess).unwrap().0);
        runtime.block_on(async {
            let release = |name: &'static str| {
                let component = lectern_shipped::component(name).unwrap();
                gate.load(Spec::new(name, component).granting(grants()))
            };
            let (router, key, login) =
                tokio::join!(release("content-router"), release("api-key"), release("password-login"));
            let mut places = vec![
                (Phase::Route, router.unwrap()),
                (Phase::Authenticate, key.unwrap()),
                (Phase::Authenticate, login.unwrap()),
            ];
            for (at, spec) in asked.into_iter().enumerate() {
                places.insert(at, (Phase::Authenticate, gate.load(spec).await.unwrap()));
            }
            if let Some(component) = first {
                let first = gate.load(Spec::new("hostile", &component).granting(grants())).await.unwrap();
                places.insert(0, (Phase::Authenticate, first.clone()));
                places.insert(0, (Phase::Route, first));
            }
            gate.swap(Chain::of(places).unwrap());
        });
        // Its threads end with the process.
        std::mem::forget(runtime);
        gate
    };
    std::thread::spawn(load).join().unwrap()
}

#[async_trait]
impl Sessions for Accounts {
    async fn create(&self, user: UserGuid, _: Vec<String>, _: &str) -> Result<NewSession, Unavailable> {
        let token = Uuid::new_v4().simple().to_string();
        self.sessions.lock().insert(token.clone(), user);
        Ok(NewSession { token, max_age: Duration::from_secs(3_600) })
    }

    async fn end(&self, token: &str) -> Result<(), Unavailable> {
        self.sessions.lock().remove(token);
        Ok(())
    }
}

/// Workers as a test arranges them, by bundle.
pub(crate) struct Stage {
    pools: Mutex<HashMap<(ContentGuid, BundleId), Arc<Pool>>>,
    /// Whom new pools offer.
    ready: Mutex<HashMap<BundleId, Arc<Worker>>>,
    /// What waiting ends with; it goes on while there is nothing.
    outcome: Mutex<Option<Result<Arc<Worker>, StartFailure>>>,
    /// Whom the edge reported dead.
    pub(crate) dead: Mutex<Vec<JobKey>>,
    /// Workers that are being let go.
    pub(crate) leaving: Mutex<Vec<Arc<Worker>>>,
    runtime: tokio::runtime::Handle,
}

impl Stage {
    fn new() -> Self {
        Self {
            pools: Mutex::default(),
            ready: Mutex::default(),
            outcome: Mutex::default(),
            dead: Mutex::default(),
            leaving: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    pub(crate) fn offer(&self, bundle: i64, worker: &Arc<Worker>) {
        self.show(BundleId(bundle), std::slice::from_ref(worker));
    }

    /// Makes these the workers of a bundle; the first one is what pools to come begin with.
    pub(crate) fn show(&self, bundle: BundleId, workers: &[Arc<Worker>]) {
        if let Some(first) = workers.first() {
            self.ready.lock().insert(bundle, first.clone());
        }
        for (_, pool) in self.pools.lock().iter().filter(|((_, id), _)| *id == bundle) {
            pool.show(workers.to_vec());
        }
    }

    /// Ends all waits, those now and those to come.
    pub(crate) fn decide(&self, outcome: Result<Arc<Worker>, StartFailure>) {
        *self.outcome.lock() = Some(outcome);
        self.pools.lock().values().for_each(|pool| pool.call());
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.pools.lock().values().map(|pool| pool.waiting()).sum()
    }
}

struct Stages(Arc<Stage>);

impl Workers for Stages {
    fn pool(&self, content: ContentGuid, bundle: BundleId) -> Arc<Pool> {
        let mut pools = self.0.pools.lock();
        let make = || {
            let pool = Pool::new(Arc::default());
            pool.set_room(Room { most: 1_000, pass_held_up: false });
            pool.show(self.0.ready.lock().get(&bundle).cloned().into_iter().collect());
            let (owned, stage) = (pool.clone(), Arc::downgrade(&self.0));
            self.0.runtime.spawn(async move {
                loop {
                    owned.called().await;
                    let Some(stage) = stage.upgrade() else { return };
                    match stage.outcome.lock().clone() {
                        None => {}
                        Some(Ok(worker)) => owned.show(vec![worker]),
                        Some(Err(failure)) => owned.fail(&failure),
                    }
                }
            });
            pool
        };
        pools.entry((content, bundle)).or_insert_with(make).clone()
    }

    fn leaving(&self, _: ContentGuid) -> Vec<Arc<Worker>> {
        self.0.leaving.lock().clone()
    }

    fn report_dead(&self, job: &JobKey) {
        self.0.dead.lock().push(job.clone());
        self.0.ready.lock().retain(|_, worker| worker.job() != job);
        for pool in self.0.pools.lock().values() {
            pool.show(pool.workers().iter().filter(|worker| worker.job() != job).cloned().collect());
        }
    }

    fn cookie_key(&self) -> &[u8; 32] {
        &[7; 32]
    }

    fn visitor_key(&self) -> &[u8; 32] {
        &VISITOR_KEY
    }
}

struct OneTree(PathBuf);

#[async_trait]
impl Trees for OneTree {
    async fn tree(&self, _: &BundleEntry) -> Result<PathBuf, Unavailable> {
        Ok(self.0.clone())
    }
}

/// Remembers the paths of visits, with who came.
#[derive(Default)]
pub(crate) struct Noted(pub(crate) Mutex<Vec<(Option<UserId>, String)>>, pub(crate) Uses);

/// Beginnings (`true`) and ends of uses.
pub(crate) type Uses = Arc<Mutex<Vec<(ContentId, bool)>>>;

struct Using(ContentId, Uses);

impl Drop for Using {
    fn drop(&mut self) {
        self.1.lock().push((self.0, false));
    }
}

impl Visits for Noted {
    fn note(&self, seen: &Seen<'_>) {
        self.0.lock().push((seen.user, seen.path.to_owned()));
    }

    fn begin(&self, content: ContentId, _: Option<UserId>) -> lectern_edge::Use {
        self.1.lock().push((content, true));
        Box::new(Using(content, Arc::clone(&self.1)))
    }
}

struct Fine;

impl Health for Fine {
    fn ready(&self) -> Result<(), String> {
        Err("the database is away".into())
    }
}

/// Answers with what it was told; `/connect/private` asks for a signed-in visitor.
struct Tells;

impl SystemService for Tells {
    fn call(
        &self,
        target: lectern_gate::System,
        caller: Caller,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<EdgeBody>> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            if parts.uri.path() == "/connect/private" && caller.principal.is_none() {
                let mut response = Response::new(EdgeBody::full("sign in"));
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                response.extensions_mut().insert(SignIn);
                return response;
            }
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return Response::new(EdgeBody::full(format!("broken: {error}"))),
            };
            let told = serde_json::json!({
                "target": format!("{target:?}"),
                "principal": caller.principal.map(|principal| principal.username),
                "rejected": caller.rejected,
                "base_url": caller.base_url,
                "client": caller.client.to_string(),
                "request_id": caller.request_id.as_str(),
                "target_uri": parts.uri.to_string(),
                "fields": fields(&parts.headers),
                "body": String::from_utf8_lossy(&body),
            });
            Response::new(EdgeBody::full(told.to_string()))
        })
    }
}

/// All fields as text, names in lower case.
pub(crate) fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

/// A running edge. Dropped, it is told to stop at once.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) stage: Arc<Stage>,
    pub(crate) stop: CancellationToken,
    pub(crate) handed_over: CancellationToken,
    /// The listening sockets once more, until somebody takes or drops them.
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) running: JoinHandle<Result<Stopped, RunError>>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) visits: Arc<Noted>,
}

/// How a test's edge differs from the usual.
pub(crate) struct Setup {
    pub(crate) config: EdgeConfig,
    pub(crate) snapshot: Snapshot,
    pub(crate) grace: Duration,
    pub(crate) gate: Arc<Gate>,
    /// The workers, another edge's perhaps.
    pub(crate) stage: Arc<Stage>,
    /// Keeps the listening sockets for another edge.
    pub(crate) shared: bool,
    /// Sockets of another edge.
    pub(crate) given: Option<Vec<OwnedFd>>,
}

impl Default for Setup {
    fn default() -> Self {
        let mut config = EdgeConfig::new("127.0.0.1:0".parse().unwrap());
        config.threads = 1;
        Self {
            config,
            snapshot: snapshot(|_| {}),
            grace: Duration::from_secs(5),
            gate: GATE.clone(),
            stage: Arc::new(Stage::new()),
            shared: false,
            given: None,
        }
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("index.html"), "<h1>page</h1>").unwrap();
        std::fs::write(directory.path().join("manifest.json"), "{}").unwrap();
        let stage = setup.stage;
        let visits = Arc::new(Noted::default());
        let services = Services {
            gate: setup.gate,
            snapshot: Arc::new(ArcSwap::from_pointee(setup.snapshot)),
            sessions: ACCOUNTS_OF_ALL.clone(),
            system: Arc::new(Tells),
            workers: Arc::new(Stages(stage.clone())),
            trees: Arc::new(OneTree(directory.path().to_owned())),
            thumbnails: Arc::new(Pictured),
            visits: Arc::clone(&visits) as Arc<_>,
            health: Arc::new(Fine),
        };
        let edge = match setup.given {
            Some(sockets) => Edge::over(setup.config, sockets.into_iter().map(TcpListener::from).collect()).unwrap(),
            None => Edge::bind(setup.config).unwrap(),
        };
        let stops = Stops::default();
        let sockets = if setup.shared { edge.sockets().unwrap() } else { Vec::new() };
        let address = edge.address();
        let running = tokio::spawn(edge.run(services, stops.clone(), setup.grace));
        Self { address, stage, stop: stops.stop, handed_over: stops.handed_over, sockets, running, directory, visits }
    }

    /// Starts an HTTP server on a Unix socket and offers it for bundle 1.
    pub(crate) fn worker<F, R>(&self, handler: F) -> Arc<Worker>
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let worker = self.worker_for(1, handler);
        self.stage.offer(1, &worker);
        worker
    }

    /// Starts one for another bundle, without offering it.
    pub(crate) fn worker_for<F, R>(&self, bundle: i64, handler: F) -> Arc<Worker>
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        self.raw_worker(bundle, move |stream| {
            let handler = handler.clone();
            async move {
                let service = hyper::service::service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                let io = TokioIo::new(stream);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await;
            }
        })
    }

    /// Starts a server of raw bytes: `each` gets every connection.
    pub(crate) fn raw_worker<F, R>(&self, bundle: i64, each: F) -> Arc<Worker>
    where
        F: Fn(UnixStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let socket = self.directory.path().join(format!("w{bundle}-{number}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(each(stream));
            }
        });
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        Worker::new(JobKey::from_random(key), socket)
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn ask(&self, method: Method, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(method, target, fields, Bytes::new()).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask(Method::GET, target, &[]).await
    }

    /// Sends one request with a body.
    pub(crate) async fn send(&self, method: Method, target: &str, fields: &[(&str, &str)], body: Bytes) -> Answer {
        let mut client = self.connect().await;
        client.send(request(method, target, fields, boxed(body))).await
    }

    /// Opens a connection that speaks HTTP/1.1.
    pub(crate) async fn connect(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.unwrap()).await
    }

    /// Sends bytes and reads all that comes until the edge closes, or `SOON`.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The edge may have answered and closed before it read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the edge closes");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One connection of a client.
pub(crate) struct Client {
    sender: hyper::client::conn::http1::SendRequest<Body>,
}

impl Client {
    /// Speaks HTTP/1.1 over an open connection.
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Answer {
        let response = self.begin(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(SOON, body.collect()).await.expect("an answer").map(|body| body.to_bytes());
        Answer { status: parts.status, headers: parts.headers, body: body.map_err(|error| error.to_string()) }
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn begin(&mut self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        tokio::time::timeout(SOON, self.sender.send_request(request)).await.expect("an answer")
    }
}

pub(crate) fn request(method: Method, target: &str, fields: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", "apps.example.org");
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

pub(crate) fn boxed(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body fed through a channel: what is not yet taken is bounded.
pub(crate) fn fed() -> (tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>, Body) {
    let (feed, fed) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let frames = futures_util::stream::unfold(fed, |mut fed| async move {
        let next = fed.recv().await?;
        Some((next.map(http_body::Frame::data), fed))
    });
    (feed, http_body_util::StreamBody::new(frames).map_err(Into::into).boxed_unsync())
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `Err`: it broke off.
    pub(crate) body: Result<Bytes, String>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_ref().expect("a whole body")).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An answer of a worker: 200 and this text.
pub(crate) fn ok(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(boxed(text))
}

/// A worker that answers with the method, the target and the fields it saw.
pub(crate) async fn mirror(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let seen = serde_json::json!({
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "fields": fields(&parts.headers),
        "body": String::from_utf8_lossy(&body),
    });
    ok(seen.to_string())
}

/// Waits until `reached` holds.
pub(crate) async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(SOON, async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}
