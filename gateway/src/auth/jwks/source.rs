//! One issuer's keys over time: fetched once for everybody, believed for a while, refused after.
//!
//! A set is fresh for `max_age`. While the issuer cannot be reached a set is used up to `stale_max`
//! after it was fetched, then every token of the issuer is refused (fail closed). A token with an
//! unknown key may cause a fetch, because that is how rotation looks, but never more than one in
//! `refetch_min`: a storm of invented ids cannot become a storm of fetches.
//!
//! Fetches run on tasks of their own, so a caller that goes away neither stops a fetch that others
//! wait for nor frees the way for a second one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use forge_schemas::refusal::RefusalCode;
use reqwest::Client;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::fetch::{Endpoints, FetchError};
use super::set::KeySet;
use crate::auth::principal::AuthError;
use crate::clock::Clock;

/// When key sets are fetched and how long they are believed.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A set younger than this is used without asking.
    pub max_age: Duration,
    /// A set older than this is not used, whatever the reason.
    pub stale_max: Duration,
    /// After a fetch that worked, an unknown key causes none for this long.
    pub refetch_min: Duration,
    /// After a fetch that failed, none is tried for this long.
    pub retry_min: Duration,
    /// A fetch, discovery included, takes no longer.
    pub deadline: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(10 * 60),
            stale_max: Duration::from_secs(60 * 60),
            refetch_min: Duration::from_secs(10),
            retry_min: Duration::from_secs(2),
            deadline: Duration::from_secs(5),
        }
    }
}

/// One issuer's keys.
#[derive(Debug)]
pub(in crate::auth) struct Source {
    inner: Arc<Inner>,
    fetches: TaskTracker,
}

#[derive(Debug)]
struct Inner {
    issuer: String,
    endpoints: Endpoints,
    timing: Timing,
    client: Client,
    clock: Arc<dyn Clock>,
    state: ArcSwap<State>,
    /// Held by the one fetch that is under way.
    gate: Arc<Mutex<()>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// When `keys` arrived.
    fetched_ms: i64,
    /// How many fetches have ended.
    attempts: u64,
    /// When the last fetch ended.
    ended_ms: i64,
    /// Why the last fetch failed, if it did.
    failure: Option<String>,
}

impl Source {
    pub(in crate::auth) fn new(
        issuer: String,
        endpoints: Endpoints,
        timing: Timing,
        client: Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let state = ArcSwap::from_pointee(State::default());
        let gate = Arc::new(Mutex::new(()));
        let inner = Inner { issuer, endpoints, timing, client, clock, state, gate };
        Self { inner: Arc::new(inner), fetches: TaskTracker::new() }
    }

    /// The keys if they can be used without waiting. While the issuer is known to be unreachable
    /// these are the last ones, and a new attempt is begun beside.
    pub(in crate::auth) fn at_hand(&self) -> Option<Arc<KeySet>> {
        let state = self.inner.state.load();
        let age_ms = self.inner.age_ms(&state);
        let keys = state.keys.as_ref()?;
        if age_ms <= millis(self.inner.timing.max_age) {
            return Some(Arc::clone(keys));
        }
        if state.failure.is_none() || age_ms > millis(self.inner.timing.stale_max) {
            return None;
        }
        if self.inner.may_try(&state)
            && let Ok(gate) = Arc::clone(&self.inner.gate).try_lock_owned()
        {
            drop(self.fetches.spawn(Arc::clone(&self.inner).fetch(gate)));
        }
        Some(Arc::clone(keys))
    }

    /// The keys, fetched if need be.
    pub(in crate::auth) async fn current(&self) -> Result<Arc<KeySet>, AuthError> {
        if let Some(keys) = self.at_hand() {
            return Ok(keys);
        }
        let seen = self.inner.state.load().attempts;
        self.refresh(seen).await;
        self.inner.believed().map_err(|why| {
            let detail = format!("no keys of {}: {why}", self.inner.issuer);
            AuthError::new(RefusalCode::AuthUnavailable, detail)
        })
    }

