//! Small pages that the edge answers with itself: errors, refusals, a locked content item.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use crate::body::EdgeBody;
use crate::request_id::RequestId;

/// What a visitor is told.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) text: String,
    /// Shown as it is, line by line.
    pub(crate) details: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// Offers API keys as a way in.
    pub(crate) wants_key: bool,
    /// The methods that are understood here, where another was used.
    pub(crate) allow: Option<&'static str>,
}

impl Notice {
    pub(crate) fn new(status: StatusCode, title: &'static str, text: impl Into<String>) -> Self {
        Self { status, title, text: text.into(), details: None, retry_after: None, wants_key: false, allow: None }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad request", text)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", "There is nothing at this address.")
    }

    /// A method that is not understood here; those in `allow` are (RFC 9110 §15.5.6 asks for them).
    pub(crate) fn method_not_allowed(text: impl Into<String>, allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", text) }
    }

    pub(crate) fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Temporarily unavailable",
            "The server cannot answer this at the moment. Please try again shortly.",
        )
        .retry_after(Duration::from_secs(5))
    }

    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub(crate) fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    pub(crate) fn wants_key(mut self) -> Self {
        self.wants_key = true;
        self
    }

    /// The page, as HTML for those who accept it and else as text.
    pub(crate) fn respond(self, html: bool, id: &RequestId) -> Response<EdgeBody> {
        let body = if html { self.html(id) } else { self.plain(id) };
        let mut response = Response::new(EdgeBody::full(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let kind = if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if html {
            const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        }
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1_000).max(1) as u64));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.wants_key {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Key"));
        }
        response
    }

    fn plain(&self, id: &RequestId) -> String {
        let mut text = format!("{}\n\n{}\n", self.title, self.text);
        if let Some(details) = &self.details {
            text.push_str(&format!("\n{details}\n"));
        }
        text.push_str(&format!("\nRequest {}\n", id.as_str()));
        text
    }

    fn html(&self, id: &RequestId) -> String {
        let details =
            self.details.as_deref().map_or(String::new(), |details| format!("<pre>{}</pre>", escape(details)));
        format!(
            include_str!("notice.html"),
            status = self.status.as_u16(),
            title = escape(self.title),
            text = escape(&self.text),
            details = details,
            id = escape(id.as_str()),
        )
    }
}

/// Whether a page shall be HTML: browsers say that they accept it, command lines say nothing or `*/*`.
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")))
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt as _;

    async fn shown(notice: Notice, html: bool) -> (HeaderMap, String) {
        let id = RequestId::adopt(&HeaderValue::from_static("r-1")).unwrap();
        let (parts, body) = notice.respond(html, &id).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn pages_name_the_request_and_escape_what_they_show() {
        let notice = Notice::unavailable().details("<script>alert('x')</script> & more").wants_key();
        let (headers, page) = shown(notice.clone(), true).await;
        assert!(page.contains("Request r-1") && page.contains("503"));
        assert!(
            page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; more") && !page.contains("<script")
        );
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(
            (&headers["retry-after"], &headers["www-authenticate"]),
            (&HeaderValue::from(5), &HeaderValue::from_static("Key"))
        );
        let (headers, text) = shown(notice, false).await;
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        assert!(text.starts_with("Temporarily unavailable\n\n") && text.ends_with("Request r-1\n"));
    }

    #[test]
    fn retry_after_is_never_zero() {
        let id = RequestId::new();
        for (millis, shown) in [(1, 1), (1_000, 1), (1_001, 2), (6_500, 7)] {
            let notice = Notice::not_found().retry_after(Duration::from_millis(millis)).respond(false, &id);
            assert_eq!(notice.headers()["retry-after"], HeaderValue::from(shown));
        }
    }

    #[test]
    fn browsers_get_html() {
        let accepts = |value: &'static str| {
            accepts_html(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]))
        };
        assert!(accepts("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(accepts("application/json, TEXT/HTML;q=0.1"));
        assert!(!accepts("*/*") && !accepts("application/json") && !accepts_html(&HeaderMap::new()));
    }
}
