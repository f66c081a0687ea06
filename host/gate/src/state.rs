//! What one call of a plugin is made with and has used: the data of one store.

use std::sync::Arc;

use lectern_domain::Principal;
use lectern_domain::plugin::Grants;
use wasmtime::ResourceLimiter;
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

use crate::asked::{self, tell};
use crate::backend::Backend;
use crate::bindings::lectern::plugin::types;
use crate::error::Exceeded;
use crate::evaluate::Evaluator;
use crate::head::Head;
use crate::learn::{Kept, Question, Recorder, Taint, Take};
use crate::limits::Limits;
use crate::log::{self, LogBudget};
use crate::release::Release;
use crate::settings::Settings;
use crate::stats::Stats;
use crate::stderr::Stderr;
use crate::visitor::{TargetView, Visitor};
use crate::wasi::{self, Touched};

/// Principals remembered for one call. A plugin needs one; a guest that asks for many keys must not fill memory.
const MAX_VOUCHED: usize = 16;

/// Whether what a call does is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effects {
    /// It is.
    Real,
    /// A shadow's call: it reads what the live one reads, and changes nothing.
    Off,
}

/// What a plugin is called with: the request, who is asking, where it goes, and what stands behind the imports.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) head: Option<Arc<Head>>,
    pub(crate) visitor: Option<Arc<Visitor>>,
    pub(crate) target: Option<Arc<TargetView>>,
    pub(crate) backend: Backend,
    pub(crate) effects: Effects,
}

/// How often a call has used what is counted.
#[derive(Debug, Default)]
struct Used {
    sign_ins: u32,
    store_operations: u32,
    verifications: u32,
    fetches: u32,
}

/// The data of one store. On a fresh instance it is made for one call and dropped with it; on a warm one, [`State::begin`] makes it
/// ready for the next.
pub(crate) struct State {
    plugin: Arc<str>,
    settings: Arc<Settings>,
    grants: Arc<Grants>,
    stats: Arc<Stats>,
    subject: Subject,
    /// What was asked and answered, where the decision may be learned.
    recorder: Recorder,
    used: Used,
    /// Principals that the directory answered with during this call, with their groups.
    vouched: Vec<Principal>,
    pub(crate) limiter: Limiter,
    log: LogBudget,
    pub(crate) stderr: Stderr,
    wasi: Option<Box<(WasiCtx, ResourceTable)>>,
    /// Whether the time or randomness was read through WASI.
    pub(crate) touched: Touched,
    seed: u128,
}

fn evaluator<'a>(plugin: &'a str, subject: &'a Subject) -> Evaluator<'a> {
    Evaluator {
        plugin,
        head: subject.head.as_deref(),
        visitor: subject.visitor.as_deref(),
        target: subject.target.as_deref(),
        backend: &subject.backend,
        effects: subject.effects,
    }
}

/// Counts one use; ends the guest at the bound, because a guest that does not stop by itself would go on being refused.
fn count(used: &mut u32, limit: u32, what: &str) -> wasmtime::Result<()> {
    *used += 1;
    if *used > limit { wasmtime::bail!("more than {limit} {what} in one call") } else { Ok(()) }
}

impl State {
    pub(crate) fn new(release: &Release, subject: Subject, recorder: Recorder) -> Self {
        Self {
            plugin: Arc::clone(release.name()),
            settings: Arc::clone(&release.settings),
            grants: Arc::clone(&release.grants),
            stats: Arc::clone(release.stats()),
            subject,
            recorder,
            used: Used::default(),
            vouched: Vec::new(),
            limiter: Limiter::new(&release.limits),
            log: LogBudget::new(&release.limits),
            stderr: Stderr::default(),
            wasi: None,
            touched: Touched::default(),
            seed: release.seed(),
        }
    }

    /// Makes a used state ready for another call: nothing of the call before is left but what the guest itself kept in memory.
    pub(crate) fn begin(&mut self, release: &Release, subject: Subject, recorder: Recorder) {
        self.tell_dropped();
        self.subject = subject;
        self.recorder = recorder;
        self.used = Used::default();
        self.vouched.clear();
        self.limiter.refused = None;
        self.log = LogBudget::new(&release.limits);
        self.stderr.clear();
        self.touched.clear();
    }

    /// The principals that the directory named in this call.
    pub(crate) fn take_vouched(&mut self) -> Vec<Principal> {
        std::mem::take(&mut self.vouched)
    }

