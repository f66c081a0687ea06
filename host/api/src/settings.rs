//! `GET /server_settings…`: what clients ask before anything else.

use axum::Json;
use axum::extract::{Path, State};
use lectern_domain::app_mode::AppMode;
use lectern_domain::picture::MAX_BYTES;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Services;
use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::{Account, Base, Caller};
use crate::services::{ANNOUNCED_VERSION, Scheduler};

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(server))
        .routes(routes!(applications))
        .routes(routes!(scheduler))
        .routes(routes!(scheduler_of_mode))
        .routes(routes!(python))
        .routes(routes!(r))
        .routes(routes!(quarto))
        .routes(routes!(nodejs))
        .routes(routes!(tensorflow))
}

/// What anybody may know of this server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerSettings {
    /// The protocol version served.
    version: &'static str,
    /// The software.
    about: &'static str,
    /// The software's own version.
    build: &'static str,
    /// This host's name; for signed-in callers only.
    hostname: String,
    authentication: Authentication,
    license: License,
    dashboard_path: String,
    system_display_name: &'static str,
    /// Languages of which an interpreter was found.
    runtimes: Vec<&'static str>,
    /// Where processes run.
    execution_type: &'static str,
    enable_runtime_constraints: bool,
    enable_image_management: bool,
    enable_runtime_cache_management: bool,
    default_image_selection_enabled: bool,
    default_environment_management_selection: bool,
    default_r_environment_management: bool,
    default_py_environment_management: bool,
    oauth_integrations_enabled: bool,
    git_enabled: bool,
    git_available: bool,
    mail_all: bool,
    mail_configured: bool,
    public_warning: &'static str,
    logged_in_warning: &'static str,
    logout_url: String,
    /// Whether the load of the host is drawn.
    metrics_rrd_enabled: bool,
    /// Whether visits are written down.
    metrics_instrumentation: bool,
    self_registration: bool,
    viewers_can_only_see_themselves: bool,
    http_warning: bool,
    queue_ui: bool,
    permission_request: bool,
    username_validator: &'static str,
    prohibited_usernames: Vec<&'static str>,
    default_content_list_view: &'static str,
    /// Largest picture for a content item, in bytes.
    maximum_app_image_size: u64,
}

/// How people sign in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Authentication {
    /// `Password`: with one that this server keeps; `OAuth2`: elsewhere.
    name: &'static str,
    /// Whether this server keeps passwords.
    handles_credentials: bool,
    /// Whether it has a page to sign in at.
    handles_login: bool,
    groups_enabled: bool,
    external_user_search: bool,
    unique_usernames: bool,
    name_editable_by: &'static str,
}

/// What the server offers, in the words of the clients, who test for truth only.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct License {
    allow_apis: &'static str,
    current_user_execution: &'static str,
    enable_launcher: &'static str,
    oauth_integrations: &'static str,
}

/// The server's settings; public, but a credential that is presented must be valid.
#[utoipa::path(get, path = "/server_settings", tag = "server", security(()),
    responses((status = 200, body = ServerSettings), (status = 401, body = ErrorBody)))]
async fn server(State(services): State<Services>, Caller(caller): Caller, base: Base) -> Json<ServerSettings> {
    let found = services.backstage.runtimes();
    let passwords = services.settings.logout.takes_passwords();
    let git = services.backstage.git().is_ok();
    let runtimes = [("Python", &found.python), ("R", &found.r), ("Quarto", &found.quarto), ("Node.js", &found.nodejs)];
    Json(ServerSettings {
        version: ANNOUNCED_VERSION,
        about: "Lectern",
        build: env!("CARGO_PKG_VERSION"),
        hostname: caller.map(|_| services.settings.hostname.clone()).unwrap_or_default(),
        authentication: Authentication {
            name: if passwords { "Password" } else { "OAuth2" },
            handles_credentials: passwords,
            handles_login: true,
            groups_enabled: true,
            external_user_search: false,
            unique_usernames: true,
            name_editable_by: "admin",
        },
        license: License { allow_apis: "1", current_user_execution: "", enable_launcher: "", oauth_integrations: "1" },
        dashboard_path: "/connect".into(),
        system_display_name: "Lectern",
        runtimes: runtimes.into_iter().filter(|(_, found)| !found.is_empty()).map(|(name, _)| name).collect(),
        execution_type: "native",
        enable_runtime_constraints: true,
        enable_image_management: false,
        enable_runtime_cache_management: true,
        default_image_selection_enabled: false,
        default_environment_management_selection: true,
        default_r_environment_management: true,
        default_py_environment_management: true,
        oauth_integrations_enabled: true,
        git_enabled: git,
        git_available: git,
        mail_all: false,
        mail_configured: false,
        public_warning: "",
        logged_in_warning: "",
        logout_url: base.url(&services.settings.logout.path()),
        metrics_rrd_enabled: false,
        metrics_instrumentation: true,
        self_registration: false,
        viewers_can_only_see_themselves: false,
        http_warning: false,
        queue_ui: false,
        permission_request: true,
        username_validator: "default",
        prohibited_usernames: Vec::new(),
        default_content_list_view: "compact",
        maximum_app_image_size: MAX_BYTES as u64,
    })
}

/// What content may be given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApplicationSettings {
    access_types: [&'static str; 3],
    run_as: String,
    run_as_group: &'static str,
    run_as_current_user: bool,
}

/// Access types and accounts that content may have.
#[utoipa::path(get, path = "/server_settings/applications", tag = "server",
    responses((status = 200, body = ApplicationSettings), (status = 401, body = ErrorBody)))]
async fn applications(State(services): State<Services>, _: Account) -> Json<ApplicationSettings> {
    Json(ApplicationSettings {
        access_types: ["acl", "logged_in", "all"],
        run_as: services.settings.run_as.clone(),
        run_as_group: "",
        run_as_current_user: false,
    })
}

