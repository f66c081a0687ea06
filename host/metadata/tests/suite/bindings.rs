//! Bindings: their changes, who wins, and what servers load.

use lectern_domain::plugin::{
    Action, Actor, Binding, BindingSettings, BindingSpec, Budget, Candidate, CandidateMode, Change, ChangeRefused,
    GivenUp, Matcher, OnFailure, Phase, Previous, Release, ReleaseHash, Share,
};
use lectern_metadata::database::Client;
use lectern_metadata::plugins::gate::load_gate;
use lectern_metadata::plugins::packages::NewPackage;
use lectern_metadata::plugins::{Note, PluginRefusal, bindings, history, packages, releases, secrets, trusted_keys};
use lectern_metadata::{Database, DatabaseConfig, DbError, Part, Transaction, listen};
use tokio_util::sync::CancellationToken;

use super::packages::{new_package, note, release_of};
use super::views::{next, statements};
use super::{open, user};

/// Runs a transaction; rolled back when `work` fails.
pub async fn committed<T>(
    client: &mut Client,
    work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let tx = client.transaction().await.unwrap();
    let done = work(&tx).await?;
    tx.commit().await.unwrap();
    Ok(done)
}

pub fn settings() -> BindingSettings {
    BindingSettings {
        phases: [Phase::Route, Phase::Select].into(),
        position: 10,
        matcher: Matcher { hosts: ["a.example".to_owned()].into(), ..Matcher::default() },
        on_failure: OnFailure::Skip,
        budget: Budget::default(),
        enabled: true,
    }
}

pub fn spec(name: &str) -> BindingSpec {
    BindingSpec { name: name.parse().unwrap(), plugin: name.parse().unwrap(), settings: settings() }
}

/// A release of the plugin `name` with the number as configuration; its package is installed once.
pub async fn release(client: &mut Client, name: &str, number: u8) -> Release {
    let new = NewPackage {
        digest: lectern_domain::plugin::PackageDigest::of(name.as_bytes()),
        ..new_package(name, "1.0.0", 0)
    };
    committed(client, async |tx| packages::install(tx, &new, &note()).await).await.unwrap();
    let spec = release_of(new.digest, &format!(r#"{{"number": {number}}}"#));
    releases::create(client, &spec, &Actor::AdminSocket).await.unwrap()
}

/// A plugin with a binding of its name, and a release of that number live there.
pub async fn bound(client: &mut Client, name: &str, number: u8) -> (Binding, Release) {
    let release = release(client, name, number).await;
    let binding = committed(client, async |tx| bindings::bind(tx, &spec(name), release.hash, &note()).await).await;
    (binding.unwrap(), release)
}

pub async fn change(client: &mut Client, binding: &Binding, change: Change) -> Result<Binding, DbError> {
    let (name, revision) = (&binding.spec.name, binding.revision);
    committed(client, async |tx| bindings::change(tx, name, revision, &change, &note()).await).await
}

fn shadow(release: ReleaseHash) -> Change {
    Change::Offer(Candidate { release, mode: CandidateMode::Shadow })
}

pub async fn a_binding_moves_through_its_releases(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, one) = bound(&mut client, "login", 1).await;
    assert_eq!((&binding.spec, binding.revision), (&spec("login"), 1));
    assert_eq!(binding.changed_by, Actor::User("ada".to_owned()));
    let two = release(&mut client, "login", 2).await;
    let three = release(&mut client, "login", 3).await;
    let previous = |release: &Release| Some(Previous { release: release.hash, given_up: false });

    let binding = change(&mut client, &binding, Change::Swap(two.hash)).await.unwrap();
    assert_eq!((binding.releases.live, binding.releases.previous), (two.hash, previous(&one)));
    assert_eq!(binding.revision, 2);
    let binding = change(&mut client, &binding, Change::Rollback).await.unwrap();
    assert_eq!((binding.releases.live, binding.releases.previous), (one.hash, previous(&two)));
    let binding = change(&mut client, &binding, shadow(three.hash)).await.unwrap();
    let share = Share { per_ten_thousand: 500, users: ["eve".to_owned()].into() };
    let canary = Candidate { release: three.hash, mode: CandidateMode::Canary(share) };
    let binding = change(&mut client, &binding, Change::Offer(canary.clone())).await.unwrap();
    assert_eq!(binding.releases.candidate, Some(canary));
    let withdrawn = change(&mut client, &binding, Change::Withdraw).await.unwrap();
    assert_eq!(withdrawn.releases.candidate, None);
    let binding = change(&mut client, &withdrawn, shadow(three.hash)).await.unwrap();
    let binding = change(&mut client, &binding, Change::Promote).await.unwrap();
    assert_eq!((binding.releases.live, binding.releases.previous), (three.hash, previous(&one)));
    assert_eq!((&binding.releases.candidate, binding.revision), (&None, 8));
    assert_eq!(bindings::get(&client, &binding.spec.name).await.unwrap().as_ref(), Some(&binding));

    for (refused, expected) in [
        (Change::Swap(three.hash), ChangeRefused::AlreadyLive(three.hash)),
        (shadow(three.hash), ChangeRefused::AlreadyLive(three.hash)),
        (Change::Withdraw, ChangeRefused::NoCandidate),
        (Change::Promote, ChangeRefused::NoCandidate),
    ] {
        let error = change(&mut client, &binding, refused).await.unwrap_err();
        assert!(matches!(&error, DbError::Plugin(PluginRefusal::Change(why)) if *why == expected), "{error:?}");
    }
    let taken = committed(&mut client, async |tx| bindings::bind(tx, &spec("login"), one.hash, &note()).await).await;
    assert!(matches!(taken, Err(DbError::Plugin(PluginRefusal::BindingTaken))), "{taken:?}");
    let name = &binding.spec.name;
    let stale = committed(&mut client, async |tx| bindings::unbind(tx, name, 7, &note()).await).await;
    assert!(matches!(stale, Err(DbError::Plugin(PluginRefusal::Stale(_)))), "{stale:?}");
    let gone = committed(&mut client, async |tx| bindings::unbind(tx, name, 8, &note()).await).await.unwrap();
    assert_eq!(gone, binding);
    let nothing = change(&mut client, &binding, Change::Rollback).await;
    assert!(matches!(nothing, Err(DbError::NotFound("binding"))), "{nothing:?}");
}

pub async fn settings_change_and_are_checked(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, _) = bound(&mut client, "login", 1).await;
    let new = BindingSettings { position: -5, enabled: false, on_failure: OnFailure::Fail, ..settings() };
    let changed = change(&mut client, &binding, Change::Settings(new.clone())).await.unwrap();
    assert_eq!((&changed.spec.settings, &changed.releases), (&new, &binding.releases));
    let none = BindingSettings { phases: [].into(), ..settings() };
    let error = change(&mut client, &changed, Change::Settings(none.clone())).await.unwrap_err();
    assert!(matches!(error, DbError::Plugin(PluginRefusal::Settings(_))), "{error:?}");
    let other = BindingSpec { settings: none, ..spec("other") };
    let live = changed.releases.live;
    let error = committed(&mut client, async |tx| bindings::bind(tx, &other, live, &note()).await).await.unwrap_err();
    assert!(matches!(error, DbError::Plugin(PluginRefusal::Settings(_))), "{error:?}");
}

