//! How many may talk to a server at once, and who goes when more come: whoever has been silent for the longest time.
//!
//! A door has two rooms. Everybody who connects comes into the open one. Whoever has shown that he may order here (a token, an
//! order of a terminal that was taken) is moved into the kept one, in which only those who may order push each other out:
//! however many others come, they never cost him his connection. A connection whose request is being answered goes last.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

/// Connections that the system completes before they are taken up here. Further ones would be tried again by their clients, after
/// a second or more.
const BACKLOG: u32 = 1024;
/// After so many arrivals in a row those who have come are heard, before the next ones push them out.
const ROW: u32 = 8;

/// Listens at an address of this computer.
///
/// # Errors
/// It is taken, not of this computer, or not allowed.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The port of a daemon that has just ended is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Counts who comes in a row.
#[derive(Debug, Default)]
pub(crate) struct Row(u32);

impl Row {
    /// One more has come. Lets those who are in speak from time to time.
    pub(crate) async fn one_more(&mut self) {
        self.0 += 1;
        if self.0 >= ROW {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// How many a door lets in. Both at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seats {
    /// Connections of anybody, at one time.
    pub(crate) open: usize,
    /// Connections besides of those who may order, at one time.
    pub(crate) kept: usize,
}

/// Those who are in.
#[derive(Debug)]
pub(crate) struct Door(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    seats: Seats,
    taken: Vec<Taken>,
    /// Counts arrivals and words, so that an earlier one has a smaller number.
    turn: u64,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    kept: bool,
    /// Requests that are being answered: one, and an answer that goes on.
    busy: u32,
    /// The turn of its latest word, or of its arrival.
    active: u64,
    evict: CancellationToken,
}

/// A place at the table; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    number: u64,
    evict: CancellationToken,
    inside: Arc<Mutex<Inside>>,
}

/// A request is being answered; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Busy<'s>(&'s Seat);

/// The same of an answer that outlives its request, such as a stream of events.
#[derive(Debug)]
pub(crate) struct Held(Arc<Seat>);

impl Inside {
    fn turn(&mut self) -> u64 {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// Makes room for one more in a room.
    fn make_room(&mut self, kept: bool) {
        let most = if kept { self.seats.kept } else { self.seats.open };
        let there = self.taken.iter().enumerate().filter(|(_, seat)| seat.kept == kept);
        if there.clone().count() < most {
            return;
        }
        if let Some((at, _)) = there.min_by_key(|(_, seat)| (seat.busy > 0, seat.active)) {
            self.taken.swap_remove(at).evict.cancel();
        }
    }

    fn seat(&mut self, number: u64) -> Option<&mut Taken> {
        self.taken.iter_mut().find(|seat| seat.number == number)
    }
}

impl Door {
    /// A door with nobody in.
    pub(crate) fn new(seats: Seats) -> Self {
        Self(Arc::new(Mutex::new(Inside { seats, taken: Vec::new(), turn: 0 })))
    }

    /// Takes a seat in the open room; where none is free, that of the one that has been silent for the longest time.
    pub(crate) fn enter(&self) -> Seat {
        let mut inside = lock(&self.0);
        inside.make_room(false);
        let number = inside.turn();
        let evict = CancellationToken::new();
        inside.taken.push(Taken { number, kept: false, busy: 0, active: number, evict: evict.clone() });
        Seat { number, evict, inside: self.0.clone() }
    }
}

fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    /// A whole request was heard, and is answered until the guard goes. What comes byte by byte is no word.
    pub(crate) fn busy(&self) -> Busy<'_> {
        self.word(true);
        Busy(self)
    }

