//! What is known about a tool server's state: counters, never content.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::Serialize;

use super::message::Era;
use super::settings::Limits;

/// State of the circuit towards one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Calls go through.
    Closed,
    /// Calls are refused until a pause is over.
    Open,
    /// One call tries whether the server is back.
    HalfOpen,
}

impl Circuit {
    /// The word that policy reads in `context.upstream.circuit`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A server's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Health {
    /// The circuit.
    pub circuit: Circuit,
    /// Failures to reach the server, in a row.
    pub failures: u32,
    /// Requests under way.
    pub in_flight: usize,
    /// Child processes alive; 0 for HTTP.
    pub processes: usize,
    /// Legacy sessions on child processes; 0 for HTTP, which keeps none here.
    pub sessions: usize,
    /// Era of a child process, once one was asked.
    pub era: Option<Era>,
    /// What was counted since the gateway started.
    pub counts: Counts,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Faults of a server, counted since the gateway started.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: Counter,)* }

        impl Counters {
            pub(super) fn read(&self) -> Counts {
                Counts { $($name: self.$name.read(),)* }
            }
        }
    };
}

counters! {
    /// Lines or events that are not a JSON-RPC message.
    garbage,
    /// Second answers to a request; dropped.
    answered_twice,
    /// Answers to a request that was given up; dropped.
    late,
    /// Answers and progress for ids that were never given; dropped.
    unknown_id,
    /// Messages that the era does not allow, such as a modern server's request; dropped.
    out_of_place,
    /// Messages over the limit; dropped.
    too_large,
    /// Messages dropped because nobody read the stream.
    dropped,
    /// Processes started.
    starts,
    /// Processes that ended without being asked to.
    crashes,
    /// Bytes the processes wrote to standard error.
    stderr_bytes,
}

/// What a link is held to, and what it counts.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) limits: Limits,
    pub(super) counters: Arc<Counters>,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn up(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, more: usize) {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