pub async fn of_two_operators_one_wins(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, _) = bound(&mut client, "login", 1).await;
    let mut wanted = Vec::new();
    for number in 2..10 {
        wanted.push(release(&mut client, "login", number).await.hash);
    }
    let racing: Vec<_> = wanted
        .iter()
        .map(|&to| {
            let (database, name) = (database.clone(), binding.spec.name.clone());
            tokio::spawn(async move {
                let mut client = database.client().await.unwrap();
                let note = Note::new(Actor::User(to.short()), format!("try {}", to.short()));
                committed(&mut client, async |tx| bindings::change(tx, &name, 1, &Change::Swap(to), &note).await).await
            })
        })
        .collect();
    let (mut won, mut told) = (Vec::new(), Vec::new());
    for race in racing {
        match race.await.unwrap() {
            Ok(binding) => won.push(binding),
            Err(DbError::Plugin(PluginRefusal::Stale(stale))) => told.push(stale),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((won.len(), told.len()), (1, 7));
    let won = &won[0];
    for stale in told {
        assert_eq!((stale.revision, stale.live, &stale.changed_by), (2, won.releases.live, &won.changed_by));
        assert_eq!((stale.changed_at, stale.action), (won.changed_at, Some(Action::Swap)));
        assert_eq!(stale.reason, format!("try {}", won.releases.live.short()));
        assert!(stale.to_string().contains(&won.releases.live.short()), "{stale}");
    }
}

pub async fn failures_are_given_up_once(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, one) = bound(&mut client, "login", 1).await;
    let (two, three) = (release(&mut client, "login", 2).await, release(&mut client, "login", 3).await);
    let binding = change(&mut client, &binding, Change::Swap(two.hash)).await.unwrap();
    let binding = change(&mut client, &binding, shadow(three.hash)).await.unwrap();
    let give_up = async |failed: ReleaseHash| {
        let reports: Vec<_> = (0..4)
            .map(|_| {
                let (database, name) = (database.clone(), binding.spec.name.clone());
                tokio::spawn(async move {
                    let mut client = database.client().await.unwrap();
                    let note = Note::new(Actor::Automatic, "7 of 100 calls failed");
                    committed(&mut client, async |tx| bindings::give_up(tx, &name, failed, &note).await).await.unwrap()
                })
            })
            .collect();
        let mut done = Vec::new();
        for report in reports {
            done.extend(report.await.unwrap());
        }
        done
    };
    let done = give_up(two.hash).await;
    assert_eq!(done.len(), 1, "once, however many servers say so");
    let (what, after) = &done[0];
    assert_eq!((*what, after.releases.live), (GivenUp::RolledBack, one.hash));
    assert_eq!(after.releases.previous, Some(Previous { release: two.hash, given_up: true }));
    assert_eq!((&after.changed_by, after.revision), (&Actor::Automatic, 4));
    assert_eq!(give_up(one.hash).await, [], "not back to what was given up");
    let done = give_up(three.hash).await;
    assert_eq!(done.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [GivenUp::Withdrawn]);
    // An operator may.
    let after = bindings::get(&client, &binding.spec.name).await.unwrap().unwrap();
    let back = change(&mut client, &after, Change::Rollback).await.unwrap();
    assert_eq!((back.releases.live, back.releases.previous.unwrap().given_up), (two.hash, false));
    let (name, nobody) = ("nobody".parse().unwrap(), note());
    let none = committed(&mut client, async |tx| bindings::give_up(tx, &name, one.hash, &nobody).await).await;
    assert_eq!(none.unwrap(), None);
}

