//! Which requests to content count as a visit: a page that somebody opened, or a call of an API; not what a page loads by itself.

use crate::AppMode;

/// What a request to content tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// The path inside the content, with its first slash.
    pub path: &'a str,
    /// `Sec-Fetch-Dest`, which browsers send over HTTPS and to the host they run on.
    pub dest: Option<&'a str>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// Whether it asks for a WebSocket.
    pub websocket: bool,
}

/// Whether the request counts for content of this kind.
pub fn counts(mode: AppMode, asked: Asked<'_>) -> bool {
    if asked.websocket || matches!(asked.method, "HEAD" | "OPTIONS") {
        return false;
    }
    if is_called(mode) {
        return true;
    }
    if asked.method != "GET" {
        return false;
    }
    match (asked.dest, asked.accept) {
        (Some(dest), _) => matches!(dest, "document" | "iframe" | "frame" | "embed" | "object"),
        // Browsers ask for pages with this, and for nothing else.
        (None, Some(accept)) if accept.contains("text/html") => true,
        // A program, or a page's own request on plain HTTP.
        (None, _) => asked.path.ends_with('/') || asked.path.ends_with(".html") || asked.path.ends_with(".htm"),
    }
}

/// Whether a WebSocket to content of this kind is a use of a Shiny application.
pub fn is_shiny(mode: AppMode) -> bool {
    matches!(mode, AppMode::Shiny | AppMode::RmdShiny | AppMode::QuartoShiny | AppMode::PythonShiny)
}

/// Whether programs call the content: each call is a use of it.
fn is_called(mode: AppMode) -> bool {
    match mode {
        AppMode::Api
        | AppMode::PythonApi
        | AppMode::PythonFastapi
        | AppMode::TensorflowSavedModel
        | AppMode::Nodejs => true,
        AppMode::Unknown
        | AppMode::Shiny
        | AppMode::RmdShiny
        | AppMode::RmdStatic
        | AppMode::Static
        | AppMode::JupyterStatic
        | AppMode::PythonDash
        | AppMode::PythonStreamlit
        | AppMode::PythonBokeh
        | AppMode::QuartoShiny
        | AppMode::QuartoStatic
        | AppMode::PythonShiny
        | AppMode::JupyterVoila
        | AppMode::PythonGradio
        | AppMode::PythonPanel => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mode: AppMode, method: &str, path: &str, dest: Option<&str>, accept: Option<&str>, expected: bool) {
        let asked = Asked { method, path, dest, accept, websocket: false };
        assert_eq!(counts(mode, asked), expected, "{mode:?} {asked:?}");
        assert!(!counts(mode, Asked { websocket: true, ..asked }), "{mode:?} {asked:?}");
    }

    #[test]
    fn pages_count_and_what_they_load_does_not() {
        use AppMode::{Shiny, Static};
        const HTML: Option<&str> = Some("text/html,application/xhtml+xml,*/*;q=0.8");
        const ANY: Option<&str> = Some("*/*");
        for (method, path, dest, accept, expected) in [
            ("GET", "/", Some("document"), HTML, true),
            ("GET", "/", Some("iframe"), HTML, true),
            ("GET", "/data.csv", Some("document"), HTML, true),
            ("GET", "/", Some("empty"), ANY, false),
            ("GET", "/style.css", Some("style"), ANY, false),
            ("GET", "/report", None, HTML, true),
            ("GET", "/style.css", None, Some("text/css,*/*;q=0.1"), false),
            ("GET", "/", None, ANY, true),
            ("GET", "/a/b.html", None, None, true),
            ("GET", "/b.htm", None, None, true),
            ("GET", "/session/1/dataobj", None, ANY, false),
            ("HEAD", "/", None, HTML, false),
            ("OPTIONS", "/", None, None, false),
            ("POST", "/", Some("document"), HTML, false),
        ] {
            check(Static, method, path, dest, accept, expected);
            check(Shiny, method, path, dest, accept, expected);
        }
    }

    #[test]
    fn each_call_of_an_api_counts() {
        for mode in [AppMode::Api, AppMode::PythonFastapi, AppMode::PythonApi, AppMode::Nodejs] {
            for (method, expected) in
                [("GET", true), ("POST", true), ("DELETE", true), ("HEAD", false), ("OPTIONS", false)]
            {
                check(mode, method, "/predict", Some("empty"), Some("application/json"), expected);
                check(mode, method, "/predict", None, None, expected);
            }
        }
    }
}
