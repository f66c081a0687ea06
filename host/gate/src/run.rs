//! One call of a plugin: an instance, all limits on, and a verdict on how it ended.

use std::future::Future;
use std::sync::Arc;

use lectern_domain::Principal;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use wasmtime::component::Instance;
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use crate::bindings::exports::lectern::plugin::{auth, pages, routing};
use crate::bindings::lectern::plugin::types;
use crate::check::shown;
use crate::error::{Call, Exceeded, Failure, GateError};
use crate::learn::Recorder;
use crate::limits::{Limits, TICK};
use crate::release::{Release, first_lines};
use crate::state::{State, Subject};
use crate::warm::{Kept, Pool};

type Answered<A> = wasmtime::Result<Result<A, types::Failure>>;

/// One exported function and its arguments.
pub(crate) trait Invocation: Send {
    /// What the guest answers.
    type Answer: Send;
    /// Which function it is.
    const CALL: Call;
    /// Calls it.
    fn invoke(
        self,
        release: &Release,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> impl Future<Output = Answered<Self::Answer>> + Send;
}

/// `lifecycle.check`, after comparing the types of all exports.
pub(crate) struct CheckCall;
/// `routing.route`
pub(crate) struct RouteCall;
/// `auth.authenticate`
pub(crate) struct AuthenticateCall;
/// `pages.handle`
pub(crate) struct PageCall(pub(crate) Vec<u8>);

impl Invocation for CheckCall {
    /// How the exports' types differ from the contract's, if they do; the check is not run then.
    type Answer = Option<String>;
    const CALL: Call = Call::Check;
    async fn invoke(self, release: &Release, store: &mut Store<State>, instance: &Instance) -> Answered<Self::Answer> {
        let lifecycle = release.lifecycle.load(&mut *store, instance);
        let others = [
            release.routing.as_ref().and_then(|routing| routing.load(&mut *store, instance).err()),
            release.auth.as_ref().and_then(|auth| auth.load(&mut *store, instance).err()),
            release.pages.as_ref().and_then(|pages| pages.load(&mut *store, instance).err()),
        ];
        match (lifecycle, others.into_iter().flatten().next()) {
            (Ok(lifecycle), None) => Ok(lifecycle.call_check(store).await?.map(|()| None)),
            (Err(misfit), _) | (Ok(_), Some(misfit)) => Ok(Ok(Some(first_lines(&misfit)))),
        }
    }
}

impl Invocation for RouteCall {
    type Answer = routing::Decision;
    const CALL: Call = Call::Route;
    async fn invoke(self, release: &Release, store: &mut Store<State>, instance: &Instance) -> Answered<Self::Answer> {
        exported(&release.routing)?.load(&mut *store, instance)?.call_route(store).await
    }
}

impl Invocation for AuthenticateCall {
    type Answer = auth::Outcome;
    const CALL: Call = Call::Authenticate;
    async fn invoke(self, release: &Release, store: &mut Store<State>, instance: &Instance) -> Answered<Self::Answer> {
        exported(&release.auth)?.load(&mut *store, instance)?.call_authenticate(store).await
    }
}

impl Invocation for PageCall {
    type Answer = pages::Handled;
    const CALL: Call = Call::Page;
    async fn invoke(self, release: &Release, store: &mut Store<State>, instance: &Instance) -> Answered<Self::Answer> {
        exported(&release.pages)?.load(&mut *store, instance)?.call_handle(store, &self.0).await
    }
}

fn exported<T>(indices: &Option<T>) -> wasmtime::Result<&T> {
    indices.as_ref().ok_or_else(|| wasmtime::format_err!("the plugin does not export this"))
}

/// Calls a plugin, on a fresh instance or, where it asked for that, on a used one.
///
/// May be dropped at any point: the guest is then ended and its slot freed.
pub(crate) async fn call<I: Invocation>(
    release: &Release,
    subject: Subject,
    recorder: Recorder,
    invocation: I,
) -> Result<(I::Answer, Seen), GateError> {
    let outcome = called(release, subject, recorder, invocation).await;
    if let Err(error) = &outcome {
        release.stats().ended(error);
    }
    outcome
}

/// What the host remembers of a call that ended well.
pub(crate) struct Seen {
    vouched: Vec<Principal>,
    /// What the guest asked and was told.
    pub(crate) recorder: Recorder,
}

impl Seen {
    /// The principal behind `subject`, if the directory named it in this call.
    pub(crate) fn vouched(&self, subject: &str) -> Option<Principal> {
        self.vouched.iter().rev().find(|principal| principal.guid.to_string() == subject).cloned()
    }
}

async fn called<I: Invocation>(
    release: &Release,
    subject: Subject,
    recorder: Recorder,
    invocation: I,
) -> Result<(I::Answer, Seen), GateError> {
    let (plugin, call, limits) = (release.name(), I::CALL, &release.limits);
    let (_turn, _slot) = turn(release, call).await?;
    let (ticks, wall) = match call {
        Call::Check => (limits.check_cpu_ticks, limits.slow_wall),
        Call::Page => (limits.cpu_ticks, limits.slow_wall),
        Call::Route | Call::Authenticate if release.may_wait() => (limits.cpu_ticks, limits.waiting_wall),
        Call::Route | Call::Authenticate => (limits.cpu_ticks, limits.wall),
    };
    let kept = if call == Call::Check { None } else { release.pool.as_ref().and_then(Pool::take) };
    release.stats().called(call, kept.is_some());
    let (mut store, used) = match kept {
        Some(mut kept) => {
            kept.store.data_mut().begin(release, subject, recorder);
            (kept.store, Some((kept.instance, kept.calls, kept.first_bytes)))
        }
        None => {
            let mut store = Store::new(&release.engine.wasm, State::new(release, subject, recorder));
            store.limiter(|state| &mut state.limiter);
            store.set_max_component_handles(limits.handles);
            (store, None)
        }
    };
    store.set_hostcall_fuel(limits.hostcall_bytes);
    arm(&mut store, ticks);

    let outcome = timeout(wall, async {
        let instance = match used {
            Some((instance, ..)) => instance,
            None => release.pre.instantiate_async(&mut store).await.map_err(Ended::Instantiating)?,
        };
        let answer = invocation.invoke(release, &mut store, &instance).await.map_err(Ended::Running)?;
        Ok((instance, answer))
    })
    .await;
    match outcome {
        Err(_) => Err(GateError::Limit { plugin: Arc::clone(plugin), call, exceeded: Exceeded::Wall(wall) }),
        Ok(Err(ended)) => Err(verdict(release, call, ticks, store.data(), &ended)),
        Ok(Ok((_, Err(failure)))) => {
            let failure = match failure {
                types::Failure::Unavailable(text) => Failure::Unavailable(shown(&text)),
                types::Failure::Misconfigured(text) => Failure::Misconfigured(shown(&text)),
                types::Failure::Internal(text) => Failure::Internal(shown(&text)),
            };
            Err(GateError::Failed { plugin: Arc::clone(plugin), call, failure })
        }
        Ok(Ok((instance, Ok(answer)))) => {
            let seen = Seen { vouched: store.data_mut().take_vouched(), recorder: store.data_mut().take_recorder() };
            if let Some(pool) = release.pool.as_ref().filter(|_| call != Call::Check) {
                let (calls, first_bytes) = used.map_or((0, 0), |(_, calls, bytes)| (calls, bytes));
                pool.keep(Kept { store, instance, calls, first_bytes }, limits.warm_calls);
            }
            Ok((answer, seen))
        }
    }
}

enum Ended {
    Instantiating(wasmtime::Error),
    Running(wasmtime::Error),
}

/// Waits for one of the plugin's turns, then for a slot: pool exhaustion is an error in the engine, not a wait.
async fn turn(release: &Release, call: Call) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), GateError> {
    let queue = release.limits.queue;
    let permits = if call == Call::Page { &release.page_permits } else { &release.permits };
    let busy = || GateError::Busy { plugin: Arc::clone(release.name()), call, waited: queue };
    if let (Ok(turn), Ok(slot)) = (permits.try_acquire(), release.engine.slots.try_acquire()) {
        return Ok((turn, slot));
    }
    let both = async {
        let turn = permits.acquire().await.ok()?;
        let slot = release.engine.slots.acquire().await.ok()?;
        Some((turn, slot))
    };
    timeout(queue, both).await.ok().flatten().ok_or_else(busy)
}

