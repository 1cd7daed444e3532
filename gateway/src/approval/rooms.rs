//! In this process: one step at a time for each approval, and a bell for those who wait.
//!
//! A room exists only while somebody is in it, so their number is bounded by the calls under way.
//! Other processes on the same store are kept apart by the version of the row, not by this.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as Turn, Notify};

/// A room: whoever changes the approval holds `turn`, and rings `bell` afterwards.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Held over the store and the journal; a journal that does not answer ends by a deadline.
    pub(super) turn: Turn<()>,
    /// Rung after every change made by this process.
    pub(super) bell: Notify,
}

/// The rooms that are in use.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: Mutex<HashMap<String, Weak<Room>>>,
}

impl Rooms {
    /// The room of `name`, made if there is none.
    pub(super) fn enter(&self, name: &str) -> Arc<Room> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(name).and_then(Weak::upgrade) {
            return room;
        }
        if rooms.len() >= SWEEP_AT {
            rooms.retain(|_, room| room.strong_count() > 0);
        }
        let room = Arc::new(Room::default());
        rooms.insert(name.to_owned(), Arc::downgrade(&room));
        room
    }
}

const SWEEP_AT: usize = 256;
