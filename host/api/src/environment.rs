//! `/v1/content/{guid}/environment`: environment variables. Names can be read, values never.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use lectern_domain::audit::{Action, VariableNames};
use lectern_domain::ids::ContentGuid;
use lectern_metadata::{DbError, content, sealing, variables};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use crate::Services;
use crate::access::Changeable;
use crate::audit::{item, record};
use crate::body::List;
use crate::error::{ApiError, Code, ErrorBody};
use crate::services::Part;

/// Longest `NAME=value` in bytes: Linux starts no process with a longer one (MAX_ARG_STRLEN, 128 KiB with the NUL).
const MAX_VARIABLE_BYTES: usize = (128 << 10) - 2;

/// Most variables of one item: with them all at a usual length, a process still starts (ARG_MAX is 2 MiB together).
const MAX_VARIABLES: usize = 1000;

/// Names that begin so are the server's own.
const OWN_PREFIX: &str = "LECTERN_";

pub(crate) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list, patch, replace))
}

/// A variable.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Variable {
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// Null removes it.
    value: Option<String>,
}

/// Variables as they are stored: to set, with sealed values, and to remove.
struct Sealed {
    set: Vec<(String, Vec<u8>)>,
    remove: Vec<String>,
}

/// Lists the names, sorted.
#[utoipa::path(get, path = "/v1/content/{guid}/environment", tag = "content", params(("guid" = String, Path,)),
    responses((status = 200, body = Vec<String>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn list(at: Changeable) -> Result<Json<Vec<String>>, ApiError> {
    Ok(Json(variables::names(&at.client().await?, at.row.id).await?))
}

/// Sets and removes variables; others stay. Answers the names there are then.
#[utoipa::path(patch, path = "/v1/content/{guid}/environment", tag = "content", params(("guid" = String, Path,)),
    request_body = Vec<Variable>,
    responses((status = 200, body = Vec<String>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn patch(
    State(services): State<Services>,
    at: Changeable,
    List(given): List<Variable>,
) -> Result<Json<Vec<String>>, ApiError> {
    change(&services, at, given, false).await
}

/// Makes the variables given the only ones; `[]` removes all.
#[utoipa::path(put, path = "/v1/content/{guid}/environment", tag = "content", params(("guid" = String, Path,)),
    request_body = Vec<Variable>,
    responses((status = 200, body = Vec<String>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn replace(
    State(services): State<Services>,
    at: Changeable,
    List(given): List<Variable>,
) -> Result<Json<Vec<String>>, ApiError> {
    change(&services, at, given, true).await
}

async fn change(
    services: &Services,
    at: Changeable,
    given: Vec<Variable>,
    all: bool,
) -> Result<Json<Vec<String>>, ApiError> {
    let guid = at.row.guid;
    check(&given)?;
    let mut client = at.client().await?;
    if !all && given.is_empty() {
        return Ok(Json(variables::names(&client, at.row.id).await?));
    }
    let tx = client.transaction().await.map_err(DbError::from)?;
    content::lock(&tx, at.row.id).await?;
    sealing::begin_write(&tx).await?;
    let sealed = seal(services, guid, given)?;
    let set: Vec<&str> = sealed.set.iter().map(|(name, _)| name.as_str()).collect();
    let removed: Vec<&str> = sealed.remove.iter().map(String::as_str).collect();
    if all {
        variables::replace_all(&tx, at.row.id, &sealed.set).await?;
    } else {
        variables::patch(&tx, at.row.id, &sealed.set, &sealed.remove).await?;
    }
    let names = variables::names(&tx, at.row.id).await?;
    if names.len() > MAX_VARIABLES {
        return Err(ApiError::new(
            Code::TooManyVariables,
            format!("content has at most {MAX_VARIABLES} environment variables; this would make {}", names.len()),
        ));
    }
    let changed = VariableNames { set: &set, removed: &removed, replaced: all };
    record(&tx, &at.caller, &Action::VariablesChanged { item: item(&at.row), names: changed }).await?;
    tx.commit().await.map_err(DbError::from)?;
    drop(client);
    services.backstage.refresh(Part::Content(guid)).await;
    services.backstage.variables_changed(guid).await;
    Ok(Json(names))
}

/// Checks names and values before anything is begun.
fn check(given: &[Variable]) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    for Variable { name, value } in given {
        check_name(name)?;
        if !seen.insert(name) {
            return Err(ApiError::new(Code::VariableTwice, format!("the variable {name} is named twice")));
        }
        let value = value.as_deref().unwrap_or_default();
        if value.contains('\0') {
            return Err(ApiError::new(Code::BadField, format!("the value of {name} holds a NUL character")));
        }
        if name.len() + value.len() > MAX_VARIABLE_BYTES {
            let message = format!("{name} and its value are longer than {MAX_VARIABLE_BYTES} bytes together");
            return Err(ApiError::new(Code::BadField, message));
        }
    }
    Ok(())
}

fn seal(services: &Services, guid: ContentGuid, given: Vec<Variable>) -> Result<Sealed, ApiError> {
    let mut sealed = Sealed { set: Vec::new(), remove: Vec::new() };
    for Variable { name, value } in given {
        match value.map(Zeroizing::new) {
            None => sealed.remove.push(name),
            Some(value) => {
                let secret = services.backstage.seal(guid, &name, &value).map_err(ApiError::internal)?;
                sealed.set.push((name, secret));
            }
        }
    }
    Ok(sealed)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.len() > 255 || name.chars().any(|c| c == '=' || c.is_control()) {
        let message = "the name of a variable must be 1 to 255 bytes without `=` and control characters";
        return Err(ApiError::new(Code::BadField, message));
    }
    if name.starts_with(OWN_PREFIX) {
        let message = format!("variables whose names begin with {OWN_PREFIX} are the server's own");
        return Err(ApiError::new(Code::VariableProhibited, message));
    }
    Ok(())
}
