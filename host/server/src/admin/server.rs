//! Serves the admin socket.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lectern_domain::audit::Action;
use lectern_domain::plugin::Actor;
use lectern_domain::user::check_username;
use lectern_domain::{KeyId, UserGuid, UserRole};
use lectern_metadata::users::{NewUser, PasswordHash, ProfilePatch, UserFilter, UserRow};
use lectern_metadata::{Client, Database, DbError, Part, Transaction, audit, keys, sessions, users};
use serde_json::json;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::protocol::{AddUser, ChangeUser, CreateKey, CreatedKey, KeyView, ListKeys, RevokeKey, UserView};
use crate::credentials;
use crate::owned_socket::OwnedSocket;
use crate::plugins::api::{Operator, operations};
use crate::plugins::manage::Plugins;
use crate::rotation::{Rotation, RotationStatus};
use crate::runtimes::Runtimes;
use crate::view::View;

#[derive(Clone)]
struct Admin {
    database: Database,
    view: Arc<View>,
}

/// Why a command was not carried out; the text is for the person at the command line.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        let status = match &error {
            DbError::NotFound(_) => StatusCode::NOT_FOUND,
            DbError::UsernameTaken => StatusCode::CONFLICT,
            other if lectern_metadata::is_transient(other) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, crate::cli::chain(&error))
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, crate::cli::chain(error.as_ref()))
    }
}

pub(super) fn refuse(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// Serves the admin socket until `stop`.
pub(crate) async fn serve(
    (listener, socket): (UnixListener, OwnedSocket),
    database: Database,
    view: Arc<View>,
    plugins: Arc<Plugins>,
    rotation: Arc<Rotation>,
    runtimes: Arc<Runtimes>,
    stop: CancellationToken,
) {
    let (audited, evicted) = (database.clone(), database.clone());
    let sealing_key =
        Router::new().route("/rotate", post(rotate_key)).route("/status", post(rotation_status)).with_state(rotation);
    let router = Router::new()
        .route("/users/add", post(add_user))
        .route("/users/change", post(change_user))
        .route("/users/list", post(list_users))
        .route("/keys/create", post(create_key))
        .route("/keys/list", post(list_keys))
        .route("/keys/revoke", post(revoke_key))
        .with_state(Admin { database, view })
        .nest("/sealing-key", sealing_key)
        .merge(super::audit::routes(audited))
        .merge(super::packages::routes(runtimes, evicted))
        .nest("/v1", operations(plugins).layer(Extension(Operator(Actor::AdminSocket))));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept on the admin socket");
                // Out of descriptors, most likely: the next try a moment later costs nothing.
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            }
        };
        if let Err(error) = socket.allows(&stream) {
            tracing::warn!(%error, "admin socket: refused");
            continue;
        }
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        connections.spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
    connections.close();
    connections.wait().await;
}

async fn rotate_key(State(rotation): State<Arc<Rotation>>) -> Answer<RotationStatus> {
    // Before it is done: files change, which no transaction covers.
    let mut client = rotation.database().client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    record(&tx, &Action::SealingKeyRotation).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    tracing::info!("a rotation of the sealing key was asked for");
    Ok(Json(rotation.begin()))
}

async fn rotation_status(State(rotation): State<Arc<Rotation>>) -> Json<RotationStatus> {
    Json(rotation.status())
}

fn shown(user: UserRow) -> UserView {
    UserView {
        guid: user.guid.to_string(),
        username: user.username,
        email: user.email,
        role: user.role.as_str().to_owned(),
        locked: user.locked,
    }
}

fn parse_role(text: &str) -> Result<UserRole, Refusal> {
    UserRole::parse(text).ok_or_else(|| refuse(format!("role {text:?} must be viewer, publisher or administrator")))
}

/// Writes down what was done over the admin socket; the last thing of its transaction.
pub(super) async fn record(tx: &Transaction<'_>, action: &Action<'_>) -> Result<(), DbError> {
    audit::append(tx, lectern_domain::audit::Actor::admin_socket(), action).await.map(drop)
}

async fn hash(password: Option<String>) -> Result<Option<PasswordHash>, Refusal> {
    let Some(password) = password else { return Ok(None) };
    credentials::check_new_password(&password).map_err(refuse)?;
    Ok(Some(PasswordHash(credentials::hash_password(password).await?)))
}

async fn find(client: &Client, username: &str) -> Result<UserRow, Refusal> {
    users::get_by_username(client, username)
        .await?
        .ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("there is no account {username:?}")))
}

