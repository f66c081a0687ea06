//! Other servers, as a case has recorded them.

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lectern_gate::{Outbound, OutboundError, OutboundRequest, OutboundResponse};
use lectern_packages::cases::{Fetch, World};
use parking_lot::Mutex;
use url::Url;

/// Recorded answers, and the calls that were made.
pub(crate) struct Network {
    /// Each with whether it was given already.
    fetches: Mutex<Vec<(Fetch, bool)>>,
    /// Key sets. Who asks for them is the host, not the plugin: they are no calls of its own.
    key_sets: Vec<(Url, String)>,
    calls: Mutex<Calls>,
}

/// What was asked of other servers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    /// All, in order.
    pub(crate) made: Vec<String>,
    /// Those without a recorded answer.
    pub(crate) unanswered: Vec<String>,
}

impl Network {
    pub(crate) fn of(world: &World) -> Self {
        let key_sets = world.jwks.iter().filter_map(|(url, set)| Some((Url::parse(url).ok()?, set.clone())));
        Self {
            fetches: Mutex::new(world.fetches.iter().map(|fetch| (fetch.clone(), false)).collect()),
            key_sets: key_sets.collect(),
            calls: Mutex::default(),
        }
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Calls {
        self.calls.lock().clone()
    }

    /// The first answer for this request that was not given yet; once all were, the last again.
    fn recorded(&self, request: &OutboundRequest) -> Option<Fetch> {
        let mut fetches = self.fetches.lock();
        let fits = |fetch: &Fetch| {
            // Compared as addresses: `https://a` and `https://a/` are one.
            Url::parse(&fetch.url).is_ok_and(|url| url == request.url)
                && fetch.fits(request.method.as_str(), &fetch.url, &request.body)
        };
        let next = fetches.iter().position(|(fetch, given)| !given && fits(fetch));
        let at = next.or_else(|| fetches.iter().rposition(|(fetch, _)| fits(fetch)))?;
        let (fetch, given) = fetches.get_mut(at)?;
        *given = true;
        Some(fetch.clone())
    }
}

#[async_trait]
impl Outbound for Network {
    async fn fetch(&self, request: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        let key_set = self.key_sets.iter().find(|(url, _)| *url == request.url && request.method == http::Method::GET);
        if let Some((_, set)) = key_set {
            let json = HeaderValue::from_static("application/json");
            let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, json)]);
            return Ok(OutboundResponse { status: StatusCode::OK, headers, body: set.clone().into_bytes() });
        }
        let call = format!("{} {}", request.method, request.url);
        self.calls.lock().made.push(call.clone());
        let Some(fetch) = self.recorded(&request) else {
            self.calls.lock().unanswered.push(call);
            return Err(OutboundError::Failed("the case records no answer to this call".into()));
        };
        let Some(answer) = fetch.answer else {
            return Err(OutboundError::Failed("connection refused".into()));
        };
        if answer.body.len() > request.max_body_bytes {
            return Err(OutboundError::TooLarge);
        }
        let unfit = |what: &str| OutboundError::Failed(format!("the recorded answer has an unfit {what}"));
        let mut headers = HeaderMap::new();
        for (name, value) in &answer.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit("field name"))?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| unfit("field value"))?);
        }
        let status = StatusCode::from_u16(answer.status).map_err(|_| unfit("status"))?;
        Ok(OutboundResponse { status, headers, body: answer.body })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use lectern_packages::cases::FetchAnswer;

    use super::*;

    fn fetch(url: &str, body: Option<&str>, answer: Option<&str>) -> Fetch {
        let answer = answer.map(|body| FetchAnswer { status: 200, headers: Vec::new(), body: body.into() });
        Fetch { method: "GET".into(), url: url.into(), body_contains: body.map(Into::into), answer }
    }

    #[tokio::test]
    async fn answers_are_given_in_order_and_by_body() {
        let url = "https://a.example";
        let network = Network::of(&World {
            fetches: vec![
                fetch(url, Some("x=1"), Some("one")),
                fetch(url, None, Some("two")),
                fetch(url, None, Some("three")),
                fetch("https://b.example/", None, None),
            ],
            jwks: [("https://a.example/jwks".into(), "{}".into())].into(),
            ..World::default()
        });
        let ask = async |url: &str, body: &str| {
            let request = OutboundRequest {
                method: http::Method::GET,
                url: Url::parse(url).unwrap(),
                headers: HeaderMap::new(),
                body: body.into(),
                timeout: Duration::from_secs(1),
                max_body_bytes: 100,
            };
            network.fetch(request).await.map(|answer| String::from_utf8(answer.body).unwrap())
        };
        assert_eq!(ask(url, "").await.as_deref(), Ok("two"));
        assert_eq!(ask(url, "x=1").await.as_deref(), Ok("one"));
        assert_eq!(ask(url, "").await.as_deref(), Ok("three"));
        assert_eq!(ask(url, "").await.as_deref(), Ok("three"), "the last one again");
        assert_eq!(ask("https://a.example/jwks", "").await.as_deref(), Ok("{}"));
        assert_eq!(ask("https://b.example", "").await, Err(OutboundError::Failed("connection refused".into())));
        assert!(ask("https://c.example", "").await.is_err());
        let calls = network.calls();
        assert_eq!(calls.made.len(), 6);
        assert_eq!(calls.unanswered, ["GET https://c.example/"]);
    }
}