pub async fn learning_that_ends_is_written_down_once(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, one) = bound(&mut client, "login", 1).await;
    let two = release(&mut client, "login", 2).await;
    let off = async |client: &mut Client, name: &str, release: ReleaseHash, phase: Phase| {
        let (name, note) = (name.parse().unwrap(), Note::new(Actor::Automatic, "`next` once and `respond 404` later"));
        committed(client, async |tx| bindings::learning_off(tx, &name, release, phase, &note).await).await.unwrap()
    };
    assert!(off(&mut client, "login", one.hash, Phase::Route).await);
    assert!(!off(&mut client, "login", one.hash, Phase::Route).await, "by another server, or before a restart");
    assert!(off(&mut client, "login", one.hash, Phase::Select).await, "another phase");
    assert!(off(&mut client, "login", two.hash, Phase::Route).await, "another release");
    assert!(!off(&mut client, "nobody", one.hash, Phase::Route).await);
    let entries = history::list(&client, &history::HistoryFilter::default(), 3).await.unwrap();
    assert!(entries.iter().all(|entry| entry.event.action == Action::LearningOff));
    let first = &entries[2].event;
    assert_eq!((first.binding.as_ref(), first.to_release), (Some(&binding.spec.name), Some(one.hash)));
    assert_eq!((&first.actor, first.reason.as_str()), (&Actor::Automatic, "`next` once and `respond 404` later"));
    assert_eq!(bindings::get(&client, &binding.spec.name).await.unwrap().unwrap(), binding, "nothing else is changed");
    assert!(matches!(history::verify_chain(&client).await.unwrap(), history::Chain::Whole(_)));
}

pub async fn releases_are_the_plugins_own(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (binding, _) = bound(&mut client, "login", 1).await;
    let other = release(&mut client, "other", 1).await;
    for wrong in [other.hash, ReleaseHash([7; 32])] {
        for to in [Change::Swap(wrong), shadow(wrong)] {
            let error = change(&mut client, &binding, to).await.unwrap_err();
            assert!(matches!(error, DbError::NotFound("release of this plugin")), "{error:?}");
        }
        let new = BindingSpec { plugin: "login".parse().unwrap(), ..spec("second") };
        let error =
            committed(&mut client, async |tx| bindings::bind(tx, &new, wrong, &note()).await).await.unwrap_err();
        assert!(matches!(error, DbError::NotFound("release of this plugin")), "{error:?}");
    }
}

pub async fn bindings_are_bounded(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (_, release) = bound(&mut client, "login", 1).await;
    let bind = async |client: &mut Client, number: i64| {
        let spec = BindingSpec { name: format!("b{number}").parse().unwrap(), ..spec("login") };
        committed(client, async |tx| bindings::bind(tx, &spec, release.hash, &note()).await).await
    };
    for number in 1..bindings::MOST_BINDINGS {
        bind(&mut client, number).await.unwrap();
    }
    let many = bind(&mut client, 0).await;
    assert!(matches!(many, Err(DbError::Plugin(PluginRefusal::TooMany { most: 200, .. }))), "{many:?}");
    let long = Note::new(Actor::AdminSocket, "x".repeat(1001));
    let name = "login".parse().unwrap();
    let refused = committed(&mut client, async |tx| bindings::unbind(tx, &name, 1, &long).await).await;
    assert!(matches!(refused, Err(DbError::Refused { .. })), "{refused:?}");
    assert!(bindings::get(&client, &name).await.unwrap().is_some(), "no change without its entry");
}

