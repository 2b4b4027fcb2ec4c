//! From registers to numbers.
//!
//! Everything that is not a finite number is *absent*, and absence is `None`, never zero: a zero would tell
//! the control law that the power is there. Nothing here allocates or can fail in another way.

use super::pattern::{bits, number};
use super::profile::{Condition, Effect, Ends, Factor, Measure, Point, Profile, Register, Sign};
use crate::control::snapshot::MeterStatus;
use crate::units::{Joules, Watts};

/// The powers of ten that a scale register may hold, either way (SunSpec `sunssf`).
const SCALES: [(f64, f64); 11] = [
    (0.0, 1.0),
    (1.0, 1e1),
    (2.0, 1e2),
    (3.0, 1e3),
    (4.0, 1e4),
    (5.0, 1e5),
    (6.0, 1e6),
    (7.0, 1e7),
    (8.0, 1e8),
    (9.0, 1e9),
    (10.0, 1e10),
];

/// Why a register holds no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Absent {
    /// It was not read, or not as many words as the format takes.
    #[error("the register was not read as a whole")]
    NotRead,
    /// A pattern of the profile, NaN or infinity.
    #[error("the device says that it has no value")]
    Unavailable,
    /// The register stands at the end of what it can show.
    #[error("the value is beyond what the register can show; take a profile with a wider register")]
    Saturated,
    /// The scale register does not hold a power of ten from -10 to 10, or another factor is no positive number.
    #[error("the register with the scale holds no usable factor")]
    NoScale,
    /// The register with the sign says neither.
    #[error("the register with the sign holds neither of its two signs")]
    NoSign,
    /// The status of the device says that what it measures with is not there.
    #[error("the device's own status says that this measurement is not there")]
    Away,
    /// The raw number is outside the range of the profile, or the full scale of the site is not known.
    #[error("the raw number is outside its range, or the full scale is not configured")]
    OutOfRange,
}

impl Absent {
    /// As the control law and the metrics see it: whether the device says that it has no value, or says something that
    /// cannot be one.
    pub const fn status(self) -> MeterStatus {
        match self {
            Self::NotRead | Self::Unavailable | Self::Away => MeterStatus::Unavailable,
            Self::Saturated | Self::NoScale | Self::NoSign | Self::OutOfRange => MeterStatus::Implausible,
        }
    }
}

/// The scaled value of a register out of its words, in the order of the wire. One with factors in other registers has no
/// value by itself: see [`explain`].
///
/// `words` are those of [`Register::extent`]: the value's own, and up to the scale register where there is one.
///
/// # Errors
/// [`Absent`] when the device says that it has no value (a sentinel, NaN, infinity), when the register is
/// saturated, when the scaled number is not finite, and when the number of words is not that of the extent.
pub fn read(register: &Register, words: &[u16]) -> Result<f64, Absent> {
    if !register.factors.is_empty() {
        return Err(Absent::NotRead);
    }
    unscaled(register, words)?.map(|number| scaled(register, number))?.known()
}

/// A number out of a register: as it stands, or beyond what the register can show.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Raw {
    Known(f64),
    /// The device says that nothing flows: 0, whatever its scale and offset.
    Rests,
    /// The end of the register; the true number is further away from zero, or the same.
    Beyond(f64),
}

impl Raw {
    fn known(self) -> Result<f64, Absent> {
        match self {
            Self::Known(number) => Ok(number),
            Self::Rests => Ok(0.0),
            Self::Beyond(_) => Err(Absent::Saturated),
        }
    }

    fn map(self, change: impl FnOnce(f64) -> Result<f64, Absent>) -> Result<Self, Absent> {
        Ok(match self {
            Self::Known(number) => Self::Known(change(number)?),
            Self::Rests => Self::Rests,
            Self::Beyond(number) => Self::Beyond(change(number)?),
        })
    }
}

