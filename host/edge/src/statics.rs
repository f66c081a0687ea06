//! Static content: files of an unpacked bundle.
//!
//! A bundle never changes, so its hash is the entity tag of each of its files: a browser's copy is good until another bundle is
//! active. Times of files say nothing (they are the publisher's, and two bundles may share them), so they are not sent.

use std::path::Path;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, response};
use http_body_util::Empty;
use lectern_domain::AccessType;
use lectern_domain::snapshot::BundleEntry;
use tower::ServiceExt as _;
use tower_http::services::ServeDir;
use tracing::warn;

use crate::body::EdgeBody;
use crate::notice::Notice;

/// How much of a file is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// One request for a file.
pub(crate) struct FileRequest<'a> {
    pub(crate) method: &'a Method,
    /// The encoded path within the bundle, with a leading slash.
    pub(crate) path: &'a str,
    /// The same, decoded.
    pub(crate) decoded: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// The external path of the content, without a last slash.
    pub(crate) mount: &'a str,
}

/// Answers from `tree`, the unpacked `bundle`; the root shows `primary`.
pub(crate) async fn serve(
    tree: &Path,
    bundle: &BundleEntry,
    primary: &str,
    access: AccessType,
    file: FileRequest<'_>,
) -> Result<Response<EdgeBody>, Notice> {
    if file.method != Method::GET && file.method != Method::HEAD {
        return Err(Notice::method_not_allowed("Files can only be read.", "GET, HEAD"));
    }
    // No file name holds a slash; the file service would decode one and find another file by it.
    if is_manifest(file.decoded) || file.path.contains("%2F") || !can_name_a_file(tree, file.decoded) {
        return Err(Notice::not_found());
    }
    let path = if file.path == "/" {
        let encoded = encode(primary);
        // Links on a page in a directory are relative to that directory.
        if encoded.trim_start_matches('/').contains('/') {
            return Ok(redirect(&format!("{}{encoded}", file.mount)));
        }
        encoded
    } else {
        file.path.to_owned()
    };
    let tag = entity_tag(bundle);
    if unchanged(file.headers, &tag) {
        let mut response = Response::new(EdgeBody::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        label(response.headers_mut(), &tag, access);
        return Ok(response);
    }
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = file.method.clone();
    *request.uri_mut() = path.parse().map_err(|_| Notice::not_found())?;
    if let Some(range) = wanted_range(file.headers, &tag) {
        request.headers_mut().insert(header::RANGE, range.clone());
    }
    let service = ServeDir::new(tree).with_buf_chunk_size(CHUNK_BYTES);
    // The service's error type has no values.
    let Ok(response) = service.oneshot(request).await;
    let (mut parts, body) = response.into_parts();
    match parts.status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            label(&mut parts.headers, &tag, access);
            Ok(Response::from_parts(parts, EdgeBody::stream(body)))
        }
        // A directory without its slash.
        status if status.is_redirection() => Ok(redirect(&directory(&parts, &file))),
        StatusCode::INTERNAL_SERVER_ERROR => {
            warn!(bundle.id = %bundle.id, path = file.path, "read static file");
            Err(Notice::unavailable())
        }
        _ => Err(Notice::not_found()),
    }
}

/// Whether Linux could hold a file of this name: its parts have at most 255 bytes (NAME_MAX), the whole path less than 4096
/// (PATH_MAX, with the NUL). Asking for another is no failure of the disk.
fn can_name_a_file(tree: &Path, decoded: &str) -> bool {
    // With room for the page of a directory.
    let whole = tree.as_os_str().len() + decoded.len() + "/index.html".len();
    whole < 4096 && decoded.split('/').all(|part| part.len() <= 255)
}

/// The bundle's own manifest is for the server.
fn is_manifest(decoded: &str) -> bool {
    let mut segments = decoded.split('/').filter(|segment| !segment.is_empty());
    segments.next() == Some("manifest.json") && segments.next().is_none()
}