pub async fn the_gate_is_loaded_whole(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    let (zeta, _) = bound(&mut client, "zeta", 1).await;
    let (alpha, one) = bound(&mut client, "alpha", 1).await;
    let (last, _) = bound(&mut client, "beta", 1).await;
    let last =
        change(&mut client, &last, Change::Settings(BindingSettings { position: 11, ..settings() })).await.unwrap();
    let (two, three) = (release(&mut client, "alpha", 2).await, release(&mut client, "alpha", 3).await);
    let unused = release(&mut client, "alpha", 4).await;
    release(&mut client, "gamma", 1).await;
    let alpha = change(&mut client, &alpha, Change::Swap(two.hash)).await.unwrap();
    let alpha = change(&mut client, &alpha, shadow(three.hash)).await.unwrap();
    let plugin = "alpha".parse().unwrap();
    let secret = committed(&mut client, async |tx| secrets::set(tx, &plugin, "s", b"sealed", &note()).await).await;
    let key = committed(&mut client, async |tx| trusted_keys::add(tx, "k", "text", "", &note()).await).await;

    let gate = load_gate(&database).await.unwrap();
    assert_eq!(gate.bindings, [alpha, zeta, last], "by position, then by name");
    for release in [&one, &two, &three] {
        assert_eq!(gate.releases.get(&release.hash), Some(release));
    }
    assert!(!gate.releases.contains_key(&unused.hash));
    let names: Vec<_> = gate.packages.values().map(|package| package.plugin.to_string()).collect();
    assert!(names.len() == 3 && !names.contains(&"gamma".to_owned()), "{names:?}");
    assert_eq!((gate.secrets, gate.trusted_keys), (vec![secret.unwrap()], vec![key.unwrap()]));
    assert_eq!(gate.generation, 8, "three bound, one moved, one swapped, one offered, a secret, a key");
}

pub async fn loading_the_gate_takes_the_same_number_of_queries(config: DatabaseConfig) {
    let writer = open(config.clone()).await;
    let reader = Database::connect(DatabaseConfig { pool_size: 1, ..config }).await.unwrap();
    let measure = async || {
        load_gate(&reader).await.unwrap();
        let before = statements(&reader).await;
        let gate = load_gate(&reader).await.unwrap();
        (statements(&reader).await - before, gate.bindings.len())
    };
    let (few, none) = measure().await;
    let mut client = writer.client().await.unwrap();
    for number in 0..20 {
        bound(&mut client, &format!("p{number}"), number).await;
    }
    let (many, twenty) = measure().await;
    assert_eq!((none, twenty), (0, 20));
    assert!(few > 0);
    assert_eq!(few, many);
}

pub async fn a_binding_that_is_not_understood_stops_the_load(config: DatabaseConfig) {
    let database = open(config).await;
    let mut client = database.client().await.unwrap();
    bound(&mut client, "login", 1).await;
    bound(&mut client, "other", 1).await;
    client.execute("UPDATE plugin_bindings SET matcher = '{\"new\": 1}' WHERE name = 'other'", &[]).await.unwrap();
    let error = load_gate(&database).await.unwrap_err();
    assert!(matches!(&error, DbError::Corrupt { what: "matcher", .. }), "{error:?}");
}

pub async fn changes_of_the_gate_are_told(config: DatabaseConfig) {
    let database = open(config.clone()).await;
    let mut client = database.client().await.unwrap();
    let ada = user(&database, "ada").await;
    let stop = CancellationToken::new();
    let mut changes = listen(&config, &stop).unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Everything));

    let (binding, _) = bound(&mut client, "login", 1).await;
    assert_eq!(next(&mut changes).await, Some(Part::Gate));
    let two = release(&mut client, "login", 2).await;
    let binding = change(&mut client, &binding, Change::Swap(two.hash)).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Gate));
    let name = binding.spec.name.clone();
    let note = note();
    committed(&mut client, async |tx| bindings::give_up(tx, &name, two.hash, &note).await).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Gate));
    committed(&mut client, async |tx| secrets::set(tx, &binding.spec.plugin, "s", b"x", &note).await).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Gate));
    committed(&mut client, async |tx| trusted_keys::add(tx, "k", "text", "", &note).await).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Gate));
    // By hand it is told too.
    let before = load_gate(&database).await.unwrap().generation;
    client.execute("UPDATE plugin_bindings SET enabled = false", &[]).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Gate));
    let after = load_gate(&database).await.unwrap();
    assert_eq!((after.generation, after.bindings[0].revision), (before + 1, 4));

    // A refused change, a package and a release that nothing names are no news: had they been, they would come first.
    change(&mut client, &binding, Change::Rollback).await.unwrap_err();
    release(&mut client, "other", 1).await;
    lectern_metadata::users::set_locked(&client, ada.id, true).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(Part::Users));
}
