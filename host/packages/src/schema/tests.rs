#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn schema(value: &Value) -> ConfigSchema {
    ConfigSchema::parse(&value.to_string()).unwrap()
}

fn refused_schema(value: &Value) -> String {
    ConfigSchema::parse(&value.to_string()).unwrap_err().to_string()
}

/// What is said of a configuration.
fn told(schema_value: &Value, config: Value) -> String {
    schema(schema_value).configure(&Map::new(), &map(config)).map_or_else(|error| error.to_string(), |_| "good".into())
}

#[test]
fn each_violation_says_where_what_and_what_else() {
    let of = |property: Value| json!({"properties": {"a": property}});
    let cases = [
        (of(json!({"type": "string"})), json!({"a": 1}), "/a = 1: must be a text"),
        (of(json!({"type": "integer"})), json!({"a": "x"}), "/a = \"x\": must be a whole number"),
        (of(json!({"type": ["array", "null"]})), json!({"a": true}), "/a = true: must be null or a list"),
        (of(json!({"type": "string"})), json!({"a": {"secret": 1}}), "/a: must be a text"),
        (of(json!({"type": "string"})), json!({"a": [1]}), "/a = (a list): must be a text"),
        (of(json!({"minimum": 1, "maximum": 9})), json!({"a": 10}), "/a = 10: must be at most 9"),
        (of(json!({"exclusiveMinimum": 1})), json!({"a": 1}), "/a = 1: must be more than 1"),
        (of(json!({"multipleOf": 5})), json!({"a": 7}), "/a = 7: must be a multiple of 5"),
        (of(json!({"minLength": 1})), json!({"a": ""}), "/a = \"\": must not be empty"),
        (of(json!({"maxLength": 2})), json!({"a": "abc"}), "/a = \"abc\": must have at most 2 characters"),
        (of(json!({"pattern": "^[a-z]+$"})), json!({"a": "A"}), "/a = \"A\": must match the pattern \"^[a-z]+$\""),
        (of(json!({"enum": ["x", "y"]})), json!({"a": "z"}), "/a = \"z\": must be one of \"x\", \"y\""),
        (of(json!({"const": "x"})), json!({"a": "z"}), "/a = \"z\": must be \"x\""),
        (of(json!({"format": "ipv4"})), json!({"a": "1.2.3"}), "/a = \"1.2.3\": must have the form \"ipv4\""),
        (of(json!({"format": "uri"})), json!({"a": "no uri"}), "/a = \"no uri\": must have the form \"uri\""),
        (of(json!({"minItems": 1})), json!({"a": []}), "/a = (a list): must have at least 1 item"),
        (of(json!({"uniqueItems": true})), json!({"a": [1, 1]}), "/a = (a list): must not have the same item twice"),
        (of(json!({"items": {"type": "string"}})), json!({"a": ["x", 2]}), "/a/1 = 2: must be a text"),
        (
            of(json!({"contains": {"const": 1}})),
            json!({"a": [2]}),
            "/a = (a list): must hold an item that fits, or fewer or more of them",
        ),
        (of(json!(false)), json!({"a": 1}), "/a = 1: must not be there"),
        (of(json!({"not": {"const": 1}})), json!({"a": 1}), "/a = 1: must not have this form"),
        (
            of(json!({"anyOf": [{"type": "string"}, {"type": "object", "required": ["b"]}]})),
            json!({"a": 1}),
            "/a = 1: must be one of 2 forms: must be a text; or must be an object",
        ),
        (
            of(json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]})),
            json!({"a": 3}),
            "/a = 3: must fit exactly one of the forms that are allowed, and fits several",
        ),
        (
            of(json!({"propertyNames": {"pattern": "^x"}})),
            json!({"a": {"y": 1}}),
            "/a: has a key that is not allowed: a key must match the pattern \"^x\"",
        ),
        (
            json!({"required": ["issuer"], "properties": {"issuer": {"description": "the identity provider's address"}}}),
            json!({}),
            "/issuer: missing: the identity provider's address",
        ),
        (of(json!({"required": ["b/c"]})), json!({"a": {}}), "/a/b~1c: missing"),
        (
            json!({"properties": {"issuer": {}}, "additionalProperties": false}),
            json!({"isuer": "secret?", "other": 1}),
            "/isuer: no such key; did you mean issuer?\n/other: no such key",
        ),
        (
            json!({"properties": {"a": {"type": "string"}, "b": {"minimum": 1}}, "required": ["c"]}),
            json!({"a": 1, "b": 0}),
            "/c: missing\n/a = 1: must be a text\n/b = 0: must be at least 1",
        ),
        (of(json!({"type": "string"})), json!({"a": "x"}), "good"),
    ];
    for (schema, config, expected) in cases {
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&told(&schema, config.clone())), sorted(expected), "{schema} {config}");
    }
}

