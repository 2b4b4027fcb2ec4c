//! Numbers as few bytes, by column: what is alike stands together, so that a plain compressor finds it.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Moment;

/// Most bytes of a column of a block, of a site or of a state, once they are unpacked.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// What is wrong with bytes that were read; completes "the bytes …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("end too early")]
    Short,
    #[error("are packed in a way that cannot be unpacked")]
    Packing,
    #[error("come to more than {MOST_BYTES} when they are unpacked")]
    TooMany,
    #[error("say something that cannot be")]
    Nonsense,
}

/// What the columns of a block hold. Their order is that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Times and counts of each cycle.
    Head,
    /// Which miners changed.
    Who,
    /// What of them changed.
    What,
    /// How their times and powers are written.
    Codes,
    /// When their readings came.
    At,
    /// What they draw.
    Power,
    /// How fast they hash.
    Hashrate,
    /// How long they have run.
    Uptime,
    /// What of each meter changed.
    Meter,
    /// How their times and values are written.
    MeterCodes,
    /// When their values came.
    MeterAt,
    /// Their values.
    MeterValue,
    /// What became of commands, and what miners say that they were told.
    Told,
    /// All that changes seldom.
    Seldom,
    /// What was decided: hashes.
    Hashes,
    /// What was decided: the fleet.
    Fleet,
    /// What was decided: targets.
    Target,
    /// What was decided: commands, and what changed of the miners.
    Decided,
}

/// How many columns there are.
pub(super) const COLUMNS: usize = 18;

const fn place(column: Column) -> usize {
    column as usize
}

/// Anything with the names of its fields, so that a later version that has other ones can read it.
pub(super) fn named<T: Serialize>(it: &T) -> Vec<u8> {
    // Only what has no length cannot be written, and there is nothing of that kind in a record.
    rmp_serde::to_vec_named(it).unwrap_or_default()
}

/// Packs bytes.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::new(6));
    // A vector takes whatever it is given.
    let _ = packed.write_all(bytes);
    packed.finish().unwrap_or_default()
}

/// Unpacks bytes that come to `length`.
pub(super) fn unpack(packed: &[u8], length: usize) -> Result<Vec<u8>, Damage> {
    if length > MOST_BYTES {
        return Err(Damage::TooMany);
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
    DeflateDecoder::new(packed).take(most).read_to_end(&mut bytes).map_err(|_| Damage::Packing)?;
    if bytes.len() == length { Ok(bytes) } else { Err(Damage::Packing) }
}

/// A whole number in a float, where it is one and can be told apart from its neighbours.
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 4_503_599_627_370_496.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range is looked at before")]
    let number = (value.abs() < EXACT).then_some(value.round() as i64)?;
    Some(number)
}

/// A whole number of less than 53 bits as a float.
fn float(number: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers from `whole` have less than 53 bits; others are damage"
    )]
    let value = number as f64;
    value
}

/// The nearest whole number of steps.
pub(super) fn steps(value: f64, step: f64) -> i64 {
    whole(value / step).unwrap_or(0)
}

/// A number of steps.
pub(super) fn of_steps(number: i64, step: f64) -> f64 {
    float(number) * step
}

fn single(value: f64) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, reason = "what is lost is looked for in the next line")]
    let short = value as f32;
    (f64::from(short).to_bits() == value.to_bits()).then(|| short.to_bits())
}

/// For show: the nearest float of half the size.
pub(super) fn short(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough to show")]
    let short = value as f32;
    short
}

const WHOLE: u8 = 0;
const HUNDREDTHS: u8 = 1;
const SINGLE: u8 = 2;
const RAW: u8 = 3;

const CENTISECONDS: u8 = 0;
const MILLISECONDS: u8 = 1;
const NANOSECONDS: u8 = 2;

fn nanos(moment: Moment) -> i64 {
    i64::try_from(moment.since_start().as_nanos()).unwrap_or(i64::MAX)
}

/// Columns that are being written.
#[derive(Debug, Default)]
pub(super) struct Columns {
    bytes: [Vec<u8>; COLUMNS],
}

