//! What keeps one server's trouble its own: call slots and a circuit.
//!
//! The circuit counts failures to *reach* a server (no connection, a connection lost before any
//! answer, a process that does not start). A slow or faulty tool is not a failure here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::body::after;
use super::error::UpstreamError;
use super::health::Circuit;
use super::settings::Limits;

/// A slot, free again when dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "holds the slot until it is dropped")]
pub(super) struct Permit(OwnedSemaphorePermit);

#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    waiting: AtomicUsize,
    breaker: Mutex<Breaker>,
}

/// A pass through the circuit. Dropped without a verdict it counts as nothing.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    gate: &'a Gate,
    probe: bool,
    judged: bool,
}

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    /// Set while the circuit is open.
    until: Option<Instant>,
    probing: bool,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            calls: Arc::new(Semaphore::new(limits.concurrent_max)),
            streams: Arc::new(Semaphore::new(limits.streams_max)),
            waiting: AtomicUsize::new(0),
            breaker: Mutex::default(),
        }
    }

    /// A slot for one request.
    pub(super) async fn call(&self) -> Result<Permit, UpstreamError> {
        if let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() {
            return Ok(Permit(permit));
        }
        let _waiting = Waiting::enter(self)?;
        let slot = Arc::clone(&self.calls).acquire_owned();
        match tokio::time::timeout(self.limits.wait, slot).await {
            Ok(Ok(permit)) => Ok(Permit(permit)),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Concurrency),
        }
    }

    /// A slot for one stream without an end.
    pub(super) fn stream(&self) -> Result<Permit, UpstreamError> {
        let slot = Arc::clone(&self.streams).try_acquire_owned();
        slot.map(Permit).map_err(|_none| UpstreamError::Concurrency)
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.limits.concurrent_max.saturating_sub(self.calls.available_permits())
    }

    /// Asks the circuit.
    pub(super) fn attempt(&self) -> Result<Attempt<'_>, UpstreamError> {
        let mut breaker = self.breaker();
        let Some(until) = breaker.until else {
            return Ok(Attempt { gate: self, probe: false, judged: false });
        };
        let wait = until.saturating_duration_since(Instant::now());
        if !wait.is_zero() || breaker.probing {
            let wait = wait.max(Duration::from_millis(100));
            return Err(UpstreamError::Circuit { wait });
        }
        breaker.probing = true;
        Ok(Attempt { gate: self, probe: true, judged: false })
    }

    /// The circuit, and failures in a row.
    pub(super) fn circuit(&self) -> (Circuit, u32) {
        let breaker = self.breaker();
        let circuit = match breaker.until {
            None => Circuit::Closed,
            Some(_) if breaker.probing => Circuit::HalfOpen,
            Some(until) if until <= Instant::now() => Circuit::HalfOpen,
            Some(_) => Circuit::Open,
        };
        (circuit, breaker.failures)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// The server answered something.
    pub(super) fn reached(mut self) {
        self.judged = true;
        *self.gate.breaker() = Breaker::default();
    }

    /// The server could not be reached.
    pub(super) fn failed(mut self) {
        self.judged = true;
        let limits = self.gate.limits;
        let mut breaker = self.gate.breaker();
        breaker.probing = breaker.probing && !self.probe;
        breaker.failures = breaker.failures.saturating_add(1);
        if let Some(beyond) = breaker.failures.checked_sub(limits.circuit_failures) {
            breaker.until = Some(after(doubled(limits.circuit_wait, beyond, WAIT_MAX)));
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.probe && !self.judged {
            self.gate.breaker().probing = false;
        }
    }
}

/// `base`, doubled `times` times, at most `most`.
pub(super) fn doubled(base: Duration, times: u32, most: Duration) -> Duration {
    base.saturating_mul(2_u32.saturating_pow(times)).min(most)
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(gate: &'a Gate) -> Result<Self, UpstreamError> {
        let before = gate.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(&gate.waiting);
        if before < gate.limits.waiting_max { Ok(waiting) } else { Err(UpstreamError::Concurrency) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const WAIT_MAX: Duration = Duration::from_secs(60);
