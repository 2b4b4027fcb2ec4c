//! A device of the operator's own behind Modbus TCP: coils and registers that are written one by one and read back.
//!
//! Every exchange has a connection of its own, so that an answer that comes too late can never be taken for that of
//! another request.
//!
//! Source: "MODBUS Application Protocol Specification V1.1b3" (functions 1 to 6 and 16, exceptions) and "MODBUS
//! Messaging on TCP/IP Implementation Guide V1.0b", 3.1 (the frame).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::control::snapshot::Rejection;
use crate::miner::wire::Place;
use crate::miner::{Connection, DriverError};

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// A coil: read with function 1, written with 5.
    Coil(u16),
    /// A discrete input: read with function 2.
    Discrete(u16),
    /// A holding register: read with function 3, written with 6 or 16.
    Holding(u16),
    /// An input register: read with function 4.
    Input(u16),
}

/// How registers make a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One register, not negative.
    U16,
    /// One register, two's complement.
    I16,
    /// Two registers, not negative.
    U32,
    /// Two registers, two's complement.
    I32,
    /// Two registers, IEEE 754.
    F32,
}

/// A number in registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    /// Where it begins.
    pub address: Address,
    /// How it is written.
    pub kind: Kind,
    /// Makes watts, or the unit of the setpoint, of it. Not zero.
    pub scale: f64,
    /// Of two registers the lower half comes first.
    pub low_first: bool,
}

/// How a device behind Modbus is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Unit identifier.
    pub unit: u8,
    /// Switches it on: a coil or a holding register, and the value.
    pub on: (Address, u16),
    /// Switches it off.
    pub off: (Address, u16),
    /// Whether it is on: the place, its value when it is on, and when it is off.
    pub state: (Address, u16, u16),
    /// Sets its power: holding registers.
    pub setpoint: Option<Number>,
    /// Writes a setpoint in one register with function 16, too.
    pub multiple: bool,
    /// Its draw.
    pub power: Option<Number>,
    /// Where the setpoint is read back; `None`: where it was written.
    pub target: Option<Number>,
}

/// One unit behind Modbus TCP, spoken to by one exchange after the other.
#[derive(Debug)]
pub struct Peer {
    place: Place,
    unit: u8,
}

impl Peer {
    /// The unit at the endpoint of a connection, within its time limit. Nothing is sent yet.
    pub fn new(connection: &Connection, unit: u8) -> Self {
        Self { place: Place::new(connection), unit }
    }

    /// One request and the data of its answer, without the function.
    async fn exchange(&self, name: &'static str, request: &[u8]) -> Result<Vec<u8>, DriverError> {
        let unit = self.unit;
        let work = async {
            let mut stream = self.place.connect().await?;
            let transaction: u16 = rand::random();
            let length = u16::try_from(request.len() + 1).unwrap_or(u16::MAX);
            let mut frame = Vec::with_capacity(request.len() + 7);
            frame.extend(transaction.to_be_bytes());
            frame.extend([0, 0]);
            frame.extend(length.to_be_bytes());
            frame.push(unit);
            frame.extend_from_slice(request);
            let broken = |error| self.place.broken(name, &error);
            stream.write_all(&frame).await.map_err(broken)?;
            let mut header = [0_u8; 7];
            stream.read_exact(&mut header).await.map_err(broken)?;
            let [t1, t2, p1, p2, l1, l2, from] = header;
            let length = usize::from(u16::from_be_bytes([l1, l2]));
            if u16::from_be_bytes([t1, t2]) != transaction
                || [p1, p2] != [0, 0]
                || from != unit
                || !(3..=254).contains(&length)
            {
                return Err(self.place.malformed(name, "its frame is not that of an answer to this request"));
            }
            let mut answer = vec![0_u8; length - 1];
            stream.read_exact(&mut answer).await.map_err(broken)?;
            Ok(answer)
        };
        let answer = self.place.within(name, work).await?;
        let function = request.first().copied().unwrap_or_default();
        match answer.split_first() {
            Some((first, data)) if *first == function => Ok(data.to_vec()),
            Some((first, [code])) if *first == function | 0x80 => Err(self.exception(name, *code)),
            _ => Err(self.place.malformed(name, "it is the answer to another function")),
        }
    }

    fn exception(&self, name: &'static str, code: u8) -> DriverError {
        match code {
            1 => self.place.rejected(name, Rejection::Unsupported),
            2 | 3 => self.place.rejected(name, Rejection::OutOfRange),
            5 | 6 => self.place.rejected(name, Rejection::Busy),
            _ => self.place.other(name, &format!("Modbus exception {code}"), &[]),
        }
    }

