//! What is kept in the audit log, and the words for it. A new action does not compile until it has a word and a text.
//!
//! Actions hold names and numbers, never a secret's value: there is no field to put one into.

use std::fmt;

use crate::access::{AccessType, PermissionRole};
use crate::ids::{BundleId, ContentGuid, JobKey};
use crate::user::UserRole;

/// A content item, by name and GUID: names change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its GUID.
    pub guid: ContentGuid,
    /// Its name at the time.
    pub name: &'a str,
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "content {} ({})", self.name, self.guid)
    }
}

/// Names of environment variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VariableNames<'a> {
    /// Those that were given a value.
    pub set: &'a [&'a str],
    /// Those that were taken away.
    pub removed: &'a [&'a str],
    /// Whether all others went too.
    pub replaced: bool,
}

impl fmt::Display for VariableNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        write!(f, "set {}", list(self.set))?;
        match self.replaced {
            true => f.write_str(", removed all others"),
            false => write!(f, ", removed {}", list(self.removed)),
        }
    }
}

/// Something that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "names of things that each action names; the words below say what each action is")]
pub enum Action<'a> {
    UserMade { user: &'a str, role: UserRole },
    UserChanged { user: &'a str },
    UserRenamed { from: &'a str, to: &'a str },
    UserRoleSet { user: &'a str, role: UserRole },
    UserLocked { user: &'a str },
    UserUnlocked { user: &'a str },
    UserConfirmed { user: &'a str },
    PasswordSet { user: &'a str },
    PasswordLinkMade { user: &'a str },
    KeyMade { user: &'a str, key: &'a str, role: UserRole },
    KeyRevoked { user: &'a str, key: &'a str },
    TokenConfirmed { user: &'a str },
    TokenEnded { user: &'a str },
    SessionsEnded { user: &'a str, count: u64 },
    ContentMade { item: Item<'a> },
    ContentChanged { item: Item<'a> },
    ContentAccessSet { item: Item<'a>, access: AccessType },
    ContentOwnerSet { item: Item<'a>, owner: &'a str },
    ContentDeleted { item: Item<'a> },
    PermissionAdded { item: Item<'a>, to: &'a str, role: PermissionRole },
    PermissionChanged { item: Item<'a>, to: &'a str, role: PermissionRole },
    PermissionRemoved { item: Item<'a>, to: &'a str },
    BundleUploaded { item: Item<'a>, bundle: BundleId },
    DeploymentAsked { item: Item<'a>, bundle: BundleId },
    BundleActivated { item: Item<'a>, bundle: BundleId },
    BundleDeleted { item: Item<'a>, bundle: BundleId },
    VariablesChanged { item: Item<'a>, names: VariableNames<'a> },
    RepositorySet { item: Item<'a>, url: &'a str, branch: &'a str, directory: &'a str },
    RepositoryRemoved { item: Item<'a> },
    VanitySet { item: Item<'a>, path: &'a str },
    VanityRemoved { item: Item<'a> },
    ThumbnailSet { item: Item<'a> },
    ThumbnailRemoved { item: Item<'a> },
    TagMade { tag: &'a str },
    TagChanged { from: &'a str, to: &'a str },
    TagDeleted { tag: &'a str },
    ContentTagged { item: Item<'a>, tag: &'a str },
    ContentUntagged { item: Item<'a>, tag: &'a str },
    EnvironmentMade { environment: &'a str },
    EnvironmentChanged { environment: &'a str },
    EnvironmentDeleted { environment: &'a str },
    EnvironmentPermitted { environment: &'a str, to: &'a str },
    EnvironmentForbidden { environment: &'a str, to: &'a str },
    GroupMade { group: &'a str },
    GroupDeleted { group: &'a str },
    MemberAdded { group: &'a str, user: &'a str },
    MemberRemoved { group: &'a str, user: &'a str },
    MembershipsFollowed { user: &'a str },
    IntegrationMade { integration: &'a str },
    IntegrationChanged { integration: &'a str },
    IntegrationDeleted { integration: &'a str },
    IntegrationsSet { item: Item<'a>, integrations: &'a [&'a str] },
    IntegrationSessionEnded { user: &'a str, integration: &'a str },
    VariantChanged { item: Item<'a>, variant: &'a str },
    RenderAsked { item: Item<'a>, variant: &'a str },
    ScheduleSet { item: Item<'a>, kind: &'a str },
    ScheduleRemoved { item: Item<'a> },
    SubscriberAdded { item: Item<'a>, user: &'a str },
    SubscriberRemoved { item: Item<'a>, user: &'a str },
    JobStopped { item: Item<'a>, job: &'a JobKey },
    IntegrationSignedIn { integration: &'a str },
    RPackageEviction { package: &'a str, version: Option<&'a str> },
    SealingKeyRotation,
    GateChanged { what: &'a str, binding: &'a str, entry: i64 },
}

impl Action<'_> {
    /// The word in lists and hashes: stays the same for good.
    pub fn word(&self) -> &'static str {
        match self {
            Self::UserMade { .. } => "add_user",
            Self::UserChanged { .. } => "edit_user",
            Self::UserRenamed { .. } => "rename_user",
            Self::UserRoleSet { .. } => "edit_user_role",
            Self::UserLocked { .. } => "lock_user",
            Self::UserUnlocked { .. } => "unlock_user",
            Self::UserConfirmed { .. } => "confirm_user",
            Self::PasswordSet { .. } => "set_password",
            Self::PasswordLinkMade { .. } => "add_password_link",
            Self::KeyMade { .. } => "add_api_key",
            Self::KeyRevoked { .. } => "remove_api_key",
            Self::TokenConfirmed { .. } => "claim_token",
            Self::TokenEnded { .. } => "remove_token",
            Self::SessionsEnded { .. } => "end_sessions",
            Self::ContentMade { .. } => "add_application",
            Self::ContentChanged { .. } => "edit_application",
            Self::ContentAccessSet { .. } => "edit_application_access",
            Self::ContentOwnerSet { .. } => "edit_application_owner",
            Self::ContentDeleted { .. } => "remove_application",
            Self::PermissionAdded { .. } => "add_permission",
            Self::PermissionChanged { .. } => "edit_permission",
            Self::PermissionRemoved { .. } => "remove_permission",
            Self::BundleUploaded { .. } => "upload_bundle",
            Self::DeploymentAsked { .. } => "deploy_application",
            Self::BundleActivated { .. } => "activate_bundle",
            Self::BundleDeleted { .. } => "remove_bundle",
            Self::VariablesChanged { .. } => "edit_environment",
            Self::RepositorySet { .. } => "edit_repository",
            Self::RepositoryRemoved { .. } => "remove_repository",
            Self::VanitySet { .. } => "edit_vanity",
            Self::VanityRemoved { .. } => "remove_vanity",
            Self::ThumbnailSet { .. } => "edit_thumbnail",
            Self::ThumbnailRemoved { .. } => "remove_thumbnail",
            Self::TagMade { .. } => "add_tag",
            Self::TagChanged { .. } => "edit_tag",
            Self::TagDeleted { .. } => "remove_tag",
            Self::ContentTagged { .. } => "add_application_tag",
            Self::ContentUntagged { .. } => "remove_application_tag",
            // `edit_environment` is what is said of variables.
            Self::EnvironmentMade { .. } => "add_execution_environment",
            Self::EnvironmentChanged { .. } => "edit_execution_environment",
            Self::EnvironmentDeleted { .. } => "remove_execution_environment",
            Self::EnvironmentPermitted { .. } => "add_execution_environment_permission",
            Self::EnvironmentForbidden { .. } => "remove_execution_environment_permission",
            Self::GroupMade { .. } => "add_group",
            Self::GroupDeleted { .. } => "remove_group",
            Self::MemberAdded { .. } => "add_group_member",
            Self::MemberRemoved { .. } => "remove_group_member",
            Self::MembershipsFollowed { .. } => "follow_group_memberships",
            Self::IntegrationMade { .. } => "add_oauth_integration",
            Self::IntegrationChanged { .. } => "edit_oauth_integration",
            Self::IntegrationDeleted { .. } => "remove_oauth_integration",
            Self::IntegrationsSet { .. } => "edit_application_oauth_integrations",
            Self::IntegrationSessionEnded { .. } => "remove_oauth_session",
            Self::VariantChanged { .. } => "edit_variant",
            Self::RenderAsked { .. } => "render_variant",
            Self::ScheduleSet { .. } => "edit_schedule",
            Self::ScheduleRemoved { .. } => "remove_schedule",
            Self::SubscriberAdded { .. } => "add_subscriber",
            Self::SubscriberRemoved { .. } => "remove_subscriber",
            Self::JobStopped { .. } => "stop_job",
            Self::IntegrationSignedIn { .. } => "add_oauth_session",
            Self::RPackageEviction { .. } => "evict_r_package",
            Self::SealingKeyRotation => "rotate_sealing_key",
            Self::GateChanged { .. } => "edit_gate",
        }
    }

    /// What was done, as a sentence without its subject.
    pub fn text(&self) -> String {
        match self {
            Self::UserMade { user, role } => format!("made the account {user} with the role {}", role.as_str()),
            Self::UserChanged { user } => format!("changed the profile of {user}"),
            Self::UserRenamed { from, to } => format!("renamed the account {from} to {to}"),
            Self::UserRoleSet { user, role } => format!("gave {user} the role {}", role.as_str()),
            Self::UserLocked { user } => format!("locked the account {user}"),
            Self::UserUnlocked { user } => format!("unlocked the account {user}"),
            Self::UserConfirmed { user } => format!("confirmed the account {user}"),
            Self::PasswordSet { user } => format!("set the password of {user}"),
            Self::PasswordLinkMade { user } => format!("made a link by which {user} chooses a password"),
            Self::KeyMade { user, key, role } => {
                format!("made the API key {key:?} of {user} with the role {}", role.as_str())
            }
            Self::KeyRevoked { user, key } => format!("revoked the API key {key:?} of {user}"),
            Self::TokenConfirmed { user } => format!("let a program sign requests as {user}"),
            Self::TokenEnded { user } => format!("no longer lets a program sign requests as {user}"),
            Self::SessionsEnded { user, count } => format!("ended {count} browser sessions of {user}"),
            Self::ContentMade { item } => format!("made {item}"),
            Self::ContentChanged { item } => format!("changed settings of {item}"),
            Self::ContentAccessSet { item, access } => format!("set access to {item} to {}", access.as_str()),
            Self::ContentOwnerSet { item, owner } => format!("gave {item} to {owner}"),
            Self::ContentDeleted { item } => format!("deleted {item}"),
            Self::PermissionAdded { item, to, role } => format!("listed {to} as {} of {item}", given(*role)),
            Self::PermissionChanged { item, to, role } => format!("made {to} {} of {item}", given(*role)),
            Self::PermissionRemoved { item, to } => format!("no longer lists {to} for {item}"),
            Self::BundleUploaded { item, bundle } => format!("uploaded bundle {bundle} of {item}"),
            Self::DeploymentAsked { item, bundle } => format!("asked to deploy bundle {bundle} of {item}"),
            Self::BundleActivated { item, bundle } => format!("activated bundle {bundle} of {item}"),
            Self::BundleDeleted { item, bundle } => format!("deleted bundle {bundle} of {item}"),
            Self::VariablesChanged { item, names } => format!("changed environment variables of {item}: {names}"),
            Self::RepositorySet { item, url, branch, directory } => {
                format!("has {item} made of {url}, branch {branch}, directory {directory}")
            }
            Self::RepositoryRemoved { item } => format!("no longer has {item} made of a git repository"),
            Self::VanitySet { item, path } => format!("gave {item} the path {path}"),
            Self::VanityRemoved { item } => format!("took the path of {item} away"),
            Self::ThumbnailSet { item } => format!("gave {item} a picture"),
            Self::ThumbnailRemoved { item } => format!("took the picture of {item} away"),
            Self::TagMade { tag } => format!("made the tag {tag:?}"),
            Self::TagChanged { from, to } => format!("changed the tag {from:?}, now {to:?}"),
            Self::TagDeleted { tag } => format!("deleted the tag {tag:?} and all below it"),
            Self::ContentTagged { item, tag } => format!("gave {item} the tag {tag:?}"),
            Self::ContentUntagged { item, tag } => format!("took the tag {tag:?} from {item}"),
            Self::EnvironmentMade { environment } => format!("described the execution environment {environment:?}"),
            Self::EnvironmentChanged { environment } => format!("changed the execution environment {environment:?}"),
            Self::EnvironmentDeleted { environment } => format!("deleted the execution environment {environment:?}"),
            Self::EnvironmentPermitted { environment, to } => {
                format!("listed {to} for the execution environment {environment:?}")
            }
            Self::EnvironmentForbidden { environment, to } => {
                format!("no longer lists {to} for the execution environment {environment:?}")
            }
            Self::GroupMade { group } => format!("made the group {group:?}"),
            Self::GroupDeleted { group } => format!("deleted the group {group:?}"),
            Self::MemberAdded { group, user } => format!("added {user} to the group {group:?}"),
            Self::MemberRemoved { group, user } => format!("removed {user} from the group {group:?}"),
            Self::MembershipsFollowed { user } => {
                format!("let {user} belong to the groups that another directory says")
            }
            Self::IntegrationMade { integration } => format!("made the integration {integration}"),
            Self::IntegrationChanged { integration } => format!("changed the integration {integration}"),
            Self::IntegrationDeleted { integration } => format!("deleted the integration {integration}"),
            Self::IntegrationsSet { item, integrations: [] } => format!("took all integrations from {item}"),
            Self::IntegrationsSet { item, integrations } => {
                format!("set the integrations of {item} to {}", integrations.join(", "))
            }
            Self::IntegrationSessionEnded { user, integration } => {
                format!("ended what {user} got by signing in to the integration {integration}")
            }
            Self::VariantChanged { item, variant } => format!("changed settings of the variant {variant:?} of {item}"),
            Self::RenderAsked { item, variant } => format!("asked to render the variant {variant:?} of {item}"),
            Self::ScheduleSet { item, kind } => format!("set a schedule of type {kind} for {item}"),
            Self::ScheduleRemoved { item } => format!("removed the schedule of {item}"),
            Self::SubscriberAdded { item, user } => format!("let {user} get what {item} is rendered to by mail"),
            Self::SubscriberRemoved { item, user } => format!("no longer sends {user} what {item} is rendered to"),
            Self::JobStopped { item, job } => format!("asked to stop job {job} of {item}"),
            Self::IntegrationSignedIn { integration } => format!("signed in to the integration {integration}"),
            Self::RPackageEviction { package, version: None } => {
                format!("asked to remove the R package {package} from the cache")
            }
            Self::RPackageEviction { package, version: Some(version) } => {
                format!("asked to remove the R package {package} {version} from the cache")
            }
            Self::SealingKeyRotation => "asked for another sealing key".to_owned(),
            Self::GateChanged { what, binding: "", entry } => format!("{what}: entry {entry} of the gate's history"),
            Self::GateChanged { what, binding, entry } => {
                format!("{what} of binding {binding}: entry {entry} of the gate's history")
            }
        }
    }
}

/// What an entry of a content item's list makes of whom it lists.
fn given(role: PermissionRole) -> &'static str {
    match role {
        PermissionRole::Viewer => "viewer",
        PermissionRole::Owner => "collaborator",
    }
}
