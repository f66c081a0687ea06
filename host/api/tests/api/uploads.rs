//! Uploading: every way in, and everything that must not get in.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, stream};
use http::Request;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{MAX_BUNDLE, Reply, Server, archive, eventually, manifest, page_bundle, request};

fn path(guid: &str) -> String {
    format!("/__api__/v1/content/{guid}/bundles")
}

async fn post(server: &Server, guid: &str, headers: &[(&str, &str)], body: Body) -> Reply {
    let builder =
        headers.iter().fold(request("POST", &path(guid)), |builder, (name, value)| builder.header(*name, *value));
    server.send(Some(&server.owner), builder.body(body).unwrap()).await
}

#[tokio::test]
async fn raw_bodies_of_any_kind_come_in() {
    let server = Server::new().await;
    let guid = server.content("raw").await;
    let bytes = page_bundle("hello");
    for kind in ["", "application/x-gzip", "application/gzip", "application/octet-stream", "application/json"] {
        let headers = [("content-type", kind)];
        let headers = if kind.is_empty() { &headers[..0] } else { &headers[..] };
        let made = post(&server, &guid, headers, Body::from(bytes.clone())).await.ok();
        assert!(made["id"].is_string(), "{kind}");
        assert_eq!((&made["content_guid"], &made["active"]), (&json!(guid), &json!(false)));
        assert_eq!(made["size"], bytes.len());
        assert_eq!(made["py_version"], "3.11.7");
        assert_eq!(made["created_by_name"], "owner");
        assert_eq!(made["metadata"]["source"], Value::Null);
        assert_eq!(made["metadata"]["archive_md5"], format!("{:x}", md5_number(&bytes)));
    }
    // In pieces of no announced length.
    let pieces: Vec<Result<Bytes, Infallible>> =
        bytes.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let made = post(&server, &guid, &[], Body::from_stream(stream::iter(pieces))).await.ok();
    assert_eq!(made["size"], bytes.len());
    assert_eq!(server.stored(), (1, 0), "the same bytes are kept once");
}

/// The digest as a number, to print it in hexadecimal.
fn md5_number(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(bytes).into())
}

fn form(parts: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, kind, bytes) in parts {
        let file = if *name == "archive" { "; filename=\"bundle.tar.gz\"" } else { "" };
        let head = format!(
            "--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\nContent-Type: {kind}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b0undary--\r\n");
    ("multipart/form-data; boundary=b0undary".to_owned(), body)
}

#[tokio::test]
async fn multipart_bodies_carry_their_description() {
    let server = Server::new().await;
    let guid = server.content("parts").await;
    let bytes = page_bundle("hello");
    let description = br#"{"source": "git", "source_branch": "main", "team": "blue"}"#;
    let archive_part = ("archive", "application/x-tar", bytes.as_slice());
    let description_part = ("metadata", "application/json", description.as_slice());
    for parts in [[archive_part, description_part], [description_part, archive_part]] {
        let (kind, body) = form(&parts);
        let sum = STANDARD.encode(Md5::digest(&body));
        let headers = [("content-type", kind.as_str()), ("x-content-checksum", sum.as_str())];
        let made = post(&server, &guid, &headers, Body::from(body)).await.ok();
        assert_eq!(made["size"], bytes.len());
        let metadata = &made["metadata"];
        assert_eq!((&metadata["source"], &metadata["source_branch"]), (&json!("git"), &json!("main")));
        assert_eq!((&metadata["team"], &metadata["source_commit"]), (&json!("blue"), &Value::Null));
        assert_eq!(metadata["archive_md5"], format!("{:x}", md5_number(&bytes)));
    }
    let (kind, whole) = form(&[archive_part]);
    let cut = whole[..whole.len() / 2].to_vec();
    let bad: &[(Vec<u8>, i64)] = &[
        (form(&[description_part]).1, 12),
        (form(&[archive_part, archive_part]).1, 87),
        (form(&[archive_part, ("metadata", "application/json", b"[]")]).1, 87),
        (form(&[archive_part, ("metadata", "application/json", &vec![b' '; 100_000])]).1, 87),
        (form(&[("archive", "application/x-tar", b"")]).1, 125),
        (cut, 126),
    ];
    for (body, code) in bad {
        let reply = post(&server, &guid, &[("content-type", &kind)], Body::from(body.clone())).await;
        assert_eq!(reply.refusal(), (400, *code));
    }
    assert_eq!(server.stored(), (1, 0), "only the good ones left anything");
}

#[tokio::test]
async fn checksums_are_verified() {
    let server = Server::new().await;
    let guid = server.content("sums").await;
    let bytes = page_bundle("hello");
    let in_base64 = STANDARD.encode(Md5::digest(&bytes));
    let in_hex = format!("{:032x}", md5_number(&bytes));
    for good in [&in_base64, &in_hex] {
        let made = post(&server, &guid, &[("x-content-checksum", good)], Body::from(bytes.clone())).await;
        assert_eq!(made.status, 200, "{good}");
    }
    let other = page_bundle("other");
    for bad in [in_base64.as_str(), "nonsense"] {
        let refused = post(&server, &guid, &[("x-content-checksum", bad)], Body::from(other.clone())).await;
        assert_eq!(refused.refusal(), (400, 104), "{bad}");
    }
    assert_eq!(server.stored(), (1, 0));
}