#[test]
fn of_very_many_violations_some_are_told() {
    let told = told(&json!({"properties": {"a": {"items": {"type": "string"}}}}), json!({"a": vec![1; 60]}));
    assert_eq!(told.lines().count(), 51);
    assert!(told.ends_with("\nand 10 more"), "{told}");
}

#[test]
fn values_come_from_operator_manifest_and_schema_in_that_order() {
    let schema = schema(&json!({
        "$defs": {"port": {"type": "integer", "default": 443}},
        "properties": {
            "a": {"default": 1}, "b": {"default": 2}, "c": {"default": 3}, "port": {"$ref": "#/$defs/port"},
            "deep": {"properties": {"x": {"default": 1}}}
        }
    }));
    let config = schema.configure(&map(json!({"b": 20, "c": 30})), &map(json!({"c": 300, "deep": {}}))).unwrap();
    assert_eq!(Value::Object(config), json!({"a": 1, "b": 20, "c": 300, "port": 443, "deep": {}}));
    let any = ConfigSchema::any().configure(&map(json!({"b": 20})), &map(json!({"x": [1]}))).unwrap();
    assert_eq!(Value::Object(any), json!({"b": 20, "x": [1]}));
}

#[test]
fn a_manifest_may_leave_keys_to_the_operator() {
    let schema = schema(&json!({
        "properties": {"issuer": {"type": "string"}, "ttl": {"type": "integer"}},
        "required": ["issuer"], "additionalProperties": false
    }));
    assert_eq!(schema.check_defaults(&map(json!({"ttl": 1}))), Ok(()));
    let told = |config| schema.check_defaults(&map(config)).unwrap_err().to_string();
    assert_eq!(told(json!({"ttl": "1"})), "/ttl = \"1\": must be a whole number");
    assert_eq!(told(json!({"tll": 1})), "/tll: no such key; did you mean ttl?");
    assert!(schema.configure(&map(json!({"ttl": 1})), &Map::new()).is_err());
}

#[test]
fn secrets_are_never_printed() {
    let value = json!({
        "$defs": {"secret": {"type": "string", "writeOnly": true, "maxLength": 3}},
        "properties": {
            "plain": {"type": "string", "maxLength": 3},
            "key": {"$ref": "#/$defs/secret"},
            "keys": {"type": "array", "items": {"$ref": "#/$defs/secret"}},
            "choice": {"anyOf": [{"type": "integer"}, {"type": "string", "writeOnly": true, "maxLength": 3}]},
            "cond": {"if": {"type": "string"}, "then": {"writeOnly": true, "maxLength": 3}},
            "block": {"writeOnly": true, "properties": {"x": {"maxLength": 3}}},
            "named": {"additionalProperties": {"writeOnly": true, "maxLength": 3}},
            "patterned": {"patternProperties": {"^k": {"writeOnly": true, "maxLength": 3}}}
        }
    });
    let schema = schema(&value);
    let config = map(json!({
        "plain": "visible", "key": "hush", "keys": ["hush"], "choice": "hush", "cond": "hush", "block": {"x": "hush"},
        "named": {"a/b": "hush"}, "patterned": {"k": "hush"}
    }));
    let told = schema.configure(&Map::new(), &config).unwrap_err().to_string();
    assert!(told.contains("/key = (hidden): must have at most 3 characters"), "{told}");
    assert!(told.contains("/plain = \"visible\": must have at most 3 characters"), "{told}");
    assert!(told.contains("/named/a~1b = (hidden): must have at most 3 characters"), "{told}");
    assert!(!told.contains("hush"), "{told}");
    assert_eq!(
        Value::Object(schema.redacted(&config)),
        json!({
            "plain": "visible", "key": "(hidden)", "keys": ["(hidden)"], "choice": "(hidden)", "cond": "(hidden)",
            "block": "(hidden)", "named": {"a/b": "(hidden)"}, "patterned": {"k": "(hidden)"}
        })
    );
    assert_eq!(ConfigSchema::any().redacted(&config), config);
}

