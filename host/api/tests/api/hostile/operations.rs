//! The operations that the document describes.

use serde_json::Value;

use crate::support::Reply;

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: String,
    /// With names in braces.
    pub(super) path: String,
    /// Errors are in the form of the OAuth RFCs.
    pub(super) oauth: bool,
    /// Names of parameters in the query.
    pub(super) query: Vec<String>,
    /// The schema of its JSON body.
    pub(super) body: Option<Value>,
    /// It takes a body of another kind.
    pub(super) raw_body: Option<String>,
    pub(super) described: Value,
}

impl Operation {
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether the JSON body is a list.
    pub(super) fn takes_list(&self) -> bool {
        self.body.as_ref().is_some_and(|schema| schema["type"] == "array")
    }

    /// Names of the body's fields, or of the fields of a list's entries, with their schemas.
    pub(super) fn fields(&self) -> Vec<(String, Value)> {
        let Some(body) = &self.body else { return Vec::new() };
        properties(if self.takes_list() { &body["items"] } else { body })
    }
}

/// The fields of an object's schema, and of those it is put together from.
fn properties(schema: &Value) -> Vec<(String, Value)> {
    let schema = resolved(schema);
    let own = schema["properties"].as_object().into_iter().flatten();
    let mut all: Vec<_> = own.map(|(name, schema)| (name.clone(), resolved(schema))).collect();
    all.extend(schema["allOf"].as_array().into_iter().flatten().flat_map(properties));
    all
}

/// A schema, followed to where it is written down.
fn resolved(schema: &Value) -> Value {
    let document = document();
    let mut schema = schema.clone();
    while let Some(reference) = schema["$ref"].as_str() {
        schema = document.pointer(reference.trim_start_matches('#')).unwrap().clone();
    }
    schema
}

fn document() -> &'static Value {
    static DOCUMENT: std::sync::LazyLock<Value> =
        std::sync::LazyLock::new(|| serde_json::to_value(lectern_api::openapi()).unwrap());
    &DOCUMENT
}

/// All operations, in the order of their addresses.
pub(super) fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let content = operation["requestBody"]["content"].as_object();
            let json = content.and_then(|content| content.get("application/json"));
            let raw = content.and_then(|content| content.keys().find(|kind| *kind != "application/json"));
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let query = parameters.filter(|parameter| parameter["in"] == "query");
            all.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                oauth: operation["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "oauth")),
                query: query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect(),
                body: json.map(|content| resolved(&content["schema"])),
                raw_body: raw.cloned(),
                described: operation.clone(),
            });
        }
    }
    assert!(all.len() > 100, "{}", all.len());
    all
}

/// What was found: all of it, not only the first.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<String>,
    /// How many answers were looked at.
    pub(super) answers: usize,
}

impl Findings {
    /// Expects an answer that is no failure of the server's; a refusal is in its form, and described.
    pub(super) fn sound(&mut self, operation: &Operation, reply: &Reply, what: &str) {
        self.answers += 1;
        if let Some(wrong) = wrong(operation, reply) {
            self.note(operation, reply, &format!("{what}: {wrong}"));
        }
    }

    /// Expects a refusal in its form.
    pub(super) fn refused(&mut self, operation: &Operation, reply: &Reply, what: &str) {
        self.sound(operation, reply, what);
        self.expect(reply.status.is_client_error(), operation, reply, what);
    }

    pub(super) fn expect(&mut self, holds: bool, operation: &Operation, reply: &Reply, what: &str) {
        if !holds {
            self.note(operation, reply, what);
        }
    }

    fn note(&mut self, operation: &Operation, reply: &Reply, what: &str) {
        let what: String = what.chars().take(200).collect();
        let body: String = String::from_utf8_lossy(&reply.bytes).chars().take(300).collect();
        self.found.push(format!("{} {}: {what}\n    {} {body}", operation.method, operation.path, reply.status));
    }

    /// Fails the test if there is anything, or if less was tried than `least`.
    #[track_caller]
    pub(super) fn are_none(self, least: usize) {
        assert!(self.found.is_empty(), "{} findings:\n{}", self.found.len(), self.found.join("\n"));
        assert!(self.answers >= least, "only {} answers", self.answers);
    }
}

fn wrong(operation: &Operation, reply: &Reply) -> Option<&'static str> {
    if reply.status.is_server_error() {
        return Some("the server failed");
    }
    let described = operation.described["responses"].as_object()?;
    if !described.contains_key(reply.status.as_str()) {
        return Some("the status is not described");
    }
    if !reply.status.is_client_error() {
        return None;
    }
    let kind = reply.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&reply.bytes).unwrap_or_default();
    let of_protocol = body["code"].as_i64().is_some_and(|code| code > 1)
        && body["error"].as_str().is_some_and(|text| !text.is_empty())
        && body.as_object().is_some_and(|body| body.contains_key("payload"));
    let of_oauth = operation.oauth && body["error"].is_string() && body["error_description"].is_string();
    let formed = kind.starts_with("application/json") && (of_protocol || of_oauth);
    (!formed).then_some("the refusal is in another form")
}
