//! What must hold on every database, whichever way it is reached. Each test gets a new, empty database.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

pub mod accounts;
pub mod audit;
pub mod bindings;
pub mod care;
pub mod contents;
pub mod finding;
pub mod history;
pub mod identities;
pub mod packages;
pub mod reports;
pub mod repositories;
pub mod schema;
pub mod values;
pub mod views;
pub mod work;

use std::time::Duration;

use lectern_domain::launch::{Prepared, Program};
use lectern_domain::{AppMode, BundleHash, ContentGuid, ContentId, TaskId, UserGuid, UserRole};
use lectern_metadata::bundles::{BundleRow, NewBundle};
use lectern_metadata::content::{ContentRow, NewContent, Traits};
use lectern_metadata::tasks::{NewTask, TaskKind, TaskRow};
use lectern_metadata::users::{NewUser, UserRow};
use lectern_metadata::{Database, DatabaseConfig, DbError, bundles, content, migrate, tasks, users};
use uuid::Uuid;

/// One test function per line, each with a database of its own from `$empty`.
#[macro_export]
macro_rules! suite {
    ($empty:path) => {
        $crate::suite! { $empty;
            accounts::a_user_is_found_by_each_name,
            accounts::names_of_users_are_unique_without_case,
            accounts::users_are_listed_in_pages,
            accounts::users_change,
            accounts::the_first_administrator_is_one,
            accounts::keys_live_until_revoked,
            accounts::sessions_live_until_they_end,
            accounts::secrets_are_not_printed,
            accounts::settings_are_first_come,
            care::keys_have_names_and_ends,
            care::uses_of_keys_are_no_news,
            care::sessions_are_named_without_their_secret,
            care::links_are_used_once,
            care::tokens_are_claimed_once_and_in_time,
            care::signatures_are_used_once,
            care::groups_have_members_in_order,
            care::groups_of_another_directory_follow_it,
            care::groups_give_access,
            care::the_last_administrator_is_seen,
            contents::content_is_created_once_per_name,
            contents::a_taken_name_uses_no_number_up,
            contents::settings_change_and_clear,
            contents::a_new_owner_is_not_listed,
            contents::permissions_are_kept_in_order,
            contents::vanity_paths_are_unique_unless_forced,
            contents::bundles_keep_what_was_sent,
            contents::the_active_bundle_fixes_the_mode,
            contents::the_active_bundle_stays,
            contents::old_bundles_are_pruned,
            contents::deleting_content_takes_everything,
            contents::variables_are_patched_and_replaced,
            contents::what_cannot_be_stored_is_refused,
            finding::queries_and_rules_agree_on_who_sees_what,
            finding::tags_go_with_what_is_above_them,
            finding::a_thumbnail_goes_with_its_item,
            finding::values_are_sealed_anew_around_writers,
            work::a_task_runs_from_queue_to_end,
            work::one_server_takes_a_task,
            work::an_expired_lease_goes_to_another,
            work::a_task_that_kills_servers_is_given_up,
            work::a_released_task_is_taken_again,
            work::activation_needs_the_lease,
            work::old_tasks_are_pruned,
            work::a_deleted_bundle_leaves_its_task,
            work::jobs_end_once,
            work::old_and_many_jobs_go,
            work::a_deployment_is_a_job,
            packages::a_version_is_one_file,
            packages::a_used_package_stays,
            packages::releases_are_named_by_what_they_are,
            packages::unused_releases_are_swept,
            packages::keys_are_trusted_until_they_are_not,
            packages::secrets_are_sealed_and_counted,
            bindings::a_binding_moves_through_its_releases,
            bindings::settings_change_and_are_checked,
            bindings::of_two_operators_one_wins,
            bindings::failures_are_given_up_once,
            bindings::learning_that_ends_is_written_down_once,
            bindings::releases_are_the_plugins_own,
            bindings::bindings_are_bounded,
            bindings::the_gate_is_loaded_whole,
            bindings::loading_the_gate_takes_the_same_number_of_queries,
            bindings::a_binding_that_is_not_understood_stops_the_load,
            bindings::changes_of_the_gate_are_told,
            history::every_change_leaves_an_entry,
            history::the_history_is_listed_in_parts,
            history::appends_at_once_make_one_chain,
            history::what_was_written_cannot_be_changed,
            history::tampering_is_found,
            audit::appends_at_once_make_one_log,
            audit::the_audit_log_is_only_appended_to,
            audit::the_first_bent_entry_is_named,
            values::values_live_until_they_expire,
            values::a_swap_compares,
            values::of_many_swaps_one_wins,
            values::counters_lose_nothing,
            values::stores_are_bounded,
            values::bounds_hold_under_a_crowd,
            values::expired_values_make_room,
            reports::differences_are_counted_together,
            reports::differences_are_bounded,
            reports::late_reports_count_nowhere,
            reports::servers_report_what_they_run,
            repositories::one_look_at_a_time,
            repositories::many_servers_look_once,
            repositories::a_bundle_has_its_number_before_it_is_there,
            identities::a_person_gets_one_account,
            identities::names_of_others_are_not_taken_over,
            identities::the_directory_says_who_its_accounts_are,
            identities::locked_accounts_stay_locked,
            identities::first_visits_at_once_make_one_account,
            views::the_view_holds_everything,
            views::loading_takes_the_same_number_of_queries,
            views::what_is_not_understood_is_left_out,
            views::changes_are_told,
            views::what_changes_nothing_is_not_told,
            views::the_listener_stops,
            schema::migrations_run_once,
            schema::two_servers_migrate_at_once,
            schema::a_newer_schema_is_refused,
            schema::an_edited_migration_is_refused,
            schema::a_filled_database_stays_as_it_is,
            schema::an_older_schema_is_brought_up_to_date,
            schema::every_reference_has_an_index,
            schema::slow_statements_are_cut,
            schema::a_full_pool_is_not_waited_for_forever,
        }
    };
    ($empty:path; $($module:ident :: $name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                suite::$module::$name($empty().await).await;
            }
        )*
    };
}