    /// What was recorded of this call.
    pub(crate) fn take_recorder(&mut self) -> Recorder {
        let mut recorder = std::mem::replace(&mut self.recorder, Recorder::idle());
        if self.touched.clock() {
            recorder.taint(Taint::WasiClock);
        }
        if self.touched.random() {
            recorder.taint(Taint::WasiRandom);
        }
        recorder
    }

    /// Answers a question of the guest. What the guest gets is what was recorded.
    pub(crate) fn ask(&mut self, question: Question) -> Kept {
        asked::question(&question);
        self.recorder.ask(question, &mut evaluator(&self.plugin, &self.subject))
    }

    /// Takes one from a bucket for the guest, unless the search for a learned decision did.
    pub(crate) fn take(&mut self, take: Take) -> Option<u32> {
        tell!("take {} {} {}", take.bucket, take.per_minute, take.burst);
        self.recorder.take(take, &mut evaluator(&self.plugin, &self.subject))
    }

    /// Notes that the guest uses something that is not the same when asked again.
    pub(crate) fn taint(&mut self, taint: Taint) {
        self.recorder.taint(taint);
    }

    /// Notes that what the guest was told holds until then and no longer.
    pub(crate) fn holds_until(&mut self, at_ms: u64) {
        self.recorder.holds_until(at_ms);
    }

    pub(crate) fn plugin(&self) -> &str {
        &self.plugin
    }

    pub(crate) fn head(&self) -> Option<&Head> {
        self.subject.head.as_deref()
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.subject.backend
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn has_effects(&self) -> bool {
        self.subject.effects == Effects::Real
    }

    pub(crate) fn count_sign_in(&mut self, limit: u32) -> wasmtime::Result<()> {
        count(&mut self.used.sign_ins, limit, "sign-ins")
    }

    pub(crate) fn count_store_operation(&mut self, limit: u32) -> wasmtime::Result<()> {
        count(&mut self.used.store_operations, limit, "operations of the store")
    }

    pub(crate) fn count_verification(&mut self, limit: u32) -> wasmtime::Result<()> {
        count(&mut self.used.verifications, limit, "verifications of tokens")
    }

    pub(crate) fn count_fetch(&mut self, limit: u32) -> wasmtime::Result<()> {
        count(&mut self.used.fetches, limit, "outbound requests")
    }

    pub(crate) fn vouch(&mut self, principal: Principal, groups: &[String]) -> types::Identity {
        let identity = types::Identity {
            subject: principal.guid.to_string(),
            display_name: Some(principal.username.clone()),
            groups: groups.to_vec(),
            claims: Vec::new(),
            ttl: None,
        };
        if self.vouched.len() == MAX_VOUCHED {
            self.vouched.remove(0);
        }
        self.vouched.push(principal);
        identity
    }

    /// Writes one line to the operator's log, within the bounds of the call.
    pub(crate) fn write_log(&mut self, level: tracing::Level, message: &str, fields: &[(String, String)]) {
        let Some(line) = self.log.line(message, fields) else { return };
        self.recorder.log(level, &line);
        log::write(level, &self.plugin, self.head().map_or("", |head| head.id.as_str()), &line);
    }

    fn tell_dropped(&self) {
        if self.log.dropped > 0 {
            self.stats.dropped_log(self.log.dropped);
            tracing::warn!(plugin.name = %self.plugin, log.dropped = self.log.dropped, "plugin logged more than it may");
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.tell_dropped();
    }
}

impl WasiView for State {
    /// Made when first touched: most calls never do.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (grants, clock, seed) = (&self.grants, &self.subject.backend.clock, self.seed);
        let (stderr, touched) = (&self.stderr, &self.touched);
        let parts = self.wasi.get_or_insert_with(|| Box::new(wasi::context(grants, clock, seed, stderr, touched)));
        WasiCtxView { ctx: &mut parts.0, table: &mut parts.1 }
    }
}

/// Refuses memory and tables beyond the limits, and remembers that it did: the guest's own abort hides the reason.
pub(crate) struct Limiter {
    memory: usize,
    table: usize,
    instances: usize,
    /// Bytes of all linear memories.
    pub(crate) bytes: usize,
    pub(crate) refused: Option<Exceeded>,
}

impl Limiter {
    fn new(limits: &Limits) -> Self {
        Self {
            memory: limits.memory_bytes,
            table: limits.table_elements,
            instances: limits.instances,
            bytes: 0,
            refused: None,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // All memories together: components made of several modules may have several.
        let total = self.bytes.saturating_add(desired.saturating_sub(current));
        let fits = total <= self.memory;
        if fits {
            self.bytes = total;
        } else {
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
