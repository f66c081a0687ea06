//! The suite on a server named by a URL and reached over verified TLS, and what TLS promises.
#![allow(clippy::unwrap_used, clippy::panic)]

mod suite;
mod support;

use lectern_metadata::config::ConfigError;
use lectern_metadata::database::ConnectError;
use lectern_metadata::testing::{chain, new_database};
use lectern_metadata::{Database, DatabaseConfig, DbError, Part, is_transient, listen, users};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use support::{PASSWORD, TlsServer};

static SERVER: OnceCell<TlsServer> = OnceCell::const_new();

async fn server() -> &'static TlsServer {
    SERVER.get_or_init(TlsServer::start).await
}

async fn empty() -> DatabaseConfig {
    new_database(&server().await.config()).await
}

suite!(empty);

async fn encrypted(config: DatabaseConfig) -> bool {
    let client = Database::connect(config).await.unwrap().client().await.unwrap();
    client.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap().get(0)
}

async fn refusal(config: DatabaseConfig) -> DbError {
    match Database::connect(config).await.unwrap_err() {
        ConnectError::Connect { cause, .. } => cause,
        other => panic!("{}", chain(&other)),
    }
}

#[tokio::test]
async fn only_the_right_authority_and_name_are_trusted() {
    let server = server().await;
    assert!(encrypted(server.config()).await);
    assert!(encrypted(DatabaseConfig { url: server.url("localhost", "?sslmode=require"), ..server.config() }).await);
    let cases = [
        ("another authority", DatabaseConfig { tls_ca_file: Some(server.other_ca()), ..server.config() }),
        ("the system's roots", DatabaseConfig { tls_ca_file: None, ..server.config() }),
        ("another name", DatabaseConfig { url: server.url("127.0.0.1", ""), ..server.config() }),
        (
            "require with another authority",
            DatabaseConfig {
                url: server.url("localhost", "?sslmode=require"),
                tls_ca_file: Some(server.other_ca()),
                ..server.config()
            },
        ),
    ];
    for (what, config) in cases {
        let error = refusal(config).await;
        let told = chain(&error);
        assert!(told.contains("certificate") && !told.contains(PASSWORD), "{what}: {told}");
        assert!(!is_transient(&error), "{what}: waiting does not help: {told}");
    }
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_named() {
    let server = server().await;
    let missing = server.ca().with_file_name("absent.pem");
    let not_pem = server.ca().with_file_name("server.ext");
    for path in [missing, not_pem] {
        let error = Database::open(DatabaseConfig { tls_ca_file: Some(path.clone()), ..server.config() }).unwrap_err();
        assert!(matches!(&error, ConfigError::CaFile { path: named, .. } if *named == path), "{error:?}");
    }
}

#[tokio::test]
async fn plain_text_needs_permission() {
    let server = server().await;
    let with = |mode: &str, allow_unverified_tls| DatabaseConfig {
        url: server.url("localhost", &format!("?sslmode={mode}")),
        allow_unverified_tls,
        tls_ca_file: None,
        ..server.config()
    };
    for mode in ["disable", "prefer"] {
        let error = Database::open(with(mode, false)).unwrap_err();
        assert!(matches!(error, ConfigError::Unverified { .. }), "{error:?}");
        assert!(error.to_string().contains("database.tls_ca_file"), "{error}");
    }
    assert!(!encrypted(with("disable", true)).await);
    assert!(encrypted(with("prefer", true)).await);
    assert!(encrypted(with("require", true)).await);
}

#[tokio::test]
async fn wrong_credentials_are_told_without_the_password() {
    let server = server().await;
    let url = server.config().url.replace(PASSWORD, "hunter2");
    let error = Database::connect(DatabaseConfig { url, ..server.config() }).await.unwrap_err();
    let told = format!("{} {error:?}", chain(&error));
    assert!(told.contains("password authentication failed") && !told.contains("hunter2"), "{told}");
    let ConnectError::Connect { cause, .. } = error else { panic!("{told}") };
    assert!(!is_transient(&cause));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_and_listener_recover_when_the_server_returns() {
    let server = TlsServer::start().await;
    let config = new_database(&server.config()).await;
    let database = suite::open(config.clone()).await;
    suite::user(&database, "ada").await;
    let stop = CancellationToken::new();
    let mut changes = listen(&config, &stop).unwrap();
    assert_eq!(timeout(suite::SOON, changes.next()).await.unwrap(), Some(Part::Everything));
    for _ in 0..2 {
        let in_use = database.client().await.unwrap();
        server.kill();
        let cut = users::count(&in_use).await.unwrap_err();
        assert!(is_transient(&cut), "{}", chain(&cut));
        drop(in_use);
        let away = database.client().await.err().unwrap();
        assert!(matches!(away, DbError::Unavailable(_)) && is_transient(&away), "{}", chain(&away));
        server.run().await;
        assert_eq!(users::count(&database.client().await.unwrap()).await.unwrap(), 1);
        assert_eq!(timeout(suite::SOON, changes.next()).await.unwrap(), Some(Part::Everything), "connected again");
    }
}
