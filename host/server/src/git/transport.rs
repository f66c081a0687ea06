//! git's protocol over HTTP: the list of references, and the pack of one commit.
//!
//! No redirect is followed, and the address of each connection was judged. The password for a host is read when it is used,
//! given to exactly the scheme, host and port that the operator named, and to nobody else.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use lectern_domain::git::{ADVERTISEMENT_TYPE, ANSWER_TYPE, Advertisement, Answer, Branch, Commit, REQUEST_TYPE};
use lectern_domain::outbound::Target;
use lectern_gate::{OutboundError, OutboundRequest};
use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

use super::Repositories;
use super::failure::GitFailure;
use crate::config::Credential;

/// Most bytes of a list of references: 200,000 of them with names of usual length.
const MOST_LIST: usize = 24 << 20;
/// Longest silence: a host that packs a large repository says nothing for a while.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest password file.
const MOST_PASSWORD: u64 = 4096;

/// A commit whose pack was fetched.
pub(super) struct Packed {
    pub(super) commit: Commit,
    /// Where its history was cut.
    pub(super) shallow: Vec<Commit>,
    /// Length of the pack.
    pub(super) bytes: u64,
}

impl Repositories {
    /// Who this server is at a repository's host.
    pub(super) fn credential(&self, target: &Target) -> Option<&Credential> {
        let origin = target.origin().to_string();
        self.settings.credentials.iter().find(|one| one.origin == origin)
    }

    async fn authorization(&self, target: &Target) -> Result<Option<HeaderValue>, GitFailure> {
        let Some(credential) = self.credential(target) else { return Ok(None) };
        let (path, origin) = (credential.password_file.clone(), credential.origin.clone());
        let read = tokio::task::spawn_blocking(move || {
            use std::io::Read as _;
            let mut text = Zeroizing::new(String::new());
            std::fs::File::open(path)?.take(MOST_PASSWORD).read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        });
        let unread = |cause: String| {
            tracing::warn!(git.origin = origin, cause, "a password of git.credentials cannot be read");
            GitFailure::Password { origin: origin.clone() }
        };
        let text = read.await.map_err(|error| unread(error.to_string()))?.map_err(|error| unread(error.to_string()))?;
        let password = text.lines().next().unwrap_or_default();
        let pair = Zeroizing::new(format!("{}:{password}", credential.username));
        let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&value).map_err(|error| unread(error.to_string()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn ask(
        &self,
        target: &Target,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, GitFailure> {
        let url = target.as_str().trim_end_matches('/').to_owned();
        let unreached = |cause| GitFailure::Unreached { url: url.clone(), cause };
        let whole = format!("{url}/{path}").parse();
        let whole = whole.map_err(|error: url::ParseError| unreached(OutboundError::Failed(error.to_string())))?;
        let mut headers = HeaderMap::new();
        let agent = concat!("git/lectern-", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let expected = if method == Method::POST { ANSWER_TYPE } else { ADVERTISEMENT_TYPE };
        headers.insert(ACCEPT, HeaderValue::from_static(expected));
        if method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(REQUEST_TYPE));
        }
        let authorization = self.authorization(target).await?;
        let is_known = authorization.is_some();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        let request =
            OutboundRequest { method, url: whole, headers, body, timeout: SILENCE, max_body_bytes: usize::MAX };
        let asked = tokio::time::timeout(SILENCE, self.outbound.open(request)).await;
        let answer = asked.map_err(|_| GitFailure::Silent(SILENCE))?.map_err(unreached)?;
        let status = answer.status();
        if status.is_redirection() {
            let to = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
            // What follows the repository's own URL was asked for by us.
            let to = to.split("/info/refs").next().unwrap_or(to).chars().take(300).collect();
            return Err(GitFailure::Redirect { url, to });
        }
        if status != StatusCode::OK {
            let hint = hint(status, is_known).to_owned();
            return Err(GitFailure::Status { url, status, hint });
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some(expected) {
            return Err(GitFailure::Kind { url, kind: kind.chars().take(100).collect() });
        }
        Ok(answer)
    }

    /// The references of a repository.
    pub(super) async fn advertised(&self, target: &Target) -> Result<Advertisement, GitFailure> {
        let answer = self.ask(target, Method::GET, "info/refs?service=git-upload-pack", Vec::new()).await?;
        let (mut body, mut list) = (answer.into_body(), Vec::new());
        while let Some(bytes) = next(&mut body).await? {
            if list.len() + bytes.len() > MOST_LIST {
                return Err(GitFailure::LongList { limit: MOST_LIST });
            }
            list.extend_from_slice(&bytes);
        }
        Advertisement::parse(&list)
            .map_err(|cause| GitFailure::Advertisement { url: target.as_str().to_owned(), cause })
    }

    /// Fetches the commit that `branch` is at, without its history, into the file `pack`.
    pub(super) async fn fetch(&self, target: &Target, branch: &Branch, pack: &Path) -> Result<Packed, GitFailure> {
        let fetching = async {
            let list = self.advertised(target).await?;
            let commit = list.resolve(branch)?;
            let body = list.request(commit)?;
            let answer = self.ask(target, Method::POST, "git-upload-pack", body).await?;
            let (shallow, bytes) = self.receive(answer.into_body(), list.has_channels(), pack).await?;
            Ok(Packed { commit, shallow, bytes })
        };
        let limit = self.settings.timeout;
        tokio::time::timeout(limit, fetching).await.unwrap_or(Err(GitFailure::Late(limit)))
    }

    async fn receive(&self, mut body: Incoming, channels: bool, path: &Path) -> Result<(Vec<Commit>, u64), GitFailure> {
        let write = GitFailure::Write;
        let mut file = tokio::fs::File::create(path).await.map_err(write)?;
        let (mut answer, mut total, mut piece) = (Answer::new(), 0_u64, Vec::new());
        while let Some(bytes) = next(&mut body).await? {
            answer.take(&bytes, channels, &mut piece)?;
            total = total.saturating_add(piece.len() as u64);
            if total > self.settings.max_bytes {
                return Err(GitFailure::TooLarge { limit: self.settings.max_bytes });
            }
            file.write_all(&piece).await.map_err(write)?;
            piece.clear();
        }
        file.flush().await.map_err(write)?;
        Ok((answer.finish()?, total))
    }
}

/// The next bytes of an answer.
async fn next(body: &mut Incoming) -> Result<Option<bytes::Bytes>, GitFailure> {
    loop {
        let frame = tokio::time::timeout(SILENCE, body.frame()).await.map_err(|_| GitFailure::Silent(SILENCE))?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(GitFailure::Broken),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// What a status means, and what to do.
fn hint(status: StatusCode, is_known: bool) -> &'static str {
    match (status, is_known) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, true) => {
            "its server does not let in whom this server's administrator named in git.credentials"
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, false) => {
            "its server wants a name and a password; this server's administrator can give it one in git.credentials"
        }
        (StatusCode::NOT_FOUND | StatusCode::GONE, _) => {
            "there is no such repository, or its server does not show it to this one"
        }
        (StatusCode::TOO_MANY_REQUESTS, _) => "its server wants to be asked less often",
        _ if status.is_server_error() => "its server is out of order",
        _ => "its server does not give it",
    }
}
