//! The settings that a client may send, on create and on update alike, and their checks.

use lectern_domain::access::AccessType;
use lectern_domain::content::{ProcessSettings, check_description, check_name, check_title};
use lectern_domain::ids::UserGuid;
use lectern_metadata::content::{ContentPatch, ContentRow};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::body::present;
use crate::error::{ApiError, Code};
use crate::services::Scheduler;

/// Settings of a content item. An absent field stays as it is; null clears a field that may be unset.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(example = json!({"name": "sales-2030", "title": "Sales in 2030", "access_type": "logged_in"}))]
pub(crate) struct Fields {
    /// Unique per owner. Absent, null or empty: made by the server on create, left alone on update.
    #[schema(pattern = "^([-_.0-9A-Za-z]{3,64})?$")]
    pub(crate) name: Option<String>,
    /// Null or empty: none (pins writes an empty one where the author gave none).
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub(crate) title: Option<Option<String>>,
    #[schema(max_length = 4096)]
    description: Option<String>,
    /// `all`, `logged_in` or `acl`.
    #[schema(pattern = "^(all|logged_in|acl)$")]
    access_type: Option<String>,
    /// The new owner; for the owner and administrators.
    #[schema(pattern = "^([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?$")]
    pub(crate) owner_guid: Option<String>,
    locked: Option<bool>,
    #[schema(max_length = 4096)]
    locked_message: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    connection_timeout: Option<Option<i32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    read_timeout: Option<Option<i32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    init_timeout: Option<Option<i32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    idle_timeout: Option<Option<i32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    max_processes: Option<Option<i32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    min_processes: Option<Option<i32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    max_conns_per_process: Option<Option<i32>>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<f64>)]
    load_factor: Option<Option<f64>>,
    /// For administrators.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    run_as: Option<Option<String>>,
    /// For administrators.
    run_as_current_user: Option<bool>,
    /// Settings of other executors, which are kept; anything else is ignored.
    #[serde(flatten)]
    #[schema(value_type = KeptFields)]
    rest: Map<String, Value>,
}

/// Settings of other executors, which are kept; anything else is ignored.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes what is checked by KEPT")]
struct KeptFields {
    #[schema(minimum = 0)]
    memory_request: Option<i64>,
    #[schema(minimum = 0)]
    memory_limit: Option<i64>,
    #[schema(minimum = 0)]
    cpu_request: Option<f64>,
    #[schema(minimum = 0)]
    cpu_limit: Option<f64>,
    #[schema(minimum = 0)]
    amd_gpu_limit: Option<i64>,
    #[schema(minimum = 0)]
    nvidia_gpu_limit: Option<i64>,
    #[schema(max_length = 1024)]
    service_account_name: Option<String>,
    #[schema(max_length = 1024)]
    default_image_name: Option<String>,
    #[schema(max_length = 1024)]
    default_environment_guid: Option<String>,
    default_r_environment_management: Option<bool>,
    default_py_environment_management: Option<bool>,
    draft_marker_enabled: Option<bool>,
    metrics_collection_enabled: Option<bool>,
    notify_on_share: Option<bool>,
    otel_enabled: Option<bool>,
}

/// Whether a value is in a setting's form.
type Fits = fn(&Value) -> bool;

/// Settings of other executors, with their form.
const KEPT: &[(&str, Fits)] = &[
    ("memory_request", whole),
    ("memory_limit", whole),
    ("cpu_request", amount),
    ("cpu_limit", amount),
    ("amd_gpu_limit", whole),
    ("nvidia_gpu_limit", whole),
    ("service_account_name", text),
    ("default_image_name", text),
    ("default_environment_guid", text),
    ("default_r_environment_management", Value::is_boolean),
    ("default_py_environment_management", Value::is_boolean),
    ("draft_marker_enabled", Value::is_boolean),
    ("metrics_collection_enabled", Value::is_boolean),
    ("notify_on_share", Value::is_boolean),
    ("otel_enabled", Value::is_boolean),
];

fn whole(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| number >= 0)
}

fn amount(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number >= 0.0)
}

fn text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() <= 1024)
}