/// The number in a register with its sign and its power of ten, before everything else.
fn unscaled(register: &Register, words: &[u16]) -> Result<Raw, Absent> {
    let (start, count) = register.extent();
    if words.len() != usize::from(count) {
        return Err(Absent::NotRead);
    }
    let at = usize::from(register.address - start);
    let own = words.get(at..at + usize::from(register.format.words())).ok_or(Absent::NotRead)?;
    let bits = bits(own, register.word_order, register.byte_order);
    if register.zero.contains(&bits) {
        return Ok(Raw::Rests);
    }
    if register.unavailable.contains(&bits) {
        return Err(Absent::Unavailable);
    }
    let mut number = number(bits, register.format);
    if !number.is_finite() {
        return Err(Absent::Unavailable);
    }
    let beside = |address: u16| words.get(usize::from(address - start)).copied().ok_or(Absent::NotRead);
    if let Some(Sign { address, positive, negative }) = &register.sign {
        let says = u64::from(beside(*address)?);
        match (positive.hold(says), negative.hold(says)) {
            (true, false) => {}
            (false, true) => number = -number,
            _ => return Err(Absent::NoSign),
        }
    }
    if let Some(scale) = register.scale_register {
        number = power_of_ten(number, f64::from(beside(scale)?.cast_signed()))?;
    }
    let beyond = register.saturated.contains(&bits);
    Ok(if beyond { Raw::Beyond(number) } else { Raw::Known(number) })
}

/// The value of a term with its factors.
fn term<'a>(register: &Register, words: &impl Fn(&Register) -> Option<&'a [u16]>) -> Result<Raw, Absent> {
    let unscaled = unscaled(register, words(register).ok_or(Absent::NotRead)?)?;
    unscaled.map(|mut number| {
        for Factor { register, effect } in &register.factors {
            let factor = read(register, words(register).ok_or(Absent::NotRead)?)?;
            number = match effect {
                Effect::PowerOfTen => power_of_ten(number, factor)?,
                Effect::Multiply if factor > 0.0 => number * factor,
                Effect::Multiply => return Err(Absent::NoScale),
            };
        }
        scaled(register, number)
    })
}

/// Whether the device says that what it measures is there.
fn holds<'a>(condition: &Condition, words: &impl Fn(&Register) -> Option<&'a [u16]>) -> Result<bool, Absent> {
    let register = &condition.register;
    let words = words(register).ok_or(Absent::NotRead)?;
    let bits = bits(words, register.word_order, register.byte_order);
    Ok(register.unavailable.contains(&bits) || condition.patterns.hold(bits) == condition.good)
}

/// What a raw number stands for, after the scale register: its place in the range, the scale and the offset.
///
/// # Errors
/// [`Absent::OutOfRange`] outside the range or without the full scale; [`Absent::Unavailable`] when the result is
/// not finite.
pub fn scaled(register: &Register, mut number: f64) -> Result<f64, Absent> {
    if let Some(range) = &register.range {
        let Ends::Known { low, high } = range.ends else {
            return Err(Absent::OutOfRange);
        };
        if !(range.raw_low..=range.raw_high).contains(&number) {
            return Err(Absent::OutOfRange);
        }
        number = low + (number - range.raw_low) * (high - low) / (range.raw_high - range.raw_low);
    }
    let scaled = number * register.scale + register.offset;
    if scaled.is_finite() { Ok(scaled) } else { Err(Absent::Unavailable) }
}

/// Multiplies by a power of ten. Division where it is negative: 10^-1 is no binary fraction.
fn power_of_ten(number: f64, exponent: f64) -> Result<f64, Absent> {
    let factor = SCALES.iter().find(|(power, _)| power.total_cmp(&exponent.abs()).is_eq());
    let (_, factor) = factor.ok_or(Absent::NoScale)?;
    Ok(if exponent < 0.0 { number / factor } else { number * factor })
}

/// As [`read`], without the reason.
pub fn value(register: &Register, words: &[u16]) -> Option<f64> {
    read(register, words).ok()
}