#[test]
fn a_schema_that_cannot_be_used_is_refused_with_the_reason() {
    let own = "a reference must be to a part of this file, as \"#/$defs/name\"";
    let look_around =
        "the pattern is too large or uses look-around or back-references, which would not run in linear time";
    let cases = [
        (json!([]), "must be a JSON object".to_owned()),
        (
            json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
            "$schema: must be one of https://json-schema.org/draft/2020-12/schema, https://json-schema.org/draft/2019-09/schema, \
             http://json-schema.org/draft-07/schema, http://json-schema.org/draft-06/schema; without it the first holds"
                .into(),
        ),
        (
            json!({"properties": {"a": {"$ref": "https://evil.example/s.json"}}}),
            format!("/properties/a/$ref: \"https://evil.example/s.json\": {own}"),
        ),
        (
            json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}),
            format!("/properties/a/$ref: \"file:///etc/passwd\": {own}"),
        ),
        (json!({"$ref": "other.json#/a"}), format!("/$ref: \"other.json#/a\": {own}")),
        (json!({"$ref": "#name"}), format!("/$ref: \"#name\": {own}")),
        (json!({"$ref": "#/%24defs/a", "$defs": {"a": {}}}), format!("/$ref: \"#/%24defs/a\": {own}")),
        (
            json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}),
            format!("/$ref: \"https://json-schema.org/draft/2020-12/schema\": {own}"),
        ),
        (json!({"$ref": "#/$defs/a"}), "/$ref: \"#/$defs/a\": there is no such part".into()),
        (
            json!({"$ref": "#"}),
            "/: the schema refers to itself: a configuration has as many levels as its schema writes out".into(),
        ),
        (
            json!({"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
            "/$defs/a: the schema refers to itself: a configuration has as many levels as its schema writes out".into(),
        ),
        (
            json!({"$dynamicRef": "#x"}),
            "/$dynamicRef: $dynamicRef is not supported here: refer to parts by \"#/…\"".into(),
        ),
        (
            json!({"properties": {"a": {"$id": "https://evil.example"}}}),
            "/properties/a/$id: $id is not supported here: refer to parts by \"#/…\"".into(),
        ),
        (json!({"properties": {"a": {"pattern": "(?=x)"}}}), format!("/properties/a/pattern: {look_around}")),
        (json!({"properties": {"a": {"pattern": "(a)\\1"}}}), format!("/properties/a/pattern: {look_around}")),
        (json!({"properties": {"a": {"pattern": "(((a{99}){99}){99}){99}"}}}), format!("/properties/a/pattern: {look_around}")),
        (
            json!({"properties": {"a": {"pattern": "(".repeat(2000)}}}),
            "/properties/a/pattern: a pattern has at most 1000 characters, and a schema at most 200 patterns".into(),
        ),
        (
            json!({"properties": {"a": {"type": "strin", "minLength": -1}}, "required": "a"}),
            "/properties/a/minLength = -1: must be at least 0\n\
             /properties/a/type = \"strin\": must be one of 2 forms: must be one of \"array\", \"boolean\", \"integer\", \
             \"null\", \"number\", \"object\", \"string\"; or must be a list\n\
             /required = \"a\": must be a list"
                .into(),
        ),
    ];
    for (schema, expected) in cases {
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines.join("\n")
        };
        assert_eq!(sorted(&refused_schema(&schema)), sorted(&expected), "{schema}");
    }
    assert_eq!(
        ConfigSchema::parse("{").unwrap_err().to_string(),
        "is not JSON: EOF while parsing an object at line 1 column 1"
    );
    assert_eq!(
        ConfigSchema::parse(&" ".repeat(SCHEMA_BYTES + 1)).unwrap_err().to_string(),
        "has 262145 bytes, more than 262144"
    );
}

