//! The content object: the same from create, list and get.

use std::collections::HashMap;

use lectern_domain::access::{AccessType, AppRole};
use lectern_domain::app_mode::AppMode;
use lectern_domain::ids::ContentGuid;
use lectern_metadata::content::ContentRow;
use lectern_metadata::{GenericClient, tags};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, Code};
use crate::guard::Base;
use crate::stamp::Stamp;
use crate::tags::TagView;

/// A content item. Fields that are unset are null; `owner`, `tags` and `vanity_url` are there only when asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ContentView {
    guid: String,
    /// The number that unversioned routes use, as a string.
    id: String,
    /// Unique per owner.
    name: String,
    title: Option<String>,
    description: String,
    #[schema(value_type = String, example = "acl")]
    access_type: AccessType,
    locked: bool,
    /// Shown instead of the content while it is locked; Markdown.
    locked_message: String,
    /// Seconds; null: the server's default. So the next three.
    connection_timeout: Option<i32>,
    read_timeout: Option<i32>,
    init_timeout: Option<i32>,
    idle_timeout: Option<i32>,
    max_processes: Option<i32>,
    min_processes: Option<i32>,
    max_conns_per_process: Option<i32>,
    load_factor: Option<f64>,
    #[serde(flatten)]
    kept: Kept,
    r_environment_management: Option<bool>,
    py_environment_management: Option<bool>,
    created_time: Stamp,
    /// When a bundle last became active.
    last_deployed_time: Stamp,
    /// The active bundle.
    bundle_id: Option<String>,
    #[schema(value_type = String, example = "python-fastapi")]
    app_mode: AppMode,
    content_category: String,
    parameterized: bool,
    cluster_name: Option<&'static str>,
    image_name: Option<&'static str>,
    environment_guid: Option<String>,
    r_version: Option<String>,
    py_version: Option<String>,
    quarto_version: Option<String>,
    node_version: Option<String>,
    run_as: Option<String>,
    run_as_current_user: bool,
    owner_guid: String,
    content_url: String,
    dashboard_url: String,
    /// Whether it adds to the server's own pages; no content does.
    extension: bool,
    /// Whether drafts are marked as such when they are previewed.
    draft_marker_enabled: bool,
    metrics_collection_enabled: bool,
    notify_on_share: bool,
    otel_enabled: bool,
    /// What a check of public access found; there is none.
    public_content_status: Option<String>,
    /// The caller's own standing.
    #[schema(value_type = String, example = "owner")]
    app_role: AppRole,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vanity_url: Option<String>,
}

/// Settings of other executors, kept as they were sent.
#[derive(Debug, Serialize, ToSchema)]
struct Kept {
    #[schema(value_type = Option<i64>)]
    memory_request: Value,
    #[schema(value_type = Option<i64>)]
    memory_limit: Value,
    #[schema(value_type = Option<f64>)]
    cpu_request: Value,
    #[schema(value_type = Option<f64>)]
    cpu_limit: Value,
    #[schema(value_type = Option<i64>)]
    amd_gpu_limit: Value,
    #[schema(value_type = Option<i64>)]
    nvidia_gpu_limit: Value,
    #[schema(value_type = Option<String>)]
    service_account_name: Value,
    #[schema(value_type = Option<String>)]
    default_image_name: Value,
    #[schema(value_type = Option<String>)]
    default_environment_guid: Value,
    #[schema(value_type = Option<bool>)]
    default_r_environment_management: Value,
    #[schema(value_type = Option<bool>)]
    default_py_environment_management: Value,
}

/// Who owns an item.
#[derive(Debug, Serialize, ToSchema)]
struct OwnerView {
    guid: String,
    username: String,
    first_name: String,
    last_name: String,
}

/// Where visitors open it.
pub(crate) fn content_url(base: &Base, guid: ContentGuid) -> String {
    base.url(&format!("/content/{guid}/"))
}

/// Where publishers look after it. Clients append to it, so it has no slash at its end.
pub(crate) fn dashboard_url(base: &Base, guid: ContentGuid) -> String {
    base.url(&format!("/connect/#/apps/{guid}"))
}

