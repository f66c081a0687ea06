//! What the page about the API shows, read out of the OpenAPI document.

use serde::Serialize;
use serde_json::{Map, Value};

/// All routes and objects.
pub(super) struct Reference {
    /// The protocol's version.
    pub(super) version: String,
    pub(super) groups: Vec<Group>,
    pub(super) objects: Vec<Object>,
}

/// Routes about one thing.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) operations: Vec<Operation>,
}

/// One route.
pub(super) struct Operation {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) summary: String,
    /// May be empty.
    pub(super) more: String,
    pub(super) parameters: Vec<Field>,
    /// The object in the request; may be empty.
    pub(super) body: String,
    pub(super) answers: Vec<Answer>,
}

/// A parameter, or a field of an object.
pub(super) struct Field {
    pub(super) name: String,
    /// Its type, in words.
    pub(super) kind: String,
    pub(super) about: String,
}

/// What a route may answer.
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) about: String,
    /// The object in it; may be empty.
    pub(super) kind: String,
}

/// An object of requests or answers.
pub(super) struct Object {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) fields: Vec<Field>,
}

impl Reference {
    /// Reads the document.
    pub(super) fn of(document: &impl Serialize) -> Self {
        let document = serde_json::to_value(document).unwrap_or_default();
        let mut groups: Vec<Group> = list(&document["tags"])
            .map(|tag| Group { name: text(&tag["name"]), about: text(&tag["description"]), operations: Vec::new() })
            .collect();
        for (path, item) in map(&document["paths"]) {
            for (method, operation) in map(item) {
                let tag = text(&operation["tags"][0]);
                if let Some(group) = groups.iter_mut().find(|group| group.name == tag) {
                    group.operations.push(Operation::of(method, path, operation));
                }
            }
        }
        let schemas = &document["components"]["schemas"];
        let objects = map(schemas).map(|(name, schema)| Object::of(name, schema, schemas));
        Self { version: text(&document["info"]["version"]), groups, objects: objects.collect() }
    }
}

impl Operation {
    fn of(method: &str, path: &str, operation: &Value) -> Self {
        let parameter = |parameter: &Value| Field {
            name: text(&parameter["name"]),
            kind: format!("{}, {}", text(&parameter["in"]), kind(&parameter["schema"])),
            about: text(&parameter["description"]),
        };
        let answer = |(status, answer): (&String, &Value)| Answer {
            status: status.clone(),
            about: text(&answer["description"]),
            kind: content(&answer["content"]),
        };
        Self {
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            more: text(&operation["description"]),
            parameters: list(&operation["parameters"]).map(parameter).collect(),
            body: content(&operation["requestBody"]["content"]),
            answers: map(&operation["responses"]).map(answer).collect(),
        }
    }
}

impl Object {
    fn of(name: &str, schema: &Value, schemas: &Value) -> Self {
        let mut fields = Vec::new();
        // What is flattened into an object stands beside its own fields, or is named there.
        for part in std::iter::once(schema).chain(list(&schema["allOf"])) {
            let part = part["$ref"].as_str().map_or(part, |name| &schemas[name.rsplit('/').next().unwrap_or_default()]);
            for (name, field) in map(&part["properties"]) {
                fields.push(Field { name: name.clone(), kind: kind(field), about: text(&field["description"]) });
            }
        }
        Self { name: name.to_owned(), about: text(&schema["description"]), fields }
    }
}

/// The type of a body: the object, or the media type where it is no JSON.
fn content(content: &Value) -> String {
    map(content)
        .next()
        .map(|(media, body)| if media == "application/json" { kind(&body["schema"]) } else { media.clone() })
        .unwrap_or_default()
}

/// A schema's type, in words.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(all) = schema[key].as_array() {
            return all.iter().map(kind).filter(|kind| !kind.is_empty()).collect::<Vec<_>>().join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(word) if word == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(word) => word.clone(),
        Value::Array(words) => words.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ => "anything".to_owned(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn map(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_of_the_document_is_left_out() {
        let document = serde_json::to_value(lectern_api::openapi()).unwrap();
        let operations: usize = map(&document["paths"]).map(|(_, item)| map(item).count()).sum();
        let reference = Reference::of(&document);
        assert_eq!(reference.groups.iter().map(|group| group.operations.len()).sum::<usize>(), operations);
        assert_eq!(reference.objects.len(), map(&document["components"]["schemas"]).count());
        let all = reference.groups.iter().flat_map(|group| &group.operations);
        let deploy = all.into_iter().find(|one| one.path == "/__api__/v1/content/{guid}/deploy").unwrap();
        assert_eq!((&*deploy.method, &*deploy.body), ("POST", "DeployRequest"));
        assert!(deploy.answers.iter().any(|answer| answer.status == "202" && answer.kind == "TaskStarted"));
        assert!(deploy.parameters.iter().any(|field| field.name == "guid" && field.kind == "path, string"));
        let content = reference.objects.iter().find(|object| object.name == "ContentView").unwrap();
        for name in ["guid", "memory_limit"] {
            assert!(content.fields.iter().any(|field| field.name == name), "{name}");
        }
    }
}
