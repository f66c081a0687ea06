//! Time limits of connections, without a timer per request.
//!
//! Each connection has a [`Watch`] that notes when bytes passed and what the connection is doing. One sweeper per thread moves the
//! thread's clock and looks at all watches a few times a second; it tells those over a limit to end. So a request costs a
//! few stores, and limits are exact to one sweep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use crate::config::Limits;

/// How long a connection that was told to end may take before it is cut.
const LINGER_MS: u64 = 5_000;

/// Milliseconds since the thread began, as of the last sweep.
#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    now_ms: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), now_ms: AtomicU64::new(0) })
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    pub(crate) fn advance(&self) -> u64 {
        let now = millis(self.began.elapsed());
        self.now_ms.store(now, Relaxed);
        now
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Between requests.
    Idle = 0,
    /// Part of a head has come, or nothing at all since it was opened.
    Head = 1,
    /// At least one request is being answered.
    Busy = 2,
    /// Upgraded: bytes pass both ways.
    Tunnel = 3,
    /// TLS is not agreed on yet.
    Handshake = 4,
}

/// What the connection has been told; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Order {
    Run = 0,
    /// Answer what is in flight or comes next, say that it was the last, and close: nobody who is about to ask is turned away.
    Last = 1,
    /// Finish what is in flight, then close.
    Finish = 2,
    /// Close now.
    Cut = 3,
}

/// One connection's notes. Shared by its task, its socket and the sweeper, all on one thread: the atomics are there because
/// hyper wants the socket to be `Send`.
#[derive(Debug)]
pub(crate) struct Watch {
    clock: Arc<Clock>,
    phase: AtomicU8,
    since_ms: AtomicU64,
    read_ms: AtomicU64,
    wrote_ms: AtomicU64,
    /// Requests in flight; more than one on HTTP/2.
    in_flight: AtomicU32,
    multiplexed: AtomicBool,
    /// The client has not sent all of its body.
    owes_body: AtomicBool,
    /// Limits of the request in flight, in milliseconds; 0: none.
    read_limit_ms: AtomicU64,
    idle_limit_ms: AtomicU64,
    /// It is cut because this process ends, and another goes on.
    restarts: AtomicBool,
    /// The request in flight is over a limit: its own code shall answer or end it.
    expired: AtomicBool,
    order: AtomicU8,
    ordered_ms: AtomicU64,
    waker: AtomicWaker,
    /// It has been woken since it registered.
    woken: AtomicBool,
    /// Connections of this thread; one less when this is dropped.
    connections: Arc<AtomicUsize>,
}

impl Watch {
    /// Watches a new connection, and counts it in `connections` as long as anything of it lives.
    pub(crate) fn new(clock: &Arc<Clock>, connections: &Arc<AtomicUsize>) -> Arc<Self> {
        connections.fetch_add(1, Relaxed);
        let now = clock.now_ms();
        Arc::new(Self {
            clock: clock.clone(),
            phase: AtomicU8::new(Phase::Head as u8),
            since_ms: AtomicU64::new(now),
            read_ms: AtomicU64::new(now),
            wrote_ms: AtomicU64::new(now),
            in_flight: AtomicU32::new(0),
            multiplexed: AtomicBool::new(false),
            owes_body: AtomicBool::new(false),
            read_limit_ms: AtomicU64::new(0),
            idle_limit_ms: AtomicU64::new(0),
            restarts: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            order: AtomicU8::new(Order::Run as u8),
            ordered_ms: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            woken: AtomicBool::new(false),
            connections: connections.clone(),
        })
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            4 => Phase::Handshake,
            _ => Phase::Tunnel,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.since_ms.store(self.clock.now_ms(), Relaxed);
    }

    /// Bytes came from the client.
    pub(crate) fn note_read(&self) {
        self.read_ms.store(self.clock.now_ms(), Relaxed);
        if self.phase() == Phase::Idle && !self.multiplexed.load(Relaxed) {
            self.enter(Phase::Head);
        }
    }

    /// Bytes went to the client.
    pub(crate) fn note_write(&self) {
        self.wrote_ms.store(self.clock.now_ms(), Relaxed);
    }

    /// The connection begins with a handshake, which has a limit of its own.
    pub(crate) fn shake_hands(&self) {
        self.enter(Phase::Handshake);
    }

    /// The handshake is over: a head is waited for.
    pub(crate) fn greeted(&self) {
        self.enter(Phase::Head);
    }

