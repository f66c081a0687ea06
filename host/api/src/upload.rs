//! Receives a bundle: from a request's body into the store, never whole in memory.
//!
//! The body is read here and written by a blocking thread; a short channel between them makes a slow disk slow the
//! client down. The thread commits only after it was told that the body came whole. When the client goes away, this
//! future is dropped, the channel closes without that word, and the thread removes what it wrote.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::{HeaderMap, StatusCode, header};
use lectern_bundles::{Store, StoreError, Stored};
use lectern_domain::json;
use md5::{Digest, Md5};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::Services;
use crate::checksum;
use crate::error::{ApiError, Code};

/// Pieces of a body between network and disk. A piece is what one read of the network gave, at most some 400 KiB, so an
/// upload holds about 3 MiB at most.
const PIECES: usize = 8;

/// How long a client may pause within a body.
const PAUSE: Duration = Duration::from_secs(60);

/// How long an upload waits for its turn before the client is told to come again.
const TURN: Duration = Duration::from_secs(30);

/// Most bytes of the text part that describes a bundle: a few dozen short pairs.
const MAX_METADATA_BYTES: usize = 64 << 10;

/// A bundle that is in the store, and what came with it. Nothing refers to it yet.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its name and size.
    pub(crate) stored: Stored,
    /// The client's own words about it, and the MD5 of the archive.
    pub(crate) metadata: BTreeMap<String, String>,
}

type Digest16 = [u8; 16];

enum Piece {
    Bytes(Bytes),
    /// The body came whole; only now may the bundle be committed.
    End,
}

/// Receives the bundle in `request`: the raw body, or the part `archive` of a multipart body.
pub(crate) async fn receive(services: &Services, request: Request) -> Result<Received, ApiError> {
    let limit = services.settings.max_bundle_bytes;
    refuse_announced_size(request.headers(), limit)?;
    let announced = checksum::announced(request.headers())?;
    let turn = timeout(TURN, Arc::clone(&services.uploads).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(ApiError::busy("too many bundles are being uploaded at the moment; try again shortly"));
    };
    let (pieces, inbox) = mpsc::channel(PIECES);
    let store = Arc::clone(&services.store);
    let writer = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        write(&store, limit, inbox)
    });
    let sent = send_body(request, &pieces).await;
    let sent = match sent {
        Ok(sent) => pieces.send(Piece::End).await.map(|()| sent).map_err(|_| None),
        Err(refusal) => Err(refusal),
    };
    drop(pieces);
    let written = writer.await.map_err(ApiError::internal)?;
    let (sent, (file, archive_md5)) = match (sent, written) {
        (Ok(sent), Ok(Some(written))) => (sent, written),
        // The writer stopped taking pieces: it knows why.
        (Ok(_) | Err(None), Err(cause)) => return Err(store_refusal(cause)),
        (Err(Some(refusal)), _) => return Err(refusal),
        (Ok(_), Ok(None)) | (Err(None), Ok(_)) => return Err(ApiError::internal("an upload ended without a word")),
    };
    check_and_commit(file, archive_md5, announced, sent).await
}

/// Whether an upload is sent to this path: [`receive`] compares the checksum announced itself, with the hash it needs anyway.
pub(crate) fn is_sent_to(path: &str) -> bool {
    path.ends_with("/bundles") || path.ends_with("/upload")
}

/// What the body held besides the archive.
struct Sent {
    metadata: BTreeMap<String, String>,
    /// The MD5 of the whole body, where that is not the archive's.
    body_md5: Option<Digest16>,
}

async fn check_and_commit(
    file: lectern_bundles::Upload,
    archive_md5: Digest16,
    announced: Option<Digest16>,
    sent: Sent,
) -> Result<Received, ApiError> {
    let body_md5 = sent.body_md5.unwrap_or(archive_md5);
    let refusal = if file.size_bytes() == 0 {
        Some(ApiError::new(Code::EmptyUpload, "the bundle received is empty"))
    } else if announced.is_some_and(|announced| announced != body_md5) {
        Some(ApiError::new(Code::BadChecksum, "the bytes received do not have the checksum announced"))
    } else {
        None
    };
    let finished = tokio::task::spawn_blocking(move || match refusal {
        Some(refusal) => {
            drop(file); // Removes the temporary file, which blocks.
            Err(refusal)
        }
        None => file.commit().map_err(store_refusal),
    });
    let stored = finished.await.map_err(ApiError::internal)??;
    let mut metadata = sent.metadata;
    metadata.insert("archive_md5".to_owned(), hex(&archive_md5));
    Ok(Received { stored, metadata })
}

/// Sends the archive's bytes to the writer. `Err(None)`: the writer stopped.
async fn send_body(request: Request, pieces: &mpsc::Sender<Piece>) -> Result<Sent, Option<ApiError>> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    if content_type.is_some_and(|value| value.len() >= 10 && value[..10].eq_ignore_ascii_case(b"multipart/")) {
        return send_multipart(request, pieces).await;
    }
    let body = std::pin::pin!(request.into_body().into_data_stream());
    send_all(body, pieces).await?;
    Ok(Sent { metadata: BTreeMap::new(), body_md5: None })
}

