//! Forms for the providers that administrators name: what the API asks for, over the guarded network.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use lectern_api::providers::{FormAnswer, FormFailure, SentForm};
use lectern_domain::outbound::Policy;
use lectern_gate::{Outbound as _, OutboundError, OutboundRequest};
use zeroize::Zeroizing;

use super::{Authorities, HttpOutbound};
use crate::config;

/// A provider answers within a second; a browser or a client waits for it.
const PATIENCE: Duration = Duration::from_secs(15);
/// An answer holds three tokens, each of which may carry a user's groups.
const MAX_ANSWER: usize = 256 << 10;

/// Sends forms.
pub(crate) struct Forms(HttpOutbound);

impl Forms {
    /// Reaches what the configuration allows; what is sent is secret.
    pub(crate) fn new(config: &config::Outbound, runtime: tokio::runtime::Handle) -> anyhow::Result<Self> {
        let policy = Policy::new(config.allow.clone(), "outbound.allow").for_secrets();
        let authorities = Authorities { file: config.ca_file.as_deref(), setting: "outbound.ca_file" };
        Ok(Self(HttpOutbound::new(policy, authorities, runtime)?))
    }

    /// Sends one.
    pub(crate) async fn send(&self, form: SentForm) -> Result<FormAnswer, FormFailure> {
        let answer = self.0.fetch(request(form)?).await.map_err(|error| match error {
            OutboundError::Forbidden(why) => FormFailure::Refused(why),
            OutboundError::Timeout => FormFailure::Timeout,
            OutboundError::TooLarge => FormFailure::TooLarge,
            OutboundError::Failed(why) => FormFailure::Failed(why),
        })?;
        Ok(FormAnswer { status: answer.status.as_u16(), body: Zeroizing::new(answer.body) })
    }
}

fn request(form: SentForm) -> Result<OutboundRequest, FormFailure> {
    let SentForm { target, authorization, body } = form;
    // The strict form is read alike by all; were it not, nothing is sent.
    let url = target.as_str().parse().map_err(|_| FormFailure::Failed(format!("{target} is no URL")))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    // Without it some providers answer with a form.
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // Without it some answer 403.
    headers.insert(USER_AGENT, HeaderValue::from_static("Lectern"));
    if let Some(text) = authorization {
        let value = HeaderValue::from_str(&text);
        let mut value = value.map_err(|_| FormFailure::Failed("the client's secret cannot be sent".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(OutboundRequest {
        method: Method::POST,
        url,
        headers,
        body: body.as_bytes().to_vec(),
        timeout: PATIENCE,
        max_body_bytes: MAX_ANSWER,
    })
}