    /// The keys after a token named one that is not in `known`; the same ones if it is too early to
    /// ask again.
    pub(in crate::auth) async fn after_unknown_key(&self, known: &Arc<KeySet>) -> Arc<KeySet> {
        let state = self.inner.state.load_full();
        let newer = state.keys.as_ref().filter(|keys| !Arc::ptr_eq(keys, known));
        if let Some(newer) = newer {
            return Arc::clone(newer);
        }
        self.refresh(state.attempts).await;
        self.inner.state.load().keys.as_ref().map_or_else(|| Arc::clone(known), Arc::clone)
    }

    /// Can tokens of this issuer be verified now?
    pub(in crate::auth) fn health(&self) -> Result<(), String> {
        let keys = self.inner.believed()?;
        if keys.is_empty() { Err("the key set has no usable key".to_owned()) } else { Ok(()) }
    }

    /// Fetches before anybody has to wait for it, until told to stop.
    pub(in crate::auth) async fn keep_fresh(&self, stop: &CancellationToken) {
        loop {
            let seen = self.inner.state.load().attempts;
            self.refresh(seen).await;
            let failed = self.inner.state.load().failure.is_some();
            let timing = &self.inner.timing;
            let early = timing.max_age.mul_f32(0.75);
            let pause = if failed { timing.retry_min } else { early };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One fetch, unless one has ended since `seen` or it is too early for another. Waits for the
    /// one that is under way. On cancellation the fetch goes on.
    async fn refresh(&self, seen: u64) {
        let gate = Arc::clone(&self.inner.gate).lock_owned().await;
        let state = self.inner.state.load_full();
        if state.attempts != seen || !self.inner.may_try(&state) {
            return;
        }
        let fetch = self.fetches.spawn(Arc::clone(&self.inner).fetch(gate));
        if fetch.await.is_err() {
            warn!(auth.issuer = %self.inner.issuer, "the fetch of a key set was stopped");
        }
    }
}

impl Inner {
    async fn fetch(self: Arc<Self>, gate: OwnedMutexGuard<()>) {
        let after = self.timing.deadline;
        let outcome = match tokio::time::timeout(after, self.endpoints.fetch(&self.client)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(FetchError::Deadline { after }),
        };
        let before = self.state.load_full();
        let now_ms = self.clock.now_ms();
        let attempts = before.attempts.saturating_add(1);
        let state = match outcome {
            Ok(keys) => self.learned(&before, keys, attempts, now_ms),
            Err(error) => {
                let why = chain(&error);
                warn!(auth.issuer = %self.issuer, error = %why, "a key set could not be fetched");
                State { attempts, ended_ms: now_ms, failure: Some(why), ..State::clone(&before) }
            }
        };
        self.state.store(Arc::new(state));
        drop(gate);
    }

    /// A new set, or the old one where nothing has changed: what hangs on it stays valid.
    fn learned(&self, before: &State, keys: KeySet, attempts: u64, now_ms: i64) -> State {
        let same = before.keys.as_ref().filter(|old| old.digest() == keys.digest());
        let keys = match same {
            Some(old) => {
                debug!(auth.issuer = %self.issuer, keys = keys.len(), "the key set is unchanged");
                Arc::clone(old)
            }
            None => {
                let (usable, skipped) = (keys.len(), keys.skipped());
                info!(auth.issuer = %self.issuer, keys = usable, skipped, "a new key set");
                Arc::new(keys)
            }
        };
        State { keys: Some(keys), fetched_ms: now_ms, attempts, ended_ms: now_ms, failure: None }
    }

    fn may_try(&self, state: &State) -> bool {
        let pause = match state.failure {
            Some(_) => self.timing.retry_min,
            None => self.timing.refetch_min,
        };
        let since_ms = self.clock.now_ms().saturating_sub(state.ended_ms);
        // A clock that was put back must not lock us out.
        state.attempts == 0 || since_ms < 0 || since_ms >= millis(pause)
    }

    fn age_ms(&self, state: &State) -> i64 {
        self.clock.now_ms().saturating_sub(state.fetched_ms)
    }

    fn believed(&self) -> Result<Arc<KeySet>, String> {
        let state = self.state.load();
        let why = || state.failure.clone().unwrap_or_else(|| "they were never fetched".to_owned());
        let keys = state.keys.as_ref().ok_or_else(why)?;
        let age_ms = self.age_ms(&state);
        if age_ms > millis(self.timing.stale_max) {
            return Err(format!("the last ones are {} s old; {}", age_ms / 1000, why()));
        }
        Ok(Arc::clone(keys))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