impl Fields {
    /// The changes asked for, each checked by itself. The owner is looked up by the caller.
    pub(crate) fn patch(mut self) -> Result<ContentPatch, ApiError> {
        let mut kept_settings = Map::new();
        for (key, fits) in KEPT {
            if let Some(value) = self.rest.remove(*key) {
                if !value.is_null() && !fits(&value) {
                    return Err(ApiError::new(Code::BadField, format!("{key} has a value that is not allowed")));
                }
                kept_settings.insert((*key).to_owned(), value);
            }
        }
        if let Some(guid) = self.owner_guid.as_deref().filter(|guid| !guid.is_empty()) {
            guid.parse::<UserGuid>()?;
        }
        let access_type = self.access_type.as_deref().map(|word| {
            AccessType::parse(word)
                .ok_or_else(|| ApiError::new(Code::BadField, "access_type must be all, logged_in or acl"))
        });
        let title = self.title.map(|title| title.filter(|title| !title.is_empty()));
        if let Some(Some(title)) = &title {
            check_title(title)?;
        }
        for long in [&self.description, &self.locked_message].into_iter().flatten() {
            check_description(long)?;
        }
        if let Some(Some(account)) = &self.run_as
            && account.len() > 255
        {
            return Err(ApiError::new(Code::BadField, "run_as must be at most 255 bytes long"));
        }
        let name = self.name.filter(|name| !name.is_empty());
        if let Some(name) = &name {
            check_name(name)?;
        }
        Ok(ContentPatch {
            name,
            title,
            description: self.description,
            owner: None,
            access_type: access_type.transpose()?,
            locked: self.locked,
            locked_message: self.locked_message,
            connection_timeout: self.connection_timeout,
            read_timeout: self.read_timeout,
            init_timeout: self.init_timeout,
            idle_timeout: self.idle_timeout,
            max_processes: self.max_processes,
            min_processes: self.min_processes,
            max_conns_per_process: self.max_conns_per_process,
            load_factor: self.load_factor,
            run_as: self.run_as,
            run_as_current_user: self.run_as_current_user,
            kept_settings,
        })
    }
}

/// Checks what `patch` makes of `row`: rules that several settings must keep together, and the server's limits.
pub(crate) fn check_result(row: &ContentRow, patch: &ContentPatch, scheduler: &Scheduler) -> Result<(), ApiError> {
    let mut new = row.clone();
    patch.apply(&mut new);
    if new.processes == row.processes {
        // An item that was made under other limits can still be renamed.
        return Ok(());
    }
    let asked = ProcessSettings {
        max_processes: patch.max_processes.flatten(),
        min_processes: patch.min_processes.flatten(),
        max_conns_per_process: patch.max_conns_per_process.flatten(),
        ..ProcessSettings::default()
    };
    scheduler.limits().check(&asked)?;
    Ok(new.processes.check(scheduler.min_processes, scheduler.max_processes)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn patch(value: Value) -> Result<ContentPatch, i32> {
        serde_json::from_value::<Fields>(value).unwrap().patch().map_err(|refusal| refusal.code())
    }

    #[test]
    fn nothing_changes_nothing() {
        for nothing in [json!({}), json!({"name": ""}), json!({"name": null, "app_mode": "static", "guid": "x"})] {
            assert!(patch(nothing.clone()).unwrap().is_empty(), "{nothing}");
        }
    }

    #[test]
    fn null_clears_what_may_be_unset() {
        let cleared = patch(json!({"title": null, "max_processes": null, "cpu_limit": null, "description": null}));
        let cleared = cleared.unwrap();
        assert_eq!((cleared.title, cleared.max_processes, cleared.description), (Some(None), Some(None), None));
        assert_eq!(Value::Object(cleared.kept_settings), json!({"cpu_limit": null}));
        assert_eq!(patch(json!({"title": ""})).unwrap().title, Some(None));
    }

    #[test]
    fn bad_values_are_refused_with_their_code() {
        let cases = [
            (json!({"name": "a b"}), 5),
            (json!({"owner_guid": "me"}), 3),
            (json!({"title": "ab"}), 87),
            (json!({"description": "x".repeat(4097)}), 87),
            (json!({"locked_message": "x".repeat(4097)}), 87),
            (json!({"access_type": "everyone"}), 87),
            (json!({"memory_limit": "much"}), 87),
            (json!({"memory_limit": -1}), 87),
            (json!({"default_image_name": 7}), 87),
        ];
        for (fields, code) in cases {
            assert_eq!(patch(fields.clone()), Err(code), "{fields}");
        }
    }
}