impl ContentView {
    /// The object as a caller of standing `role` sees it.
    pub(crate) fn of(row: &ContentRow, role: AppRole, base: &Base, include: Include) -> Self {
        let processes = &row.processes;
        let kept = |key: &str| row.kept_settings.get(key).cloned().unwrap_or(Value::Null);
        let flag = |key: &str, usual| row.kept_settings.get(key).and_then(Value::as_bool).unwrap_or(usual);
        Self {
            guid: row.guid.to_string(),
            id: row.id.to_string(),
            name: row.name.clone(),
            title: row.title.clone(),
            description: row.description.clone(),
            access_type: row.access_type,
            locked: row.locked,
            locked_message: row.locked_message.clone(),
            connection_timeout: processes.connection_timeout,
            read_timeout: processes.read_timeout,
            init_timeout: processes.init_timeout,
            idle_timeout: processes.idle_timeout,
            max_processes: processes.max_processes,
            min_processes: processes.min_processes,
            max_conns_per_process: processes.max_conns_per_process,
            load_factor: processes.load_factor,
            kept: Kept {
                memory_request: kept("memory_request"),
                memory_limit: kept("memory_limit"),
                cpu_request: kept("cpu_request"),
                cpu_limit: kept("cpu_limit"),
                amd_gpu_limit: kept("amd_gpu_limit"),
                nvidia_gpu_limit: kept("nvidia_gpu_limit"),
                service_account_name: kept("service_account_name"),
                default_image_name: kept("default_image_name"),
                default_environment_guid: kept("default_environment_guid"),
                default_r_environment_management: kept("default_r_environment_management"),
                default_py_environment_management: kept("default_py_environment_management"),
            },
            r_environment_management: row.traits.r_environment_management,
            py_environment_management: row.traits.py_environment_management,
            created_time: row.created_at.into(),
            last_deployed_time: row.last_deployed_at.into(),
            bundle_id: row.active_bundle.map(|bundle| bundle.to_string()),
            app_mode: row.app_mode,
            content_category: row.category.clone(),
            parameterized: row.parameterized,
            cluster_name: row.active_bundle.map(|_| "Local"),
            image_name: row.active_bundle.map(|_| "Local"),
            environment_guid: None,
            r_version: row.traits.r_version.clone(),
            py_version: row.traits.py_version.clone(),
            quarto_version: row.traits.quarto_version.clone(),
            node_version: row.traits.node_version.clone(),
            run_as: row.run_as.clone(),
            run_as_current_user: row.run_as_current_user,
            owner_guid: row.owner.guid.to_string(),
            content_url: content_url(base, row.guid),
            dashboard_url: dashboard_url(base, row.guid),
            extension: false,
            draft_marker_enabled: flag("draft_marker_enabled", true),
            metrics_collection_enabled: flag("metrics_collection_enabled", true),
            notify_on_share: flag("notify_on_share", false),
            otel_enabled: flag("otel_enabled", false),
            public_content_status: None,
            app_role: role,
            owner: include.owner.then(|| OwnerView {
                guid: row.owner.guid.to_string(),
                username: row.owner.username.clone(),
                first_name: row.owner.first_name.clone(),
                last_name: row.owner.last_name.clone(),
            }),
            tags: Vec::new(),
            vanity_url: row.vanity.as_ref().filter(|_| include.vanity_url).map(|path| base.url(path)),
        }
    }
}

/// The objects of `items`, each with the caller's standing. Tags take one query, however many items there are.
pub(crate) async fn views(
    client: &impl GenericClient,
    items: &[(ContentRow, AppRole)],
    base: &Base,
    include: Include,
) -> Result<Vec<ContentView>, ApiError> {
    let mut tags = HashMap::new();
    if include.tags {
        let ids: Vec<_> = items.iter().map(|(row, _)| row.id).collect();
        tags = tags::of_content(client, &ids).await?;
    }
    let view = |(row, role): &(ContentRow, AppRole)| {
        let tags = tags.remove(&row.id).unwrap_or_default().into_iter().map(TagView::from).collect();
        ContentView { tags, ..ContentView::of(row, *role, base, include) }
    };
    Ok(items.iter().map(view).collect())
}

/// What to add to the object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Include {
    owner: bool,
    tags: bool,
    vanity_url: bool,
}

/// What to add to the object.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct IncludeQuery {
    /// Any of `owner`, `tags`, `vanity_url`, separated by commas.
    include: Option<String>,
}

impl IncludeQuery {
    /// Reads the list.
    pub(crate) fn read(&self) -> Result<Include, ApiError> {
        read_include(self.include.as_deref())
    }
}

/// Reads an `include` list.
pub(crate) fn read_include(list: Option<&str>) -> Result<Include, ApiError> {
    let mut include = Include::default();
    for word in list.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "owner" => include.owner = true,
            "vanity_url" => include.vanity_url = true,
            "tags" => include.tags = true,
            _ => return Err(ApiError::new(Code::BadInclude, "include may list owner, tags and vanity_url")),
        }
    }
    Ok(include)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_lists() {
        let read = |list| read_include(list).map_err(|refusal| refusal.code());
        assert_eq!(read(None), Ok(Include::default()));
        assert_eq!(read(Some("")), Ok(Include::default()));
        assert_eq!(read(Some("owner,tags, vanity_url")), Ok(Include { owner: true, tags: true, vanity_url: true }));
        assert_eq!(read(Some("owner,passwords")), Err(161));
    }
}