async fn add_user(State(admin): State<Admin>, Json(ask): Json<AddUser>) -> Answer<UserView> {
    check_username(&ask.username).map_err(|error| refuse(error.to_string()))?;
    let user = NewUser {
        guid: UserGuid(Uuid::new_v4()),
        role: parse_role(&ask.role)?,
        username: ask.username,
        email: ask.email,
        first_name: ask.first_name,
        last_name: ask.last_name,
        password_hash: hash(ask.password).await?,
        confirmed: true,
    };
    let mut client = admin.database.client().await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    let made = users::create(&tx, &user).await?;
    record(&tx, &Action::UserMade { user: &made.username, role: made.role }).await?;
    tx.commit().await.map_err(DbError::from)?;
    admin.view.refresh(Part::Users).await?;
    Ok(Json(shown(made)))
}

async fn change_user(State(admin): State<Admin>, Json(ask): Json<ChangeUser>) -> Answer<UserView> {
    let role = ask.role.as_deref().map(parse_role).transpose()?;
    let password = hash(ask.password).await?;
    let mut client = admin.database.client().await?;
    let user = find(&client, &ask.username).await?;
    let tx = client.transaction().await.map_err(DbError::from)?;
    if let Some(role) = role {
        users::set_role(&tx, user.id, role).await?;
    }
    if let Some(locked) = ask.locked {
        users::set_locked(&tx, user.id, locked).await?;
    }
    if let Some(password) = &password {
        users::set_password_hash(&tx, user.id, Some(password)).await?;
        // Whoever knew the old password may be signed in with it.
        sessions::delete_of_user(&tx, user.id).await?;
    }
    let changed = users::update_profile(&tx, user.id, &ProfilePatch::default()).await?;
    let name = &changed.username;
    if let Some(role) = role {
        record(&tx, &Action::UserRoleSet { user: name, role }).await?;
    }
    match ask.locked {
        Some(true) => record(&tx, &Action::UserLocked { user: name }).await?,
        Some(false) => record(&tx, &Action::UserUnlocked { user: name }).await?,
        None => {}
    }
    if password.is_some() {
        record(&tx, &Action::PasswordSet { user: name }).await?;
    }
    tx.commit().await.map_err(DbError::from)?;
    for part in [Part::Users, Part::Sessions] {
        admin.view.refresh(part).await?;
    }
    Ok(Json(shown(changed)))
}

async fn list_users(State(admin): State<Admin>) -> Answer<Vec<UserView>> {
    /// More accounts than one server has; bounds the answer.
    const MOST: i64 = 100_000;
    let client = admin.database.client().await?;
    let page = users::list(&client, &UserFilter::default(), 0, MOST).await?;
    Ok(Json(page.users.into_iter().map(shown).collect()))
}

async fn create_key(State(admin): State<Admin>, Json(ask): Json<CreateKey>) -> Answer<CreatedKey> {
    let role = parse_role(&ask.role)?;
    if ask.name.is_empty() || ask.name.chars().count() > 255 {
        return Err(refuse("a key's name has 1 to 255 characters"));
    }
    let mut client = admin.database.client().await?;
    let user = find(&client, &ask.username).await?;
    let text = credentials::new_secret()?;
    // What the list shows is what the key can do.
    let role = role.min(user.role);
    let tx = client.transaction().await.map_err(DbError::from)?;
    let key = keys::create(&tx, user.id, &ask.name, role, &credentials::secret_hash(&text), None).await?;
    record(&tx, &Action::KeyMade { user: &user.username, key: &key.name, role }).await?;
    tx.commit().await.map_err(DbError::from)?;
    admin.view.refresh(Part::Keys).await?;
    Ok(Json(CreatedKey { id: key.id.0, name: key.name, key: text }))
}

async fn list_keys(State(admin): State<Admin>, Json(ask): Json<ListKeys>) -> Answer<Vec<KeyView>> {
    let client = admin.database.client().await?;
    let user = find(&client, &ask.username).await?;
    let keys = keys::list(&client, user.id).await?.into_iter().map(|key| KeyView {
        id: key.id.0,
        name: key.name,
        role: key.role.as_str().to_owned(),
        created_at: crate::moment::show(key.created_at),
    });
    Ok(Json(keys.collect()))
}

async fn revoke_key(State(admin): State<Admin>, Json(ask): Json<RevokeKey>) -> Answer<serde_json::Value> {
    let mut client = admin.database.client().await?;
    let user = find(&client, &ask.username).await?;
    let absent = || Refusal(StatusCode::NOT_FOUND, format!("{} has no key {}", ask.username, ask.id));
    let tx = client.transaction().await.map_err(DbError::from)?;
    let key = keys::get(&tx, user.id, KeyId(ask.id)).await?.ok_or_else(absent)?;
    if !keys::revoke(&tx, user.id, key.id).await? {
        return Err(absent());
    }
    record(&tx, &Action::KeyRevoked { user: &user.username, key: &key.name }).await?;
    tx.commit().await.map_err(DbError::from)?;
    admin.view.refresh(Part::Keys).await?;
    Ok(Json(json!({"revoked": ask.id})))
}