/// The raw number that stands for a value: what [`read`] undoes. With a scale register, for the power of ten 0.
/// `None` where the full scale is not known.
pub fn raw(register: &Register, value: f64) -> Option<f64> {
    let number = (value - register.offset) / register.scale;
    let Some(range) = &register.range else {
        return Some(number);
    };
    let Ends::Known { low, high } = range.ends else {
        return None;
    };
    Some(range.raw_low + (number - low) * (range.raw_high - range.raw_low) / (high - low))
}

/// The value of a point: the sum of its terms. One absent term makes the point absent, and so does a point
/// without terms.
///
/// `words` gives the words of a register's extent, `None` where they were not read.
pub fn point<'a>(point: &Point, words: impl Fn(&Register) -> Option<&'a [u16]>) -> Option<f64> {
    explain(point, words).ok()
}

/// As [`point()`], with the reason of the first term that is absent.
///
/// # Errors
/// [`Absent`], as [`read`].
pub fn explain<'a>(point: &Point, words: impl Fn(&Register) -> Option<&'a [u16]>) -> Result<f64, Absent> {
    match amount(point, words)? {
        Amount::Exactly(value) => Ok(value),
        Amount::AtMost(_) | Amount::AtLeast(_) => Err(Absent::Saturated),
    }
}

/// What is known of the value of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// It is this.
    Exactly(f64),
    /// A register stands at its lower end: it is this or less.
    AtMost(f64),
    /// A register stands at its upper end: it is this or more.
    AtLeast(f64),
}

impl std::ops::Neg for Amount {
    type Output = Self;

    /// What turns the sign turns the side of which something is known, too.
    fn neg(self) -> Self {
        match self {
            Self::Exactly(value) => Self::Exactly(-value),
            Self::AtMost(value) => Self::AtLeast(-value),
            Self::AtLeast(value) => Self::AtMost(-value),
        }
    }
}

/// As [`explain`]; where registers are saturated on one side, with the bound that follows for the sum.
///
/// # Errors
/// [`Absent`], as [`read`]; [`Absent::Saturated`] when nothing follows, because terms are saturated on both sides.
pub fn amount<'a>(point: &Point, words: impl Fn(&Register) -> Option<&'a [u16]>) -> Result<Amount, Absent> {
    if point.terms.is_empty() {
        return Err(Absent::NotRead);
    }
    for condition in &point.only_if {
        if !holds(condition, &words)? {
            return Err(Absent::Away);
        }
    }
    let (mut total, mut below, mut above) = (0.0, false, false);
    for register in &point.terms {
        match term(register, &words)? {
            Raw::Known(value) => total += value,
            Raw::Rests => {}
            // Which way further leads is the sign of the number that stands there, the offset apart.
            Raw::Beyond(value) => {
                total += value;
                let further = value - register.offset;
                below |= further <= 0.0;
                above |= further >= 0.0;
            }
        }
    }
    match (below, above) {
        _ if !f64::is_finite(total) => Err(Absent::Unavailable),
        (false, false) => Ok(Amount::Exactly(total)),
        (true, false) => Ok(Amount::AtMost(total)),
        (false, true) => Ok(Amount::AtLeast(total)),
        (true, true) => Err(Absent::Saturated),
    }
}

/// A value with its quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measured {
    /// Active power, import positive.
    Power(Watts),
    /// Energy since the meter began to count.
    Energy(Joules),
    /// In volts.
    Voltage(f64),
    /// In hertz.
    Frequency(f64),
    /// In percent.
    StateOfCharge(f64),
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Power(watts) => watts.fmt(f),
            Self::Energy(energy) => write!(f, "{:.3} kWh", energy.kilowatt_hours()),
            Self::Voltage(volts) => write!(f, "{volts:.1} V"),
            Self::Frequency(hertz) => write!(f, "{hertz:.3} Hz"),
            Self::StateOfCharge(percent) => write!(f, "{percent:.1} %"),
        }
    }
}