/// Counts the ticks that the guest computes through, and ends it after `budget` of them. Between ticks it lets other tasks run.
///
/// The callback runs when guest code meets a passed tick, so waiting for the host costs nothing. The guest yields through
/// tokio's `yield_now`, which lets timers and sockets be polled; the engine's own yield starves them.
fn arm(store: &mut Store<State>, budget: u32) {
    let mut used = 0;
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        used += 1;
        Ok(if used > budget {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
        })
    });
}

/// Says how a call ended that gave no answer.
fn verdict(release: &Release, call: Call, ticks: u32, state: &State, ended: &Ended) -> GateError {
    let plugin = Arc::clone(release.name());
    let (Ended::Instantiating(error) | Ended::Running(error)) = ended;
    let trap = error.downcast_ref::<Trap>();
    if let Some(exceeded) = exceeded(&release.limits, ticks, state, error, trap) {
        return GateError::Limit { plugin, call, exceeded };
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return GateError::Trap { plugin, call, detail: format!("exited with status {}", exit.0) };
    }
    if matches!(ended, Ended::Instantiating(_)) && trap.is_none() {
        return GateError::Host { plugin, call, detail: first_lines(error) };
    }
    let said = state.stderr.text();
    let how = trap.map_or_else(|| first_lines(error), ToString::to_string);
    let detail = if said.is_empty() { how } else { format!("{how}; it said: {said}") };
    GateError::Trap { plugin, call, detail }
}

fn exceeded(
    limits: &Limits,
    ticks: u32,
    state: &State,
    error: &wasmtime::Error,
    trap: Option<&Trap>,
) -> Option<Exceeded> {
    if trap == Some(&Trap::Interrupt) {
        return Some(Exceeded::Cpu(TICK * ticks));
    }
    // The engine's error for this has no public type.
    let fuel = "fuel allocated for hostcalls has been exhausted";
    if error.chain().any(|cause| cause.to_string().contains(fuel)) {
        return Some(Exceeded::Hostcall(limits.hostcall_bytes));
    }
    state.limiter.refused
}