#[tokio::test]
async fn bad_archives_are_told_at_once_and_leave_nothing() {
    let server = Server::new().await;
    let guid = server.content("picky").await;
    let good = page_bundle(&"many words ".repeat(5000));
    let plain_tar = {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        tar.append_data(&mut header, "manifest.json", &b""[..]).unwrap();
        tar.into_inner().unwrap()
    };
    let gzip_of_text = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, b"this is no tar").unwrap();
        gzip.finish().unwrap()
    };
    let with = |manifest: &str| archive(&[("manifest.json", manifest), ("index.html", "x")]);
    let cases: Vec<(&str, Vec<u8>, i64)> = vec![
        ("empty", Vec::new(), 125),
        ("not gzip", b"<html>not a bundle</html>".to_vec(), 135),
        ("plain tar", plain_tar, 135),
        ("gzip of text", gzip_of_text, 135),
        ("cut after the manifest", good[..good.len() - 20].to_vec(), 135),
        ("goes on", [good.as_slice(), b"tail"].concat(), 135),
        ("no manifest", archive(&[("index.html", "x")]), 38),
        ("manifest not JSON", with("{"), 38),
        ("manifest no object", with("[]"), 38),
        ("no mode", with("{}"), 38),
        ("unknown mode", with(&manifest("cobol")), 38),
        ("no mode yet", with(&manifest("unknown")), 38),
        ("path out of the bundle", with(r#"{"metadata":{"appmode":"static","primary_html":"../../etc/passwd"}}"#), 38),
    ];
    for (what, bytes, code) in cases {
        let refused = server.upload(&guid, bytes).await;
        assert_eq!(refused.refusal(), (400, code), "{what}: {refused:?}");
        assert_eq!(server.stored(), (0, 0), "{what}");
    }
    assert_eq!(server.get(&server.owner, &path(&guid)).await.ok(), json!([]));
    server.upload(&guid, good).await.ok();
}

#[tokio::test]
async fn the_kind_of_content_is_fixed_by_the_first_deployment() {
    let server = Server::new().await;
    let guid = server.content("fixed").await;
    let api = archive(&[("manifest.json", &manifest("python-fastapi")), ("app.py", "")]);
    server.upload(&guid, api.clone()).await.ok();
    let page = server.bundle(&guid).await;
    server.activate(&guid, &page).await;
    assert_eq!(server.upload(&guid, api.clone()).await.refusal(), (403, 48));
    let pin = json!({"metadata": {"appmode": "static", "primary_html": "index.html", "content_category": "pin"}});
    let pin = archive(&[("manifest.json", &pin.to_string()), ("index.html", "x")]);
    assert_eq!(server.upload(&guid, pin).await.refusal(), (403, 110));
    server.bundle(&guid).await;
    // The same bytes are good elsewhere, so they stay.
    let other = server.content("other").await;
    server.upload(&other, api).await.ok();
}

#[tokio::test]
async fn bundles_have_a_size_limit() {
    let server = Server::new().await;
    let guid = server.content("large").await;
    let announced = vec![0u8; usize::try_from(MAX_BUNDLE).unwrap() * 3];
    let headers = [("content-length", &*announced.len().to_string())];
    assert_eq!(post(&server, &guid, &headers, Body::from(announced.clone())).await.refusal(), (413, 134));
    let pieces = announced.chunks(1000).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
    let unannounced = Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()));
    assert_eq!(post(&server, &guid, &[], unannounced).await.refusal(), (413, 134));
    assert_eq!(server.stored(), (0, 0));
}

#[tokio::test]
async fn a_body_cut_in_the_middle_leaves_nothing() {
    let server = Server::new().await;
    let guid = server.content("cut").await;
    let bytes = page_bundle("hello");
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    let cut = stream::iter([Ok(half), Err(std::io::Error::other("connection reset"))]);
    assert_eq!(post(&server, &guid, &[], Body::from_stream(cut)).await.refusal(), (400, 126));
    assert_eq!(server.stored(), (0, 0));
    assert_eq!(server.get(&server.owner, &path(&guid)).await.ok(), json!([]));
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let server = Arc::new(Server::new().await);
    let guid = server.content("gone").await;
    let (pieces, body) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let body = Body::from_stream(stream::unfold(body, async |mut body| body.recv().await.map(|piece| (piece, body))));
    let request: Request<Body> = request("POST", &path(&guid)).body(body).unwrap();
    let upload = {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.send(Some(&server.owner), request).await })
    };
    pieces.send(Ok(Bytes::from_static(b"\x1f\x8b begun"))).await.unwrap();
    eventually(|| server.stored() == (0, 1)).await;
    upload.abort();
    assert!(upload.await.unwrap_err().is_cancelled());
    eventually(|| server.stored() == (0, 0)).await;
}

#[tokio::test]
async fn a_refused_upload_is_read_to_its_end() {
    let server = Server::new().await;
    let guid = server.content("polite").await;
    let (read, mut reads) = mpsc::channel(100); // One for each piece.
    let pieces = stream::iter(0..100).map(move |number| {
        read.try_send(number).unwrap();
        Ok::<_, Infallible>(Bytes::from(vec![0u8; 1000]))
    });
    let request = request("POST", &path(&guid)).body(Body::from_stream(pieces)).unwrap();
    assert_eq!(server.send(Some(&server.stranger), request).await.refusal(), (403, 19));
    let mut last = None;
    while let Some(number) = reads.recv().await {
        last = Some(number);
    }
    assert_eq!(last, Some(99), "the client could send everything before it read the refusal");
}
