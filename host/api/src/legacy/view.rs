//! The application object: a content item with numbers for ids and the owner inlined.

use lectern_domain::access::{AccessType, AppRole};
use lectern_metadata::content::ContentRow;
use serde::Serialize;
use utoipa::ToSchema;

use crate::content::{content_url, dashboard_url};
use crate::guard::Base;
use crate::stamp::Stamp;

/// A content item in the words of the unversioned protocol.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Application {
    id: i64,
    guid: String,
    name: String,
    title: Option<String>,
    description: String,
    /// Where visitors open it.
    url: String,
    content_url: String,
    dashboard_url: String,
    /// Whether it has a vanity path.
    vanity_url: bool,
    #[schema(value_type = String, example = "acl")]
    access_type: AccessType,
    connection_timeout: Option<i32>,
    read_timeout: Option<i32>,
    init_timeout: Option<i32>,
    idle_timeout: Option<i32>,
    max_processes: Option<i32>,
    min_processes: Option<i32>,
    max_conns_per_process: Option<i32>,
    load_factor: Option<f64>,
    /// The ordinal of the kind of content.
    app_mode: i32,
    content_category: String,
    has_parameters: bool,
    bundle_id: Option<i64>,
    created_time: Stamp,
    last_deployed_time: Stamp,
    /// 0: no build runs in the background of this object.
    build_status: i32,
    cluster_name: Option<&'static str>,
    image_name: Option<&'static str>,
    r_version: Option<String>,
    py_version: Option<String>,
    quarto_version: Option<String>,
    node_version: Option<String>,
    run_as: Option<String>,
    run_as_current_user: bool,
    locked: bool,
    locked_message: String,
    /// The caller's own standing.
    #[schema(value_type = String, example = "owner")]
    app_role: AppRole,
    owner_guid: String,
    owner_username: String,
    owner_first_name: String,
    owner_last_name: String,
    owner_email: String,
    owner_locked: bool,
    /// Whether one of its variants is rendered by a schedule.
    is_scheduled: bool,
    #[schema(value_type = Option<Object>)]
    git: Option<()>,
    /// Null: who is listed is told by `/v1/content/{guid}/permissions`. So the next.
    #[schema(value_type = Option<Object>)]
    users: Option<()>,
    #[schema(value_type = Option<Object>)]
    groups: Option<()>,
    /// Null without a vanity path.
    vanities: Option<Vec<Vanity>>,
    /// Null: the names of variables are told by `/v1/content/{guid}/environment`.
    #[serde(rename = "EnvironmentJson")]
    #[schema(value_type = Option<Object>)]
    environment: Option<()>,
}

/// A vanity path in the words of the unversioned protocol.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Vanity {
    app_id: i64,
    app_guid: String,
    path_prefix: String,
}

impl Application {
    pub(crate) fn of(row: &ContentRow, role: AppRole, base: &Base, is_scheduled: bool) -> Self {
        let processes = &row.processes;
        let vanity = |path: &String| {
            let (app_id, app_guid, path_prefix) = (row.id.0, row.guid.to_string(), path.clone());
            vec![Vanity { app_id, app_guid, path_prefix }]
        };
        Self {
            id: row.id.0,
            guid: row.guid.to_string(),
            name: row.name.clone(),
            title: row.title.clone(),
            description: row.description.clone(),
            url: content_url(base, row.guid),
            content_url: content_url(base, row.guid),
            dashboard_url: dashboard_url(base, row.guid),
            vanity_url: row.vanity.is_some(),
            access_type: row.access_type,
            connection_timeout: processes.connection_timeout,
            read_timeout: processes.read_timeout,
            init_timeout: processes.init_timeout,
            idle_timeout: processes.idle_timeout,
            max_processes: processes.max_processes,
            min_processes: processes.min_processes,
            max_conns_per_process: processes.max_conns_per_process,
            load_factor: processes.load_factor,
            app_mode: row.app_mode.ordinal(),
            content_category: row.category.clone(),
            has_parameters: row.parameterized,
            bundle_id: row.active_bundle.map(|bundle| bundle.0),
            created_time: row.created_at.into(),
            last_deployed_time: row.last_deployed_at.into(),
            build_status: 0,
            cluster_name: row.active_bundle.map(|_| "Local"),
            image_name: row.active_bundle.map(|_| "Local"),
            r_version: row.traits.r_version.clone(),
            py_version: row.traits.py_version.clone(),
            quarto_version: row.traits.quarto_version.clone(),
            node_version: row.traits.node_version.clone(),
            run_as: row.run_as.clone(),
            run_as_current_user: row.run_as_current_user,
            locked: row.locked,
            locked_message: row.locked_message.clone(),
            app_role: role,
            owner_guid: row.owner.guid.to_string(),
            owner_username: row.owner.username.clone(),
            owner_first_name: row.owner.first_name.clone(),
            owner_last_name: row.owner.last_name.clone(),
            owner_email: row.owner.email.clone(),
            owner_locked: row.owner.locked,
            is_scheduled,
            git: None,
            users: None,
            groups: None,
            vanities: row.vanity.as_ref().map(vanity),
            environment: None,
        }
    }
}