    /// The connection speaks HTTP/2: many requests at a time, and bytes of its own between them.
    pub(crate) fn set_multiplexed(&self) {
        self.multiplexed.store(true, Relaxed);
        self.enter(Phase::Idle);
    }

    /// A request begins under these limits; zero means none. Of several in flight the last one's count.
    pub(crate) fn begin(&self, owes_body: bool, read: Duration, idle: Duration) {
        self.in_flight.fetch_add(1, Relaxed);
        self.set_limits(read, idle);
        self.owes_body.store(owes_body, Relaxed);
        self.expired.store(false, Relaxed);
        self.enter(Phase::Busy);
    }

    /// Changes the limits of the request in flight.
    pub(crate) fn set_limits(&self, read: Duration, idle: Duration) {
        self.read_limit_ms.store(millis(read), Relaxed);
        self.idle_limit_ms.store(millis(idle), Relaxed);
    }

    /// The client has sent its whole body.
    pub(crate) fn body_received(&self) {
        self.owes_body.store(false, Relaxed);
    }

    /// Whether the client has not sent its whole body.
    pub(crate) fn owes_body(&self) -> bool {
        self.owes_body.load(Relaxed)
    }

    /// A request is answered, or was given up.
    pub(crate) fn end(&self) {
        if self.in_flight.fetch_sub(1, Relaxed) == 1 && self.phase() == Phase::Busy {
            self.enter(Phase::Idle);
        }
    }

    /// The connection became a tunnel.
    pub(crate) fn upgrade(&self) {
        self.enter(Phase::Tunnel);
    }

    /// Whether the request in flight is over a limit of time.
    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    /// Lets an answer about the passed limit be sent: the time of the request begins anew.
    pub(crate) fn forgive(&self) {
        self.expired.store(false, Relaxed);
        self.enter(Phase::Busy);
    }

    /// Asks the connection to close after the request in flight, or after the next.
    pub(crate) fn last(&self) {
        self.give(Order::Last);
    }

    /// Asks the connection to finish what is in flight and close.
    pub(crate) fn finish(&self) {
        self.give(Order::Finish);
    }

    /// Closes the connection at once.
    pub(crate) fn cut(&self) {
        self.give(Order::Cut);
    }

    /// Closes the connection at once, because this process ends.
    pub(crate) fn restart(&self) {
        self.restarts.store(true, Relaxed);
        self.give(Order::Cut);
    }

    /// Whether it was closed because this process ends: who comes again finds another.
    pub(crate) fn restarts(&self) -> bool {
        self.restarts.load(Relaxed)
    }

    fn give(&self, order: Order) {
        if self.order.load(Relaxed) < order as u8 {
            self.order.store(order as u8, Relaxed);
            self.ordered_ms.store(self.clock.now_ms(), Relaxed);
            self.wake();
        }
    }

    fn wake(&self) {
        self.woken.store(true, Relaxed);
        self.waker.wake();
    }

    /// Whether an order has woken whoever is registered; they are registered no more.
    pub(crate) fn was_woken(&self) -> bool {
        self.woken.load(Relaxed)
    }

    pub(crate) fn must_finish(&self) -> bool {
        let order = self.order.load(Relaxed);
        // HTTP/2 has words for it: what is under way is answered, and the client asks anew elsewhere (RFC 9113 §6.8).
        order >= Order::Finish as u8 || (order == Order::Last as u8 && self.multiplexed.load(Relaxed))
    }

    /// Whether an answer on HTTP/1.1 is to say that the connection closes after it.
    pub(crate) fn is_last(&self) -> bool {
        self.order.load(Relaxed) >= Order::Last as u8 && !self.multiplexed.load(Relaxed)
    }

    pub(crate) fn must_close(&self) -> bool {
        self.order.load(Relaxed) >= Order::Cut as u8
    }

