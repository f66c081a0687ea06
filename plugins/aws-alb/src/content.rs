//! What content must not see: the load balancer's fields, and its session cookies.

use lectern_plugin::{Decision, Failure, Forward, Host};

use crate::DATA;
use crate::settings::Settings;

/// The provider's access token, and the user's name there.
const OTHERS: [&str; 2] = ["x-amzn-oidc-accesstoken", "x-amzn-oidc-identity"];

/// Hands the request on without them. In the phase route there is no target, and nothing is decided.
pub(crate) fn without_credentials(host: &impl Host) -> Result<Decision, Failure> {
    let target = host.target();
    if !target.starts_with("content:") {
        return Ok(Decision::Next);
    }
    let settings = Settings::read(host)?;
    if settings.pass_on {
        return Ok(Decision::Next);
    }
    let mut forward = Forward::to(&target);
    forward.remove_headers.extend([DATA, OTHERS[0], OTHERS[1]].map(str::to_owned));
    // The session is in pieces, `…-0` first. Without the first there is none, and the other cookies need not be read.
    if host.cookie(&format!("{}-0", settings.session_cookie)).is_some() {
        match without_cookies(&host.header("cookie"), &settings.session_cookie) {
            kept if kept.is_empty() => forward.remove_headers.push("cookie".to_owned()),
            kept => forward.set_headers.push(("cookie".to_owned(), kept)),
        }
    }
    Ok(Decision::Forward(forward))
}

/// The cookies of all values in one, without those named `<name>-<piece>`.
fn without_cookies(values: &[Vec<u8>], name: &str) -> Vec<u8> {
    let is_session = |pair: &[u8]| {
        let key = pair.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
        key.strip_prefix(name.as_bytes()).is_some_and(|piece| piece.first() == Some(&b'-'))
    };
    let pairs = values.iter().flat_map(|value| value.split(|&byte| byte == b';')).map(<[u8]>::trim_ascii);
    let kept: Vec<&[u8]> = pairs.filter(|pair| !pair.is_empty() && !is_session(pair)).collect();
    kept.join(b"; ".as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sessions_pieces_go() {
        let name = "AWSELBAuthSessionCookie";
        for (values, kept) in [
            (vec!["AWSELBAuthSessionCookie-0=x"], ""),
            (vec!["a=1; AWSELBAuthSessionCookie-0=x;AWSELBAuthSessionCookie-1=y; b=2"], "a=1; b=2"),
            (vec!["a=1", "AWSELBAuthSessionCookie-0=x; b=2"], "a=1; b=2"),
            (vec![" AWSELBAuthSessionCookie-0 =x; a=AWSELBAuthSessionCookie-0"], "a=AWSELBAuthSessionCookie-0"),
            (
                vec!["AWSELBAuthSessionCookie=x; AWSELBAuthSessionCookies-0=y"],
                "AWSELBAuthSessionCookie=x; AWSELBAuthSessionCookies-0=y",
            ),
            (vec!["a=\u{e9}; AWSELBAuthSessionCookie-0"], "a=\u{e9}"),
        ] {
            let sent: Vec<Vec<u8>> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
            assert_eq!(String::from_utf8_lossy(&without_cookies(&sent, name)), kept, "{values:?}");
        }
    }
}
