//! What stands behind one Modbus address: units with their registers, and how they answer.
//!
//! No sockets here: a request's protocol data unit goes in, an [`Answer`] comes out.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::encode::Word;
use crate::meter::profile::Function;

/// Most registers that one request may ask for (Modbus Application Protocol V1.1b3, 6.3 and 6.4).
pub const MOST_REGISTERS: u16 = 125;

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

/// How a meter answers at present; the default is: at once and correctly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Manner {
    /// Never answers.
    pub silent: bool,
    /// Answers every read with this exception.
    pub exception: Option<u8>,
    /// Answers so much later.
    pub delay: Duration,
    /// Leaves out the last register.
    pub short: bool,
    /// Answers under a foreign transaction id; on serial lines, under a foreign unit.
    pub crossed: bool,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, ever.
    Silence,
    /// This protocol data unit.
    Reply {
        /// Function code and what belongs to it.
        pdu: Vec<u8>,
        /// How long it takes.
        after: Duration,
        /// Whether it carries a foreign transaction id or unit.
        crossed: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    word: u16,
    /// Position of the meter that the register belongs to.
    meter: usize,
}

type Registers = BTreeMap<(Function, u16), Slot>;

/// The units behind one address. The sets of units and registers are fixed; words and manners change.
#[derive(Debug)]
pub struct Bus {
    units: BTreeMap<u8, RwLock<Registers>>,
    manners: BTreeMap<usize, RwLock<Manner>>,
    refusing: watch::Sender<bool>,
}

impl Bus {
    /// A bus without units.
    pub fn new() -> Self {
        Self { units: BTreeMap::new(), manners: BTreeMap::new(), refusing: watch::Sender::new(false) }
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

    /// Sets how a meter answers.
    pub fn behave(&self, meter: usize, manner: Manner) {
        if let Some(slot) = self.manners.get(&meter) {
            *slot.write().unwrap_or_else(PoisonError::into_inner) = manner;
        }
    }

    /// Makes the address refuse connections, or take them again.
    pub fn refuse(&self, refuse: bool) {
        self.refusing.send_replace(refuse);
    }

    /// Tells when the address begins and ends to refuse connections.
    pub fn refusing(&self) -> watch::Receiver<bool> {
        self.refusing.subscribe()
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
        let refuse = |exception: u8| Answer::Reply {
            pdu: vec![code | 0x80, exception],
            after: Duration::ZERO,
            crossed: false,
        };
        let Some(registers) = self.units.get(&unit) else {
            return refuse(exception::GATEWAY_TARGET);
        };
        let function = match code {
            3 => Function::Holding,
            4 => Function::Input,
            _ => return refuse(exception::ILLEGAL_FUNCTION),
        };
        let &[a, b, c, d] = arguments else {
            return refuse(exception::ILLEGAL_VALUE);
        };
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if !(1..=MOST_REGISTERS).contains(&count) {
            return refuse(exception::ILLEGAL_VALUE);
        }
        let mut words = Vec::with_capacity(usize::from(count));
        let mut manner = Manner::default();
        let registers = registers.read().unwrap_or_else(PoisonError::into_inner);
        for offset in 0..count {
            let slot = address.checked_add(offset).and_then(|register| registers.get(&(function, register)));
            let Some(slot) = slot else {
                return refuse(exception::ILLEGAL_ADDRESS);
            };
            manner = manner.and(self.manner(slot.meter));
            words.push(slot.word);
        }
        drop(registers);
        reply(code, words, manner)
    }

    fn manner(&self, meter: usize) -> Manner {
        self.manners
            .get(&meter)
            .map_or_else(Manner::default, |slot| *slot.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl Manner {
    /// The worse of two, for a request that touches two meters.
    fn and(self, other: Self) -> Self {
        Self {
            silent: self.silent || other.silent,
            exception: self.exception.or(other.exception),
            delay: self.delay.max(other.delay),
            short: self.short || other.short,
            crossed: self.crossed || other.crossed,
        }
    }
}

fn reply(code: u8, mut words: Vec<u16>, manner: Manner) -> Answer {
    if manner.silent {
        return Answer::Silence;
    }
    let pdu = if let Some(exception) = manner.exception {
        vec![code | 0x80, exception]
    } else {
        if manner.short {
            words.pop();
        }
        // At most 125 words: 250 bytes.
        let length = u8::try_from(words.len() * 2).unwrap_or(u8::MAX);
        let mut pdu = vec![code, length];
        pdu.extend(words.into_iter().flat_map(u16::to_be_bytes));
        pdu
    };
    Answer::Reply { pdu, after: manner.delay, crossed: manner.crossed }
}

#[cfg(test)]
mod tests {
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

    fn pdu(answer: Answer) -> Vec<u8> {
        match answer {
            Answer::Reply { pdu, .. } => pdu,
            Answer::Silence => panic!("silence"),
        }
    }

    #[test]
    fn registers_are_read_as_they_were_written() {
        assert_eq!(pdu(bus().answer(1, &read(4, 100, 2))), vec![4, 4, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(pdu(bus().answer(1, &read(4, 100, 125))).len(), 252);
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
        bus.behave(0, Manner { silent: true, ..Manner::default() });
        assert_eq!(bus.answer(1, &read(4, 100, 2)), Answer::Silence);
        assert_eq!(pdu(bus.answer(1, &read(4, 300, 2))), vec![4, 4, 0, 0, 0, 0]);
        bus.behave(0, Manner::default());
        assert_eq!(pdu(bus.answer(1, &read(4, 100, 1))), vec![4, 2, 0x12, 0x34]);
    }

    #[test]
    fn manners_bend_the_answer() {
        let bus = bus();
        let slow = Manner { delay: Duration::from_secs(3), short: true, crossed: true, ..Manner::default() };
        bus.behave(0, slow);
        assert_eq!(
            bus.answer(1, &read(4, 100, 2)),
            Answer::Reply { pdu: vec![4, 2, 0x12, 0x34], after: Duration::from_secs(3), crossed: true }
        );
        bus.behave(0, Manner { exception: Some(6), ..Manner::default() });
        assert_eq!(pdu(bus.answer(1, &read(4, 100, 2))), vec![0x84, 6]);
    }
}
