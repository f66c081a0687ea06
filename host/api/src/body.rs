//! Request bodies in JSON, as leniently as clients need and bounded.
//!
//! No `Content-Type` is asked for: some clients send JSON as `text/plain`, some send none.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lectern_domain::json;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;

use crate::checksum;
use crate::error::{ApiError, Code};

/// Most bytes of a JSON body, 1 MiB: ten times what the largest request of any client (all environment variables of an
/// item at once) holds, and little enough that a thousand requests at a time do not hurt.
pub(crate) const MAX_JSON_BYTES: usize = 1 << 20;

/// A JSON object. No body, `null` and `[]` (R's way to write an empty list) are the empty object.
pub(crate) struct Object<T>(pub(crate) T);

/// A JSON array. No body is a mistake here: `PUT []` deletes, and nothing should delete by accident.
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Object<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = collect(request.into_body()).await?;
        object(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for List<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = collect(request.into_body()).await?;
        list(&bytes).map(Self)
    }
}

pub(crate) async fn collect(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, MAX_JSON_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(cause) if cause.is::<LengthLimitError>() => {
            let message = format!("the request body is longer than {MAX_JSON_BYTES} bytes");
            Err(ApiError::new(Code::BadJson, message).with_status(StatusCode::PAYLOAD_TOO_LARGE))
        }
        Err(cause) if checksum::is_mismatch(&*cause) => Err(checksum::refusal()),
        Err(cause) => Err(ApiError::new(Code::BadJson, "the request body was cut short").caused_by(cause)),
    }
}

fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = bytes.trim_ascii();
    let bytes = match bytes {
        b"" | b"null" => b"{}",
        other => other,
    };
    let value = match json::parse(bytes).map_err(|cause| bad_json(&cause))? {
        Value::Array(items) if items.is_empty() => Value::Object(serde_json::Map::new()),
        object @ Value::Object(_) => object,
        _ => return Err(ApiError::new(Code::BadJson, "the request body must be a JSON object")),
    };
    serde_json::from_value(value).map_err(|cause| bad_json(&cause))
}

fn list<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, ApiError> {
    let value = json::parse(bytes).map_err(|cause| bad_json(&cause))?;
    // A type with fields would be read from their values alone, too.
    if value.as_array().is_some_and(|items| items.iter().any(Value::is_array)) {
        return Err(ApiError::new(Code::BadJson, "an entry of the list must not be a list"));
    }
    serde_json::from_value(value).map_err(|cause| bad_json(&cause))
}

fn bad_json(cause: &serde_json::Error) -> ApiError {
    ApiError::new(Code::BadJson, format!("the request body is not the JSON expected: {cause}"))
}

/// Tells an absent field (`None`, by `#[serde(default)]`) from one that is null (`Some(None)`).
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Probe {
        #[serde(deserialize_with = "present")]
        title: Option<Option<String>>,
    }

    #[test]
    fn empty_forms_are_the_empty_object() {
        for text in ["", " \n", "{}", "[]", "null", " [ ] "] {
            assert_eq!(object::<Probe>(text.as_bytes()).unwrap(), Probe::default(), "{text:?}");
        }
    }

    #[test]
    fn null_is_not_absence() {
        assert_eq!(object::<Probe>(br#"{"title":null}"#).unwrap().title, Some(None));
        assert_eq!(object::<Probe>(br#"{"title":"x","more":1}"#).unwrap().title, Some(Some("x".into())));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["{", "1", "\"x\"", "[1]", "\u{1}", r#"{"title":7}"#] {
            assert_eq!(object::<Probe>(text.as_bytes()).unwrap_err().code(), 121, "{text:?}");
        }
    }

    #[test]
    fn lists_hold_what_has_names() {
        assert_eq!(list::<Probe>(br#"[{"title":"x"}]"#).unwrap(), [Probe { title: Some(Some("x".into())) }]);
        for text in ["", "{}", "null", r#"[["x"]]"#, r#"[{"title":"x","title":"y"}]"#, "[] []"] {
            assert_eq!(list::<Probe>(text.as_bytes()).unwrap_err().code(), 121, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_long_body_is_refused() {
        let body = Body::from(vec![b' '; MAX_JSON_BYTES + 1]);
        let refused = collect(body).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (StatusCode::PAYLOAD_TOO_LARGE, 121));
        assert_eq!(collect(Body::from(vec![b' '; MAX_JSON_BYTES])).await.unwrap().len(), MAX_JSON_BYTES);
    }
}
