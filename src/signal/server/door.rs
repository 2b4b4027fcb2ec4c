//! How many may talk to the server at once. A terminal that restarts leaves its old connection half open: so the one
//! that has been silent for the longest time makes room for the one that comes.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::clock::Moment;

/// Connections at one time.
pub(super) const SEATS: usize = 8;

/// Those who are in.
#[derive(Debug, Default)]
pub(super) struct Door(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    seats: Vec<Taken>,
    next: u64,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    active: Moment,
    evict: CancellationToken,
}

/// A place at the table; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    evict: CancellationToken,
    inside: Arc<Mutex<Inside>>,
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    /// Takes a seat; where none is free, that of the one that has been silent for the longest time.
    pub(super) fn enter(&self, now: Moment) -> Seat {
        let mut inside = lock(&self.0);
        if inside.seats.len() >= SEATS {
            let silent = inside.seats.iter().enumerate().min_by_key(|(_, seat)| (seat.active, seat.number));
            if let Some(at) = silent.map(|(at, _)| at) {
                inside.seats.swap_remove(at).evict.cancel();
            }
        }
        let number = inside.next;
        inside.next = inside.next.wrapping_add(1);
        let evict = CancellationToken::new();
        inside.seats.push(Taken { number, active: now, evict: evict.clone() });
        Seat { number, evict, inside: self.0.clone() }
    }
}

impl Seat {
    /// Something was said.
    pub(super) fn active(&self, now: Moment) {
        let mut inside = lock(&self.inside);
        if let Some(seat) = inside.seats.iter_mut().find(|seat| seat.number == self.number) {
            seat.active = now;
        }
    }

    /// Runs until it is over or the seat is needed; `None` then.
    pub(super) async fn until_evicted<T>(&self, talk: impl Future<Output = T>) -> Option<T> {
        self.evict.run_until_cancelled(talk).await
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.inside).seats.retain(|seat| seat.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_silent_longest_makes_room() {
        let door = Door::default();
        let seats: Vec<Seat> = (0..8).map(|number| door.enter(Moment::millis(number))).collect();
        seats[0].active(Moment::millis(100));
        let ninth = door.enter(Moment::millis(101));
        let evicted: Vec<usize> = (0..8).filter(|at| seats[*at].evict.is_cancelled()).collect();
        assert_eq!(evicted, [1]);
        assert!(!ninth.evict.is_cancelled());
        drop(seats);
        assert_eq!(lock(&door.0).seats.len(), 1);
    }
}
