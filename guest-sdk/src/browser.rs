//! What a browser's request says of itself, and cookies for a plugin's own pages.

use crate::web::is_local;
use crate::{Host, Reply};

/// Where a visitor goes who did not come from anywhere.
const HOME: &str = "/connect/";

/// Longest address remembered over a sign-in, in bytes. A longer one is forgotten, and the visitor lands at home.
const MAX_NEXT_BYTES: usize = 2048;

/// Whether the client asks for a page: a browser that opens one says `text/html`, programs seldom do.
pub fn accepts_html(host: &impl Host) -> bool {
    host.header("accept").iter().any(|value| {
        value.to_ascii_lowercase().split(|&byte| byte == b',').any(|range| {
            range.split(|&byte| byte == b';').next().is_some_and(|media| media.trim_ascii() == b"text/html")
        })
    })
}

/// Whether a browser sent this form from a page of another site. A client that sends neither `Sec-Fetch-Site` nor `Origin` is no
/// current browser, and a page of another site cannot make a browser leave both out.
pub fn is_from_other_site(host: &impl Host) -> bool {
    match host.header_text("sec-fetch-site").as_deref() {
        Some("same-origin" | "none") => false,
        Some(_) => true,
        None => match host.header_text("origin") {
            // Schemes are not compared: a proxy may have ended TLS without telling.
            Some(origin) => !origin
                .split_once("://")
                .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(&host.authority())),
            None => !host.header("origin").is_empty(),
        },
    }
}

/// Where to go after signing in: an address on this server that is no page of a plugin, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Next(String);

impl Next {
    /// Reads what a client says; none where it could lead elsewhere.
    pub fn of(text: Option<&str>) -> Self {
        let fits = |text: &&str| is_local(text) && text.len() <= MAX_NEXT_BYTES && !text.starts_with("/__plugin__/");
        Self(text.filter(fits).map(str::to_owned).unwrap_or_default())
    }

    /// The address as text, for a form or an address; empty: none.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where to redirect to: the address, or home.
    pub fn location(&self) -> &str {
        if self.0.is_empty() { HOME } else { &self.0 }
    }
}

/// A cookie for the plugin's own pages that scripts cannot read and other sites cannot send with their forms.
///
/// Over HTTPS its name begins with `__Host-`: a browser takes such a cookie from this host alone, so that no other host of
/// the domain can plant one (RFC 6265bis §4.1.3.2). It then goes to all paths, so put nothing into it that is worth
/// something on its own. Over HTTP, which browsers allow no such name, it is limited to the path.
#[derive(Debug, Clone)]
pub struct PrivateCookie {
    name: String,
    attributes: String,
}

impl PrivateCookie {
    /// The cookie of this name; `path` is the plugin's, with a slash at the end.
    pub fn new(name: &str, path: &str, https: bool) -> Self {
        let (name, place) = if https {
            (format!("__Host-{name}"), "; Path=/; Secure".to_owned())
        } else {
            (name.to_owned(), format!("; Path={path}"))
        };
        Self { name, attributes: format!("{place}; HttpOnly; SameSite=Lax") }
    }

    /// Its value in this request.
    pub fn read(&self, host: &impl Host) -> Option<String> {
        host.cookie(&self.name)
    }

    /// Sets it for so many seconds. The value is ASCII without space, quotes, comma, semicolon and backslash.
    pub fn set(&self, reply: Reply, value: &str, seconds: u32) -> Reply {
        reply.with("set-cookie", &format!("{}={value}; Max-Age={seconds}{}", self.name, self.attributes))
    }

    /// Takes it away.
    pub fn clear(&self, reply: Reply) -> Reply {
        self.set(reply, "", 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mock;

    #[test]
    fn addresses_after_a_sign_in_stay_here() {
        let long = format!("/{}", "a".repeat(MAX_NEXT_BYTES));
        for (text, location) in [
            ("/content/x/?a=1", "/content/x/?a=1"),
            ("", "/connect/"),
            ("https://evil.example/", "/connect/"),
            ("//evil.example/", "/connect/"),
            ("/\\evil.example/", "/connect/"),
            ("/a\r\nset-cookie: x", "/connect/"),
            ("/__plugin__/oidc-login/sign-out", "/connect/"),
            ("javascript:alert(1)", "/connect/"),
            (&long, "/connect/"),
        ] {
            assert_eq!(Next::of(Some(text)).location(), location, "{text}");
        }
        assert_eq!((Next::of(None).location(), Next::of(None).as_str()), ("/connect/", ""));
    }

    #[test]
    fn cookies_are_bound_to_the_host_or_to_the_path() {
        let set = |https| PrivateCookie::new("flow", "/__plugin__/x/", https).set(Reply::new(200), "v", 60);
        assert_eq!(
            set(true).field("set-cookie"),
            Some("__Host-flow=v; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax")
        );
        let plain = "flow=v; Max-Age=60; Path=/__plugin__/x/; HttpOnly; SameSite=Lax";
        assert_eq!(set(false).field("set-cookie"), Some(plain));
        let sent = Mock::get("/").header("cookie", "a=1; __Host-flow=v2");
        assert_eq!(PrivateCookie::new("flow", "/", true).read(&sent).as_deref(), Some("v2"));
        assert_eq!(PrivateCookie::new("flow", "/", false).read(&sent), None);
    }
}
