//! An answer and what can be wrong with it, up to the bytes on the wire.
//!
//! Frames: Modbus TCP by the "MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 3.1 (transaction id, protocol id
//! 0, length of what follows, unit, protocol data unit); RTU by "MODBUS over Serial Line V1.02", 2.5.1 (unit, protocol
//! data unit, CRC with its low byte first).

use std::time::Duration;

use crate::meter::rtu::crc;
use crate::sim::scenario::Bend;

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing, ever.
    Silence,
    /// The connection is reset.
    Reset,
    /// An answer.
    Reply(Reply),
}

/// When an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// So much later, to whom it belongs.
    Slow(Duration),
    /// So much later, to whoever is connected then.
    Late(Duration),
}

/// An answer on its way to the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The unit that it names.
    pub unit: u8,
    /// Function code and what belongs to it.
    pub pdu: Vec<u8>,
    /// When it goes out.
    pub when: When,
    crossed: bool,
    garbled: bool,
    cut: bool,
    twice: bool,
}

/// Room for a header of Modbus TCP.
const HEADER: usize = 7;

impl Reply {
    /// An exception.
    pub fn exception(unit: u8, function: u8, code: u8) -> Self {
        Self::new(unit, vec![function | 0x80, code])
    }

    /// The words of some registers, at most 125.
    pub fn words(unit: u8, function: u8, words: &[u16]) -> Self {
        let length = u8::try_from(words.len() * 2).unwrap_or(u8::MAX);
        let mut pdu = vec![function, length];
        pdu.extend(words.iter().copied().flat_map(u16::to_be_bytes));
        Self::new(unit, pdu)
    }

    /// Some coils or discrete inputs, at most 2,000: eight to a byte, the first lowest (Modbus Application Protocol
    /// V1.1b3, 6.1).
    pub fn bits(unit: u8, function: u8, bits: &[u16]) -> Self {
        let bytes: Vec<u8> = bits
            .chunks(8)
            .map(|eight| {
                let set = eight.iter().zip(0..).filter(|(bit, _)| **bit != 0);
                set.fold(0_u8, |byte, (_, place)| byte | (1_u8 << place))
            })
            .collect();
        let mut pdu = vec![function, u8::try_from(bytes.len()).unwrap_or(u8::MAX)];
        pdu.extend(bytes);
        Self::new(unit, pdu)
    }

    fn new(unit: u8, pdu: Vec<u8>) -> Self {
        Self { unit, pdu, when: When::Now, crossed: false, garbled: false, cut: false, twice: false }
    }

    /// Lets it go wrong. What needs registers does nothing to an exception.
    pub fn bend(mut self, bend: Bend) -> Answer {
        match bend {
            Bend::Silent => return Answer::Silence,
            Bend::Reset => return Answer::Reset,
            Bend::Exception(code) => {
                let function = self.pdu.first().copied().unwrap_or_default();
                self.pdu = vec![function | 0x80, code];
            }
            Bend::Slow(delay) => self.when = When::Slow(delay),
            Bend::Late(delay) => self.when = When::Late(delay),
            Bend::Short => {
                let length = self.pdu.len();
                if let [_, count, _, _, ..] = self.pdu.as_mut_slice() {
                    *count = count.saturating_sub(2);
                    self.pdu.truncate(length - 2);
                }
            }
            Bend::Count => {
                if let [_, count, _, ..] = self.pdu.as_mut_slice() {
                    *count = count.wrapping_add(2);
                }
            }
            // Reads of holding and of input registers take each other's place.
            Bend::Function => {
                if let Some(function) = self.pdu.first_mut() {
                    *function ^= 3 ^ 4;
                }
            }
            Bend::Unit => self.unit = self.unit.wrapping_add(1),
            Bend::Crossed => self.crossed = true,
            Bend::Crc => self.garbled = true,
            Bend::CutOff => self.cut = true,
            Bend::Twice => self.twice = true,
        }
        Answer::Reply(self)
    }