fn encode(path: &str) -> String {
    let path = path.trim_start_matches("./");
    // The path comes from a checked manifest; what cannot be an address is not found.
    lectern_gate::RequestPath::from_decoded(&format!("/{path}"))
        .map_or_else(|_| "/".to_owned(), |path| path.encoded().to_owned())
}

/// Where a directory's page is: the redirect of the file service, which knows no mount.
fn directory(parts: &response::Parts, file: &FileRequest<'_>) -> String {
    let to = parts.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
    // Two slashes at the front would name a host.
    let to = to.map_or_else(|| format!("{}/", file.path), str::to_owned);
    format!("{}/{}", file.mount, to.trim_start_matches('/'))
}

fn redirect(to: &str) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

fn entity_tag(bundle: &BundleEntry) -> HeaderValue {
    let hash = bundle.hash.to_string();
    HeaderValue::try_from(format!("\"{}\"", &hash[..32])).expect("hexadecimal digits in quotes")
}

/// Whether the client's copy is of this very bundle (RFC 9110 §13.1.2: compared weakly).
pub(crate) fn unchanged(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let tags =
        headers.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tags.map(<[u8]>::trim_ascii)
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
}

/// The range asked for, unless the client's other parts are of another bundle (RFC 9110 §13.1.5).
fn wanted_range<'a>(headers: &'a HeaderMap, tag: &HeaderValue) -> Option<&'a HeaderValue> {
    let same = headers.get(header::IF_RANGE).is_none_or(|known| known == tag);
    headers.get(header::RANGE).filter(|_| same)
}