    /// Reads one bit or some registers.
    async fn read(&self, name: &'static str, address: Address, count: u16) -> Result<Vec<u16>, DriverError> {
        let (function, at) = match address {
            Address::Coil(at) => (1, at),
            Address::Discrete(at) => (2, at),
            Address::Holding(at) => (3, at),
            Address::Input(at) => (4, at),
        };
        let bits = function < 3;
        let count = if bits { 1 } else { count };
        let ([a1, a2], [c1, c2]) = (at.to_be_bytes(), count.to_be_bytes());
        let data = self.exchange(name, &[function, a1, a2, c1, c2]).await?;
        let wrong = || self.place.malformed(name, "it has another length than asked for");
        let (bytes, values) = data.split_first().ok_or_else(wrong)?;
        let expected = if bits { 1 } else { usize::from(count) * 2 };
        if usize::from(*bytes) != expected || values.len() != expected {
            return Err(wrong());
        }
        if bits {
            return Ok(values.iter().map(|byte| u16::from(byte & 1)).collect());
        }
        let pairs = values.as_chunks::<2>().0;
        Ok(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
    }

    /// Writes one coil (any value but zero is on) or one holding register, and checks that the device repeats it. `name` is
    /// what errors call it.
    ///
    /// # Errors
    /// Any [`DriverError`]; after `Timeout` and `Malformed` it may or may not have been written.
    pub async fn write(&self, name: &'static str, address: Address, value: u16) -> Result<(), DriverError> {
        let (function, at, value) = match address {
            Address::Coil(at) => (5, at, if value == 0 { 0 } else { 0xFF00 }),
            Address::Holding(at) => (6, at, value),
            Address::Discrete(_) | Address::Input(_) => {
                return Err(self.place.rejected(name, Rejection::Unsupported));
            }
        };
        let ([a1, a2], [v1, v2]) = (at.to_be_bytes(), value.to_be_bytes());
        let echo = self.exchange(name, &[function, a1, a2, v1, v2]).await?;
        if echo == [a1, a2, v1, v2] {
            Ok(())
        } else {
            Err(self.place.malformed(name, "it does not repeat what was written"))
        }
    }

    /// Writes holding registers with function 16.
    ///
    /// # Errors
    /// As [`Peer::write`].
    pub async fn write_many(&self, name: &'static str, at: u16, values: &[u16]) -> Result<(), DriverError> {
        let count = u8::try_from(values.len()).unwrap_or_default();
        let [a1, a2] = at.to_be_bytes();
        let mut request = vec![16, a1, a2, 0, count, count * 2];
        request.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        let echo = self.exchange(name, &request).await?;
        if echo == [a1, a2, 0, count] {
            Ok(())
        } else {
            Err(self.place.malformed(name, "it does not repeat where was written"))
        }
    }
}

/// Speaks with one device.
pub(super) struct Modbus {
    peer: Peer,
    description: Description,
}

impl Modbus {
    pub(super) fn new(connection: &Connection, description: &Description) -> Self {
        Self { peer: Peer::new(connection, description.unit), description: description.clone() }
    }

    async fn number(&self, name: &'static str, number: &Number) -> Result<Option<f64>, DriverError> {
        let registers = self.peer.read(name, number.address, number.kind.registers()).await?;
        Ok(number.decode(&registers))
    }

    pub(super) async fn is_on(&self) -> Result<bool, DriverError> {
        let name = "its state";
        let (address, on, off) = self.description.state;
        let value = self.peer.read(name, address, 1).await?.first().copied().unwrap_or_default();
        match value {
            value if value == on => Ok(true),
            value if value == off => Ok(false),
            _ => Err(self.peer.place.malformed(name, "it is neither on nor off")),
        }
    }

    pub(super) async fn power(&self) -> Result<Option<Option<f64>>, DriverError> {
        match &self.description.power {
            Some(number) => Ok(Some(self.number("its power", number).await?)),
            None => Ok(None),
        }
    }

    pub(super) async fn target(&self) -> Result<Option<f64>, DriverError> {
        match self.description.target.or(self.description.setpoint) {
            Some(number) => self.number("its setpoint", &number).await,
            None => Ok(None),
        }
    }

    pub(super) async fn switch(&self, on: bool) -> Result<(), DriverError> {
        let (name, (address, value)) =
            if on { ("on", self.description.on) } else { ("off", self.description.off) };
        self.peer.write(name, address, value).await
    }

