//! Redirects of content: an app that does not know its mount redirects to `/login` and means its own.

use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};

use super::cookies::below;

/// Addresses of the server that an app may mean when it redirects to them; its own are never there.
const OF_THE_SERVER: &[&str] = &["/content/", "/connect/", "/__api__/", "/__plugin__/"];

/// Puts a redirect of an app below `mount` (empty, or a path without a last slash).
///
/// Changed are root-relative paths (`/login`) and URLs at the address under which the client came (`http://host/login`), unless
/// they are below the mount already, which they are in apps that honour it, or name an address of the server itself. All else
/// stays: other hosts, `//host/…`, paths relative to the page.
pub(crate) fn rewrite(headers: &mut HeaderMap, mount: &str, host: &str) {
    if mount.is_empty() {
        return;
    }
    for name in [LOCATION, HeaderName::from_static("content-location")] {
        let Some(value) = headers.get(&name) else { continue };
        if let Some(written) = value.to_str().ok().and_then(|text| rewritten(text, mount, host))
            && let Ok(written) = HeaderValue::from_str(&written)
        {
            headers.insert(name, written);
        }
    }
}

/// The redirect as it should be; `None`: as it is.
fn rewritten(location: &str, mount: &str, host: &str) -> Option<String> {
    let (base, path) = split_origin(location, host)?;
    let of_the_server = OF_THE_SERVER.iter().any(|prefix| path.starts_with(prefix));
    if !path.starts_with('/') || path.starts_with("//") || path.starts_with("/\\") || of_the_server {
        return None;
    }
    let below = below(path, mount);
    (below != path).then(|| format!("{base}{below}"))
}

/// `http://host/path` at the client's own address as (`http://host`, `/path`), and a path as it is.
fn split_origin<'a>(location: &'a str, host: &str) -> Option<(&'a str, &'a str)> {
    if location.starts_with('/') {
        return Some(("", location));
    }
    let after = ["http://", "https://"].iter().find_map(|scheme| {
        let (head, tail) = location.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(tail)
    })?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, path) = after.split_at(end);
    (!host.is_empty() && authority.eq_ignore_ascii_case(host) && path.starts_with('/'))
        .then(|| location.split_at(location.len() - path.len()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn redirects_stay_in_the_app() {
        const SAME: Option<&str> = None;
        let cases = [
            ("/login", Some("/app/login")),
            ("/", Some("/app/")),
            ("/?next=/x", Some("/app/?next=/x")),
            ("/app2/x", Some("/app/app2/x")),
            // Below already: the app honours its mount.
            ("/app", SAME),
            ("/app/", SAME),
            ("/app/login", SAME),
            ("/app?x=1", SAME),
            // Not within the app.
            ("login", SAME),
            ("?page=2", SAME),
            ("", SAME),
            ("//evil.example/x", SAME),
            ("/\\evil.example", SAME),
            ("https://elsewhere.example/login", SAME),
            ("http://h.example:1.evil/login", SAME),
            ("mailto:ada@example.org", SAME),
            ("/connect/#/apps", SAME),
            ("/__plugin__/password-login/?next=/app/", SAME),
            ("/content/0f4b8f5e-3a6c-4a8e-9c2b-1d2e3f405162/", SAME),
            // Frameworks that make absolute URLs from the Host field.
            ("http://h.example:1/login", Some("http://h.example:1/app/login")),
            ("https://H.example:1/login?x#y", Some("https://H.example:1/app/login?x#y")),
            ("http://h.example:1/app/login", SAME),
            ("http://h.example:1", SAME),
        ];
        for (location, expected) in cases {
            assert_eq!(rewritten(location, "/app", "h.example:1").as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn headers_are_changed_in_place() {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_static("/login"));
        rewrite(&mut headers, "", "h");
        assert_eq!(headers[LOCATION], "/login");
        rewrite(&mut headers, "/content/x", "h");
        assert_eq!(headers[LOCATION], "/content/x/login");
        rewrite(&mut headers, "/content/x", "h");
        assert_eq!(headers[LOCATION], "/content/x/login");
    }
}
