//! Short answers to visitors in the form that each reads: a page for browsers, the protocol's error for publishing clients, text
//! for everybody else.

use super::is_below;
use crate::browser::accepts_html;
use crate::page::Page;
use crate::{Host, Reply};

/// What a visitor is told instead of what they asked for.
///
/// ```
/// use lectern_plugin::{Mock, web::Notice};
///
/// let notice = Notice { status: 403, code: 22, title: "Refused", text: "Not from here." };
/// let api = notice.reply(&Mock::get("/__api__/v1/user"));
/// assert_eq!(api.body, br#"{"code":22,"error":"Not from here.","payload":null}"#);
/// let shell = notice.reply(&Mock::get("/report/"));
/// assert_eq!(shell.body, b"Refused\n\nNot from here.\n");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The status.
    pub status: u16,
    /// The number in errors of the publishing protocol; never 0, which its clients take for success.
    pub code: u16,
    /// A few words.
    pub title: &'a str,
    /// A sentence or a few, as text.
    pub text: &'a str,
}

impl Notice<'_> {
    /// The answer. Asks whether the request is for `/__api__` and, if not, for the field `accept`.
    pub fn reply(&self, host: &impl Host) -> Reply {
        let plain = |kind: &str, body: &str| {
            let reply = Reply::new(self.status).with("content-type", kind).with("cache-control", "no-store");
            reply.with("x-content-type-options", "nosniff").body(body)
        };
        if is_below(host, "/__api__") {
            let error = serde_json::to_string(self.text).unwrap_or_default();
            plain("application/json", &format!(r#"{{"code":{},"error":{error},"payload":null}}"#, self.code))
        } else if accepts_html(host) {
            let lines = self.text.split('\n').filter(|line| !line.trim().is_empty());
            lines.fold(Page::new(self.title).status(self.status), Page::text).reply()
        } else {
            plain("text/plain; charset=utf-8", &format!("{}\n\n{}\n", self.title, self.text))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Mock;

    const NOTICE: Notice<'_> = Notice { status: 503, code: 1, title: "Back <soon>", text: "One & two.\n\nThree." };

    #[test]
    fn each_client_reads_its_own_form() {
        let kind = |mock: Mock| NOTICE.reply(&mock).field("content-type").unwrap().to_owned();
        assert_eq!(kind(Mock::get("/__api__/v1/user").header("accept", "text/html")), "application/json");
        assert_eq!(kind(Mock::get("/__apix").header("accept", "text/html")), "text/html; charset=utf-8");
        assert_eq!(
            kind(Mock::get("/").header("accept", "application/json, TEXT/HTML;q=0.5")),
            "text/html; charset=utf-8"
        );
        for accept in ["*/*", "", "text/htmlx", "application/json"] {
            assert_eq!(kind(Mock::get("/").header("accept", accept)), "text/plain; charset=utf-8", "{accept}");
        }
        assert_eq!(kind(Mock::get("/")), "text/plain; charset=utf-8");
    }

    #[test]
    fn a_page_shows_text_as_text() {
        let reply = NOTICE.reply(&Mock::get("/").header("accept", "text/html"));
        let page = String::from_utf8(reply.body).unwrap();
        assert!(page.contains("<h1>Back &lt;soon&gt;</h1>\n<p>One &amp; two.</p>\n<p>Three.</p>\n</main>"), "{page}");
    }
}
