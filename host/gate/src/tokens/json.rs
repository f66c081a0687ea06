//! Objects of tokens and key sets, as JSON that two readers cannot understand in two ways.

use lectern_domain::json;
use serde_json::{Map, Value};

/// Reads one object. A name that occurs twice in an object, at any depth, is an error: the plugin reads the same text again.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, String> {
    match json::parse(text.as_bytes()) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("not a JSON object".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_with_one_meaning() {
        for good in [r"{}", r#"{"a":[{"b":1},{"b":2}],"c":-1.5e3,"d":null,"e":18446744073709551615}"#] {
            assert_eq!(object(good).map(Value::from), serde_json::from_str(good).map_err(|e| e.to_string()), "{good}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(200), "}".repeat(200));
        for bad in [
            r"",
            r"[]",
            r"1",
            r"{} x",
            r"{}{}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
            r#"{"a":1e999}"#,
            r#"{"a":NaN}"#,
            r#"{"a":01}"#,
            r"{'a':1}",
            &deep,
        ] {
            assert!(object(bad).is_err(), "{bad}");
        }
    }
}
