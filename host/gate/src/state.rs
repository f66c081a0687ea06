//! What one call of a plugin may reach: the host's side of every import, and the bounds on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lectern_domain::Principal;
use wasmtime::ResourceLimiter;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use crate::bindings::lectern::plugin::{clock, config, content, directory, logging, random, request, types, visitor};
use crate::check::shown;
use crate::directory::{Directory, PasswordRefusal};
use crate::error::Exceeded;
use crate::head::Head;
use crate::limits::Limits;
use crate::stderr::Stderr;
use crate::visitor::Visitor;

/// Random bytes that one call of `random.bytes` may ask for.
const MAX_RANDOM_BYTES: u32 = 65_536;
/// Principals remembered for one call. A plugin needs one; a guest that asks for many keys must not fill memory.
const MAX_VOUCHED: usize = 16;

/// What a plugin is called with: the request, who is asking, and where to ask about accounts.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) head: Option<Arc<Head>>,
    pub(crate) visitor: Option<Arc<Visitor>>,
    pub(crate) directory: Arc<dyn Directory>,
}

/// The data of one store, made for one call and dropped with it.
pub(crate) struct State {
    plugin: Arc<str>,
    config: Arc<BTreeMap<String, String>>,
    subject: Subject,
    /// Principals that the directory answered with during this call.
    vouched: Vec<Principal>,
    pub(crate) limiter: Limiter,
    log: LogBudget,
    pub(crate) stderr: Stderr,
    /// Made when first touched: most calls never do.
    wasi: Option<Box<(WasiCtx, ResourceTable)>>,
    seed: u128,
}

impl State {
    pub(crate) fn new(
        plugin: Arc<str>,
        config: Arc<BTreeMap<String, String>>,
        limits: &Limits,
        seed: u128,
        subject: Subject,
    ) -> Self {
        Self {
            plugin,
            config,
            subject,
            vouched: Vec::new(),
            limiter: Limiter::new(limits),
            log: LogBudget { lines: limits.log_lines, line_bytes: limits.log_line_bytes, dropped: 0 },
            stderr: Stderr::default(),
            wasi: None,
            seed,
        }
    }

    /// The principal behind `subject`, if the directory named it in this call.
    pub(crate) fn vouched(&self, subject: &str) -> Option<Principal> {
        self.vouched.iter().rev().find(|principal| principal.guid.to_string() == subject).cloned()
    }

    fn head(&self) -> Option<&Head> {
        self.subject.head.as_deref()
    }

    fn vouch(&mut self, principal: Principal) -> types::Identity {
        let identity = types::Identity {
            subject: principal.guid.to_string(),
            display_name: Some(principal.username.clone()),
            groups: Vec::new(),
            claims: Vec::new(),
            ttl: None,
        };
        if self.vouched.len() == MAX_VOUCHED {
            self.vouched.remove(0);
        }
        self.vouched.push(principal);
        identity
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.log.dropped > 0 {
            tracing::warn!(plugin.name = %self.plugin, log.dropped = self.log.dropped, "plugin logged more than it may");
        }
    }
}

impl types::Host for State {}

impl request::Host for State {
    fn id(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.id.clone())
    }
    fn method(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.method.as_str().to_owned())
    }
    fn scheme(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.scheme.as_str().to_owned())
    }
    fn authority(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.authority().to_owned())
    }
    fn host(&mut self) -> String {
        self.head().map_or(String::new(), Head::host)
    }
    fn client_ip(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.client_ip.to_string())
    }
    fn path(&mut self) -> String {
        self.head().map_or(String::new(), |head| head.path.decoded().to_owned())
    }
    fn path_prefix(&mut self, segments: u32) -> String {
        let segments = usize::try_from(segments).unwrap_or(usize::MAX);
        self.head().map_or(String::new(), |head| head.path.prefix(segments).to_owned())
    }
    fn path_has_prefix(&mut self, prefix: String) -> bool {
        self.head().is_some_and(|head| head.path.decoded().starts_with(&prefix))
    }
    fn query(&mut self) -> Option<String> {
        self.head()?.query.clone()
    }
    fn query_param(&mut self, name: String) -> Option<String> {
        self.head()?.query_param(&name)
    }
    fn header(&mut self, name: String) -> Vec<Vec<u8>> {
        self.head().map_or(Vec::new(), |head| head.guest_header(&name))
    }
    fn cookie(&mut self, name: String) -> Option<String> {
        self.head()?.guest_cookie(&name).map(str::to_owned)
    }
    fn headers(&mut self) -> Vec<types::Field> {
        self.head().map_or(Vec::new(), Head::guest_headers)
    }
}

impl visitor::Host for State {
    fn present(&mut self) -> bool {
        self.subject.visitor.is_some()
    }
    fn subject(&mut self) -> Option<String> {
        Some(self.subject.visitor.as_ref()?.subject.clone())
    }
    fn in_group(&mut self, name: String) -> bool {
        self.subject.visitor.as_ref().is_some_and(|visitor| visitor.groups.contains(&name))
    }
    fn claim(&mut self, name: String) -> Option<String> {
        let visitor = self.subject.visitor.as_ref()?;
        visitor.claims.iter().find(|(claim, _)| *claim == name).map(|(_, value)| value.clone())
    }
}

impl logging::Host for State {
    fn log(&mut self, level: logging::Level, message: String, fields: Vec<(String, String)>) {
        let Some(line) = self.log.line(&message, &fields) else { return };
        let (plugin, id) = (&*self.plugin, self.head().map_or("", |head| head.id.as_str()));
        macro_rules! write {
            ($level:ident) => {
                tracing::event!(target: "lectern::plugin", tracing::Level::$level, { plugin.name = plugin, request.id = id }, "{line}")
            };
        }
        match level {
            logging::Level::Trace => write!(TRACE),
            logging::Level::Debug => write!(DEBUG),
            logging::Level::Info => write!(INFO),
            logging::Level::Warn => write!(WARN),
            logging::Level::Error => write!(ERROR),
        }
    }
}

