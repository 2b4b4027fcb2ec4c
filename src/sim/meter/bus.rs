//! What stands behind one Modbus address: units with their registers, and how they answer.
//!
//! No sockets here: a request's protocol data unit goes in, an [`Answer`] comes out. Answers that are late wait here
//! until they are due, and go to whoever is connected then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use super::encode::Word;
use super::manner::{Answer, Reply, When};
use crate::clock::{Clock, Moment};
use crate::meter::profile::Function;
use crate::sim::scenario::{Bend, Keeps};

/// Most registers that one request may ask for (Modbus Application Protocol V1.1b3, 6.3 and 6.4).
pub const MOST_REGISTERS: u16 = 125;

/// Most coils or discrete inputs that one request may ask for (the same, 6.1 and 6.2).
pub const MOST_BITS: u16 = 2_000;

/// Most answers that are on their way at once; further ones are lost.
const MOST_LATE: usize = 64;

/// Exception codes (Modbus Application Protocol V1.1b3, 7).
pub mod exception {
    /// The function is not there.
    pub const ILLEGAL_FUNCTION: u8 = 1;
    /// A register is not there.
    pub const ILLEGAL_ADDRESS: u8 = 2;
    /// The request contradicts itself or asks for too much.
    pub const ILLEGAL_VALUE: u8 = 3;
    /// A gateway has no answer from this unit.
    pub const GATEWAY_TARGET: u8 = 0x0B;
}

/// Who gets in at an address at present; the default is: all whom it has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Door {
    /// Nobody: the port is closed.
    pub refusing: bool,
    /// Nobody is answered.
    pub mute: bool,
    /// Not more than so many, and who has to go when there is one more.
    pub most: Option<(usize, Keeps)>,
}

impl Door {
    /// The narrower of two.
    pub fn and(self, other: Self) -> Self {
        let most = match (self.most, other.most) {
            (Some(one), Some(two)) => Some(if one.0 <= two.0 { one } else { two }),
            (one, two) => one.or(two),
        };
        Self { refusing: self.refusing || other.refusing, mute: self.mute || other.mute, most }
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    word: u16,
    /// Position of the meter that the register belongs to.
    meter: usize,
}

type Registers = BTreeMap<(Function, u16), Slot>;

/// How a meter answers: what goes wrong, and with every nth answer.
#[derive(Debug, Default)]
struct Manner {
    bends: Vec<(Bend, u32)>,
    asked: u32,
}

/// Answers that are on their way.
#[derive(Debug, Default)]
struct Post {
    /// By the moment at which they are due.
    frames: VecDeque<(Moment, Vec<u8>)>,
    /// Until when the latest answer of a unit keeps it busy.
    busy: BTreeMap<u8, Moment>,
}

/// The units behind one address. The sets of units and registers are fixed; words and manners change.
#[derive(Debug)]
pub struct Bus {
    units: BTreeMap<u8, RwLock<Registers>>,
    manners: BTreeMap<usize, Mutex<Manner>>,
    door: watch::Sender<Door>,
    post: Mutex<Post>,
    posted: Notify,
    clock: Clock,
}

impl Bus {
    /// A bus without units.
    pub fn new() -> Self {
        Self {
            units: BTreeMap::new(),
            manners: BTreeMap::new(),
            door: watch::Sender::new(Door::default()),
            post: Mutex::default(),
            posted: Notify::new(),
            clock: Clock::start(),
        }
    }

    /// Adds a meter's registers to a unit. Two meters may share a unit; a register that both have belongs to the
    /// first.
    pub fn add(&mut self, meter: usize, unit: u8, registers: impl Iterator<Item = (Function, u16)>) {
        let unit = self.units.entry(unit).or_default();
        let unit = unit.get_mut().unwrap_or_else(PoisonError::into_inner);
        for register in registers {
            unit.entry(register).or_insert(Slot { word: 0, meter });
        }
        self.manners.entry(meter).or_default();
    }