#[test]
fn a_schema_of_a_few_lines_cannot_mean_billions_of_parts() {
    let mut defs = Map::new();
    for n in 0..28 {
        let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
        defs.insert(format!("d{n}"), json!({"allOf": [next, next]}));
    }
    defs.insert("d28".into(), json!({"type": "string"}));
    let told = refused_schema(&json!({"$defs": defs, "$ref": "#/$defs/d0"}));
    assert_eq!(told, "has more than 10000 parts when each reference is replaced by what it refers to");

    let mut chain = Map::new();
    for n in 0..3000 {
        chain.insert(format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)}));
    }
    chain.insert("d3000".into(), json!({}));
    let told = refused_schema(&json!({"$defs": chain, "$ref": "#/$defs/d0"}));
    assert_eq!(told, "/$defs/d64: is more than 64 levels deep, references included");

    // Each is shallow when it is met, and stands on the one before.
    let mut chain = Map::new();
    for n in 0..3000 {
        chain.insert(format!("d{n}"), if n == 0 { json!({}) } else { json!({"$ref": format!("#/$defs/d{}", n - 1)}) });
    }
    let told = refused_schema(&json!({"$defs": chain, "$ref": "#/$defs/d2999"}));
    assert!(told.ends_with("is more than 64 levels deep, references included"), "{told}");

    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"not": deep});
    }
    assert!(ConfigSchema::parse(&deep.to_string()).is_ok());
    for _ in 0..10 {
        deep = json!({"not": deep});
    }
    assert!(refused_schema(&deep).ends_with("is more than 64 levels deep, references included"));
}

#[test]
fn patterns_run_in_linear_time() {
    // Exponential for an engine that backtracks.
    let schema = schema(&json!({"properties": {"a": {"pattern": "^(a+)+$"}, "b": {"format": "regex"}}}));
    let config = map(json!({"a": format!("{}!", "a".repeat(20_000)), "b": "(".repeat(20_000)}));
    let told = schema.configure(&Map::new(), &config).unwrap_err().to_string();
    assert!(
        told.contains("must match the pattern \"^(a+)+$\"") && told.contains("must have the form \"regex\""),
        "{told}"
    );
}

#[test]
fn a_configuration_has_a_bound() {
    let config = map(json!({"a": "x".repeat(CONFIG_BYTES)}));
    assert_eq!(
        ConfigSchema::any().configure(&Map::new(), &config).unwrap_err().to_string(),
        "the configuration has 262152 bytes as JSON, more than 262144"
    );
}

#[test]
fn schema_and_configuration_are_bounded_together() {
    let parts: Vec<Value> = (0..997).map(|n| json!({"minimum": n})).collect();
    let schema = schema(&json!({"properties": {"a": {"items": {"allOf": parts}}}}));
    let config = map(json!({"a": vec!["secret"; 250]}));
    assert_eq!(
        schema.configure(&Map::new(), &config).unwrap_err().to_string(),
        "the configuration has 251 values, more than the 250 that a schema of 1000 parts leaves room for"
    );
    assert_eq!(Value::Object(schema.redacted(&config)), json!({"a": "(hidden)"}));
    assert!(schema.configure(&Map::new(), &map(json!({"a": vec!["x"; 249]}))).is_ok());
}

#[test]
fn a_choice_within_a_choice_is_told_shortly() {
    let mut choice = json!({"type": "string"});
    for _ in 0..30 {
        choice = json!({"anyOf": [choice, {"type": "integer"}]});
    }
    assert_eq!(
        told(&json!({"properties": {"a": choice}}), json!({"a": true})),
        "/a = true: must be one of 2 forms: must be one of 2 forms; or must be a whole number"
    );
}

#[test]
fn every_draft_that_is_named_is_taken() {
    for draft in DRAFTS {
        for end in ["", "#"] {
            let value = json!({"$schema": format!("{draft}{end}"), "properties": {"a": {"type": "string"}}});
            assert_eq!(told(&value, json!({"a": 1})), "/a = 1: must be a text", "{draft}{end}");
        }
    }
}

/// Schemas that are right often enough to get beyond the first check.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({"type": "string", "writeOnly": true})),
        Just(json!({"$ref": "#/$defs/a"})),
        Just(json!({"$ref": "#/properties/b"})),
        Just(json!({"type": "nonsense"})),
        "[a-z(){}*+?|\\\\\\[\\]0-9^$]{0,8}".prop_map(|pattern| json!({"pattern": pattern})),
        Just(json!({"minimum": 1})),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"properties": {"a": a, "b": b}})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"$defs": {"a": a}, "items": b})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"anyOf": [a, b]})),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"if": a, "then": b, "additionalProperties": false})),
            inner.prop_map(|a| json!({"not": a, "patternProperties": {"^a": {"writeOnly": true}}})),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics(schema in any_schema(), text in "\\PC{0,40}", a in any_schema()) {
        let _ = ConfigSchema::parse(&text);
        if let Ok(schema) = ConfigSchema::parse(&schema.to_string()) {
            let config = map(json!({"a": a, "b": [text, 1, {"a": null}]}));
            let _ = schema.configure(&Map::new(), &config);
            let _ = schema.redacted(&config);
        }
    }
}
