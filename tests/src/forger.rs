//! A provider that cannot be trusted: it describes itself as OpenID Connect wants it and hands out whatever token a test wrote.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// The name of the one key that is published.
const KEY_ID: &str = "published";

/// It serves until the test process ends.
#[derive(Debug)]
pub struct Forger {
    /// `http://127.0.0.1:PORT`.
    pub issuer: String,
    /// What the published key signs.
    pub key: Key,
    token: Arc<Mutex<String>>,
}

/// A key for ES256.
pub struct Key {
    private: EncodingKey,
    public: Value,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Key {
    /// Makes one.
    pub fn new() -> Self {
        let openssl = |words: &str, input: &[u8]| {
            let mut command = Command::new("openssl");
            command.args(words.split_whitespace()).stdin(std::process::Stdio::piped());
            let mut child = command
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("openssl");
            child.stdin.take().expect("its input").write_all(input).expect("write");
            child.wait_with_output().expect("its output").stdout
        };
        let private = openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -outform DER", b"");
        let private = openssl("pkcs8 -topk8 -nocrypt -inform DER -outform DER", &private);
        let public = openssl("pkey -inform DER -pubout -outform DER", &private);
        // A SubjectPublicKeyInfo of P-256 ends with the point: x and y, 32 bytes each.
        let point = &public[public.len() - 64..];
        let public = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
            "x": base64url(&point[..32]), "y": base64url(&point[32..]),
        });
        Self { private: EncodingKey::from_ec_der(&private), public }
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(KEY_ID.into()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.private).expect("a token")
    }

    /// The public part, as a set of keys.
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.public]})
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::new()
    }
}

impl Forger {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let (key, token) = (Key::new(), Arc::new(Mutex::new(String::new())));
        let (at, jwks, told) = (issuer.clone(), key.jwks(), Arc::clone(&token));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                serve(connection, &at, &jwks, &told);
            }
        });
        Self { issuer, key, token }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.issuer["http://".len()..].parse().expect("an address")
    }

    /// Answers every code with this ID token from now on.
    pub fn hand_out(&self, token: &str) {
        token.clone_into(&mut self.token.lock().expect("the token"));
    }
}

/// Answers one request. A client that goes away is no concern of the others.
fn serve(mut connection: TcpStream, issuer: &str, jwks: &Value, token: &Mutex<String>) {
    let Ok(read) = connection.try_clone() else { return };
    let mut read = BufReader::new(read);
    let (mut first, mut length) = (String::new(), 0);
    read.read_line(&mut first).ok();
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    read.read_exact(&mut vec![0; length]).ok();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let body = match path {
        "/.well-known/openid-configuration" => json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/auth"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }),
        "/jwks" => jwks.clone(),
        _ => json!({"access_token": "a", "token_type": "Bearer", "id_token": *token.lock().expect("the token")}),
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all((head + &body).as_bytes()).ok();
}

/// Base64 for URLs without padding, as tokens use it.
pub fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let all = chunk.iter().enumerate().fold(0_u32, |all, (n, byte)| all | u32::from(*byte) << (16 - 8 * n));
        text.extend((0..=chunk.len()).map(|n| char::from(ALPHABET[(all >> (18 - 6 * n) & 63) as usize])));
    }
    text
}