/// The fields that every file carries.
fn label(headers: &mut HeaderMap, tag: &HeaderValue, access: AccessType) {
    headers.remove(header::LAST_MODIFIED);
    headers.insert(header::ETAG, tag.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The address outlives the bundle: ask each time. What not everybody may see is not kept where others could.
    let cache = if access == AccessType::All { "no-cache" } else { "private, no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt as _;
    use lectern_domain::launch::{Prepared, Program};
    use lectern_domain::{BundleHash, BundleId};
    use lectern_gate::RequestPath;

    fn bundle() -> BundleEntry {
        let program = Program::Static { primary: "index.html".into() };
        let prepared = Prepared { program, interpreter: None, environment: None };
        BundleEntry { id: BundleId(1), hash: BundleHash([7; 32]), prepared }
    }

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("docs")).unwrap();
        for (name, text) in [
            ("manifest.json", "{}"),
            ("index.html", "<h1>root</h1>"),
            ("docs/index.html", "docs"),
            ("docs/manifest.json", "inner"),
            ("a b.txt", "0123456789"),
            ("data.csv", "a,b"),
        ] {
            std::fs::write(tree.path().join(name), text).unwrap();
        }
        std::fs::write(tree.path().parent().unwrap().join("lectern-outside.txt"), "secret").unwrap();
        tree
    }

    async fn ask(
        tree: &Path,
        primary: &str,
        method: Method,
        target: &str,
        fields: &[(header::HeaderName, &str)],
    ) -> (StatusCode, HeaderMap, String) {
        let path = RequestPath::parse(target).unwrap();
        let headers = fields.iter().map(|(n, v)| (n.clone(), HeaderValue::from_str(v).unwrap())).collect();
        let (path, decoded) = (path.encoded(), path.decoded());
        let file = FileRequest { method: &method, path, decoded, headers: &headers, mount: "/content/x" };
        match serve(tree, &bundle(), primary, AccessType::Acl, file).await {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
            }
            Err(notice) => (notice.status, HeaderMap::new(), String::new()),
        }
    }

    #[tokio::test]
    async fn files_of_the_bundle_and_no_others() {
        let tree = tree();
        let cases = [
            ("/", 200, "<h1>root</h1>"),
            ("/index.html", 200, "<h1>root</h1>"),
            ("/docs/", 200, "docs"),
            ("/a%20b.txt", 200, "0123456789"),
            ("/docs/manifest.json", 200, "inner"),
            ("/manifest.json", 404, ""),
            ("/manifest.json/", 404, ""),
            ("//manifest.json", 404, ""),
            ("/%6danifest.json", 404, ""),
            ("/docs/..%5cmanifest.json", 404, ""),
            ("/none", 404, ""),
            ("/../lectern-outside.txt", 404, ""),
            ("/%2e%2e/lectern-outside.txt", 404, ""),
            ("/docs%2findex.html", 404, ""),
            ("/%2fmanifest.json", 404, ""),
            ("/docs/%2Fmanifest.json", 404, ""),
            ("/index.html/x", 404, ""),
            (&format!("/{}", "a".repeat(256)), 404, ""),
            (&format!("/{}", "%c3%a9".repeat(128)), 404, ""),
            (&"/a".repeat(2048), 404, ""),
            (&"/a/".repeat(1360), 404, ""),
        ];
        for (target, status, body) in cases {
            let (got, headers, text) = ask(tree.path(), "index.html", Method::GET, target, &[]).await;
            assert_eq!((got.as_u16(), text.as_str()), (status, body), "{target}");
            if status == 200 {
                assert_eq!(headers["x-content-type-options"], "nosniff");
                assert_eq!(headers["cache-control"], "private, no-cache");
                assert!(!headers.contains_key("last-modified"));
            }
        }
        let (status, headers, _) = ask(tree.path(), "index.html", Method::GET, "/docs", &[]).await;
        assert_eq!(
            (status, &headers["location"]),
            (StatusCode::TEMPORARY_REDIRECT, &HeaderValue::from_static("/content/x/docs/"))
        );
        let (status, headers, _) = ask(tree.path(), "docs/index.html", Method::GET, "/", &[]).await;
        assert_eq!(
            (status, &headers["location"]),
            (StatusCode::TEMPORARY_REDIRECT, &HeaderValue::from_static("/content/x/docs/index.html"))
        );
        assert_eq!(ask(tree.path(), "index.html", Method::POST, "/", &[]).await.0, StatusCode::METHOD_NOT_ALLOWED);
        std::fs::remove_file(tree.path().parent().unwrap().join("lectern-outside.txt")).unwrap();
    }

    #[tokio::test]
    async fn copies_are_checked_by_the_bundles_hash() {
        let tree = tree();
        let (_, headers, _) = ask(tree.path(), "index.html", Method::GET, "/data.csv", &[]).await;
        let tag = headers["etag"].to_str().unwrap().to_owned();
        let weak = format!("\"other\", W/{tag}");
        let cases = [
            (vec![(header::IF_NONE_MATCH, tag.as_str())], 304, ""),
            (vec![(header::IF_NONE_MATCH, weak.as_str())], 304, ""),
            (vec![(header::IF_NONE_MATCH, "\"other\"")], 200, "0123456789"),
            (vec![(header::IF_MODIFIED_SINCE, "Fri, 01 Jan 2100 00:00:00 GMT")], 200, "0123456789"),
            (vec![(header::RANGE, "bytes=2-4")], 206, "234"),
            (vec![(header::RANGE, "bytes=2-4"), (header::IF_RANGE, tag.as_str())], 206, "234"),
            (vec![(header::RANGE, "bytes=2-4"), (header::IF_RANGE, "\"other\"")], 200, "0123456789"),
            (vec![(header::RANGE, "bytes=20-")], 416, ""),
        ];
        for (fields, status, body) in cases {
            let (got, headers, text) = ask(tree.path(), "index.html", Method::GET, "/a%20b.txt", &fields).await;
            assert_eq!((got.as_u16(), text.as_str()), (status, body), "{fields:?}");
            assert_eq!(headers["etag"], tag.as_str());
        }
        let (status, headers, text) = ask(tree.path(), "index.html", Method::HEAD, "/a%20b.txt", &[]).await;
        assert_eq!((status.as_u16(), text.as_str(), &headers["content-length"]), (200, "", &HeaderValue::from(10)));
        assert_eq!(headers["content-type"], "text/plain");
    }
}