/// Defaults and limits of processes; a limit of 0 is none. Processor, memory and GPU figures concern other executors.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct SchedulerSettings {
    min_processes: i32,
    max_processes: i32,
    max_conns_per_process: i32,
    load_factor: f64,
    init_timeout: i32,
    idle_timeout: i32,
    connection_timeout: i32,
    read_timeout: i32,
    min_processes_limit: i32,
    max_processes_limit: i32,
    cpu_request: f64,
    max_cpu_request: f64,
    cpu_limit: f64,
    max_cpu_limit: f64,
    memory_request: i64,
    max_memory_request: i64,
    memory_limit: i64,
    max_memory_limit: i64,
    amd_gpu_limit: i32,
    max_amd_gpu_limit: i32,
    nvidia_gpu_limit: i32,
    max_nvidia_gpu_limit: i32,
}

impl From<&Scheduler> for SchedulerSettings {
    fn from(given: &Scheduler) -> Self {
        Self {
            min_processes: given.min_processes,
            max_processes: given.max_processes,
            max_conns_per_process: given.max_conns_per_process,
            load_factor: given.load_factor,
            init_timeout: given.init_timeout,
            idle_timeout: given.idle_timeout,
            connection_timeout: given.connection_timeout,
            read_timeout: given.read_timeout,
            min_processes_limit: given.min_processes_limit,
            max_processes_limit: given.max_processes_limit,
            ..Self::default()
        }
    }
}

/// Defaults and limits of processes.
#[utoipa::path(get, path = "/server_settings/scheduler", tag = "server",
    responses((status = 200, body = SchedulerSettings), (status = 401, body = ErrorBody)))]
async fn scheduler(State(services): State<Services>, _: Account) -> Json<SchedulerSettings> {
    Json((&services.settings.scheduler).into())
}

/// Defaults and limits of processes for one kind of content; Lectern makes no difference between kinds.
#[utoipa::path(get, path = "/server_settings/scheduler/{app_mode}", tag = "server",
    params(("app_mode" = String, Path, description = "a kind of content, `python-fastapi` for example")),
    responses((status = 200, body = SchedulerSettings), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
async fn scheduler_of_mode(
    State(services): State<Services>,
    _: Account,
    Path(mode): Path<String>,
) -> Result<Json<SchedulerSettings>, ApiError> {
    if AppMode::parse(&mode).is_none() {
        return Err(ApiError::new(Code::Missing, "there is no such kind of content"));
    }
    Ok(Json((&services.settings.scheduler).into()))
}

/// An interpreter that content may run with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Installation {
    version: String,
    cluster_name: &'static str,
    image_name: &'static str,
    /// Whether new content may be published with it (read by `rsconnect preflight`).
    publishable: bool,
}

fn installed(versions: Vec<String>) -> Vec<Installation> {
    let local = |version| Installation { version, cluster_name: "Local", image_name: "Local", publishable: true };
    versions.into_iter().map(local).collect()
}

/// The interpreters of one language.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Installations {
    installations: Vec<Installation>,
}

/// The Python interpreters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PythonInstallations {
    installations: Vec<Installation>,
    /// Whether Python APIs and apps can be published.
    api_enabled: bool,
}

/// The Node.js interpreters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeInstallations {
    installations: Vec<Installation>,
    /// Whether Node.js content can be published.
    enabled: bool,
    status: NodeStatus,
}

/// Whether Node.js content can be published, in the words of `rsconnect preflight`, which names each that is false.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeStatus {
    enabled: bool,
    licensed: bool,
    configured: bool,
    /// Whether an interpreter was found.
    available: bool,
    usable: bool,
}

/// Python on this server.
#[utoipa::path(get, path = "/v1/server_settings/python", tag = "server",
    responses((status = 200, body = PythonInstallations), (status = 401, body = ErrorBody)))]
async fn python(State(services): State<Services>, _: Account) -> Json<PythonInstallations> {
    let installations = installed(services.backstage.runtimes().python);
    Json(PythonInstallations { api_enabled: !installations.is_empty(), installations })
}

/// R on this server.
#[utoipa::path(get, path = "/v1/server_settings/r", tag = "server",
    responses((status = 200, body = Installations), (status = 401, body = ErrorBody)))]
async fn r(State(services): State<Services>, _: Account) -> Json<Installations> {
    Json(Installations { installations: installed(services.backstage.runtimes().r) })
}

/// Quarto on this server.
#[utoipa::path(get, path = "/v1/server_settings/quarto", tag = "server",
    responses((status = 200, body = Installations), (status = 401, body = ErrorBody)))]
async fn quarto(State(services): State<Services>, _: Account) -> Json<Installations> {
    Json(Installations { installations: installed(services.backstage.runtimes().quarto) })
}

/// Node.js on this server.
#[utoipa::path(get, path = "/v1/server_settings/nodejs", tag = "server",
    responses((status = 200, body = NodeInstallations), (status = 401, body = ErrorBody)))]
async fn nodejs(State(services): State<Services>, _: Account) -> Json<NodeInstallations> {
    let installations = installed(services.backstage.runtimes().nodejs);
    let found = !installations.is_empty();
    let status = NodeStatus { enabled: true, licensed: true, configured: found, available: found, usable: found };
    Json(NodeInstallations { enabled: found, status, installations })
}

/// TensorFlow on this server: none.
#[utoipa::path(get, path = "/v1/server_settings/tensorflow", tag = "server",
    responses((status = 200, body = Installations), (status = 401, body = ErrorBody)))]
async fn tensorflow(_: Account) -> Json<Installations> {
    Json(Installations { installations: Vec::new() })
}
