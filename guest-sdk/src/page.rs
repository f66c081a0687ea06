//! Pages in the look of Lectern's own sign-in: light or dark as the browser is, no script, nothing loaded from anywhere. The one
//! style sheet is allowed by its hash.

use crate::Reply;
use crate::web::escape_html;

/// The SHA-256 of [`STYLE`] in base64; a test computes it again.
const STYLE_HASH: &str = "sha256-k4v/HLTCJleMJe11DNfLU7a7czjyhnh0eUOliyMisME=";

/// Styles of all pages.
const STYLE: &str = include_str!("page.css");

/// A page with one heading.
///
/// ```
/// use lectern_plugin::page::Page;
///
/// let reply = Page::new("Not found").status(404).text("There is no <such> thing.").reply();
/// assert_eq!(reply.status, 404);
/// assert!(String::from_utf8_lossy(&reply.body).contains("no &lt;such&gt; thing"));
/// ```
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    status: u16,
    body: String,
    form_targets: String,
}

impl Page {
    /// A page of this title, with status 200.
    pub fn new(title: &str) -> Self {
        Self { title: escape_html(title), status: 200, body: String::new(), form_targets: "'self'".to_owned() }
    }

    /// Sets the status.
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds a notice of what went wrong, read out at once by screen readers. Its id is `notice`.
    pub fn alert(mut self, text: &str) -> Self {
        self.body.push_str(&format!("<p id=\"notice\" role=\"alert\">{}</p>\n", escape_html(text)));
        self
    }

    /// Adds a paragraph.
    pub fn text(mut self, text: &str) -> Self {
        self.body.push_str(&format!("<p>{}</p>\n", escape_html(text)));
        self
    }

    /// Adds a link that looks like a button. `href` is an address on this server.
    pub fn link(mut self, href: &str, label: &str) -> Self {
        let (href, label) = (escape_html(href), escape_html(label));
        self.body.push_str(&format!("<p><a class=\"button\" href=\"{href}\">{label}</a></p>\n"));
        self
    }

    /// Adds HTML as it is: escape what comes from outside with [`escape_html`]. Scripts and styles are not run.
    pub fn html(mut self, html: &str) -> Self {
        self.body.push_str(html);
        self.body.push('\n');
        self
    }

    /// Lets the answer to this page's form redirect to another origin; browsers hold redirects to the policy too.
    pub fn form_may_lead_to(mut self, origin: &str) -> Self {
        // A space or a semicolon would begin something else in the policy.
        if !origin.is_empty() && origin.bytes().all(|byte| byte.is_ascii_graphic() && !b";,'\"".contains(&byte)) {
            self.form_targets.push(' ');
            self.form_targets.push_str(origin);
        }
        self
    }

    /// The reply.
    pub fn reply(self) -> Reply {
        let Self { title, status, body, form_targets } = self;
        let html = format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Lectern</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<p class="brand">Lectern</p>
<h1>{title}</h1>
{body}</main>
</body>
</html>
"#
        );
        let policy = format!(
            "default-src 'none'; style-src '{STYLE_HASH}'; form-action {form_targets}; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        Reply::new(status)
            .with("content-type", "text/html; charset=utf-8")
            .with("content-security-policy", &policy)
            .with("cache-control", "no-store")
            .with("x-content-type-options", "nosniff")
            .with("x-frame-options", "DENY")
            // Not `no-referrer`: browsers would then send `Origin: null` with the form.
            .with("referrer-policy", "same-origin")
            .body(&html)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_the_one_style_sheet() {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        assert_eq!(format!("sha256-{hash}"), STYLE_HASH);
    }

    #[test]
    fn what_comes_from_outside_stays_text() {
        let reply = Page::new("<t>").alert("<a>").text("<b>").link("/x?\"", "<c>").reply();
        let html = String::from_utf8_lossy(&reply.body);
        for part in ["<title>&lt;t&gt; ·", ">&lt;a&gt;</p>", "<p>&lt;b&gt;</p>", "href=\"/x?&quot;\">&lt;c&gt;<"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn forms_lead_here_or_to_one_named_origin() {
        let policy = |page: Page| page.reply().field("content-security-policy").map(str::to_owned).unwrap_or_default();
        assert!(policy(Page::new("x")).contains("form-action 'self';"));
        let named = policy(Page::new("x").form_may_lead_to("https://idp.example"));
        assert!(named.contains("form-action 'self' https://idp.example;"));
        for bad in ["", "https://a; script-src *", "https://a b", "'unsafe-inline'"] {
            assert!(policy(Page::new("x").form_may_lead_to(bad)).contains("form-action 'self';"), "{bad}");
        }
    }
}