async fn send_multipart(request: Request, pieces: &mpsc::Sender<Piece>) -> Result<Sent, Option<ApiError>> {
    let whole = Arc::new(Mutex::new(Md5::new()));
    let hashing = Arc::clone(&whole);
    let request = request.map(|body| {
        Body::from_stream(body.into_data_stream().inspect_ok(move |bytes| {
            hashing.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
        }))
    });
    let unreadable =
        |text: String| Some(ApiError::new(Code::ShortUpload, format!("the multipart body cannot be read: {text}")));
    let mut form = Multipart::from_request(request, &()).await.map_err(|cause| unreadable(cause.body_text()))?;
    let (mut metadata, mut archives) = (BTreeMap::new(), 0);
    loop {
        let next = timeout(PAUSE, form.next_field()).await.map_err(|_| Some(paused()))?;
        let Some(mut field) = next.map_err(|cause| unreadable(cause.body_text()))? else { break };
        match field.name() {
            Some("archive") => {
                archives += 1;
                if archives > 1 {
                    return Err(Some(ApiError::new(Code::BadField, "the body has more than one part `archive`")));
                }
                send_all(std::pin::pin!(field), pieces).await?;
            }
            Some("metadata") => {
                let mut text = Vec::new();
                while let Some(bytes) = field.chunk().await.map_err(|cause| unreadable(cause.body_text()))? {
                    text.extend_from_slice(&bytes);
                    if text.len() > MAX_METADATA_BYTES {
                        let message = format!("the part `metadata` is longer than {MAX_METADATA_BYTES} bytes");
                        return Err(Some(ApiError::new(Code::BadField, message)));
                    }
                }
                metadata = parse_metadata(&text)?;
            }
            _ => {} // The next call passes over it.
        }
    }
    if archives == 0 {
        return Err(Some(ApiError::new(Code::MissingParameter, "the body has no part `archive`")));
    }
    let whole = whole.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Sent { metadata, body_md5: Some(whole.finalize().into()) })
}

/// A JSON object of texts; numbers and booleans are taken as texts, nulls left out.
fn parse_metadata(text: &[u8]) -> Result<BTreeMap<String, String>, ApiError> {
    use serde_json::Value;
    let refused = || ApiError::new(Code::BadField, "the part `metadata` must be a JSON object of strings");
    let Ok(Value::Object(given)) = json::parse(text) else { return Err(refused()) };
    let pairs = given.into_iter().filter_map(|(key, value)| match value {
        Value::Null => None,
        Value::String(text) => Some(Ok((key, text))),
        Value::Bool(_) | Value::Number(_) => Some(Ok((key, value.to_string()))),
        Value::Array(_) | Value::Object(_) => Some(Err(refused())),
    });
    pairs.collect()
}

async fn send_all<S, E>(mut bytes: std::pin::Pin<&mut S>, pieces: &mpsc::Sender<Piece>) -> Result<(), Option<ApiError>>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<axum::BoxError>,
{
    while let Some(piece) = timeout(PAUSE, bytes.next()).await.map_err(|_| Some(paused()))? {
        let piece = piece.map_err(|cause| {
            Some(ApiError::new(Code::ShortUpload, "the bundle was cut short; nothing was stored").caused_by(cause))
        })?;
        pieces.send(Piece::Bytes(piece)).await.map_err(|_| None)?;
    }
    Ok(())
}

fn paused() -> ApiError {
    let message = format!("the bundle stopped arriving for {} seconds; nothing was stored", PAUSE.as_secs());
    ApiError::new(Code::ShortUpload, message)
}

/// The blocking side. `None`: the body did not come whole; what was written is gone again.
fn write(
    store: &Store,
    limit: u64,
    mut inbox: mpsc::Receiver<Piece>,
) -> Result<Option<(lectern_bundles::Upload, Digest16)>, StoreError> {
    let mut file = store.begin(limit)?;
    let mut md5 = Md5::new();
    while let Some(piece) = inbox.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                md5.update(&bytes);
                file.write(&bytes)?;
            }
            Piece::End => return Ok(Some((file, md5.finalize().into()))),
        }
    }
    Ok(None)
}

fn store_refusal(error: StoreError) -> ApiError {
    match &error {
        StoreError::TooLarge { limit_bytes } => too_large(*limit_bytes),
        StoreError::Full { .. } => {
            let message = "the server has no room left for bundles; nothing was stored";
            ApiError::new(Code::CannotStore, message).caused_by(error)
        }
        StoreError::Broken { .. } | StoreError::Io { .. } => {
            let message = "the server could not store the bundle; its log says why";
            ApiError::new(Code::CannotStore, message).with_status(StatusCode::INTERNAL_SERVER_ERROR).caused_by(error)
        }
    }
}

fn too_large(limit: u64) -> ApiError {
    let message = format!("the bundle is larger than the {limit} bytes this server accepts");
    ApiError::new(Code::CannotStore, message).with_status(StatusCode::PAYLOAD_TOO_LARGE)
}

fn refuse_announced_size(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length {
        // A multipart body is a little longer than its archive; the archive itself is measured while it arrives.
        Some(length) if length > limit.saturating_add(1 << 20) => Err(too_large(limit)),
        _ => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_full_disk_is_said_so() {
        let full = StoreError::Full { path: "/shared/x".into(), cause: std::io::Error::other("no space left") };
        let refusal = store_refusal(full);
        assert_eq!((refusal.status(), refusal.code()), (StatusCode::INSUFFICIENT_STORAGE, 134));
        assert!(!refusal.to_string().contains("/shared"), "paths stay inside");
        let broken = store_refusal(StoreError::Broken { path: "/shared/x".into() });
        assert_eq!((broken.status(), broken.code()), (StatusCode::INTERNAL_SERVER_ERROR, 134));
    }

    #[test]
    fn metadata_is_pairs_of_texts() {
        let read = |text: &str| parse_metadata(text.as_bytes()).map_err(|refusal| refusal.code());
        let pairs = |pairs: &[(&str, &str)]| {
            Ok(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(read(r#"{"source":"git","n":1,"none":null}"#), pairs(&[("n", "1"), ("source", "git")]));
        assert_eq!(read("{}"), pairs(&[]));
        for bad in ["", "[]", "1", r#"{"a":{}}"#] {
            assert_eq!(read(bad), Err(87), "{bad}");
        }
    }
}