    /// Writes a meter's words, all at one instant: no reader sees half of a number.
    pub fn write(&self, meter: usize, unit: u8, words: &[Word]) {
        let Some(unit) = self.units.get(&unit) else {
            return;
        };
        let mut unit = unit.write().unwrap_or_else(PoisonError::into_inner);
        for (register, word) in words {
            if let Some(slot) = unit.get_mut(register)
                && slot.meter == meter
            {
                slot.word = *word;
            }
        }
    }

    /// Sets how a meter answers: what goes wrong, and with every nth answer (0 counts as 1). Empty is: at once
    /// and correctly. Counting begins anew.
    pub fn behave(&self, meter: usize, bends: Vec<(Bend, u32)>) {
        if let Some(manner) = self.manners.get(&meter) {
            let mut manner = lock(manner);
            // A change of the registers alone is none of the manner.
            if manner.bends != bends {
                *manner = Manner { bends, asked: 0 };
            }
        }
    }

    /// Sets who gets in.
    pub fn let_in(&self, door: Door) {
        self.door.send_if_modified(|now| std::mem::replace(now, door) != door);
    }

    /// Tells who gets in, and when that changes.
    pub fn door(&self) -> watch::Receiver<Door> {
        self.door.subscribe()
    }

    /// Whether there is such a unit.
    pub fn has(&self, unit: u8) -> bool {
        self.units.contains_key(&unit)
    }

    /// Answers a request. A request that is no Modbus at all (empty) gets silence.
    pub fn answer(&self, unit: u8, request: &[u8]) -> Answer {
        let Some((&code, arguments)) = request.split_first() else {
            return Answer::Silence;
        };
        if self.door.borrow().mute {
            return Answer::Silence;
        }
        let refuse = |exception: u8| Answer::Reply(Reply::exception(unit, code, exception));
        let Some(registers) = self.units.get(&unit) else {
            return refuse(exception::GATEWAY_TARGET);
        };
        let function = match code {
            1 => Function::Coil,
            2 => Function::Discrete,
            3 => Function::Holding,
            4 => Function::Input,
            _ => return refuse(exception::ILLEGAL_FUNCTION),
        };
        // A device without a single contact does not know these functions.
        if function.is_bits() {
            let registers = registers.read().unwrap_or_else(PoisonError::into_inner);
            if !registers.keys().any(|(function, _)| function.is_bits()) {
                return refuse(exception::ILLEGAL_FUNCTION);
            }
        }
        let &[a, b, c, d] = arguments else {
            return refuse(exception::ILLEGAL_VALUE);
        };
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let most = if function.is_bits() { MOST_BITS } else { MOST_REGISTERS };
        if !(1..=most).contains(&count) {
            return refuse(exception::ILLEGAL_VALUE);
        }
        let mut words = Vec::with_capacity(usize::from(count));
        let mut meters: Vec<usize> = Vec::new();
        let registers = registers.read().unwrap_or_else(PoisonError::into_inner);
        for offset in 0..count {
            let slot = address.checked_add(offset).and_then(|register| registers.get(&(function, register)));
            let Some(slot) = slot else {
                return refuse(exception::ILLEGAL_ADDRESS);
            };
            if !meters.contains(&slot.meter) {
                meters.push(slot.meter);
            }
            words.push(slot.word);
        }
        drop(registers);
        let mut answer = Answer::Reply(if function.is_bits() {
            Reply::bits(unit, code, &words)
        } else {
            Reply::words(unit, code, &words)
        });
        // A request that touches two meters gets the faults of both.
        for bend in meters.into_iter().flat_map(|meter| self.bends(meter)) {
            if let Answer::Reply(reply) = answer {
                answer = reply.bend(bend);
            }
        }
        answer
    }

    /// What goes wrong with the next answer of a meter.
    fn bends(&self, meter: usize) -> Vec<Bend> {
        let Some(manner) = self.manners.get(&meter) else {
            return Vec::new();
        };
        let mut manner = lock(manner);
        manner.asked = manner.asked.wrapping_add(1);
        let asked = manner.asked;
        manner
            .bends
            .iter()
            .filter(|(_, every)| asked.is_multiple_of((*every).max(1)))
            .map(|(bend, _)| *bend)
            .collect()
    }

