//! Asks what the first segment of the path says, and decides by the answers.
#![allow(clippy::panic)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use lectern_plugin::{
    Authenticator, Decision, Expectations, Failure, Forward, Handled, Host, Identity, Keys, Level, Outcome, Reply,
    Router, export_gate,
};

/// The component.
#[derive(Debug)]
pub struct Asking;

export_gate!(Asking);

/// Calls that this instance has seen.
static CALLS: AtomicU32 = AtomicU32::new(0);

impl Router for Asking {
    fn route(host: &impl Host) -> Result<Decision, Failure> {
        let answer = match host.path_prefix(1).as_str() {
            "/ponder" => return Ok(ponder(host)),
            "/next" => return Ok(Decision::Next),
            "/strip" => return Ok(Decision::Forward(Forward::to("system:api").strip_segments(2))),
            "/refuse" => Reply::text(403, "not for you"),
            "/forward" => {
                let mut forward = Forward::to("system:api");
                forward.set_headers.push(("x-tenant".into(), host.header_text("x-tenant").unwrap_or_default().into()));
                return Ok(Decision::Forward(forward));
            }
            "/log" => {
                host.log(Level::Debug, "looking", &[]);
                host.log(Level::Info, "looked", &[("tenant", &host.header_text("x-tenant").unwrap_or_default())]);
                host.log(Level::Warn, "and found", &[]);
                Reply::text(200, "logged")
            }
            "/take" => Reply::text(200, &format!("{:?}", host.take("all", 60, 5))),
            // What it learns last leads to a miss after the bucket was asked.
            "/take-then" => {
                let taken = host.take("then", 60, 3);
                Reply::text(200, &format!("{taken:?} {:?}", host.header_text("x-tenant")))
            }
            "/id" => Reply::text(200, &host.request_id()),
            "/clock" => Reply::text(200, &host.unix_millis().to_string()),
            "/random" => Reply::text(200, &format!("{:?}", host.random_bytes(16))),
            "/value" => Reply::text(200, &format!("{:?}", host.value("k").is_ok())),
            "/order" => {
                let map: HashMap<u32, u32> = (0..64).map(|n| (n, n)).collect();
                Reply::text(200, &map.keys().map(|n| format!("{n} ")).collect::<String>())
            }
            "/count" => Reply::text(200, &CALLS.fetch_add(1, Ordering::Relaxed).to_string()),
            "/secret" => Reply::text(200, &format!("{:?}", host.hmac_sha256("s", b"data"))),
            "/fail" if host.header_text("x-fail").is_some() => return Err(Failure::Internal("as asked for".into())),
            "/fail" => Reply::text(200, "well"),
            _ => return Ok(Decision::Next),
        };
        Ok(Decision::Respond(answer))
    }
}

impl Authenticator for Asking {
    fn authenticate(host: &impl Host) -> Result<Outcome, Failure> {
        let known = |identity: Option<Identity>, why: &str| {
            Ok(identity.map_or_else(|| Outcome::Rejected(why.to_owned()), Outcome::Authenticated))
        };
        if let Some(key) = host.header_text("x-key") {
            return known(host.find_key(&key), "no such key");
        }
        if let Some(name) = host.header_text("x-user") {
            return known(host.find_user(&name), "no such user");
        }
        // A decision that read the clock, and lives for so many seconds.
        if let Some(seconds) = host.header_text("x-seconds") {
            let identity = Identity { ttl: seconds.parse().ok(), ..Identity::new(&host.unix_millis().to_string()) };
            return Ok(Outcome::Authenticated(identity));
        }
        if let Some(token) = host.header_text("x-token") {
            let keys = match host.config("jwks") {
                Some(url) => Keys::JwksUrl(url),
                None => Keys::Secret("s".into()),
            };
            let expectations = Expectations {
                issuers: Vec::new(),
                audiences: Vec::new(),
                algorithms: vec!["HS256".into(), "EdDSA".into()],
                leeway_seconds: 0,
                required: Vec::new(),
            };
            return Ok(match host.verify_token(&token, &keys, &expectations) {
                Ok(verified) => Outcome::Authenticated(Identity::new(&verified.claims)),
                // Left to other plugins, so that what could be learned of it is.
                Err(_) => Outcome::Abstain,
            });
        }
        Ok(host.session().map_or(Outcome::Abstain, Outcome::Authenticated))
    }

    fn page(_: &impl Host, _: &[u8]) -> Result<Handled, Failure> {
        Ok(Handled::Reply(Reply::not_found()))
    }
}

/// A deterministic walk through the questions: what is asked next, and with which argument, follows from the number in the
/// configuration and the answers so far.
fn ponder(host: &impl Host) -> Decision {
    let mut state = mix(17, &host.config("program").unwrap_or_default());
    let mut heard: Vec<String> = ["a", "b", "x-a", "x-b"].map(str::to_owned).into();
    for _ in 0..state % 9 {
        state = mix(state, "next");
        let argument = heard[(state >> 8) as usize % heard.len()].clone();
        let number = (state >> 16) as u32 % 5;
        let texts: Vec<String> = match state % 18 {
            0 => vec![host.method()],
            1 => vec![host.host()],
            2 => vec![host.path()],
            3 | 4 => vec![host.path_prefix(number)],
            5 => vec![host.path_has_prefix(&format!("/ponder/{argument}")).to_string()],
            6 => host.query().into_iter().collect(),
            7 | 8 => host.query_param(&argument).into_iter().collect(),
            9 | 10 => host.header(&argument).iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect(),
            11 | 12 => host.cookie(&argument).into_iter().collect(),
            13 => host.headers().into_iter().map(|(name, value)| format!("{name}{value:?}")).collect(),
            14 => vec![host.client_ip(), host.peer_ip(), host.scheme(), host.authority()],
            15 => host
                .vanity()
                .map(|mount| format!("{}{}{}", mount.content, mount.path, mount.segments))
                .into_iter()
                .collect(),
            16 => vec![host.visitor_present().to_string(), host.target(), host.visitor_in_group(&argument).to_string()],
            _ => vec![host.has_bundle(&number.to_string()).to_string(), format!("{:?}", host.visitor_subject())],
        };
        for text in texts {
            state = mix(state, &text);
            heard.push(text);
        }
        state = mix(state, "answered");
    }
    match state % 4 {
        0 => Decision::Next,
        1 => Decision::Forward(Forward::to("system:api").strip_segments(state as u32 % 3)),
        _ => Decision::Respond(Reply::text(200, &state.to_string())),
    }
}

/// FNV-1a, and a separator.
fn mix(state: u64, text: &str) -> u64 {
    text.bytes()
        .chain([0xff])
        .fold(state ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
