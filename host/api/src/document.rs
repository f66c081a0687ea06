//! The OpenAPI document: what routes do not say of themselves because it holds for all routes of their kind.
//!
//! A route describes what it answers and why. What runs before every route (the guard), what every reader of an address, of a
//! query and of a body refuses, and what happens when the database is away is added here, by the shape of the operation: no
//! route can forget it, and none has to repeat it. What a route says itself stays as it is.

use std::collections::BTreeMap;

use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, ContentBuilder, Header, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// The name of the scheme that nearly every route asks for.
const KEY: &str = "api_key";

/// A refusal of every route of a kind: its status, its name in the document, and when it is answered.
const COMMON: [(&str, &str, &str); 7] = [
    ("400", "NotInForm", "the address, a parameter or the body is not in its form"),
    ("401", "NotSignedIn", "there is no credential, or it is not valid"),
    ("403", "Refused", "the caller may not do this"),
    ("404", "Missing", "what the address names does not exist"),
    ("413", "TooLong", "the body is longer than the server reads"),
    ("500", "Failed", "a failure of the server's, which its log tells more of"),
    ("503", "Unavailable", "the server cannot do this at the moment; nothing was changed"),
];

/// Completes what the routes have said.
pub(crate) fn complete(document: &mut OpenApi) {
    let key = ApiKeyValue::with_description("Authorization", "`Key <API key>`");
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(KEY, SecurityScheme::ApiKey(ApiKey::Header(key)));
    for (status, name, description) in COMMON {
        for (prefix, oauth) in [("", false), ("OAuth", true)] {
            let refusal = refusal(status, description, oauth);
            components.responses.insert(format!("{prefix}{name}"), RefOr::T(refusal));
        }
    }
    let schemas = components.schemas.clone();
    document.security = Some(vec![SecurityRequirement::new(KEY, [""; 0])]);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(name_of(method, path));
            describe_address(path, operation);
            describe_body(operation, &schemas);
            describe_refusals(method, operation);
        }
    }
}

/// What a refusal says: in the protocol's words, or in those of the OAuth RFCs. The guard before these routes speaks its own.
fn words(status: &str, oauth: bool) -> RefOr<Schema> {
    let (protocol, rfc) = (Ref::from_schema_name("ErrorBody"), Ref::from_schema_name("OAuthErrorBody"));
    match status {
        "400" | "401" if oauth => OneOfBuilder::new().item(rfc).item(protocol).into(),
        _ if oauth => rfc.into(),
        _ => protocol.into(),
    }
}

fn refusal(status: &str, description: &str, oauth: bool) -> Response {
    let content = ContentBuilder::new().schema(Some(words(status, oauth))).build();
    let mut response = ResponseBuilder::new().description(description).content(JSON, content).build();
    if LISTENERS.contains(&status) {
        response.content.insert(TEXT.to_owned(), text());
    }
    if status == "503" {
        let mut again = Header::new(ObjectBuilder::new().schema_type(Type::Integer));
        again.description = Some("seconds after which to try again".to_owned());
        response.headers = BTreeMap::from([("Retry-After".to_owned(), again)]);
    }
    response
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// A name that no other operation has: `get_v1_content_guid_bundles`.
fn name_of(method: &str, path: &str) -> String {
    let path = path.trim_start_matches("/__api__");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

/// What the listener refuses by itself, before a request comes here, is text.
const LISTENERS: [&str; 2] = ["400", "503"];

/// Says of bytes that they are bytes, and of objects that they may be left out: no body is the empty object, and a field that
/// must be there is named as such.
fn describe_body(operation: &mut Operation, schemas: &BTreeMap<String, RefOr<Schema>>) {
    let Some(body) = &mut operation.request_body else { return };
    for (kind, content) in &mut body.content {
        describe_bytes(kind, content);
        if kind == JSON && !takes_list(content.schema.as_ref()) {
            body.required =
                Some(if needs_fields(content.schema.as_ref(), schemas) { Required::True } else { Required::False });
        }
    }
}

fn describe_bytes(kind: &str, content: &mut Content) {
    if kind != JSON && takes_list(content.schema.as_ref()) {
        let bytes =
            ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
        content.schema = Some(RefOr::T(Schema::Object(bytes.build())));
    }
}

fn takes_list(schema: Option<&RefOr<Schema>>) -> bool {
    matches!(schema, Some(RefOr::T(Schema::Array(_))))
}

fn needs_fields(schema: Option<&RefOr<Schema>>, schemas: &BTreeMap<String, RefOr<Schema>>) -> bool {
    match schema {
        Some(RefOr::Ref(at)) => {
            let named = at.ref_location.rsplit('/').next().and_then(|name| schemas.get(name));
            matches!(named, Some(RefOr::T(Schema::Object(object))) if !object.required.is_empty())
        }
        Some(RefOr::T(Schema::Object(object))) => !object.required.is_empty(),
        _ => false,
    }
}

fn describe_refusals(method: &str, operation: &mut Operation) {
    let oauth = operation.tags.iter().flatten().any(|tag| tag == "oauth");
    let parameters = operation.parameters.as_deref().unwrap_or_default();
    let named = parameters.iter().any(|parameter| parameter.parameter_in == ParameterIn::Path);
    let read = !parameters.is_empty() || operation.request_body.is_some();
    for (status, name, _) in COMMON {
        let answered = match status {
            "400" => read,
            // A browser's session changes nothing.
            "403" => method != "get",
            "404" => named,
            "413" => operation.request_body.is_some(),
            _ => true,
        };
        if answered {
            let spoken = if oauth && status != "403" { "OAuth" } else { "" };
            let name = format!("{spoken}{name}");
            let common = RefOr::Ref(Ref::from_response_name(name));
            operation.responses.responses.entry(status.to_owned()).or_insert(common);
        }
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if LISTENERS.contains(&status.as_str()) {
            response.content.insert(TEXT.to_owned(), text());
        }
        for (kind, content) in &mut response.content {
            describe_bytes(kind, content);
            if oauth && kind == JSON && matches!(status.as_str(), "400" | "401") {
                content.schema = Some(words(status, oauth));
            }
        }
    }
}

fn text() -> Content {
    ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).build()
}

/// The form of a part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Guid,
    /// A row's number.
    Number,
    /// Letters and digits.
    Token,
    /// A content item's GUID, or its number.
    Item,
}