    /// Registers who is woken by an order.
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.woken.store(false, Relaxed);
        self.waker.register(waker);
    }

    /// Compares with the limits at `now_ms`; `pressed`: connections are scarce.
    fn judge(&self, now_ms: u64, limits: &Limits, pressed: bool) {
        let past = |since: u64, limit: Duration| now_ms.saturating_sub(since) > millis(limit);
        let since = self.since_ms.load(Relaxed);
        match self.phase() {
            Phase::Idle => {
                // The end of an answer may still be on its way to a slow client.
                let since = since.max(self.wrote_ms.load(Relaxed));
                let limit = if pressed { limits.pressed_idle.min(limits.idle_timeout) } else { limits.idle_timeout };
                if past(since, limit) {
                    // HTTP/2 says good-bye first; on HTTP/1.1 closing is how one says it.
                    if self.multiplexed.load(Relaxed) && !past(since, limit + Duration::from_millis(LINGER_MS)) {
                        self.finish();
                    } else {
                        self.cut();
                    }
                }
            }
            Phase::Head if past(since, limits.header_timeout) => self.cut(),
            Phase::Handshake if past(since, limits.handshake_timeout) => self.cut(),
            Phase::Busy | Phase::Tunnel if self.is_over(now_ms, since) => {
                let answers = self.phase() == Phase::Busy && !self.multiplexed.load(Relaxed);
                if answers && !self.expired.swap(true, Relaxed) {
                    self.ordered_ms.store(now_ms, Relaxed);
                    self.wake();
                } else if !answers || now_ms.saturating_sub(self.ordered_ms.load(Relaxed)) > LINGER_MS {
                    self.cut();
                }
            }
            Phase::Head | Phase::Handshake | Phase::Busy | Phase::Tunnel => {}
        }
    }

    /// Whether the request or tunnel is over its limits.
    fn is_over(&self, now_ms: u64, since: u64) -> bool {
        let silent = |last: u64, limit: u64| limit > 0 && now_ms.saturating_sub(last.max(since)) > limit;
        let (read, wrote) = (self.read_ms.load(Relaxed), self.wrote_ms.load(Relaxed));
        let owes = self.phase() == Phase::Tunnel || self.owes_body.load(Relaxed);
        (owes && silent(read, self.read_limit_ms.load(Relaxed)))
            || silent(read.max(wrote), self.idle_limit_ms.load(Relaxed))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Relaxed);
    }
}

/// All connections of one thread.
#[derive(Default)]
pub(crate) struct Watches {
    all: Vec<std::sync::Weak<Watch>>,
}

impl Watches {
    pub(crate) fn add(&mut self, watch: &Arc<Watch>) {
        self.all.push(Arc::downgrade(watch));
    }

    /// Judges all connections, and forgets those that are gone.
    pub(crate) fn sweep(&mut self, now_ms: u64, limits: &Limits) {
        let pressed = self.all.len() > limits.connections_per_thread / 10 * 9;
        self.all.retain(|watch| {
            watch.upgrade().is_some_and(|watch| {
                watch.judge(now_ms, limits, pressed);
                true
            })
        });
    }

    /// Calls `act` for each connection that lives.
    pub(crate) fn each(&self, act: impl Fn(&Watch)) {
        self.all.iter().filter_map(std::sync::Weak::upgrade).for_each(|watch| act(&watch));
    }
}