/// The value of a measure. The scales of energies lead to watt-hours in a profile; here they are joules.
///
/// # Errors
/// [`Absent`], as [`read`]; [`Absent::NotRead`] when the profile has no such point.
pub fn measured<'a>(
    profile: &Profile,
    measure: Measure,
    words: impl Fn(&Register) -> Option<&'a [u16]>,
) -> Result<Measured, Absent> {
    let number = explain(profile.point(measure).ok_or(Absent::NotRead)?, words)?;
    let energy = || Measured::Energy(Joules::saturating(number * 3_600.0));
    Ok(match measure {
        Measure::Power | Measure::PowerL1 | Measure::PowerL2 | Measure::PowerL3 => {
            Measured::Power(Watts::saturating(number))
        }
        Measure::VoltageL1 | Measure::VoltageL2 | Measure::VoltageL3 => Measured::Voltage(number),
        Measure::Frequency => Measured::Frequency(number),
        Measure::EnergyImport | Measure::EnergyExport => energy(),
        Measure::StateOfCharge => Measured::StateOfCharge(number),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::profile::{ByteOrder, Format, FullScale, Function, RawRange, WordOrder};
    use super::*;

    fn register(format: Format, word_order: WordOrder) -> Register {
        Register { function: Function::Input, address: 0, format, word_order, ..Register::default() }
    }

    /// The words of a right-aligned bit pattern, as a device sends them.
    fn words(bits: u64, register: &Register) -> Vec<u16> {
        let count = usize::from(register.format.words());
        let mut words: Vec<u16> =
            (0..count).rev().map(|index| super::super::pattern::low16(bits >> (16 * index))).collect();
        if register.word_order == WordOrder::LowFirst {
            words.reverse();
        }
        words
    }

    fn formats() -> impl Strategy<Value = Format> {
        proptest::sample::select(Format::NAMES.map(|(_, format)| format).to_vec())
    }

    fn orders() -> impl Strategy<Value = WordOrder> {
        proptest::sample::select(vec![WordOrder::HighFirst, WordOrder::LowFirst])
    }

    #[test]
    fn known_words_give_known_numbers() {
        let high = WordOrder::HighFirst;
        let low = WordOrder::LowFirst;
        let cases: [(Format, WordOrder, &[u16], f64); 12] = [
            (Format::U16, high, &[0xFFFF], 65_535.0),
            (Format::I16, high, &[0xFFFF], -1.0),
            (Format::I16, low, &[0x8000], -32_768.0),
            (Format::U32, high, &[0x0001, 0x0002], 65_538.0),
            (Format::U32, low, &[0x0002, 0x0001], 65_538.0),
            (Format::I32, low, &[0xD8F0, 0xFFFF], -10_000.0),
            (Format::F32, high, &[0x4366, 0x0000], 230.0),
            (Format::F32, low, &[0x0000, 0x4366], 230.0),
            (Format::U64, high, &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF], 18_446_744_073_709_551_615.0),
            (Format::I64, high, &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE], -2.0),
            (Format::I64, low, &[0xFFFE, 0xFFFF, 0xFFFF, 0xFFFF], -2.0),
            (Format::F64, high, &[0xC0C3, 0x8800, 0x0000, 0x0000], -10_000.0),
        ];
        for (format, order, words, expected) in cases {
            assert_eq!(
                value(&register(format, order), words),
                Some(expected),
                "{format:?} {order:?} {words:x?}"
            );
        }
    }

    #[test]
    fn scale_turns_raw_numbers_into_watts() {
        let mut kilowatts = register(Format::F32, WordOrder::HighFirst);
        kilowatts.scale = 1000.0;
        assert_eq!(value(&kilowatts, &[0x3FC0, 0x0000]), Some(1500.0));
        let mut export_positive = register(Format::I32, WordOrder::HighFirst);
        export_positive.scale = -1.0;
        assert_eq!(value(&export_positive, &[0x0000, 0x0064]), Some(-100.0));
    }

    #[test]
    fn swapped_bytes_are_put_right_in_each_register() {
        let mut swapped = register(Format::I32, WordOrder::LowFirst);
        swapped.byte_order = ByteOrder::LowFirst;
        assert_eq!(value(&swapped, &[0x0200, 0x0100]), Some(65_538.0));
        swapped.unavailable = vec![0x8000_0000];
        assert_eq!(value(&swapped, &[0x0000, 0x0080]), None, "a pattern is that of the number");
    }

    #[test]
    fn an_offset_is_added_after_the_scale() {
        let mut shifted = register(Format::U16, WordOrder::HighFirst);
        (shifted.scale, shifted.offset) = (0.5, -100.0);
        assert_eq!(value(&shifted, &[300]), Some(50.0));
        assert_eq!(raw(&shifted, 50.0), Some(300.0));
    }

    #[test]
    fn a_scale_register_is_found_before_and_behind_the_value() {
        let mut behind =
            Register { address: 10, scale_register: Some(13), ..register(Format::I16, WordOrder::HighFirst) };
        assert_eq!(behind.extent(), (10, 4));
        assert_eq!(value(&behind, &[5, 9, 9, 2]), Some(500.0));
        assert_eq!(
            value(&behind, &[2301, 9, 9, 0xFFFF]),
            Some(230.1),
            "a division, so that nothing is rounded twice"
        );
        assert_eq!(read(&behind, &[5, 9, 9, 0x8000]), Err(Absent::NoScale));
        assert_eq!(read(&behind, &[5, 9, 9, 11]), Err(Absent::NoScale));
        assert_eq!(read(&behind, &[5]), Err(Absent::NotRead), "the value without its factor");
        behind.scale_register = Some(8);
        assert_eq!(behind.extent(), (8, 3));
        assert_eq!(value(&behind, &[1, 9, 5]), Some(50.0));
        behind = Register { address: u16::MAX, scale_register: Some(0), ..behind };
        assert_eq!(read(&behind, &[1, 2]), Err(Absent::NotRead), "no request holds all of it");
    }

    #[test]
    fn saturation_is_told_apart_and_is_no_value() {
        let mut narrow = register(Format::I16, WordOrder::HighFirst);
        narrow.saturated = vec![0x7FFF, 0x8000];
        assert_eq!(read(&narrow, &[0x7FFF]), Err(Absent::Saturated));
        assert_eq!(read(&narrow, &[0x8000]), Err(Absent::Saturated));
        assert_eq!(read(&narrow, &[0x7FFE]), Ok(32_766.0));
        let sum = Point::of(vec![narrow.clone(), narrow]);
        assert_eq!(explain(&sum, |_| Some(&[0x7FFF])), Err(Absent::Saturated));
    }

    #[test]
    fn formats_of_older_meters_are_read() {
        let high = WordOrder::HighFirst;
        let cases: [(Format, &[u16], Option<f64>); 16] = [
            (Format::F16, &[0x3C00], Some(1.0)),
            (Format::F16, &[0xC900], Some(-10.0)),
            (Format::F16, &[0x7BFF], Some(65_504.0)),
            (Format::F16, &[0x0001], Some(5.960_464_477_539_063e-8)),
            (Format::F16, &[0x8000], Some(-0.0)),
            (Format::F16, &[0x7C00], None),
            (Format::F16, &[0x7E00], None),
            (Format::Sm16, &[0x0005], Some(5.0)),
            (Format::Sm16, &[0x8005], Some(-5.0)),
            (Format::Sm32, &[0x8001, 0x0000], Some(-65_536.0)),
            (Format::Sm32, &[0x7FFF, 0xFFFF], Some(2_147_483_647.0)),
            (Format::Bcd16, &[0x1234], Some(1_234.0)),
            (Format::Bcd16, &[0x12A4], None),
            (Format::Bcd32, &[0x0098, 0x7654], Some(987_654.0)),
            (Format::Bcd32, &[0xFFFF, 0xFFFF], None),
            (Format::Bcd64, &[0x0000, 0x1234, 0x5678, 0x9012], Some(123_456_789_012.0)),
        ];
        for (format, words, expected) in cases {
            assert_eq!(value(&register(format, high), words), expected, "{format:?} {words:x?}");
        }
    }

    #[test]
    fn the_sign_stands_in_a_register_of_its_own() {
        let one = |bits| super::super::profile::Patterns { mask: 0x00FF, any_of: vec![bits] };
        let mut signed = register(Format::U32, WordOrder::HighFirst);
        signed.address = 8196;
        signed.sign = Some(Sign { address: 8198, positive: one(0), negative: one(1) });
        assert_eq!(signed.extent(), (8196, 3), "in one request with the amount");
        assert_eq!(read(&signed, &[0, 1_500, 0x0100]), Ok(1_500.0));
        assert_eq!(read(&signed, &[0, 1_500, 0x0101]), Ok(-1_500.0));
        assert_eq!(read(&signed, &[0, 1_500, 2]), Err(Absent::NoSign));
    }

    #[test]
    fn ratios_and_powers_of_ten_come_from_registers_of_either_table() {
        let factor = |address, effect, scale| Factor {
            register: Register { function: Function::Holding, address, scale, ..Register::default() },
            effect,
        };
        let mut term = register(Format::I16, WordOrder::HighFirst);
        term.factors = vec![
            factor(100, Effect::Multiply, 1.0),
            factor(101, Effect::Multiply, 0.1),
            factor(102, Effect::PowerOfTen, 1.0),
        ];
        let point = Point::of(vec![term]);
        let value = |ct, pt, power| {
            let words: [u16; 4] = [0xFFFB, ct, pt, power];
            explain(&point, |register| {
                let at =
                    if register.function == Function::Input { 0 } else { usize::from(register.address - 99) };
                let words: &'static [u16; 4] = Box::leak(Box::new(words));
                words.get(at..=at)
            })
        };
        assert_eq!(value(80, 1_000, 0), Ok(-40_000.0), "-5 x 80 x 100");
        assert_eq!(value(80, 10, 3), Ok(-400_000.0));
        assert_eq!(value(0, 10, 0), Err(Absent::NoScale), "a ratio that is not set");
        assert_eq!(value(80, 10, 11), Err(Absent::NoScale));
        assert_eq!(
            explain(&point, |register| (register.address == 0).then_some(&[1][..])),
            Err(Absent::NotRead)
        );
        assert_eq!(read(&point.terms[0], &[5]), Err(Absent::NotRead), "never without its factors");
    }

    #[test]
    fn a_value_counts_only_while_the_device_says_that_its_meter_is_there() {
        let status = |good, any_of: &[u64]| Condition {
            register: Register { address: 9, unavailable: vec![0xFFFF], ..Register::default() },
            patterns: super::super::profile::Patterns { mask: 0x0F, any_of: any_of.to_vec() },
            good,
        };
        let value = |condition: Condition, says: u16| {
            let point =
                Point { terms: vec![register(Format::U16, WordOrder::HighFirst)], only_if: vec![condition] };
            let says: &'static [u16] = Box::leak(Box::new([says]));
            explain(&point, |register| Some(if register.address == 9 { says } else { &[7] }))
        };
        assert_eq!(value(status(true, &[1, 2]), 0xF2), Ok(7.0));
        assert_eq!(value(status(true, &[1, 2]), 3), Err(Absent::Away));
        assert_eq!(value(status(false, &[0]), 3), Ok(7.0));
        assert_eq!(value(status(false, &[0]), 0x10), Err(Absent::Away));
        assert_eq!(value(status(true, &[1]), 0xFFFF), Ok(7.0), "it says nothing of itself");
    }

    #[test]
    fn a_sum_with_registers_at_their_ends_is_known_to_one_side() {
        let narrow =
            Register { saturated: vec![0x7FFF, 0x8000], ..register(Format::I16, WordOrder::HighFirst) };
        let sum = |scale: f64, words: [u16; 2]| {
            let term = |address| Register { address, scale, ..narrow.clone() };
            let words: &'static [u16; 2] = Box::leak(Box::new(words));
            amount(&Point::of(vec![term(0), term(1)]), |register| {
                let at = usize::from(register.address);
                words.get(at..=at)
            })
        };
        assert_eq!(sum(1.0, [100, 200]), Ok(Amount::Exactly(300.0)));
        assert_eq!(sum(1.0, [100, 0x8000]), Ok(Amount::AtMost(-32_668.0)));
        assert_eq!(sum(1.0, [100, 0x7FFF]), Ok(Amount::AtLeast(32_867.0)));
        assert_eq!(sum(-1.0, [100, 0x7FFF]), Ok(Amount::AtMost(-32_867.0)));
        assert_eq!(sum(1.0, [0x8000, 0x7FFF]), Err(Absent::Saturated), "nothing follows");
    }

    #[test]
    fn a_range_is_stretched_and_ends_at_its_ends() {
        let mut ranged = register(Format::U16, WordOrder::HighFirst);
        let ends = Ends::Known { low: -1_000.0, high: 1_000.0 };
        ranged.range = Some(RawRange { raw_low: 0.0, raw_high: 200.0, ends });
        assert_eq!(value(&ranged, &[150]), Some(500.0));
        assert_eq!(raw(&ranged, 500.0), Some(150.0));
        assert_eq!(read(&ranged, &[201]), Err(Absent::OutOfRange));
        let ends = Ends::PlusMinusFullScale(FullScale::Power);
        ranged.range = Some(RawRange { raw_low: 0.0, raw_high: 200.0, ends });
        assert_eq!(read(&ranged, &[150]), Err(Absent::OutOfRange), "the full scale is not known");
    }

    #[test]
    fn a_sentinel_is_absent_and_never_zero() {
        for (format, sentinel) in [
            (Format::I16, 0x8000_u64),
            (Format::U16, 0xFFFF),
            (Format::I32, 0x7FFF_FFFF),
            (Format::I32, 0x8000_0000),
            (Format::U64, u64::MAX),
            (Format::F32, 0x4996_B438),
        ] {
            for order in [WordOrder::HighFirst, WordOrder::LowFirst] {
                let mut register = register(format, order);
                register.unavailable = vec![sentinel];
                assert_eq!(value(&register, &words(sentinel, &register)), None, "{format:?} {sentinel:x}");
                assert!(value(&register, &words(sentinel ^ 1, &register)).is_some());
            }
        }
    }

    #[test]
    fn what_a_device_shows_while_nothing_flows_is_zero_where_the_profile_says_so() {
        for (format, rests) in
            [(Format::I16, 0x8000_u64), (Format::I32, 0x8000_0000), (Format::F32, 0x7FC0_0000)]
        {
            for order in [WordOrder::HighFirst, WordOrder::LowFirst] {
                let mut register = register(format, order);
                register.scale = -1.0;
                register.unavailable = vec![rests];
                assert_eq!(value(&register, &words(rests, &register)), None);
                register.zero = vec![rests];
                assert_eq!(value(&register, &words(rests, &register)).map(f64::abs), Some(0.0), "{format:?}");
            }
        }
        // Its power of ten is not there either.
        let scaled = Register {
            format: Format::I16,
            scale_register: Some(1),
            zero: vec![0x8000],
            unavailable: vec![0xFFFF],
            ..Register::default()
        };
        assert_eq!(value(&scaled, &[0x8000, 0x8000]), Some(0.0));
        assert_eq!(value(&scaled, &[5, 0x8000]), None);
        // What is added to every number is not added to none.
        let lifted =
            Register { offset: 45.0, zero: vec![0x8000], format: Format::I16, ..Register::default() };
        assert_eq!((value(&lifted, &[0x8000]), value(&lifted, &[5])), (Some(0.0), Some(50.0)));
    }

    #[test]
    fn a_float_that_is_not_finite_is_absent() {
        let float = register(Format::F32, WordOrder::HighFirst);
        for words in [[0x7FC0, 0], [0xFFC0, 0], [0x7F80, 0], [0xFF80, 0], [0x7F80, 1]] {
            assert_eq!(value(&float, &words), None, "{words:x?}");
        }
        let mut double = register(Format::F64, WordOrder::HighFirst);
        double.scale = 1e10;
        assert_eq!(value(&double, &words(f64::MAX.to_bits(), &double)), None, "overflow of the scale");
    }

    #[test]
    fn a_wrong_number_of_words_is_absent() {
        let register = register(Format::I32, WordOrder::HighFirst);
        for words in [&[][..], &[1], &[0, 0, 1]] {
            assert_eq!(value(&register, words), None);
        }
    }

    #[test]
    fn one_absent_term_makes_the_sum_absent() {
        let mut phase = register(Format::I16, WordOrder::HighFirst);
        phase.unavailable = vec![0x8000];
        let terms: Vec<Register> = (820..823).map(|address| Register { address, ..phase.clone() }).collect();
        let sum = Point::of(terms);
        let image = |words: [u16; 3]| {
            point(&sum, |register| {
                let words: &'static [u16; 3] = Box::leak(Box::new(words));
                words.get(usize::from(register.address - 820)..).map(|rest| &rest[..1])
            })
        };
        assert_eq!(image([100, 0xFFFF, 50]), Some(149.0));
        assert_eq!(image([100, 0x8000, 50]), None);
        assert_eq!(point(&sum, |_| None), None, "not read");
        assert_eq!(point(&Point::default(), |_| None), None, "no terms");
    }

    proptest! {
        #[test]
        fn any_words_give_a_finite_number_or_none(
            format in formats(),
            order in orders(),
            scale in any::<f64>(),
            words in proptest::collection::vec(any::<u16>(), 0..6),
        ) {
            let mut register = register(format, order);
            register.scale = scale;
            if let Some(number) = value(&register, &words) {
                prop_assert!(number.is_finite());
                prop_assert_eq!(words.len(), usize::from(format.words()));
            }
        }

        #[test]
        fn what_a_device_encodes_is_what_is_decoded(
            order in orders(), short in any::<i16>(), int in any::<i32>(), long in any::<i64>(),
            float in any::<f32>(), double in any::<f64>(),
        ) {
            let through = |format: Format, bits: u64| {
                let register = register(format, order);
                value(&register, &words(bits, &register))
            };
            prop_assert_eq!(through(Format::I16, u64::from(short.cast_unsigned())), Some(f64::from(short)));
            prop_assert_eq!(
                through(Format::U16, u64::from(short.cast_unsigned())),
                Some(f64::from(short.cast_unsigned()))
            );
            prop_assert_eq!(through(Format::I32, u64::from(int.cast_unsigned())), Some(f64::from(int)));
            prop_assert_eq!(
                through(Format::U32, u64::from(int.cast_unsigned())),
                Some(f64::from(int.cast_unsigned()))
            );
            // The nearest f64 has at most 17 significant digits; going through text rounds once, like a cast.
            let nearest: f64 = long.to_string().parse().unwrap();
            prop_assert_eq!(through(Format::I64, long.cast_unsigned()), Some(nearest));
            let nearest: f64 = long.cast_unsigned().to_string().parse().unwrap();
            prop_assert_eq!(through(Format::U64, long.cast_unsigned()), Some(nearest));
            let finite = f64::from(float).is_finite().then_some(f64::from(float));
            prop_assert_eq!(through(Format::F32, u64::from(float.to_bits())), finite);
            prop_assert_eq!(through(Format::F64, double.to_bits()), double.is_finite().then_some(double));
        }

        #[test]
        fn a_declared_sentinel_is_absent_whatever_its_bits(
            format in formats(), order in orders(), pattern in any::<u64>(),
        ) {
            let mut register = register(format, order);
            let pattern = match format.words() {
                4 => pattern,
                count => pattern & ((1 << (16 * count)) - 1),
            };
            register.unavailable = vec![pattern];
            prop_assert_eq!(value(&register, &words(pattern, &register)), None);
        }
    }
}
