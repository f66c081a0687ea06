//! What can go wrong with a query: one variant for each thing a caller does differently.

use std::error::Error as StdError;
use std::io;

use deadpool_postgres::PoolError;
use lectern_domain::AppMode;
use tokio_postgres::error::SqlState;

use crate::plugins::PluginRefusal;

/// A failed query or transaction.
///
/// Messages and causes hold no parameter values and no rows: PostgreSQL's `DETAIL`, which repeats whole rows, is dropped.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The row to change or to refer to does not exist.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// The owner has another content item of this name; letter case does not matter.
    #[error("the owner has another content item of this name")]
    NameTaken,
    /// The user name is in use; letter case does not matter.
    #[error("the user name is in use")]
    UsernameTaken,
    /// The user has another API key of this name; letter case does not matter.
    #[error("the user has another API key of this name")]
    KeyNameTaken,
    /// Another group has this name, or is the same group of the other directory.
    #[error("the group's name is in use")]
    GroupNameTaken,
    /// The user belongs to the group already.
    #[error("the user belongs to the group already")]
    AlreadyMember,
    /// The content item already lists this group.
    #[error("the group is already listed")]
    GroupAlreadyListed,
    /// A signed token of this id exists.
    #[error("there is a token of this id")]
    TokenTaken,
    /// Another content item has this vanity path.
    #[error("the vanity path is in use")]
    VanityTaken,
    /// A tag at the same place has this name; letter case does not matter.
    #[error("a tag at this place has the name")]
    TagTaken,
    /// The cluster has another environment of this name.
    #[error("the cluster has another environment of this name")]
    EnvironmentTaken,
    /// The variant has a schedule already.
    #[error("the variant has a schedule already")]
    AlreadyScheduled,
    /// The content item already lists this user.
    #[error("the user is already listed")]
    AlreadyListed,
    /// The first administrator cannot be created: there are accounts already.
    #[error("there are accounts already")]
    UsersExist,
    /// The bundle is of another mode than the content item has since its first deployment.
    #[error("the content is {} and cannot become {}", current.as_str(), wanted.as_str())]
    ModeFixed {
        /// The item's mode.
        current: AppMode,
        /// The bundle's mode.
        wanted: AppMode,
    },
    /// The bundle is of another category than the content item has since its first deployment.
    #[error("the content's category is {current:?} and cannot become {wanted:?}")]
    CategoryFixed {
        /// The item's category.
        current: String,
        /// The bundle's category.
        wanted: String,
    },
    /// The bundle has parameters and the item has none since its first deployment, or the other way round.
    #[error("the content {} parameters since its first deployment, which the bundle changes", if *current { "has" } else { "has no" })]
    ParametersFixed {
        /// Whether the item has parameters.
        current: bool,
    },
    /// The active bundle cannot be deleted.
    #[error("the bundle is active")]
    ActiveBundle,
    /// The bundle has not been prepared and so cannot be made active.
    #[error("the bundle has not been prepared")]
    NotPrepared,
    /// Another server took the task, it was finished, or it was deleted with its content.
    #[error("the task's lease is lost")]
    LeaseLost,
    /// The account is locked: nobody signs in to it.
    #[error("the account is locked")]
    AccountLocked,
    /// The identity is linked to an account already.
    #[error("the identity is linked to an account already")]
    AlreadyLinked,
    /// A change of the gate, or of what a plugin keeps, was refused.
    #[error(transparent)]
    Plugin(#[from] PluginRefusal),
    /// A text holds a character that PostgreSQL does not store (NUL).
    #[error("a text holds a NUL character")]
    BadText,
    /// The new values break a rule of the schema that the caller should have checked.
    #[error("the database refuses the values: rule {rule}")]
    Refused {
        /// Name of the constraint.
        rule: String,
    },
    /// A stored value is not in its form: written by a newer version, or by hand.
    #[error("stored {what} {value:?} is not understood")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// The value; never a secret.
        value: String,
    },
    /// Lost a race with another transaction; the same transaction may succeed when repeated.
    #[error("lost a race with another transaction")]
    Contended(#[source] Fault),
    /// The database cannot be reached, is starting or stopping, is out of connections, or took too long.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// Anything else: wrong credentials, a missing schema, a mistake of ours.
    #[error("the database refused")]
    Other(#[source] Box<dyn StdError + Send + Sync>),
}

/// An error report of PostgreSQL without its `DETAIL`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Fault {
    /// The SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// The constraint concerned, when one is.
    pub constraint: Option<String>,
}

/// Whether repeating what failed can help without anybody changing anything: the database was away or busy.
pub fn is_transient(error: &DbError) -> bool {
    matches!(error, DbError::Contended(_) | DbError::Unavailable(_))
}

