//! Packages, the releases made of them, trusted keys and secrets.

use std::time::Duration;

use lectern_domain::plugin::{Actor, Document, Grants, Instances, PackageDigest, ReleaseSpec};
use lectern_metadata::plugins::packages::{self, Installed, NewPackage};
use lectern_metadata::plugins::{Note, PluginRefusal, bindings, releases, secrets, trusted_keys};
use lectern_metadata::{Database, DatabaseConfig, DbError};

use super::bindings::{bound, committed};
use super::open;

pub fn note() -> Note {
    Note::new(Actor::User("ada".to_owned()), "because")
}

pub fn new_package(plugin: &str, version: &str, byte: u8) -> NewPackage {
    NewPackage {
        digest: PackageDigest([byte; 32]),
        plugin: plugin.parse().unwrap(),
        version: version.to_owned(),
        size_bytes: 1 << 20,
        signed_by: Some("key".to_owned()),
        manifest: r#"{"name": "x"}"#.parse().unwrap(),
    }
}

pub fn release_of(package: PackageDigest, config: &str) -> ReleaseSpec {
    ReleaseSpec {
        package,
        config: config.parse().unwrap(),
        grants: Grants::new(["clock".parse().unwrap(), "outbound:https://idp.example".parse().unwrap()]),
        limits: Document::default(),
        instances: Instances::Warm,
    }
}

pub async fn a_version_is_one_file(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let new = new_package("login", "1.0.0", 1);
    let first = committed(&mut client, async |tx| packages::install(tx, &new, &note()).await).await.unwrap();
    let Installed::New(package) = &first else { panic!("{first:?}") };
    assert_eq!((package.digest, package.version.as_str(), package.size_bytes), (new.digest, "1.0.0", 1 << 20));
    assert_eq!((package.signed_by.as_deref(), &package.manifest), (Some("key"), &new.manifest));
    assert_eq!(package.installed_by, Actor::User("ada".to_owned()));
    let again = committed(&mut client, async |tx| packages::install(tx, &new, &note()).await).await.unwrap();
    assert_eq!(again, Installed::Already(package.clone()));

    let other = new_package("login", "1.0.0", 2);
    let refused = committed(&mut client, async |tx| packages::install(tx, &other, &note()).await).await.unwrap_err();
    assert!(
        matches!(&refused, DbError::Plugin(PluginRefusal::VersionTaken { installed, .. }) if *installed == new.digest),
        "{refused:?}"
    );
    assert!(
        refused.to_string().contains("version 1.0.0 of login") && refused.to_string().contains("0101"),
        "{refused}"
    );
    for (plugin, version) in [("login", "1.0.1-rc.1+b7"), ("other", "1.0.0")] {
        let new = NewPackage { digest: PackageDigest::of(plugin.as_bytes()), ..new_package(plugin, version, 0) };
        committed(&mut client, async |tx| packages::install(tx, &new, &note()).await).await.unwrap();
    }
    for bad in ["", "1", "1.0", "v1.0.0", "1.0.0 ", "1.0.0\n", "1.0.0-ä"] {
        let new = new_package("login", bad, 9);
        let refused = committed(&mut client, async |tx| packages::install(tx, &new, &note()).await).await;
        assert!(matches!(&refused, Err(DbError::Refused { rule }) if rule.contains("version")), "{bad:?} {refused:?}");
    }
    let names: Vec<_> =
        packages::list(&client).await.unwrap().into_iter().map(|p| (p.plugin.to_string(), p.version)).collect();
    let expected = [("login", "1.0.0"), ("login", "1.0.1-rc.1+b7"), ("other", "1.0.0")];
    assert_eq!(names, expected.map(|(plugin, version)| (plugin.to_owned(), version.to_owned())));
    let found = packages::get_version(&client, &new.plugin, "1.0.0").await.unwrap();
    assert_eq!(found, packages::get(&client, new.digest).await.unwrap());
    assert_eq!(packages::get(&client, PackageDigest([9; 32])).await.unwrap(), None);
}

pub async fn a_used_package_stays(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, release) = bound(&mut client, "login", 1).await;
    let digest = release.spec.package;
    let refused = committed(&mut client, async |tx| packages::remove(tx, digest, &note()).await).await.unwrap_err();
    assert!(
        matches!(&refused, DbError::Plugin(PluginRefusal::PackageInUse { bindings }) if *bindings == [binding.spec.name.clone()]),
        "{refused:?}"
    );
    // By hand it is refused too.
    let error = client.execute("DELETE FROM plugin_packages", &[]).await.unwrap_err();
    assert!(error.as_db_error().unwrap().constraint().unwrap().starts_with("plugin_bindings_"), "{error}");
    committed(&mut client, async |tx| bindings::unbind(tx, &binding.spec.name, binding.revision, &note()).await)
        .await
        .unwrap();
    let removed = committed(&mut client, async |tx| packages::remove(tx, digest, &note()).await).await.unwrap();
    assert_eq!(removed.digest, digest);
    assert_eq!(releases::get(&client, release.hash).await.unwrap(), None, "gone with its package");
    let gone = committed(&mut client, async |tx| packages::remove(tx, digest, &note()).await).await;
    assert!(matches!(gone, Err(DbError::NotFound("package"))), "{gone:?}");
}

