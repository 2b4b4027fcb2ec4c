//! Serial lines: how characters look and how long they take.
//!
//! "MODBUS over Serial Line Specification and Implementation Guide V1.02", 2.5.1: a character is a start bit, eight
//! data bits, a parity bit or none, and the stop bits; frames are parted by a silence of 3.5 characters, for which
//! 1.75 ms stand above 19,200 baud. The silence of 1.5 characters that the guide allows within a frame cannot be
//! measured behind a USB adapter or a network, and is not: frames end by their length.

use std::time::Duration;

/// Characters of a request for registers: unit, function, address (2), count (2), CRC (2).
const REQUEST: u32 = 8;
/// Characters of an answer besides its registers: unit, function, byte count, CRC (2).
const AROUND: u32 = 5;
/// Above this rate the silence does not get shorter any more.
const FAST: u32 = 19_200;
/// The silence above [`FAST`].
const FAST_SILENCE: Duration = Duration::from_micros(1_750);

/// A bit for checking each character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Parity {
    /// No such bit.
    #[default]
    None,
    /// The number of ones is even.
    Even,
    /// The number of ones is odd.
    Odd,
}

impl Parity {
    /// As written in the configuration.
    pub const NAMES: [(&'static str, Self); 3] =
        [("none", Self::None), ("even", Self::Even), ("odd", Self::Odd)];
}

/// The characters of a line. Always eight data bits: RTU needs them.
///
/// The default, 9600 baud without parity and with one stop bit, is not that of the guide (19,200 baud, even), but the
/// one with which most meters leave the factory: no parity at Eastron, Carlo Gavazzi and Satec, for example, and 9600 baud
/// at the usual ones of the first two; Schneider keeps to the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Bits per second. Zero counts as one.
    pub baud: u32,
    /// The check bit.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

impl Default for Line {
    fn default() -> Self {
        Self { baud: 9600, parity: Parity::None, stop_bits: 1 }
    }
}

impl Line {
    fn characters(&self, halves: u32) -> Duration {
        let bits = 1 + 8 + u32::from(self.parity != Parity::None) + u32::from(self.stop_bits);
        Duration::from_secs(1).saturating_mul(bits.saturating_mul(halves)) / 2 / self.baud.max(1)
    }

    /// The silence between two frames: 3.5 characters.
    pub fn silence(&self) -> Duration {
        if self.baud > FAST { FAST_SILENCE } else { self.characters(7) }
    }

    /// How long a request for some registers, the silence after it and its answer are on the line. A device adds the
    /// time that it thinks.
    pub fn exchange(&self, registers: u16) -> Duration {
        let characters = REQUEST + AROUND + 2 * u32::from(registers);
        self.characters(2 * characters) + self.silence()
    }
}

impl std::fmt::Display for Line {
    /// As technicians write it: `9600 8N1`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} 8{parity}{}", self.baud, self.stop_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_exchanges_follow_the_baud_rate() {
        let line = Line::default();
        assert_eq!(line.to_string(), "9600 8N1");
        // 35 bits at 9600 baud.
        assert_eq!(line.silence().as_micros(), 3_645);
        // 17 characters of ten bits and the silence: 205 bits.
        assert_eq!(line.exchange(2).as_micros(), 21_354);
        let slow = Line { baud: 1200, parity: Parity::Even, stop_bits: 1 };
        assert_eq!(slow.silence().as_micros(), 32_083);
        assert!(slow.exchange(125) > Duration::from_secs(2));
        let fast = Line { baud: 115_200, ..line };
        assert_eq!(fast.silence(), Duration::from_micros(1_750));
        assert!(Line { baud: 0, ..line }.silence() < Duration::from_secs(60), "no division by zero");
    }
}