/// Longest wait for something that should come at once.
pub const SOON: Duration = Duration::from_secs(20);

pub async fn open(config: DatabaseConfig) -> Database {
    let database = Database::connect(config).await.unwrap();
    migrate(&database).await.unwrap();
    database
}

pub fn new_user(username: &str, role: UserRole) -> NewUser {
    NewUser {
        guid: UserGuid(Uuid::new_v4()),
        username: username.to_owned(),
        email: format!("{username}@example.org"),
        first_name: "Ada".to_owned(),
        last_name: "Lovelace".to_owned(),
        role,
        password_hash: None,
        confirmed: true,
    }
}

pub async fn user(database: &Database, username: &str) -> UserRow {
    users::create(&database.client().await.unwrap(), &new_user(username, UserRole::Publisher)).await.unwrap()
}

pub async fn item(database: &Database, owner: &UserRow, name: &str) -> ContentRow {
    let new = NewContent { guid: ContentGuid(Uuid::new_v4()), name: name.to_owned(), owner: owner.id };
    content::create(&database.client().await.unwrap(), &new).await.unwrap()
}

pub fn new_bundle(content: ContentId, owner: &UserRow, byte: u8) -> NewBundle {
    NewBundle {
        content,
        hash: BundleHash([byte; 32]),
        size_bytes: 5_000_000_000,
        metadata: serde_json::Map::from_iter([("source".to_owned(), "git".into())]),
        manifest: Some(serde_json::json!({"version": 1})),
        app_mode: AppMode::PythonFastapi,
        category: String::new(),
        parameterized: false,
        traits: Traits { py_version: Some("3.11.0".into()), ..Traits::default() },
        created_by: owner.id,
    }
}

pub async fn bundle(database: &Database, content: ContentId, owner: &UserRow, byte: u8) -> BundleRow {
    bundles::create(&database.client().await.unwrap(), &new_bundle(content, owner, byte)).await.unwrap()
}

pub fn prepared() -> Prepared {
    Prepared {
        program: Program::PythonAsgi { entrypoint: "main:app".to_owned() },
        interpreter: None,
        environment: None,
    }
}

pub async fn prepared_bundle(database: &Database, content: ContentId, owner: &UserRow, byte: u8) -> BundleRow {
    let bundle = bundle(database, content, owner, byte).await;
    let traits = Traits { py_version: Some("3.11.2".into()), ..Traits::default() };
    let client = database.client().await.unwrap();
    bundles::set_prepared(&client, bundle.id, &prepared(), &traits).await.unwrap();
    bundles::get(&client, bundle.id).await.unwrap().unwrap()
}

pub async fn activate(database: &Database, content: ContentId, bundle: &BundleRow) -> Result<ContentRow, DbError> {
    let mut client = database.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    let row = content::set_active_bundle(&tx, content, bundle.id).await?;
    tx.commit().await.unwrap();
    Ok(row)
}

pub async fn task(database: &Database, bundle: &BundleRow, by: &UserRow) -> TaskRow {
    let new = NewTask {
        id: TaskId::from_random(*Uuid::new_v4().as_bytes()),
        kind: TaskKind::Deploy,
        content: bundle.content,
        bundle: bundle.id,
        activate: true,
        requested_by: by.id,
    };
    tasks::create(&database.client().await.unwrap(), &new).await.unwrap()
}
