//! The pages.

use lectern_plugin::Reply;
use lectern_plugin::page::Page;
use lectern_plugin::web::escape_html;

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

/// The form. `username` is shown again; a password never is. It is sent to the address that it was read at, which a proxy may have
/// put below a path that nobody here knows.
pub(crate) fn sign_in(status: u16, username: &str, next: &str, notice: Option<Notice>) -> Reply {
    let mut page = Page::new("Sign in").status(status);
    match notice {
        None => {}
        Some(Notice::Wrong) => page = page.alert("The user name or the password is wrong."),
        Some(Notice::Throttled(seconds)) => {
            page = page.alert(&format!("Too many tries. Please wait {seconds} seconds, then try again."));
        }
        Some(Notice::Unavailable) => {
            page = page.alert("Signing in is not possible at the moment. Please try again in a minute.");
        }
    }
    let described = if notice.is_some() { r#" aria-describedby="notice""# } else { "" };
    let (name_focus, password_focus) = if username.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    let form = format!(
        r#"<form method="post">
<input type="hidden" name="next" value="{next}">
<label for="username">User name</label>
<input id="username" name="username" value="{username}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64" required{described}{name_focus}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required{described}{password_focus}>
<button type="submit">Sign in</button>
</form>"#,
        next = escape_html(next),
        username = escape_html(username),
    );
    page.html(&form).reply()
}

/// Asks before signing out: a link on another page must not do it.
pub(crate) fn sign_out() -> Reply {
    let form = "<form method=\"post\">\n<button type=\"submit\" autofocus>Sign out</button>\n</form>";
    Page::new("Sign out").text("You will need your password to sign in again.").html(form).reply()
}

/// The answer to a form that came from another site.
pub(crate) fn refused() -> Reply {
    Page::new("Refused").status(403).text("This form was not sent from a page of this server.").reply()
}
