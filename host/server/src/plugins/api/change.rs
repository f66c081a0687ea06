//! What every change of a binding has: which binding, what is asked, who asks and why. Read in one place.

use std::sync::Arc;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::{Extension, FromRequest, Path, Request};
use axum::response::{IntoResponse, Response};
use lectern_domain::plugin::BindingName;
use lectern_metadata::plugins::Note;
use serde::de::DeserializeOwned;

use super::super::manage::{BindRequest, CanaryRequest, Plugins, ShadowRequest, SwapRequest};
use super::{Operator, body, note};

/// A request that says why.
pub(super) trait Reasoned {
    /// The operator's words.
    fn reason(&self) -> &str;
}

macro_rules! reasoned {
    ($($request:ty),*) => {
        $(impl $crate::plugins::api::change::Reasoned for $request {
            fn reason(&self) -> &str {
                &self.reason
            }
        })*
    };
}

pub(super) use reasoned;

reasoned!(BindRequest, SwapRequest, ShadowRequest, CanaryRequest);

/// A change of the binding that the address names.
pub(super) struct Change<R> {
    pub(super) plugins: Arc<Plugins>,
    pub(super) name: BindingName,
    pub(super) request: R,
    pub(super) note: Note,
}

impl<R: DeserializeOwned + Reasoned> FromRequest<Arc<Plugins>> for Change<R> {
    type Rejection = Response;

    async fn from_request(mut request: Request, plugins: &Arc<Plugins>) -> Result<Self, Response> {
        let Path(name) = request.extract_parts().await.map_err(IntoResponse::into_response)?;
        let (request, note) = read(request).await?;
        Ok(Self { plugins: Arc::clone(plugins), name, request, note })
    }
}

/// A binding that is to be made.
pub(super) struct Bind {
    pub(super) plugins: Arc<Plugins>,
    pub(super) request: BindRequest,
    pub(super) note: Note,
}

impl FromRequest<Arc<Plugins>> for Bind {
    type Rejection = Response;

    async fn from_request(request: Request, plugins: &Arc<Plugins>) -> Result<Self, Response> {
        let (request, note) = read(request).await?;
        Ok(Self { plugins: Arc::clone(plugins), request, note })
    }
}

/// Reads what is asked, and makes the note of who asks and why.
async fn read<R: DeserializeOwned + Reasoned>(mut request: Request) -> Result<(R, Note), Response> {
    let Extension(operator): Extension<Operator> =
        request.extract_parts().await.map_err(IntoResponse::into_response)?;
    let bytes: Bytes = request.extract().await.map_err(IntoResponse::into_response)?;
    let request: R = body(&bytes).map_err(IntoResponse::into_response)?;
    let note = note(operator, request.reason());
    Ok((request, note))
}