impl config::Host for State {
    fn get(&mut self, key: String) -> Option<String> {
        self.config.get(&key).cloned()
    }
    fn keys(&mut self) -> Vec<String> {
        self.config.keys().cloned().collect()
    }
}

impl clock::Host for State {
    fn unix_millis(&mut self) -> u64 {
        // A clock before 1970 reads as 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }
}

impl random::Host for State {
    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        if len > MAX_RANDOM_BYTES {
            wasmtime::bail!("asked for {len} random bytes, more than {MAX_RANDOM_BYTES}");
        }
        let mut bytes = vec![0; len as usize];
        getrandom::fill(&mut bytes).map_err(|error| wasmtime::format_err!("no randomness: {error}"))?;
        Ok(bytes)
    }
}

impl content::Host for State {
    fn vanity(&mut self) -> Option<content::Mount> {
        let head = self.subject.head.as_ref()?;
        let (guid, segments) = self.subject.directory.find_vanity(head.path.decoded())?;
        let path = format!("{}/", head.path.prefix(segments));
        Some(content::Mount { content: guid.to_string(), path, segments: u32::try_from(segments).ok()? })
    }
}

impl directory::Host for State {
    fn find_key(&mut self, key: String) -> Option<types::Identity> {
        let principal = self.subject.directory.find_key(&key)?;
        Some(self.vouch(principal))
    }

    fn session(&mut self) -> Option<types::Identity> {
        let head = self.subject.head.as_ref()?;
        let principal = self.subject.directory.find_session(head.session_token()?)?;
        Some(self.vouch(principal))
    }

    async fn check_password(
        &mut self,
        username: String,
        password: String,
    ) -> Result<types::Identity, directory::Refusal> {
        // Outside a request there is nobody whose password it could be.
        let Some(client) = self.head().map(|head| head.client_ip) else { return Err(directory::Refusal::Wrong) };
        match self.subject.directory.check_password(client, &username, &password).await {
            Ok(principal) => Ok(self.vouch(principal)),
            Err(PasswordRefusal::Wrong) => Err(directory::Refusal::Wrong),
            Err(PasswordRefusal::Throttled(wait)) => {
                Err(directory::Refusal::Throttled(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1)))
            }
            Err(PasswordRefusal::Unavailable) => Err(directory::Refusal::Unavailable),
        }
    }
}

impl WasiView for State {
    /// A context that holds nothing and may nothing. Its only word that differs between hosts is the seed of hash maps, which
    /// is one number per release: a guest is then a function of what it asks.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (stderr, seed) = (&self.stderr, self.seed);
        let parts = self.wasi.get_or_insert_with(|| {
            let mut builder = WasiCtx::builder();
            builder.stderr(stderr.clone()).insecure_random_seed(seed);
            builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
            Box::new((builder.build(), ResourceTable::new()))
        });
        WasiCtxView { ctx: &mut parts.0, table: &mut parts.1 }
    }
}

/// Refuses memory and tables beyond the limits, and remembers that it did: the guest's own abort hides the reason.
pub(crate) struct Limiter {
    memory: usize,
    table: usize,
    instances: usize,
    pub(crate) refused: Option<Exceeded>,
}

impl Limiter {
    fn new(limits: &Limits) -> Self {
        Self { memory: limits.memory_bytes, table: limits.table_elements, instances: limits.instances, refused: None }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory;
        if !fits {
            self.refused = Some(Exceeded::Memory(self.memory));
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.table;
        if !fits {
            self.refused = Some(Exceeded::Table(self.table));
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        self.instances
    }
    fn tables(&self) -> usize {
        self.instances
    }
    fn memories(&self) -> usize {
        self.instances
    }
}

struct LogBudget {
    lines: u32,
    line_bytes: usize,
    dropped: u32,
}

impl LogBudget {
    /// One line with its fields, cut to size and without control characters; `None` when the call has written enough.
    fn line(&mut self, message: &str, fields: &[(String, String)]) -> Option<String> {
        let Some(left) = self.lines.checked_sub(1) else {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        };
        self.lines = left;
        let mut line = String::new();
        let texts =
            std::iter::once(("", message)).chain(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in texts {
            let separator = if line.is_empty() { "" } else { " " };
            let equals = if name.is_empty() { "" } else { "=" };
            let room = self.line_bytes.saturating_sub(line.len());
            let part = format!("{separator}{}{equals}{}", shown(name), cut(value, room));
            line.push_str(&part);
            if line.len() >= self.line_bytes {
                break;
            }
        }
        Some(cut(&line, self.line_bytes))
    }
}

/// The first `limit` bytes, whole characters only, control characters replaced.
fn cut(text: &str, limit: usize) -> String {
    let mut cut = String::new();
    for c in text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }) {
        if cut.len() + c.len_utf8() > limit {
            break;
        }
        cut.push(c);
    }
    cut
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn log_lines_are_bounded_and_single() {
        let mut budget = LogBudget { lines: 2, line_bytes: 20, dropped: 0 };
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(budget.line("a\nb", &[field("k", "v"), field("long", &"x".repeat(99))]).unwrap().len(), 20);
        assert_eq!(budget.line("ä", &[]).unwrap(), "ä");
        assert_eq!(budget.line("more", &[]), None);
        assert_eq!(budget.dropped, 1);
    }
}
