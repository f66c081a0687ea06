//! The pages. No script, nothing loaded from anywhere; the one style sheet is allowed by its hash.

use lectern_plugin::Reply;
use lectern_plugin::web::escape_html;

/// The SHA-256 of [`STYLE`] in base64; a test computes it again.
const STYLE_HASH: &str = "sha256-tAxNAZUplaprUaTaOfY9tf+y8OtW2CJV72b1j4fKsy4=";

/// Styles of all pages.
pub(crate) const STYLE: &str = include_str!("style.css");

/// What went wrong with the last try.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notice {
    /// Said for every refused pair alike.
    Wrong,
    /// Too many tries; seconds to wait.
    Throttled(u32),
    /// The accounts cannot be read.
    Unavailable,
}

/// The form. `username` is shown again; a password never is.
pub(crate) fn sign_in(status: u16, action: &str, username: &str, next: &str, notice: Option<Notice>) -> Reply {
    let notice = match notice {
        None => String::new(),
        Some(Notice::Wrong) => alert("The user name or the password is wrong."),
        Some(Notice::Throttled(seconds)) => {
            alert(&format!("Too many tries. Please wait {seconds} seconds, then try again."))
        }
        Some(Notice::Unavailable) => alert("Signing in is not possible at the moment. Please try again in a minute."),
    };
    let described = if notice.is_empty() { "" } else { r#" aria-describedby="notice""# };
    let (name_focus, password_focus) = if username.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    let body = format!(
        r#"<h1>Sign in</h1>
{notice}<form method="post" action="{action}">
<input type="hidden" name="next" value="{next}">
<label for="username">User name</label>
<input id="username" name="username" value="{username}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64" required{described}{name_focus}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required{described}{password_focus}>
<button type="submit">Sign in</button>
</form>"#,
        action = escape_html(action),
        next = escape_html(next),
        username = escape_html(username),
    );
    page(status, "Sign in", &body)
}

/// Asks before signing out: a link on another page must not do it.
pub(crate) fn sign_out(action: &str) -> Reply {
    let body = format!(
        r#"<h1>Sign out</h1>
<p>You will need your password to sign in again.</p>
<form method="post" action="{}">
<button type="submit" autofocus>Sign out</button>
</form>"#,
        escape_html(action)
    );
    page(200, "Sign out", &body)
}

/// The answer to a form that came from another site.
pub(crate) fn refused() -> Reply {
    page(403, "Refused", "<h1>Refused</h1>\n<p>This form was not sent from a page of this server.</p>")
}

fn alert(text: &str) -> String {
    format!("<p id=\"notice\" role=\"alert\">{text}</p>\n")
}

fn page(status: u16, title: &str, body: &str) -> Reply {
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
{body}
</main>
</body>
</html>
"#
    );
    let policy = format!(
        "default-src 'none'; style-src '{STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
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