impl Columns {
    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.iter().map(Vec::len).sum()
    }

    pub(super) fn bytes(&mut self, column: Column, bytes: &[u8]) {
        if let Some(all) = self.bytes.get_mut(place(column)) {
            all.extend_from_slice(bytes);
        }
    }

    pub(super) fn byte(&mut self, column: Column, byte: u8) {
        self.bytes(column, &[byte]);
    }

    /// A whole number, the smaller the shorter.
    pub(super) fn number(&mut self, column: Column, mut number: u64) {
        while number >= 0x80 {
            self.byte(column, low(number) | 0x80);
            number >>= 7;
        }
        self.byte(column, low(number));
    }

    /// A whole number with a sign, the nearer to zero the shorter.
    pub(super) fn signed(&mut self, column: Column, number: i64) {
        self.number(column, ((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    /// How many, or which.
    pub(super) fn count(&mut self, column: Column, count: usize) {
        self.number(column, u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// A moment, near one that is expected.
    pub(super) fn moment(&mut self, codes: Column, column: Column, expected: Moment, moment: Moment) {
        let way = nanos(moment).saturating_sub(nanos(expected));
        let (code, unit) = match way {
            way if way % 10_000_000 == 0 => (CENTISECONDS, 10_000_000),
            way if way % 1_000_000 == 0 => (MILLISECONDS, 1_000_000),
            _ => (NANOSECONDS, 1),
        };
        self.byte(codes, code);
        self.signed(column, way / unit);
    }

    /// A value, to the last bit, near the one before.
    pub(super) fn value(&mut self, codes: Column, column: Column, before: f64, value: f64) {
        let exact = |number: i64, parts: f64| (float(number) / parts).to_bits() == value.to_bits();
        if let Some(number) = whole(value).filter(|number| exact(*number, 1.0)) {
            self.byte(codes, WHOLE);
            self.signed(column, number.saturating_sub(whole(before).unwrap_or(0)));
        } else if let Some(number) = whole(value * 100.0).filter(|number| exact(*number, 100.0)) {
            self.byte(codes, HUNDREDTHS);
            self.signed(column, number.saturating_sub(whole(before * 100.0).unwrap_or(0)));
        } else if let Some(bits) = single(value) {
            self.byte(codes, SINGLE);
            self.signed(column, i64::from(bits) - i64::from(short(before).to_bits()));
        } else {
            self.byte(codes, RAW);
            self.bytes(column, &value.to_bits().to_le_bytes());
        }
    }

    /// Anything, with the names of its fields.
    pub(super) fn any<T: Serialize + ?Sized>(&mut self, column: Column, it: &T) {
        if let Some(all) = self.bytes.get_mut(place(column)) {
            let before = all.len();
            // Only what has no length cannot be written, and there is nothing of that kind.
            if rmp_serde::encode::write_named(all, it).is_err() {
                all.truncate(before);
            }
        }
    }

    /// All columns, packed, and empty again.
    pub(super) fn pack(&mut self) -> Vec<u8> {
        let mut block = Self::default();
        for column in &mut self.bytes {
            let packed = pack(column);
            let bytes = if packed.len() < column.len() { &packed } else { &*column };
            block.count(Column::Head, column.len());
            block.count(Column::Head, bytes.len());
            block.bytes(Column::Head, bytes);
            column.clear();
        }
        let [block, ..] = block.bytes;
        block
    }
}

fn low(number: u64) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or(0)
}

/// Bytes that are being read.
#[derive(Debug, Default)]
struct Cursor {
    bytes: Vec<u8>,
    at: usize,
}

impl Cursor {
    fn bytes(&mut self, count: usize) -> Result<&[u8], Damage> {
        let end = self.at.checked_add(count).ok_or(Damage::Nonsense)?;
        let bytes = self.bytes.get(self.at..end).ok_or(Damage::Short)?;
        self.at = end;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, Damage> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.bytes(1)? else { return Err(Damage::Short) };
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(Damage::Nonsense);
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damage::Nonsense)
    }
}

/// Columns that are being read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    columns: [Cursor; COLUMNS],
}

impl Reading {
    /// Unpacks a block.
    pub(super) fn unpack(block: &[u8]) -> Result<Self, Damage> {
        let mut block = Cursor { bytes: block.to_vec(), at: 0 };
        let mut all = Self::default();
        let mut total = 0_usize;
        for column in &mut all.columns {
            let length = usize::try_from(block.number()?).map_err(|_| Damage::TooMany)?;
            let packed = usize::try_from(block.number()?).map_err(|_| Damage::Short)?;
            let bytes = block.bytes(packed)?;
            total = total.saturating_add(length);
            if total > MOST_BYTES {
                return Err(Damage::TooMany);
            }
            column.bytes = if packed == length { bytes.to_vec() } else { unpack(bytes, length)? };
        }
        Ok(all)
    }

    fn column(&mut self, column: Column) -> Result<&mut Cursor, Damage> {
        self.columns.get_mut(place(column)).ok_or(Damage::Nonsense)
    }

    pub(super) fn bytes(&mut self, column: Column, count: usize) -> Result<&[u8], Damage> {
        self.column(column)?.bytes(count)
    }

    pub(super) fn byte(&mut self, column: Column) -> Result<u8, Damage> {
        match self.bytes(column, 1)? {
            [byte] => Ok(*byte),
            _ => Err(Damage::Short),
        }
    }

    pub(super) fn array<const N: usize>(&mut self, column: Column) -> Result<[u8; N], Damage> {
        self.bytes(column, N)?.try_into().map_err(|_| Damage::Short)
    }

    pub(super) fn number(&mut self, column: Column) -> Result<u64, Damage> {
        self.column(column)?.number()
    }

    pub(super) fn signed(&mut self, column: Column) -> Result<i64, Damage> {
        let number = self.number(column)?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// How many, at most so many.
    pub(super) fn count(&mut self, column: Column, most: usize) -> Result<usize, Damage> {
        let count = usize::try_from(self.number(column)?).map_err(|_| Damage::Nonsense)?;
        if count <= most { Ok(count) } else { Err(Damage::Nonsense) }
    }

    pub(super) fn moment(
        &mut self,
        codes: Column,
        column: Column,
        expected: Moment,
    ) -> Result<Moment, Damage> {
        let unit = match self.byte(codes)? {
            CENTISECONDS => 10_000_000,
            MILLISECONDS => 1_000_000,
            NANOSECONDS => 1_i64,
            _ => return Err(Damage::Nonsense),
        };
        let way = self.signed(column)?.checked_mul(unit);
        let nanos = way.and_then(|way| nanos(expected).checked_add(way)).ok_or(Damage::Nonsense)?;
        let nanos = u64::try_from(nanos).map_err(|_| Damage::Nonsense)?;
        Ok(Moment::after_start(Duration::from_nanos(nanos)))
    }

    /// A value; it may be anything but is finite.
    pub(super) fn value(&mut self, codes: Column, column: Column, before: f64) -> Result<f64, Damage> {
        let value = match self.byte(codes)? {
            WHOLE => float(self.signed(column)?.saturating_add(whole(before).unwrap_or(0))),
            HUNDREDTHS => {
                float(self.signed(column)?.saturating_add(whole(before * 100.0).unwrap_or(0))) / 100.0
            }
            SINGLE => {
                let bits = self.signed(column)?.checked_add(i64::from(short(before).to_bits()));
                let bits = bits.and_then(|bits| u32::try_from(bits).ok()).ok_or(Damage::Nonsense)?;
                f64::from(f32::from_bits(bits))
            }
            RAW => f64::from_bits(u64::from_le_bytes(self.array(column)?)),
            _ => return Err(Damage::Nonsense),
        };
        if value.is_finite() { Ok(value) } else { Err(Damage::Nonsense) }
    }

    /// Anything.
    pub(super) fn any<T: DeserializeOwned>(&mut self, column: Column) -> Result<T, Damage> {
        let cursor = self.column(column)?;
        let mut rest = cursor.bytes.get(cursor.at..).ok_or(Damage::Short)?;
        let it = rmp_serde::from_read(&mut rest).map_err(|_| Damage::Nonsense)?;
        cursor.at = cursor.bytes.len().saturating_sub(rest.len());
        Ok(it)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: (Column, Column) = (Column::Codes, Column::At);

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |value| value.is_finite()),
            (-1_000_000_i32..1_000_000).prop_map(f64::from),
            (-1_000_000_i32..1_000_000).prop_map(|number| f64::from(number) / 100.0),
            any::<f32>().prop_filter("finite", |value| value.is_finite()).prop_map(f64::from),
            Just(-0.0),
        ]
    }

    proptest! {
        #[test]
        fn every_value_comes_back_to_the_last_bit(values in proptest::collection::vec((value(), value()), 1..50)) {
            let mut columns = Columns::default();
            for (before, value) in &values {
                columns.value(AT.0, AT.1, *before, *value);
            }
            let mut reading = Reading::unpack(&columns.pack()).unwrap();
            for (before, value) in &values {
                prop_assert_eq!(reading.value(AT.0, AT.1, *before).unwrap().to_bits(), value.to_bits());
            }
        }

        #[test]
        fn every_moment_and_number_comes_back(at in any::<u32>(), then in any::<u32>(), number in any::<i64>()) {
            let moments = [1, 1_000_000, 10_000_000].map(|unit| {
                let moment = |count: u32| Moment::after_start(Duration::from_nanos(unit * u64::from(count)));
                (moment(at), moment(then))
            });
            let mut columns = Columns::default();
            moments.iter().for_each(|(expected, moment)| columns.moment(AT.0, AT.1, *expected, *moment));
            columns.signed(Column::Head, number);
            let mut reading = Reading::unpack(&columns.pack()).unwrap();
            for (expected, moment) in moments {
                prop_assert_eq!(reading.moment(AT.0, AT.1, expected).unwrap(), moment);
            }
            prop_assert_eq!(reading.signed(Column::Head).unwrap(), number);
        }

        #[test]
        fn bytes_that_mean_nothing_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(mut reading) = Reading::unpack(&bytes) {
                while reading.value(AT.0, AT.1, 0.0).is_ok() {}
                while reading.moment(AT.0, AT.1, Moment::START).is_ok() {}
            }
            let _ = unpack(&bytes, MOST_BYTES);
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let bomb = pack(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2_000);
        assert_eq!(unpack(&bomb, 1_000), Err(Damage::Packing));
        assert_eq!(unpack(&bomb, MOST_BYTES + 1), Err(Damage::TooMany));
    }
}