impl Form {
    /// Of the part `name` of `path`; `None`: any text, or the route says it.
    fn of(path: &str, name: &str) -> Option<Self> {
        let placeholder = format!("/{{{name}}}");
        let before = path.split(placeholder.as_str()).next().unwrap_or_default();
        let form = match (before.rsplit('/').next().unwrap_or_default(), name) {
            (_, "guid" | "user") | ("sessions", "id") => Self::Guid,
            ("permissions", "id") if path.contains("/environments/") => Self::Guid,
            ("bundles" | "permissions" | "permission_requests" | "tags" | "keys" | "oauth_grants", "id")
            | ("variants" | "schedules" | "renderings", "id") => Self::Number,
            ("tasks", "id") | ("jobs", "key") => Self::Token,
            ("applications", "app") => Self::Item,
            _ => return None,
        };
        Some(form)
    }

    fn schema(self) -> Schema {
        let text = ObjectBuilder::new().schema_type(Type::String);
        // Numbers of rows have 63 bits; eighteen digits are some fewer, and more than there will be.
        let text = match self {
            Self::Guid => text.format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))),
            Self::Number => text.pattern(Some("^[1-9][0-9]{0,17}$")),
            Self::Token => text.pattern(Some("^[0-9A-Za-z]{16,64}$")),
            Self::Item => text.pattern(Some(
                "^([1-9][0-9]{0,17}|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})$",
            )),
        };
        Schema::Object(text.build())
    }
}

fn describe_address(path: &str, operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if parameter.parameter_in == ParameterIn::Path
            && says_only_text(parameter.schema.as_ref())
            && let Some(form) = Form::of(path, &parameter.name)
        {
            parameter.schema = Some(RefOr::T(form.schema()));
        }
    }
}

fn says_only_text(schema: Option<&RefOr<Schema>>) -> bool {
    let Some(RefOr::T(Schema::Object(object))) = schema else { return false };
    object.schema_type == SchemaType::Type(Type::String)
        && object.format.is_none()
        && object.pattern.is_none()
        && object.enum_values.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_addresses_have_forms() {
        for (path, name, form) in [
            ("/__api__/v1/content/{guid}/bundles/{id}", "guid", Some(Form::Guid)),
            ("/__api__/v1/content/{guid}/bundles/{id}/download", "id", Some(Form::Number)),
            ("/__api__/v1/environments/{guid}/permissions/{id}", "id", Some(Form::Guid)),
            ("/__api__/v1/groups/{guid}/members/{user}", "user", Some(Form::Guid)),
            ("/__api__/v1/tasks/{id}", "id", Some(Form::Token)),
            ("/__api__/applications/{app}", "app", Some(Form::Item)),
            ("/__api__/server_settings/scheduler/{app_mode}", "app_mode", None),
        ] {
            assert_eq!(Form::of(path, name), form, "{path} {name}");
        }
    }

    #[test]
    fn operations_are_named_after_their_addresses() {
        assert_eq!(name_of("get", "/__api__/v1/content/{guid}/bundles"), "get_v1_content_guid_bundles");
        assert_eq!(name_of("post", "/__api__/__login__"), "post_login");
    }
}