    /// Sends an answer on its way. Gives it back when it can go out at once (or after its own slowness); keeps it when
    /// it is late, or when its unit is still busy with an earlier one.
    pub fn send(&self, reply: &Reply, frame: Vec<u8>) -> Option<Vec<u8>> {
        let now = self.clock.now();
        let mut post = lock(&self.post);
        let busy = post.busy.get(&reply.unit).copied().filter(|until| *until > now);
        let due = match (reply.when, busy) {
            (When::Late(delay), busy) => (now + delay).max(busy.unwrap_or(now)),
            (_, Some(busy)) => busy,
            (_, None) => return Some(frame),
        };
        post.busy.insert(reply.unit, due);
        if post.frames.len() < MOST_LATE {
            // After all that are due at the same moment: answers keep their order.
            let place = post.frames.partition_point(|(at, _)| *at <= due);
            post.frames.insert(place, (due, frame));
        }
        drop(post);
        self.posted.notify_waiters();
        None
    }

    /// Waits for the next late answer and gives it to whoever asks first. It is not lost when the waiting is given up.
    pub async fn due(&self) -> Vec<u8> {
        loop {
            // Before the look at what is there, so that nothing is posted unseen between the two.
            let posted = self.posted.notified();
            let next = {
                let mut post = lock(&self.post);
                match post.frames.front().map(|(due, _)| *due) {
                    Some(due) if due <= self.clock.now() => {
                        if let Some((_, frame)) = post.frames.pop_front() {
                            return frame;
                        }
                        None
                    }
                    next => next,
                }
            };
            match next {
                None => posted.await,
                Some(due) => tokio::select! {
                    () = posted => {}
                    () = sleep_until(self.clock.instant(due)) => {}
                },
            }
        }
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bus() -> Bus {
        let mut bus = Bus::new();
        bus.add(0, 1, (100..230).map(|register| (Function::Input, register)));
        bus.add(1, 1, (300..302).map(|register| (Function::Input, register)));
        bus.add(2, 9, [(Function::Holding, 65_535)].into_iter());
        bus.write(0, 1, &[((Function::Input, 100), 0x1234), ((Function::Input, 101), 0x5678)]);
        bus
    }

    fn read(code: u8, address: u16, count: u16) -> Vec<u8> {
        let mut pdu = vec![code];
        pdu.extend(address.to_be_bytes());
        pdu.extend(count.to_be_bytes());
        pdu
    }

    fn reply(answer: Answer) -> Reply {
        match answer {
            Answer::Reply(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn pdu(answer: Answer) -> Vec<u8> {
        reply(answer).pdu
    }

    #[test]
    fn registers_are_read_as_they_were_written() {
        assert_eq!(pdu(bus().answer(1, &read(4, 100, 2))), vec![4, 4, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(pdu(bus().answer(1, &read(4, 100, 125))).len(), 252);
    }

    #[test]
    fn bits_are_packed_eight_to_a_byte_with_the_first_lowest() {
        let mut bus = Bus::new();
        bus.add(0, 1, (0..10).map(|bit| (Function::Discrete, bit)));
        bus.write(0, 1, &[0, 3, 9].map(|bit| ((Function::Discrete, bit), 1)));
        assert_eq!(pdu(bus.answer(1, &read(2, 0, 10))), vec![2, 2, 0b1001, 0b10]);
        assert_eq!(pdu(bus.answer(1, &read(2, 3, 1))), vec![2, 1, 1]);
        assert_eq!(pdu(bus.answer(1, &read(1, 0, 1))), vec![0x81, 2], "coils are another table");
        assert_eq!(pdu(bus.answer(1, &read(2, 0, 2_001))), vec![0x82, 3]);
    }

    #[test]
    fn every_wrong_request_gets_its_own_exception() {
        let bus = bus();
        for (unit, request, exception) in [
            (1, read(3, 100, 2), 2),
            (1, read(4, 99, 2), 2),
            (1, read(4, 229, 2), 2),
            (9, read(3, 65_535, 2), 2),
            (1, read(4, 100, 0), 3),
            (1, read(4, 100, 126), 3),
            (1, vec![4, 0, 100], 3),
            (1, read(6, 100, 2), 1),
            (1, vec![0x2B], 1),
            (5, read(4, 100, 2), 0x0B),
        ] {
            assert_eq!(pdu(bus.answer(unit, &request)), vec![request[0] | 0x80, exception], "{request:?}");
        }
        assert_eq!(pdu(bus.answer(9, &read(3, 65_535, 1))), vec![3, 2, 0, 0]);
        assert_eq!(bus.answer(1, &[]), Answer::Silence);
    }

    #[test]
    fn a_fault_of_one_meter_leaves_the_others_of_its_unit_alone() {
        let bus = bus();
        bus.behave(0, vec![(Bend::Silent, 1)]);
        assert_eq!(bus.answer(1, &read(4, 100, 2)), Answer::Silence);
        assert_eq!(pdu(bus.answer(1, &read(4, 300, 2))), vec![4, 4, 0, 0, 0, 0]);
        bus.behave(0, vec![]);
        assert_eq!(pdu(bus.answer(1, &read(4, 100, 1))), vec![4, 2, 0x12, 0x34]);
    }

    #[test]
    fn a_fault_can_befall_every_third_answer() {
        let bus = bus();
        bus.behave(0, vec![(Bend::Exception(6), 3)]);
        let ask = || bus.answer(1, &read(4, 100, 1));
        for round in 1..=9 {
            assert_eq!(pdu(ask())[0] == 0x84, round % 3 == 0, "{round}");
            bus.behave(0, vec![(Bend::Exception(6), 3)]);
        }
    }

    #[test]
    fn a_mute_address_says_nothing_even_for_units_that_are_not_there() {
        let bus = bus();
        bus.let_in(Door { mute: true, ..Door::default() });
        assert_eq!(bus.answer(1, &read(4, 100, 1)), Answer::Silence);
        assert_eq!(bus.answer(77, &read(4, 100, 1)), Answer::Silence);
    }

    #[test]
    fn several_faults_add_up() {
        let bus = bus();
        bus.behave(0, vec![(Bend::Short, 1), (Bend::Slow(Duration::from_secs(3)), 1), (Bend::Reset, 2)]);
        let first = reply(bus.answer(1, &read(4, 100, 2)));
        assert_eq!((first.pdu, first.when), (vec![4, 2, 0x12, 0x34], When::Slow(Duration::from_secs(3))));
        assert_eq!(bus.answer(1, &read(4, 100, 2)), Answer::Reset);
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_come_in_the_order_of_their_requests() {
        let bus = bus();
        let clock = Clock::start();
        let late = |delay| match Reply::words(1, 4, &[7]).bend(Bend::Late(Duration::from_millis(delay))) {
            Answer::Reply(reply) => reply,
            other => panic!("{other:?}"),
        };
        assert_eq!(bus.send(&late(300), vec![1]), None);
        assert_eq!(bus.send(&late(100), vec![2]), None, "after the first, although it would be quicker");
        let good = Reply::words(1, 4, &[7]);
        assert_eq!(bus.send(&good, vec![3]), None, "the unit is busy");
        assert_eq!(bus.send(&Reply::words(9, 4, &[7]), vec![4]), Some(vec![4]), "another is not");
        assert_eq!([bus.due().await, bus.due().await, bus.due().await], [vec![1], vec![2], vec![3]]);
        assert!(clock.now().since_start() >= Duration::from_millis(300));
        assert_eq!(bus.send(&good, vec![5]), Some(vec![5]), "not any longer");
    }

    #[test]
    fn not_more_than_so_many_answers_are_on_their_way() {
        let bus = bus();
        let Answer::Reply(late) = Reply::words(1, 4, &[7]).bend(Bend::Late(Duration::from_secs(9))) else {
            panic!("no reply")
        };
        for _ in 0..1_000 {
            bus.send(&late, vec![1]);
        }
        assert_eq!(lock(&bus.post).frames.len(), MOST_LATE);
    }

    #[test]
    fn the_narrower_of_two_doors_counts() {
        let narrow = Door { most: Some((1, Keeps::Last)), ..Door::default() };
        let wide = Door { most: Some((3, Keeps::First)), refusing: true, mute: false };
        assert_eq!(narrow.and(wide), Door { refusing: true, ..narrow });
        assert_eq!(Door::default().and(narrow), narrow);
    }
}
