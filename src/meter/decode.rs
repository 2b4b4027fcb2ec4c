//! From registers to numbers.
//!
//! Everything that is not a finite number is *absent*, and absence is `None`, never zero: a zero would tell
//! the control law that the power is there. Nothing here allocates or can fail in another way.

use super::profile::{ByteOrder, Ends, Format, Measure, Point, Profile, Register, WordOrder};
use crate::control::snapshot::MeterStatus;
use crate::units::{Joules, Watts};

/// The largest power of ten that a scale register may hold, either way (SunSpec `sunssf`).
const SCALE_MOST: i16 = 10;

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
    /// The scale register does not hold a power of ten from -10 to 10.
    #[error("the scale register holds no usable power of ten")]
    NoScale,
    /// The raw number is outside the range of the profile, or the full scale of the site is not known.
    #[error("the raw number is outside its range, or the full scale is not configured")]
    OutOfRange,
}

impl Absent {
    /// As the control law and the metrics see it: whether the device says that it has no value, or says something that
    /// cannot be one.
    pub const fn status(self) -> MeterStatus {
        match self {
            Self::NotRead | Self::Unavailable => MeterStatus::Unavailable,
            Self::Saturated | Self::NoScale | Self::OutOfRange => MeterStatus::Implausible,
        }
    }
}

/// The raw bit pattern of a value, right-aligned, most significant register first.
fn bits(words: &[u16], order: WordOrder, bytes: ByteOrder) -> u64 {
    let append = |bits: u64, word: &u16| {
        let word = match bytes {
            ByteOrder::HighFirst => *word,
            ByteOrder::LowFirst => word.swap_bytes(),
        };
        bits << 16 | u64::from(word)
    };
    match order {
        WordOrder::HighFirst => words.iter().fold(0, append),
        WordOrder::LowFirst => words.iter().rev().fold(0, append),
    }
}

/// The lower 16 bits.
fn low16(bits: u64) -> u16 {
    let [.., high, low] = bits.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The lower 32 bits.
fn low32(bits: u64) -> u32 {
    let [.., a, b, c, d] = bits.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The upper 32 bits.
fn high32(bits: u64) -> u32 {
    low32(bits >> 32)
}

/// A number of 64 bits from its halves. The upper half is exact and the sum is rounded once, so this is the
/// nearest `f64`, as a cast would give.
fn join(high: f64, low: u32) -> f64 {
    high * 4_294_967_296.0 + f64::from(low)
}

/// The number that a bit pattern stands for, without scale. May be NaN or infinite for the float formats.
fn number(bits: u64, format: Format) -> f64 {
    match format {
        Format::U16 => f64::from(low16(bits)),
        Format::I16 => f64::from(low16(bits).cast_signed()),
        Format::U32 => f64::from(low32(bits)),
        Format::I32 => f64::from(low32(bits).cast_signed()),
        Format::U64 => join(f64::from(high32(bits)), low32(bits)),
        Format::I64 => join(f64::from(high32(bits).cast_signed()), low32(bits)),
        Format::F32 => f64::from(f32::from_bits(low32(bits))),
        Format::F64 => f64::from_bits(bits),
        Format::Bool => f64::from(u8::from(bits != 0)),
    }
}

/// The scaled value of a register out of its words, in the order of the wire.
///
/// `words` are those of [`Register::extent`]: the value's own, and up to the scale register where there is one.
///
/// # Errors
/// [`Absent`] when the device says that it has no value (a sentinel, NaN, infinity), when the register is
/// saturated, when the scaled number is not finite, and when the number of words is not that of the extent.
pub fn read(register: &Register, words: &[u16]) -> Result<f64, Absent> {
    let (start, count) = register.extent();
    if words.len() != usize::from(count) {
        return Err(Absent::NotRead);
    }
    let at = usize::from(register.address - start);
    let own = words.get(at..at + usize::from(register.format.words())).ok_or(Absent::NotRead)?;
    let bits = bits(own, register.word_order, register.byte_order);
    if register.unavailable.contains(&bits) {
        return Err(Absent::Unavailable);
    }
    if register.saturated.contains(&bits) {
        return Err(Absent::Saturated);
    }
    let mut number = number(bits, register.format);
    if !number.is_finite() {
        return Err(Absent::Unavailable);
    }
    if let Some(scale) = register.scale_register {
        let word = words.get(usize::from(scale - start)).ok_or(Absent::NotRead)?;
        number = power_of_ten(number, *word)?;
    }
    scaled(register, number)
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

/// Multiplies by the power of ten in a scale register. Division where it is negative: 10^-1 is no binary fraction.
fn power_of_ten(number: f64, word: u16) -> Result<f64, Absent> {
    let exponent = word.cast_signed();
    if !(-SCALE_MOST..=SCALE_MOST).contains(&exponent) {
        return Err(Absent::NoScale);
    }
    let factor = 10_f64.powi(i32::from(exponent.abs()));
    Ok(if exponent < 0 { number / factor } else { number * factor })
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
    if point.terms.is_empty() {
        return Err(Absent::NotRead);
    }
    let total = point.terms.iter().try_fold(0.0, |total, register| {
        Ok::<f64, Absent>(total + read(register, words(register).ok_or(Absent::NotRead)?)?)
    })?;
    if total.is_finite() { Ok(total) } else { Err(Absent::Unavailable) }
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

    use super::super::profile::{FullScale, Function, RawRange};
    use super::*;

    fn register(format: Format, word_order: WordOrder) -> Register {
        Register { function: Function::Input, address: 0, format, word_order, ..Register::default() }
    }

    /// The words of a right-aligned bit pattern, as a device sends them.
    fn words(bits: u64, register: &Register) -> Vec<u16> {
        let count = usize::from(register.format.words());
        let mut words: Vec<u16> = (0..count).rev().map(|index| low16(bits >> (16 * index))).collect();
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
        let sum = Point { terms: vec![narrow.clone(), narrow] };
        assert_eq!(explain(&sum, |_| Some(&[0x7FFF])), Err(Absent::Saturated));
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
        let sum = Point { terms };
        let image = |words: [u16; 3]| {
            point(&sum, |register| {
                let words: &'static [u16; 3] = Box::leak(Box::new(words));
                words.get(usize::from(register.address - 820)..).map(|rest| &rest[..1])
            })
        };
        assert_eq!(image([100, 0xFFFF, 50]), Some(149.0));
        assert_eq!(image([100, 0x8000, 50]), None);
        assert_eq!(point(&sum, |_| None), None, "not read");
        assert_eq!(point(&Point { terms: Vec::new() }, |_| None), None, "no terms");
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