/// How often connections are looked at: a tenth of the shortest limit, between ten and 500 milliseconds.
pub(crate) fn sweep_period(limits: &Limits) -> Duration {
    let shortest = [limits.handshake_timeout, limits.idle_timeout, limits.io_timeout]
        .into_iter()
        .fold(limits.header_timeout, Duration::min);
    (shortest / 10).clamp(Duration::from_millis(10), Duration::from_millis(500))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn limits() -> Limits {
        Limits { header_timeout: Duration::from_secs(15), idle_timeout: Duration::from_secs(75), ..Limits::default() }
    }

    struct Bench {
        clock: Arc<Clock>,
        watch: Arc<Watch>,
        count: Arc<AtomicUsize>,
    }

    impl Bench {
        fn new() -> Self {
            let (clock, count) = (Clock::new(), Arc::new(AtomicUsize::new(0)));
            let watch = Watch::new(&clock, &count);
            Self { clock, watch, count }
        }

        /// Moves to `seconds` and judges: whether it must finish, must close, is expired.
        fn at(&self, seconds: u64) -> (bool, bool, bool) {
            self.clock.now_ms.store(seconds * 1_000, Relaxed);
            self.watch.judge(seconds * 1_000, &limits(), false);
            (self.watch.must_finish(), self.watch.must_close(), self.watch.is_expired())
        }
    }

    const FINE: (bool, bool, bool) = (false, false, false);
    const CUT: (bool, bool, bool) = (true, true, false);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_head_must_come_in_time_however_it_trickles() {
        let bench = Bench::new();
        for second in 1..=15 {
            bench.watch.note_read();
            assert_eq!(bench.at(second), FINE);
        }
        assert_eq!(bench.at(16), CUT);
    }

    #[test]
    fn a_handshake_has_a_time_of_its_own_and_the_head_another() {
        let bench = Bench::new();
        bench.watch.shake_hands();
        bench.watch.note_read();
        assert_eq!(bench.at(10), FINE);
        assert_eq!(bench.at(11), CUT);
        let bench = Bench::new();
        bench.watch.shake_hands();
        assert_eq!(bench.at(9), FINE);
        bench.watch.greeted();
        assert_eq!(bench.at(24), FINE);
        assert_eq!(bench.at(25), CUT);
    }

    #[test]
    fn between_requests_a_connection_is_kept_longer() {
        let bench = Bench::new();
        bench.watch.begin(false, HOUR, HOUR);
        assert_eq!(bench.at(100), FINE);
        bench.watch.end();
        assert_eq!(bench.at(175), FINE);
        bench.watch.note_read();
        assert_eq!(bench.at(176), FINE, "a head has begun");
        assert_eq!(bench.at(191), CUT, "and does not end");
        let bench = Bench::new();
        bench.watch.begin(false, HOUR, HOUR);
        bench.watch.end();
        assert_eq!(bench.at(76), CUT);
    }

    #[test]
    fn a_request_over_its_limit_answers_before_it_is_cut() {
        let bench = Bench::new();
        bench.watch.begin(true, Duration::from_secs(10), HOUR);
        assert_eq!(bench.at(10), FINE);
        bench.watch.note_read();
        assert_eq!(bench.at(20), FINE);
        assert_eq!(bench.at(21), (false, false, true), "the body does not come");
        assert_eq!(bench.at(27), (true, true, true), "and nobody answered");

        let bench = Bench::new();
        bench.watch.begin(true, Duration::from_secs(10), HOUR);
        assert_eq!(bench.at(11), (false, false, true));
        bench.watch.forgive();
        assert_eq!(bench.at(21), FINE, "the answer has its own time");
        assert_eq!(bench.at(22), (false, false, true), "which ends as well");

        let bench = Bench::new();
        bench.watch.begin(true, Duration::from_secs(10), Duration::from_secs(60));
        bench.watch.body_received();
        assert_eq!(bench.at(60), FINE, "nothing is owed: only silence both ways counts");
        bench.watch.note_write();
        assert_eq!(bench.at(120), FINE);
        assert_eq!(bench.at(121), (false, false, true));

        let bench = Bench::new();
        bench.watch.begin(true, Duration::ZERO, Duration::ZERO);
        assert_eq!(bench.at(1_000_000), FINE, "zero is never");
    }

    #[test]
    fn a_tunnel_lives_by_its_bytes() {
        let bench = Bench::new();
        bench.watch.begin(false, Duration::from_secs(10), HOUR);
        bench.watch.upgrade();
        bench.watch.end();
        assert_eq!(bench.at(10), FINE);
        bench.watch.note_read();
        assert_eq!(bench.at(20), FINE);
        bench.watch.note_write();
        assert_eq!(bench.at(21), CUT, "the client is silent");
    }

    #[test]
    fn http2_says_good_bye_first() {
        let bench = Bench::new();
        bench.watch.set_multiplexed();
        bench.watch.begin(false, HOUR, HOUR);
        bench.watch.begin(false, HOUR, HOUR);
        bench.watch.end();
        assert_eq!(bench.at(200), FINE, "one is in flight");
        bench.watch.end();
        bench.watch.note_read();
        assert_eq!(bench.at(275), FINE, "frames between requests are no head");
        assert_eq!(bench.at(276), (true, false, false));
        assert_eq!(bench.at(281), CUT);
    }

    #[test]
    fn scarce_connections_are_kept_for_less() {
        let bench = Bench::new();
        bench.watch.begin(false, HOUR, HOUR);
        bench.watch.end();
        let mut watches = Watches::default();
        watches.add(&bench.watch);
        let few = Limits { connections_per_thread: 1, ..limits() };
        watches.sweep(500, &few);
        assert!(!bench.watch.must_close());
        watches.sweep(1_500, &few);
        assert!(bench.watch.must_close());
        assert_eq!(bench.count.load(Relaxed), 1);
        drop(bench.watch);
        assert_eq!(bench.count.load(Relaxed), 0);
    }
}