/// What the caller would say of a broken constraint.
fn broken_rule(code: &SqlState, fault: Fault) -> DbError {
    let rule = fault.constraint.clone().unwrap_or_default();
    match rule.as_str() {
        "users_username_key" => DbError::UsernameTaken,
        "content_owner_name_key" => DbError::NameTaken,
        "vanities_path_key" => DbError::VanityTaken,
        "environments_name_key" => DbError::EnvironmentTaken,
        "environment_permissions_key" => DbError::AlreadyListed,
        "environment_permissions_group_key" => DbError::GroupAlreadyListed,
        "environment_permissions_group_fkey" => DbError::NotFound("group"),
        "environment_permissions_user_fkey" | "short_tasks_requested_by_fkey" => DbError::NotFound("user"),
        "environment_permissions_environment_fkey" => DbError::NotFound("environment"),
        "oauth_associations_content_fkey" => DbError::NotFound("content"),
        "oauth_associations_integration_fkey" | "oauth_sessions_integration_fkey" | "oauth_logins_integration_fkey" => {
            DbError::NotFound("integration")
        }
        "oauth_integration_permissions_user_key" => DbError::AlreadyListed,
        "oauth_integration_permissions_group_key" => DbError::GroupAlreadyListed,
        "api_keys_association_fkey" => DbError::NotFound("association"),
        "tags_sibling_name_key" => DbError::TagTaken,
        "tags_parent_fkey" | "content_tags_tag_fkey" => DbError::NotFound("tag"),
        "permission_requests_user_fkey" | "variant_subscribers_user_fkey" => DbError::NotFound("user"),
        "schedules_variant_fkey" | "variant_subscribers_variant_fkey" => DbError::NotFound("variant"),
        "schedules_variant_key" => DbError::AlreadyScheduled,
        "thumbnails_content_fkey" | "content_tags_content_fkey" | "permission_requests_content_fkey" => {
            DbError::NotFound("content")
        }
        "permissions_content_user_key" => DbError::AlreadyListed,
        "permissions_content_group_key" => DbError::GroupAlreadyListed,
        "api_keys_user_name_key" => DbError::KeyNameTaken,
        "groups_name_key" | "groups_unique_id_key" => DbError::GroupNameTaken,
        "group_members_key" => DbError::AlreadyMember,
        "signed_tokens_pkey" => DbError::TokenTaken,
        "group_members_group_fkey" | "permissions_group_fkey" => DbError::NotFound("group"),
        "group_members_user_fkey" | "groups_owner_fkey" | "signed_tokens_user_fkey" | "password_links_user_fkey" => {
            DbError::NotFound("user")
        }
        "content_repositories_content_fkey" => DbError::NotFound("content"),
        "git_fetches_task_fkey" => DbError::NotFound("task"),
        "content_active_bundle_fkey" => DbError::ActiveBundle,
        "oauth_sessions_user_fkey" | "oauth_logins_user_fkey" => DbError::NotFound("user"),
        "content_owner_fkey" | "permissions_user_fkey" | "api_keys_user_fkey" | "sessions_user_fkey" => {
            DbError::NotFound("user")
        }
        "bundles_created_by_fkey" | "tasks_requested_by_fkey" => DbError::NotFound("user"),
        "bundles_content_fkey" | "permissions_content_fkey" | "vanities_content_fkey" => DbError::NotFound("content"),
        "content_variables_content_fkey" | "tasks_content_fkey" | "jobs_content_fkey" => DbError::NotFound("content"),
        "bundle_packages_bundle_fkey" | "tasks_bundle_fkey" | "jobs_bundle_fkey" => DbError::NotFound("bundle"),
        "jobs_task_fkey" => DbError::NotFound("task"),
        "linked_identities_user_fkey" => DbError::NotFound("user"),
        "linked_identities_pkey" => DbError::AlreadyLinked,
        "plugin_releases_package_fkey" => DbError::NotFound("package"),
        "plugin_bindings_live_fkey" | "plugin_bindings_previous_fkey" | "plugin_bindings_candidate_fkey" => {
            DbError::NotFound("release of this plugin")
        }
        "plugin_usage_keys_check" | "plugin_usage_bytes_check" => DbError::Plugin(PluginRefusal::StoreFull),
        _ if *code == SqlState::CHECK_VIOLATION => DbError::Refused { rule },
        _ => DbError::Other(Box::new(fault)),
    }
}

impl From<tokio_postgres::Error> for DbError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(report) = error.as_db_error() else {
            return if lost_connection(&error) {
                Self::Unavailable(Box::new(error))
            } else {
                Self::Other(Box::new(error))
            };
        };
        let fault = Fault {
            code: report.code().code().to_owned(),
            message: report.message().to_owned(),
            constraint: report.constraint().map(str::to_owned),
        };
        let code = report.code();
        match code.code() {
            "40001" | "40P01" => Self::Contended(fault),
            // Connection faults; shutdown, crash and start-up; too many connections and other resources used up;
            // time-outs of statements, locks and idle transactions; writing to a server that became a replica.
            "57P01" | "57P02" | "57P03" | "57014" | "55P03" | "25P03" | "25006" => Self::Unavailable(Box::new(fault)),
            state if state.starts_with("08") || state.starts_with("53") => Self::Unavailable(Box::new(fault)),
            "22021" | "22P05" => Self::BadText,
            state if state.starts_with("23") => broken_rule(code, fault),
            _ => Self::Other(Box::new(fault)),
        }
    }
}

/// Whether the fault is the connection's and not the query's or the configuration's.
fn lost_connection(error: &tokio_postgres::Error) -> bool {
    if error.is_closed() {
        return true;
    }
    match error.source() {
        // A certificate that does not verify arrives as an I/O error too, and waiting does not mend it.
        Some(source) => source
            .downcast_ref::<io::Error>()
            .is_some_and(|cause| !cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())),
        // The only errors without a cause besides "closed" and mistakes in use: connecting took too long.
        None => error.to_string().contains("timeout"),
    }
}

impl From<PoolError> for DbError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::from(error),
            other => Self::Unavailable(Box::new(other)),
        }
    }
}
