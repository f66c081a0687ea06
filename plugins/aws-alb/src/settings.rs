//! What the operator sets, checked when the plugin is loaded.

use std::collections::BTreeMap;

use lectern_plugin::people::{Accounts, AnyOf, ClaimNames};
use lectern_plugin::web::{is_confidential, origin_of};
use lectern_plugin::{Failure, Host};
use serde::Deserialize;

/// The host refuses more.
const MAX_LEEWAY_SECONDS: u32 = 300;

/// How a subject becomes a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UserBy {
    /// By an account that is linked to issuer and subject, or made.
    #[default]
    Account,
    /// The claim is the user name.
    Name,
}

/// All settings; `config.schema.json` describes each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    signers: Vec<String>,
    #[serde(default)]
    pub(crate) client: Option<String>,
    #[serde(default)]
    pub(crate) issuer: Option<String>,
    #[serde(default)]
    key_url: Option<String>,
    #[serde(default = "leeway_seconds")]
    pub(crate) leeway_seconds: u32,
    #[serde(default)]
    pub(crate) required: BTreeMap<String, AnyOf>,
    #[serde(default = "subject_claim")]
    pub(crate) subject_claim: String,
    #[serde(default)]
    pub(crate) user: UserBy,
    #[serde(default)]
    pub(crate) claims: ClaimNames,
    #[serde(default)]
    pub(crate) accounts: Accounts,
    #[serde(default = "session_cookie")]
    pub(crate) session_cookie: String,
    #[serde(default)]
    pub(crate) pass_on: bool,
}

fn leeway_seconds() -> u32 {
    30
}
fn subject_claim() -> String {
    "sub".to_owned()
}
fn session_cookie() -> String {
    "AWSELBAuthSessionCookie".to_owned()
}

impl Settings {
    /// Reads and checks them.
    pub(crate) fn read(host: &impl Host) -> Result<Self, Failure> {
        let settings: Self = host.settings()?;
        match settings.mistake() {
            Some(mistake) => Err(Failure::Misconfigured(mistake)),
            None => Ok(settings),
        }
    }

    fn mistake(&self) -> Option<String> {
        if self.signers.is_empty() {
            return Some("signers must name the load balancer: every AWS account can make one that signs".to_owned());
        }
        for signer in &self.signers {
            if Arn::parse(signer).is_none() {
                return Some(format!(
                    "signer {signer:?} must be the ARN of an application load balancer: \
                     arn:aws:elasticloadbalancing:<region>:<account>:loadbalancer/app/<name>/<id>"
                ));
            }
            if self.key_url_of(signer).is_none() {
                return Some(format!("key_url must be set: where the keys of {signer:?} are is not known here"));
            }
        }
        if let Some(url) = self.key_url.as_ref().filter(|url| !is_key_url(url)) {
            return Some(format!("key_url {url:?} must begin with https:// and have {{kid}} once in its path"));
        }
        if self.leeway_seconds > MAX_LEEWAY_SECONDS {
            return Some(format!("leeway_seconds must be at most {MAX_LEEWAY_SECONDS}"));
        }
        let is_empty = |text: &Option<String>| text.as_ref().is_some_and(String::is_empty);
        if is_empty(&self.client) || is_empty(&self.issuer) || self.subject_claim.is_empty() {
            return Some("client, issuer and subject_claim must not be empty texts".to_owned());
        }
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.session_cookie.is_empty() || !self.session_cookie.bytes().all(is_token) {
            return Some("session_cookie must be the name of the load balancer's cookie, without -0".to_owned());
        }
        None
    }

    /// Where the keys of this signer are, with `{kid}` for the key's name; none where it is not one of the operator's.
    pub(crate) fn key_url_of(&self, signer: &str) -> Option<String> {
        let known = self.signers.iter().find(|known| known.as_str() == signer)?;
        match &self.key_url {
            Some(url) => Some(url.clone()),
            None => Arn::parse(known)?.key_url(),
        }
    }
}

/// Whether an address has the place for a key's name after its origin: the token must not choose the server.
fn is_key_url(url: &str) -> bool {
    let Some((before, after)) = url.split_once("{kid}") else { return false };
    let in_path = origin_of(before).is_some_and(|origin| before[origin.len()..].starts_with('/'));
    in_path && is_confidential(before) && !after.contains("{kid}") && after.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What of a load balancer's name says where its keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arn<'a> {
    partition: &'a str,
    region: &'a str,
}

impl<'a> Arn<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [arn, partition, service, region, account, resource] = parts[..] else { return None };
        let is_label = |text: &str| {
            !text.is_empty()
                && text.len() <= 32
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let name = resource.strip_prefix("loadbalancer/app/")?;
        let is_name =
            name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-/".contains(&byte));
        let fits = arn == "arn" && service == "elasticloadbalancing" && is_label(partition) && is_label(region);
        (fits && is_account && is_name && !name.is_empty()).then_some(Self { partition, region })
    }

    /// As AWS documents it for each part of its cloud.
    fn key_url(self) -> Option<String> {
        let region = self.region;
        match self.partition {
            "aws" => Some(format!("https://public-keys.auth.elb.{region}.amazonaws.com/{{kid}}")),
            "aws-cn" => Some(format!("https://public-keys.auth.elb.{region}.amazonaws.com.cn/{{kid}}")),
            "aws-us-gov" => {
                Some(format!("https://s3-{region}.amazonaws.com/aws-elb-public-keys-prod-{region}/{{kid}}"))
            }
            _ => None,
        }
    }
}