    pub(super) async fn set(&self, value: f64) -> Result<(), DriverError> {
        let name = "setpoint";
        let Some(number) = self.description.setpoint else { return Ok(()) };
        let out_of_range = || self.peer.place.rejected(name, Rejection::OutOfRange);
        let registers = number.encode(value).ok_or_else(out_of_range)?;
        match (number.address, registers.as_slice()) {
            (address, [single]) if !self.description.multiple => {
                self.peer.write(name, address, *single).await
            }
            (Address::Holding(at), many) => self.peer.write_many(name, at, many).await,
            _ => Err(self.peer.place.rejected(name, Rejection::Unsupported)),
        }
    }
}

impl Kind {
    /// How many registers it takes.
    pub const fn registers(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
        }
    }
}

impl Number {
    /// The scaled value; `None` for what is no number.
    fn decode(&self, registers: &[u16]) -> Option<f64> {
        let raw = match (self.kind, registers) {
            (Kind::U16, [word]) => f64::from(*word),
            (Kind::I16, [word]) => f64::from(i16::from_be_bytes(word.to_be_bytes())),
            (kind, [first, second]) => {
                let (high, low) = if self.low_first { (second, first) } else { (first, second) };
                let bits = (u32::from(*high) << 16) | u32::from(*low);
                match kind {
                    Kind::I32 => f64::from(i32::from_be_bytes(bits.to_be_bytes())),
                    Kind::F32 => f64::from(f32::from_bits(bits)),
                    Kind::U32 | Kind::U16 | Kind::I16 => f64::from(bits),
                }
            }
            _ => return None,
        };
        Some(raw * self.scale).filter(|value| value.is_finite())
    }

    /// The registers for a value, rounded towards zero; `None` when it does not fit.
    pub fn encode(&self, value: f64) -> Option<Vec<u16>> {
        // Half a millionth lets a value that is exactly a step survive the rounding of binary fractions.
        let raw = value / self.scale;
        let raw = (raw + 1e-6 * raw.abs().max(1.0)).floor();
        let whole = format!("{raw:.0}");
        let bits = match self.kind {
            Kind::U16 => return Some(vec![whole.parse().ok()?]),
            Kind::I16 => {
                let word: i16 = whole.parse().ok()?;
                return Some(vec![u16::from_be_bytes(word.to_be_bytes())]);
            }
            Kind::U32 => whole.parse().ok()?,
            Kind::I32 => u32::from_be_bytes(whole.parse::<i32>().ok()?.to_be_bytes()),
            Kind::F32 => format!("{}", value / self.scale).parse::<f32>().ok()?.to_bits(),
        };
        let [b1, b2, b3, b4] = bits.to_be_bytes();
        let (high, low) = (u16::from_be_bytes([b1, b2]), u16::from_be_bytes([b3, b4]));
        Some(if self.low_first { vec![low, high] } else { vec![high, low] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(kind: Kind, scale: f64, low_first: bool) -> Number {
        Number { address: Address::Holding(0), kind, scale, low_first }
    }

    #[test]
    fn numbers_are_written_in_every_way() {
        assert_eq!(number(Kind::U16, 1.0, false).encode(2_999.9), Some(vec![2_999]));
        assert_eq!(number(Kind::U16, 0.1, false).encode(55.0), Some(vec![550]));
        assert_eq!(number(Kind::U16, 1.0, false).encode(70_000.0), None);
        assert_eq!(number(Kind::U32, 1.0, false).encode(70_000.0), Some(vec![1, 4_464]));
        assert_eq!(number(Kind::U32, 1.0, true).encode(70_000.0), Some(vec![4_464, 1]));
        assert_eq!(number(Kind::F32, 1.0, false).encode(1.5), Some(vec![0x3FC0, 0]));
        assert_eq!(number(Kind::I16, -1.0, false).decode(&[0xFFFF]), Some(1.0));
        assert_eq!(number(Kind::F32, 1.0, false).decode(&[0x7FC0, 0]), None);
        assert_eq!(number(Kind::U32, 1.0, false).decode(&[1]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_never_asks_for_more(value in 0.0..60_000.0_f64, tenths in 1..100_u8, low_first: bool) {
            let scale = f64::from(tenths) / 10.0;
            for kind in [Kind::U16, Kind::U32, Kind::I32] {
                let number = number(kind, scale, low_first);
                if let Some(registers) = number.encode(value) {
                    let read = number.decode(&registers).unwrap();
                    prop_assert!(read <= value + scale * 1e-5 * value.max(1.0) && read > value - scale * 1.001);
                }
            }
        }
    }
}