pub async fn releases_are_named_by_what_they_are(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let new = new_package("login", "1.0.0", 1);
    let spec = release_of(new.digest, r#"{"b": 0.30000000000000004, "a": "\u0000ü"}"#);
    let by = Actor::AdminSocket;
    let lost = releases::create(&client, &spec, &by).await;
    assert!(matches!(lost, Err(DbError::NotFound("package"))), "{lost:?}");
    committed(&mut client, async |tx| packages::install(tx, &new, &note()).await).await.unwrap();
    let release = releases::create(&client, &spec, &by).await.unwrap();
    assert_eq!((release.hash, &release.spec, &release.created_by), (spec.hash(), &spec, &by));
    assert_eq!(release.plugin, new.plugin);
    let again = releases::create(&client, &spec, &Actor::Server).await.unwrap();
    assert_eq!(again, release, "made once");
    let other = releases::create(&client, &release_of(new.digest, "{}"), &by).await.unwrap();
    assert_eq!(releases::list(&client, &new.plugin).await.unwrap(), [other, release.clone()]);
    client
        .execute("UPDATE plugin_releases SET grants = '[\"random\"]' WHERE hash = $1", &[&spec.hash().0.as_slice()])
        .await
        .unwrap();
    let error = releases::get(&client, spec.hash()).await.unwrap_err();
    assert!(matches!(error, DbError::Corrupt { what: "release", .. }), "{error:?}");
}

pub async fn unused_releases_are_swept(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (_, live) = bound(&mut client, "login", 1).await;
    let mut made = vec![live.hash];
    for number in 0..4 {
        let spec = release_of(live.spec.package, &format!(r#"{{"n": {number}}}"#));
        made.push(releases::create(&client, &spec, &Actor::AdminSocket).await.unwrap().hash);
    }
    let hour = Duration::from_secs(3600);
    assert_eq!(releases::sweep(&client, 0, hour).await.unwrap(), 0, "too young");
    assert_eq!(releases::sweep(&client, 5, Duration::ZERO).await.unwrap(), 0, "few");
    assert_eq!(releases::sweep(&client, 2, Duration::ZERO).await.unwrap(), 2);
    let left: Vec<_> =
        releases::list(&client, &live.plugin).await.unwrap().iter().map(|release| release.hash).collect();
    assert_eq!(left, [made[4], made[3], made[0]], "the newest, and the one in use");
}

pub async fn keys_are_trusted_until_they_are_not(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let add = async |client: &mut _, id: &str, key: &str| {
        committed(client, async |tx| trusted_keys::add(tx, id, key, "Ada's laptop", &note()).await).await
    };
    let key = add(&mut client, "k1", "untrusted comment").await.unwrap();
    assert_eq!((key.id.as_str(), key.comment.as_str()), ("k1", "Ada's laptop"));
    for (id, text) in [("k1", "another"), ("k2", "untrusted comment")] {
        let refused = add(&mut client, id, text).await;
        assert!(matches!(refused, Err(DbError::Plugin(PluginRefusal::AlreadyTrusted))), "{refused:?}");
    }
    assert_eq!(trusted_keys::list(&client).await.unwrap(), std::slice::from_ref(&key));
    let removed = committed(&mut client, async |tx| trusted_keys::remove(tx, "k1", &note()).await).await;
    assert_eq!(removed.unwrap(), key);
    let gone = committed(&mut client, async |tx| trusted_keys::remove(tx, "k1", &note()).await).await;
    assert!(matches!(gone, Err(DbError::NotFound("trusted key"))), "{gone:?}");
    for number in 0..trusted_keys::MOST_KEYS {
        add(&mut client, &format!("k{number}"), &format!("key {number}")).await.unwrap();
    }
    let many = add(&mut client, "more", "more").await;
    assert!(matches!(many, Err(DbError::Plugin(PluginRefusal::TooMany { most: 100, .. }))), "{many:?}");
}

pub async fn secrets_are_sealed_and_counted(config: DatabaseConfig) {
    let database: Database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (login, other) = ("login".parse().unwrap(), "a-other".parse().unwrap());
    let set = async |client: &mut _, plugin: &_, name: &str, sealed: &[u8]| {
        committed(client, async |tx| secrets::set(tx, plugin, name, sealed, &note()).await).await
    };
    let first = set(&mut client, &login, "client-secret", b"sealed one").await.unwrap();
    let second = set(&mut client, &login, "client-secret", b"sealed two").await.unwrap();
    assert!(second.stamp > first.stamp);
    set(&mut client, &other, "x", b"sealed x").await.unwrap();
    assert_eq!(secrets::list(&client, &login).await.unwrap(), std::slice::from_ref(&second));
    let all = secrets::all(&client).await.unwrap();
    assert_eq!(all.iter().map(|secret| secret.name.as_str()).collect::<Vec<_>>(), ["x", "client-secret"]);
    assert!(!format!("{all:?}").contains(&format!("{:?}", b"sealed")[..10]), "{all:?}");
    for bad in ["", "a b", "ä"] {
        assert!(matches!(set(&mut client, &login, bad, b"").await, Err(DbError::Refused { .. })), "{bad}");
    }
    let large = set(&mut client, &login, "large", &vec![0; 66_561]).await;
    assert!(matches!(large, Err(DbError::Refused { .. })), "{large:?}");
    let remove = async |client: &mut _, name: &str| {
        committed(client, async |tx| secrets::remove(tx, &login, name, &note()).await).await
    };
    remove(&mut client, "client-secret").await.unwrap();
    assert!(matches!(remove(&mut client, "client-secret").await, Err(DbError::NotFound("secret"))));
    for number in 0..secrets::MOST_SECRETS {
        set(&mut client, &login, &format!("s{number}"), b"x").await.unwrap();
    }
    let many = set(&mut client, &login, "more", b"x").await;
    assert!(matches!(many, Err(DbError::Plugin(PluginRefusal::TooMany { most: 100, .. }))), "{many:?}");
    set(&mut client, &login, "s7", b"another value for one that is there").await.unwrap();
}