    /// The bytes of the answer to a transaction of Modbus TCP.
    pub fn tcp(&self, transaction: u16) -> Vec<u8> {
        // The length counts the unit, too; at most 254.
        let length = u16::try_from(self.pdu.len() + 1).unwrap_or(u16::MAX);
        let transaction = transaction.wrapping_sub(u16::from(self.crossed));
        let mut frame = Vec::with_capacity(HEADER + self.pdu.len());
        frame.extend(transaction.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(length.to_be_bytes());
        frame.push(self.unit);
        frame.extend(&self.pdu);
        self.wire(frame)
    }

    /// The bytes of the answer on a serial line.
    pub fn rtu(&self) -> Vec<u8> {
        let mut frame = vec![self.unit.wrapping_add(u8::from(self.crossed))];
        frame.extend(&self.pdu);
        frame.extend((crc(&frame) ^ u16::from(self.garbled)).to_le_bytes());
        self.wire(frame)
    }

    fn wire(&self, mut frame: Vec<u8>) -> Vec<u8> {
        if self.cut {
            frame.truncate(frame.len() * 2 / 3);
        }
        if self.twice {
            frame.extend_from_within(..);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bent(bend: Bend) -> Reply {
        match Reply::words(1, 4, &[0x1234, 0x5678]).bend(bend) {
            Answer::Reply(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    const GOOD: [u8; 13] = [0, 9, 0, 0, 0, 7, 1, 4, 4, 0x12, 0x34, 0x56, 0x78];

    #[test]
    fn a_good_answer_has_the_frame_of_the_standard() {
        let reply = Reply::words(1, 4, &[0x1234, 0x5678]);
        assert_eq!(reply.tcp(9), GOOD);
        let frame = reply.rtu();
        assert_eq!((&frame[..7], crc(&frame)), (&GOOD[6..], 0));
        assert_eq!(Reply::exception(1, 3, 11).tcp(0), [0, 0, 0, 0, 0, 3, 1, 0x83, 11]);
    }

    #[test]
    fn each_fault_bends_what_its_name_says_and_nothing_else() {
        let changed = |bend| {
            let frame = bent(bend).tcp(9);
            let differs = GOOD.iter().zip(&frame).enumerate().filter(|(_, (good, bad))| good != bad);
            (differs.map(|(at, _)| at).collect::<Vec<_>>(), frame.len())
        };
        assert_eq!(changed(Bend::Crossed), (vec![1], 13));
        assert_eq!(changed(Bend::Unit), (vec![6], 13));
        assert_eq!(changed(Bend::Function), (vec![7], 13));
        assert_eq!(changed(Bend::Count), (vec![8], 13));
        assert_eq!(changed(Bend::Short), (vec![5, 8], 11), "consistent in itself");
        assert_eq!(changed(Bend::CutOff), (vec![], 8));
        assert_eq!(changed(Bend::Twice), (vec![], 26));
        assert_eq!(changed(Bend::Crc), (vec![], 13), "Modbus TCP has no check");
        assert_eq!(bent(Bend::Exception(6)).tcp(9)[7..], [0x84, 6]);
    }

    #[test]
    fn on_a_serial_line_only_a_wrong_check_is_unsound() {
        for bend in [Bend::Crossed, Bend::Unit, Bend::Function, Bend::Count, Bend::Short, Bend::Exception(2)]
        {
            assert_eq!(crc(&bent(bend).rtu()), 0, "{bend:?}");
        }
        assert_ne!(crc(&bent(Bend::Crc).rtu()), 0);
        assert_eq!(bent(Bend::Crossed).rtu()[0], 2, "there is no transaction; the unit stands in for it");
    }

    #[test]
    fn an_exception_survives_every_fault_of_registers() {
        for bend in [Bend::Short, Bend::Count] {
            let Answer::Reply(reply) = Reply::exception(1, 4, 2).bend(bend) else { panic!("{bend:?}") };
            assert_eq!(reply.pdu, [0x84, 2]);
        }
    }
}
