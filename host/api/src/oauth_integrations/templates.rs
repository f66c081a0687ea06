//! `/v1/oauth/templates`: which fields the configurations of integrations have.

use axum::Json;
use axum::extract::Path;
use lectern_domain::integrations::template::{self, Field, Holds, MOST_CHARS, Template, When};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::{ApiError, Code, ErrorBody};
use crate::guard::Publisher;

/// A template.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateView {
    #[schema(example = "custom")]
    id: &'static str,
    name: &'static str,
    description: &'static str,
    /// Parts of a form; one holds all fields here.
    sections: Vec<TemplateSection>,
    /// Fields that hold one of some words.
    options: Vec<TemplateOption>,
    /// Fields that hold text.
    fields: Vec<TemplateField>,
    /// Always empty.
    environment_variables: Vec<String>,
}

/// A part of a form.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateSection {
    id: i32,
    order: i32,
    name: &'static str,
    description: &'static str,
}

/// A field that holds one of some words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateOption {
    name: &'static str,
    label: &'static str,
    description: &'static str,
    order: i32,
    /// Always `select`.
    r#type: &'static str,
    values: &'static [&'static str],
    default: &'static str,
    required: bool,
    /// Where it is asked for; null: always.
    #[schema(value_type = Option<Object>)]
    visibility_expression: Option<Value>,
}

/// A field that holds text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TemplateField {
    name: &'static str,
    label: &'static str,
    description: &'static str,
    order: i32,
    default: &'static str,
    /// A regular expression of what it may hold.
    validation: String,
    validation_description: &'static str,
    secret: bool,
    multiline: bool,
    required: bool,
    /// Where it is asked for; null: always.
    #[schema(value_type = Option<Object>)]
    visibility_expression: Option<Value>,
}

fn visibility(when: When) -> Option<Value> {
    match when {
        When::Always => None,
        When::Is(name, value) => Some(json!({"name": name, "value": value})),
        When::IsNot(name, value) => Some(json!({"operator": "not", "operands": [{"name": name, "value": value}]})),
    }
}

fn text(field: &Field, order: i32) -> TemplateField {
    let (validation, validation_description) = match field.holds {
        Holds::Url => ("^https?://[^@#\\s]+$".to_owned(), "An absolute address, without user name and fragment"),
        Holds::Text | Holds::OneOf(_) => (format!("^.{{0,{MOST_CHARS}}}$"), "Text without control characters"),
    };
    TemplateField {
        name: field.name,
        label: field.label,
        description: field.description,
        order,
        default: "",
        validation,
        validation_description,
        secret: field.secret,
        multiline: false,
        required: field.required,
        visibility_expression: visibility(field.when),
    }
}

impl From<&'static Template> for TemplateView {
    fn from(template: &'static Template) -> Self {
        let (mut options, mut fields) = (Vec::new(), Vec::new());
        for (order, field) in (1..).zip(template.fields) {
            match field.holds {
                Holds::OneOf(values) => options.push(TemplateOption {
                    name: field.name,
                    label: field.label,
                    description: field.description,
                    order,
                    r#type: "select",
                    values,
                    default: values.first().copied().unwrap_or_default(),
                    required: field.required,
                    visibility_expression: visibility(field.when),
                }),
                Holds::Text | Holds::Url => fields.push(text(field, order)),
            }
        }
        let all = TemplateSection { id: 1, order: 1, name: "Configuration", description: "" };
        Self {
            id: template.id,
            name: template.name,
            description: template.description,
            sections: vec![all],
            options,
            fields,
            environment_variables: Vec::new(),
        }
    }
}

/// Lists the templates. For publishers and administrators.
#[utoipa::path(get, path = "/v1/oauth/templates", tag = "integrations",
    responses((status = 200, body = Vec<TemplateView>), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(super) async fn list(_: Publisher) -> Json<Vec<TemplateView>> {
    Json(template::TEMPLATES.iter().map(TemplateView::from).collect())
}

/// One template. For publishers and administrators.
#[utoipa::path(get, path = "/v1/oauth/templates/{key}", tag = "integrations", params(("key" = String, Path,)),
    responses((status = 200, body = TemplateView), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn get(_: Publisher, Path(key): Path<String>) -> Result<Json<TemplateView>, ApiError> {
    let found = template::find(&key);
    found.map(|template| Json(template.into())).ok_or_else(|| ApiError::new(Code::Missing, "there is no such template"))
}