    /// Its answer goes on until the guard goes: it says nothing more, and is not silent.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        self.word(true);
        Held(Arc::clone(self))
    }

    /// It may order: from here on it has a seat in the kept room.
    pub(crate) fn keep(&self) {
        let mut inside = lock(&self.inside);
        if inside.seat(self.number).is_some_and(|seat| !seat.kept) {
            inside.make_room(true);
            if let Some(seat) = inside.seat(self.number) {
                seat.kept = true;
            }
        }
    }

    /// Whether it has a seat that others cannot take.
    pub(crate) fn is_kept(&self) -> bool {
        lock(&self.inside).seat(self.number).is_some_and(|seat| seat.kept)
    }

    /// Runs until it is over or the seat is needed; `None` then.
    pub(crate) async fn until_evicted<T>(&self, talk: impl Future<Output = T>) -> Option<T> {
        self.evict.run_until_cancelled(talk).await
    }

    fn word(&self, busy: bool) {
        let mut inside = lock(&self.inside);
        let turn = inside.turn();
        if let Some(seat) = inside.seat(self.number) {
            seat.busy = if busy { seat.busy.saturating_add(1) } else { seat.busy.saturating_sub(1) };
            seat.active = turn;
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.word(false);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.word(false);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.inside).taken.retain(|seat| seat.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(open: usize, kept: usize) -> (Door, Vec<Seat>) {
        let door = Door::new(Seats { open, kept });
        let seats = (0..open).map(|_| door.enter()).collect();
        (door, seats)
    }

    fn evicted(seats: &[Seat]) -> Vec<usize> {
        (0..seats.len()).filter(|at| seats[*at].evict.is_cancelled()).collect()
    }

    #[test]
    fn the_one_that_was_silent_longest_makes_room() {
        let (door, seats) = full(8, 1);
        drop(seats[0].busy());
        let ninth = door.enter();
        assert_eq!(evicted(&seats), [1]);
        assert!(!ninth.evict.is_cancelled());
        drop(seats);
        assert_eq!(lock(&door.0).taken.len(), 1);
    }

    #[test]
    fn the_one_that_is_being_answered_goes_last() {
        let (door, seats) = full(3, 1);
        let answering = seats[0].busy();
        let more: Vec<Seat> = (0..3).map(|_| door.enter()).collect();
        assert_eq!(evicted(&seats), [1, 2]);
        assert_eq!(evicted(&more), [0], "the third pushes out the first of its kind");
        drop(answering);
        // Its answer is its latest word.
        let last: Vec<Seat> = (0..2).map(|_| door.enter()).collect();
        assert_eq!((evicted(&seats), evicted(&last)), (vec![1, 2], vec![]));
        let _one_more = door.enter();
        assert_eq!(evicted(&seats), [0, 1, 2]);
    }

    #[test]
    fn a_stream_is_not_silent_and_makes_room_for_others_all_the_same_when_there_is_no_other() {
        let (door, seats) = full(3, 1);
        let seats: Vec<Arc<Seat>> = seats.into_iter().map(Arc::new).collect();
        let request = seats[0].busy();
        let stream = seats[0].hold();
        drop(request);
        let more: Vec<Seat> = (0..3).map(|_| door.enter()).collect();
        let gone = |seat: &Seat| seat.evict.is_cancelled();
        assert_eq!(seats.iter().map(|seat| gone(seat)).collect::<Vec<_>>(), [false, true, true]);
        drop(stream);
        assert_eq!(evicted(&more), [0]);
        let streams: Vec<Held> = more.into_iter().skip(1).map(|seat| Arc::new(seat).hold()).collect();
        let last = seats[0].hold();
        let _in = door.enter();
        assert!(!gone(&seats[0]) && streams.len() == 2, "the oldest of the streams goes");
        drop(last);
    }

    #[test]
    fn whoever_may_order_is_pushed_out_by_his_like_alone() {
        let (door, seats) = full(4, 2);
        seats[0].keep();
        seats[1].keep();
        seats[1].keep();
        let strangers: Vec<Seat> = (0..200).map(|_| door.enter()).collect();
        assert_eq!(evicted(&seats), [2, 3]);
        assert_eq!(evicted(&strangers), (0..196).collect::<Vec<_>>());
        drop(seats[0].busy());
        strangers[199].keep();
        assert_eq!(evicted(&seats), [1, 2, 3], "the more silent one of the two");
        // One that was pushed out already is nowhere.
        strangers[0].keep();
        assert_eq!(lock(&door.0).taken.len(), 2 + 3);
    }
}
