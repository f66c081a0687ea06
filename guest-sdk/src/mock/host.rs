//! What a [`Mock`] answers.

use super::Mock;
use crate::web::form;
use crate::{
    Certificate, Expectations, Fetch, FetchError, Fetched, Field, Host, Identity, Keys, Level, Mount, Profile, Refusal,
    SignInRefusal, StoreError, TokenRefusal, Verified,
};

impl Host for Mock {
    fn request_id(&self) -> String {
        self.ask("id");
        "r-1".into()
    }
    fn method(&self) -> String {
        self.ask("method");
        self.method.clone()
    }
    fn scheme(&self) -> String {
        self.ask("scheme");
        if self.http { "http".into() } else { "https".into() }
    }
    fn authority(&self) -> String {
        self.ask("authority");
        self.field("host").map_or("lectern.example".into(), |value| String::from_utf8_lossy(value).into_owned())
    }
    fn host(&self) -> String {
        self.ask("host");
        let authority = self.field("host").map_or("lectern.example".into(), |v| String::from_utf8_lossy(v));
        authority.split(':').next().unwrap_or_default().to_ascii_lowercase()
    }
    fn client_ip(&self) -> String {
        self.ask("client-ip");
        self.client_ip.clone().unwrap_or_else(|| "192.0.2.7".into())
    }
    fn path(&self) -> String {
        self.ask("path");
        self.path.clone()
    }
    fn path_prefix(&self, segments: u32) -> String {
        self.ask(&format!("path-prefix {segments}"));
        let end = usize::try_from(segments).ok().and_then(|n| self.path.match_indices('/').nth(n));
        end.map_or(self.path.clone(), |(at, _)| self.path[..at].to_owned())
    }
    fn path_has_prefix(&self, prefix: &str) -> bool {
        self.ask(&format!("path-has-prefix {prefix}"));
        self.path.starts_with(prefix)
    }
    fn query(&self) -> Option<String> {
        self.ask("query");
        self.query.clone()
    }
    fn query_param(&self, name: &str) -> Option<String> {
        self.ask(&format!("query-param {name}"));
        let pairs = form(self.query.as_deref()?.as_bytes());
        pairs.into_iter().find_map(|(key, value)| (key == name).then_some(value))
    }
    fn header(&self, name: &str) -> Vec<Vec<u8>> {
        self.ask(&format!("header {name}"));
        let of_name = |field: &&Field| field.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(of_name).map(|(_, value)| value.clone()).collect()
    }
    fn cookie(&self, name: &str) -> Option<String> {
        self.ask(&format!("cookie {name}"));
        let text = String::from_utf8_lossy(self.field("cookie")?).into_owned();
        text.split(';').find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    }
    fn headers(&self) -> Vec<Field> {
        self.ask("headers");
        self.headers.clone()
    }
    fn peer_ip(&self) -> String {
        self.ask("peer-ip");
        self.peer_ip.clone().or_else(|| self.client_ip.clone()).unwrap_or_else(|| "192.0.2.7".into())
    }
    fn client_certificate(&self) -> Option<Certificate> {
        self.ask("client-certificate");
        self.certificate.clone()
    }
    fn visitor_present(&self) -> bool {
        self.ask("present");
        self.visitor.is_some()
    }
    fn visitor_subject(&self) -> Option<String> {
        self.ask("subject");
        Some(self.visitor.as_ref()?.subject.clone())
    }
    fn visitor_in_group(&self, name: &str) -> bool {
        self.ask(&format!("in-group {name}"));
        self.visitor.as_ref().is_some_and(|visitor| visitor.groups.iter().any(|group| group == name))
    }
    fn visitor_claim(&self, name: &str) -> Option<String> {
        self.ask(&format!("claim {name}"));
        let claims = &self.visitor.as_ref()?.claims;
        claims.iter().find_map(|(claim, value)| (claim == name).then(|| value.clone()))
    }
    fn target(&self) -> String {
        self.ask("target");
        self.target.clone().unwrap_or_default()
    }
    fn target_content(&self) -> Option<String> {
        self.ask("target content");
        self.target.as_deref()?.strip_prefix("content:").map(str::to_owned)
    }
    fn active_bundle(&self) -> Option<String> {
        self.ask("active-bundle");
        self.bundles.first().cloned()
    }
    fn has_bundle(&self, number: &str) -> bool {
        self.ask(&format!("has-bundle {number}"));
        self.bundles.iter().any(|bundle| bundle == number)
    }
    fn log(&self, _: Level, message: &str, fields: &[(&str, &str)]) {
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.logged.borrow_mut().push(format!("{message}{fields}"));
    }
    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| "plugin".into())
    }
    fn document(&self) -> String {
        match &self.document {
            Some(document) => document.clone(),
            None => serde_json::to_string(&self.config).unwrap_or_default(),
        }
    }
    fn config(&self, key: &str) -> Option<String> {
        match self.settings_map().get(key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
    fn config_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.settings_map().keys().cloned().collect();
        keys.sort();
        keys
    }
    fn unix_millis(&self) -> u64 {
        self.ask("unix-millis");
        self.unix_millis
    }
    fn random_bytes(&self, len: u32) -> Vec<u8> {
        self.ask(&format!("random {len}"));
        // The first draw is 0, 1, 2, …; each later one begins a step further on.
        let draw = u32::from(self.draws.replace(self.draws.get().wrapping_add(1)));
        (0..len).map(|n| u8::try_from((n + draw * 7) % 251).unwrap_or_default()).collect()
    }
    fn vanity(&self) -> Option<Mount> {
        self.ask("vanity");
        self.vanity.clone()
    }
    fn find_key(&self, key: &str) -> Option<Identity> {
        self.ask("find-key");
        self.keys.get(key).cloned()
    }
    fn find_user(&self, name: &str) -> Option<Identity> {
        self.ask(&format!("find-user {name}"));
        self.users.get(&name.to_ascii_lowercase()).cloned()
    }
    fn session(&self) -> Option<Identity> {
        self.ask("session");
        self.session.clone()
    }
    fn check_password(&self, username: &str, password: &str) -> Result<Identity, Refusal> {
        self.ask(&format!("check-password {username}"));
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let known = self.passwords.get(&(username.to_owned(), password.to_owned()));
        known.cloned().unwrap_or(Err(Refusal::Wrong))
    }
    fn sign_in(&self, profile: &Profile) -> Result<Identity, SignInRefusal> {
        self.ask(&format!("sign-in {}", profile.username));
        self.signed_in.borrow_mut().push(profile.clone());
        match &self.sign_in {
            Some(answer) => answer.clone(),
            None => self.users.get(&profile.username.to_ascii_lowercase()).cloned().ok_or(SignInRefusal::Unknown),
        }
    }
    fn verify_token(&self, token: &str, keys: &Keys, expectations: &Expectations) -> Result<Verified, TokenRefusal> {
        self.ask("verify");
        self.verified.borrow_mut().push((token.to_owned(), keys.clone(), expectations.clone()));
        self.tokens.get(token).cloned().unwrap_or(Err(TokenRefusal::Signature))
    }
    fn hmac_sha256(&self, secret: &str, data: &[u8]) -> Option<Vec<u8>> {
        self.ask(&format!("hmac-sha256 {secret}"));
        // Not HMAC: 32 bytes that depend on both, which is all that a plugin's logic can see of it.
        let key = self.secrets.get(secret)?;
        let mut mixed = [0_u8; 32];
        for (at, byte) in key.iter().chain(data).enumerate() {
            let slot = &mut mixed[at % 32];
            *slot = slot.wrapping_mul(31).wrapping_add(*byte).rotate_left(3);
        }
        Some(mixed.to_vec())
    }
    fn secret_matches(&self, secret: &str, candidate: &[u8]) -> Option<bool> {
        self.ask(&format!("matches {secret}"));
        Some(self.secrets.get(secret)? == candidate)
    }
    fn reveal_secret(&self, secret: &str) -> Option<Vec<u8>> {
        self.ask(&format!("reveal {secret}"));
        self.secrets.get(secret).cloned()
    }
    fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(&format!("get {key}"));
        self.store_works()?;
        Ok(self.values.borrow().get(key).cloned())
    }
    fn set_value(&self, key: &str, value: &[u8], ttl_seconds: Option<u32>) -> Result<(), StoreError> {
        self.ask(&format!("set {key}"));
        self.store_works()?;
        self.lifetimes.borrow_mut().insert(key.to_owned(), ttl_seconds);
        self.values.borrow_mut().insert(key.to_owned(), value.to_vec());
        Ok(())
    }
    fn delete_value(&self, key: &str) -> Result<(), StoreError> {
        self.ask(&format!("delete {key}"));
        self.store_works()?;
        self.values.borrow_mut().remove(key);
        Ok(())
    }
    fn swap_value(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl_seconds: Option<u32>,
    ) -> Result<bool, StoreError> {
        self.ask(&format!("swap {key}"));
        self.store_works()?;
        let mut values = self.values.borrow_mut();
        if values.get(key).map(Vec::as_slice) != expected {
            return Ok(false);
        }
        self.lifetimes.borrow_mut().insert(key.to_owned(), ttl_seconds);
        match value {
            Some(value) => values.insert(key.to_owned(), value.to_vec()),
            None => values.remove(key),
        };
        Ok(true)
    }
    fn take(&self, bucket: &str, per_minute: u32, burst: u32) -> Option<u32> {
        self.ask(&format!("take {bucket} {per_minute} {burst}"));
        self.empty_buckets.get(bucket).copied()
    }
    fn fetch(&self, request: &Fetch) -> Result<Fetched, FetchError> {
        self.ask(&format!("fetch {} {}", request.method, request.url));
        self.fetched.borrow_mut().push(request.clone());
        let mut fetches = self.fetches.borrow_mut();
        match fetches.iter().position(|(method, url, _)| *method == request.method && *url == request.url) {
            Some(at) => fetches.remove(at).2,
            None => {
                Err(FetchError::Forbidden(format!("no answer was described for {} {}", request.method, request.url)))
            }
        }
    }
}

impl Mock {
    fn store_works(&self) -> Result<(), StoreError> {
        self.store_error.clone().map_or(Ok(()), Err)
    }

    fn settings_map(&self) -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(&Host::document(self)).unwrap_or_default()
    }
}
