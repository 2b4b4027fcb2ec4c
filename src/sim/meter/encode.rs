//! From a power to the registers in which a meter shows it: the inverse of what the meter reader does.

use crate::meter::decode;
use crate::meter::profile::{ByteOrder, Effect, Format, Function, Point, Register, WordOrder};

/// A register with its word.
pub type Word = ((Function, u16), u16);

/// The registers that show a number (in watts, sign already as the meter shows it).
///
/// A point is a sum of terms. Terms with a positive scale share a positive number equally, terms with a negative
/// scale take a negative number; where all have the same sign they share both. Rounding and saturation of one
/// term are made good by those that follow. A number that a register cannot hold saturates.
pub fn value(point: &Point, number: f64) -> Vec<Word> {
    let terms = split(point, number).into_iter();
    let signs = terms.clone().filter_map(|(term, raw)| sign(term, raw));
    let words = terms.flat_map(|(term, raw)| {
        spread(term, bits(term.format, if term.sign.is_some() { raw.abs() } else { raw }))
    });
    words.chain(signs).chain(constants(point)).collect()
}

/// The register with the sign.
fn sign(term: &Register, raw: f64) -> Option<Word> {
    let sign = term.sign.as_ref()?;
    let patterns = if raw < 0.0 { &sign.negative } else { &sign.positive };
    let word = u16::try_from(*patterns.any_of.first()?).ok()?;
    Some(((term.function, sign.address), word))
}

/// What stands beside the values for good: factors that change nothing, and a status of good measurement.
fn constants(point: &Point) -> Vec<Word> {
    let factors = point.terms.iter().flat_map(|term| &term.factors).flat_map(|factor| {
        let neutral = if factor.effect == Effect::PowerOfTen { 0.0 } else { 1.0 };
        let register = &factor.register;
        spread(register, bits(register.format, decode::raw(register, neutral).unwrap_or(0.0)))
    });
    let status = point.only_if.iter().flat_map(|condition| {
        let patterns = &condition.patterns;
        let good = |bits: &u64| patterns.hold(*bits) == condition.good;
        let pattern = patterns.any_of.iter().copied().chain(0..=16).find(good).unwrap_or(0);
        spread(&condition.register, pattern)
    });
    factors.chain(status).collect()
}

/// What a number becomes in these registers: rounded, and saturated.
pub fn held(point: &Point, number: f64) -> f64 {
    split(point, number).into_iter().map(|(term, raw)| decode::scaled(term, raw).unwrap_or(0.0)).sum()
}

/// The raw number of each term.
fn split(point: &Point, number: f64) -> Vec<(&Register, f64)> {
    let both = point.terms.iter().any(|t| t.scale > 0.0) && point.terms.iter().any(|t| t.scale < 0.0);
    let takes = |term: &Register| !both || (term.scale > 0.0) == (number >= 0.0);
    let mut left = number;
    let mut sharing = point.terms.iter().filter(|term| takes(term)).count();
    let mut split = Vec::with_capacity(point.terms.len());
    for term in &point.terms {
        let raw = if takes(term) && sharing > 0 {
            let share = left / count(sharing);
            sharing -= 1;
            fitting(term, decode::raw(term, share).unwrap_or(0.0))
        } else {
            0.0
        };
        left -= decode::scaled(term, raw).unwrap_or(0.0);
        split.push((term, raw));
    }
    split
}

/// The bits of a group of contacts, the first lowest.
pub fn contacts(point: &Point, bits: u32) -> Vec<Word> {
    let bit = |at: u32| u16::from(bits.checked_shr(at).unwrap_or(0) & 1 == 1);
    point.terms.iter().zip(0..).map(|(term, at)| ((term.function, term.address), bit(at))).collect()
}

/// The registers that say "no value": the profile's pattern, or NaN where the format has one. `None` where the
/// point has neither.
pub fn unavailable(point: &Point) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    for term in &point.terms {
        let pattern = match (term.unavailable.first(), term.format) {
            (Some(pattern), _) => *pattern,
            (None, Format::F32) => u64::from(f32::NAN.to_bits()),
            (None, Format::F64) => f64::NAN.to_bits(),
            (None, Format::F16) => 0x7E00,
            (None, Format::Bcd16 | Format::Bcd32 | Format::Bcd64) => 0xFFFF,
            (None, _) => return None,
        };
        words.extend(spread(term, pattern));
        words.extend(sign(term, 0.0));
    }
    words.extend(constants(point));
    Some(words)
}

/// Every register that a point uses. A scale register, and what lies before it, stays at zero: the power of ten
/// that changes nothing.
pub fn registers(point: &Point) -> impl Iterator<Item = (Function, u16)> + '_ {
    point.registers().flat_map(|term| {
        let (start, count) = term.extent();
        (0..count).filter_map(move |offset| Some((term.function, start.checked_add(offset)?)))
    })
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

/// The raw number that the register will hold: rounded, saturated, and one step aside of a pattern that would
/// mean "no value".
fn fitting(term: &Register, raw: f64) -> f64 {
    if term.sign.is_some() && raw < 0.0 {
        return -fitting(term, -raw);
    }
    let (low, high) = match term.format {
        Format::U16 => (0.0, f64::from(u16::MAX)),
        Format::I16 => (f64::from(i16::MIN), f64::from(i16::MAX)),
        Format::U32 => (0.0, f64::from(u32::MAX)),
        Format::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        // Powers of two, so that they are exact; the casts below saturate.
        Format::U64 => (0.0, 18_446_744_073_709_551_616.0),
        Format::I64 => (-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_808.0),
        Format::F32 => return f64::from(single(raw)),
        Format::F64 => return raw,
        Format::F16 => return decode::value(&plain(term), &[half(raw)]).unwrap_or(0.0),
        Format::Sm16 => (-32_767.0, 32_767.0),
        Format::Sm32 => (-2_147_483_647.0, 2_147_483_647.0),
        Format::Bcd16 => (0.0, 9_999.0),
        Format::Bcd32 => (0.0, 99_999_999.0),
        // More digits than a float has.
        Format::Bcd64 => (0.0, 999_999_999_999_999.0),
        Format::Bool => (0.0, 1.0),
    };
    let rounded = if raw.is_nan() { 0.0 } else { raw.round().clamp(low, high) };
    let pattern = bits(term.format, rounded);
    if term.unavailable.contains(&pattern) {
        let towards_zero = if rounded > 0.0 { rounded - 1.0 } else { rounded + 1.0 };
        return towards_zero.clamp(low, high);
    }
    rounded
}

/// The same format and nothing else to it, as one word.
fn plain(term: &Register) -> Register {
    Register { format: term.format, ..Register::default() }
}

/// The nearest number of 16 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers are within 16 bits, and `as` saturates"
)]
fn half(number: f64) -> u16 {
    let size = number.abs().min(65_504.0);
    let mut exponent = -14.0_f64;
    while exponent < 15.0 && size >= 2_f64.powf(exponent + 1.0) {
        exponent += 1.0;
    }
    // One more bit than the fraction has is the leading one, which the exponent stands for.
    let fraction = (size / 2_f64.powf(exponent - 10.0)).round();
    let bits = ((exponent + 14.0) * 1_024.0 + fraction) as u16;
    if number < 0.0 { bits | 0x8000 } else { bits }
}

#[expect(clippy::cast_possible_truncation, reason = "a float register holds what fits into it")]
fn single(number: f64) -> f32 {
    number as f32
}

/// The bit pattern of a number in a format, right-aligned.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` from float to integer saturates, which is what a register does"
)]
fn bits(format: Format, number: f64) -> u64 {
    match format {
        Format::U16 => u64::from(number as u16),
        Format::I16 => u64::from(u16::from_be_bytes((number as i16).to_be_bytes())),
        Format::U32 => u64::from(number as u32),
        Format::I32 => u64::from(u32::from_be_bytes((number as i32).to_be_bytes())),
        Format::U64 => number as u64,
        Format::I64 => u64::from_be_bytes((number as i64).to_be_bytes()),
        Format::F32 => u64::from(single(number).to_bits()),
        Format::F64 => number.to_bits(),
        Format::F16 => u64::from(half(number)),
        Format::Sm16 => number.abs() as u64 | u64::from(number < 0.0) << 15,
        Format::Sm32 => number.abs() as u64 | u64::from(number < 0.0) << 31,
        Format::Bcd16 | Format::Bcd32 | Format::Bcd64 => digits(number as u64),
        Format::Bool => u64::from(number >= 0.5),
    }
}

/// The decimal digits of a number, four bits each.
fn digits(mut number: u64) -> u64 {
    let mut bits = 0;
    for place in 0..16 {
        bits |= (number % 10) << (4 * place);
        number /= 10;
    }
    bits
}

/// Cuts a bit pattern into words and gives each its register. Registers past the last address are left out.
fn spread(term: &Register, pattern: u64) -> Vec<Word> {
    let [a, b, c, d, e, f, g, h] = pattern.to_be_bytes();
    let words = [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes);
    let length = usize::from(term.format.words());
    let mut used: Vec<u16> = words.into_iter().skip(words.len().saturating_sub(length)).collect();
    if term.word_order == WordOrder::LowFirst {
        used.reverse();
    }
    if term.byte_order == ByteOrder::LowFirst {
        used.iter_mut().for_each(|word| *word = word.swap_bytes());
    }
    (0..term.format.words())
        .zip(used)
        .filter_map(|(offset, word)| Some(((term.function, term.address.checked_add(offset)?), word)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(format: Format, word_order: WordOrder, scale: f64) -> Register {
        Register { function: Function::Input, address: 100, format, word_order, scale, ..Register::default() }
    }

    fn shown(term: Register, number: f64) -> Vec<u16> {
        value(&Point::of(vec![term]), number).into_iter().map(|(_, word)| word).collect()
    }

    #[test]
    fn every_format_holds_what_its_name_says() {
        use Format::*;
        use WordOrder::*;
        for (format, number, words) in [
            (U16, 4_711.0, vec![4_711]),
            (I16, -2.0, vec![0xFFFE]),
            (U32, 65_538.0, vec![1, 2]),
            (I32, -65_538.0, vec![0xFFFE, 0xFFFE]),
            (U64, 65_538.0, vec![0, 0, 1, 2]),
            (I64, -1.0, vec![0xFFFF; 4]),
            (F32, 1.5, vec![0x3FC0, 0]),
            (F64, -2.0, vec![0xC000, 0, 0, 0]),
        ] {
            assert_eq!(shown(term(format, HighFirst, 1.0), number), words, "{format:?}");
            let mut reversed = words;
            reversed.reverse();
            assert_eq!(shown(term(format, LowFirst, 1.0), number), reversed, "{format:?}");
        }
    }

    #[test]
    fn what_stands_beside_a_value_is_shown_with_it() {
        use crate::meter::decode::explain;
        use crate::meter::profile::{Condition, Factor, Patterns, Sign};
        let pattern = |bits| Patterns { mask: 0xFFFF, any_of: vec![bits] };
        let factor = |address, effect, scale| Factor {
            register: Register { address, scale, ..Register::default() },
            effect,
        };
        for format in [Format::U16, Format::Bcd32, Format::F16, Format::F32] {
            let mut point = Point::of(vec![term(format, WordOrder::HighFirst, 2.0)]);
            point.terms[0].sign = Some(Sign { address: 104, positive: pattern(7), negative: pattern(8) });
            point.terms[0].factors =
                vec![factor(7, Effect::Multiply, 0.1), factor(8, Effect::PowerOfTen, 1.0)];
            let register = Register { address: 9, ..Register::default() };
            point.only_if = vec![Condition { register, patterns: pattern(0), good: false }];
            for number in [-1_024.0, 0.0, 66.0] {
                let words = value(&point, number);
                let word = |place: (Function, u16)| {
                    words.iter().find(|(at, _)| *at == place).map_or(0, |(_, word)| *word)
                };
                let read = explain(&point, |register| {
                    let (address, count) = register.extent();
                    let words: Vec<u16> = (address..address + count)
                        .map(|address| word((register.function, address)))
                        .collect();
                    Some(Box::leak(words.into_boxed_slice()))
                });
                assert_eq!(read, Ok(number), "{format:?}: {words:?}");
            }
            assert_eq!(registers(&point).count(), usize::from(point.terms[0].extent().1) + 3);
        }
    }

    #[test]
    fn scales_and_signs_are_undone() {
        assert_eq!(shown(term(Format::I32, WordOrder::HighFirst, 0.1), 12.3), vec![0, 123]);
        assert_eq!(shown(term(Format::I32, WordOrder::HighFirst, -1.0), 5.0), vec![0xFFFF, 0xFFFB]);
        assert_eq!(shown(term(Format::I16, WordOrder::HighFirst, 10.0), 1_234.0), vec![123]);
    }

    #[test]
    fn what_does_not_fit_saturates_and_never_looks_like_no_value() {
        let mut narrow = term(Format::I16, WordOrder::HighFirst, 1.0);
        assert_eq!(shown(narrow.clone(), 1e6), vec![0x7FFF]);
        assert_eq!(shown(narrow.clone(), -1e6), vec![0x8000]);
        narrow.unavailable = vec![0x7FFF, 0x8000];
        assert_eq!(shown(narrow.clone(), 1e6), vec![0x7FFE]);
        assert_eq!(shown(narrow, -1e6), vec![0x8001]);
        assert_eq!(shown(term(Format::U16, WordOrder::HighFirst, 1.0), -5.0), vec![0]);
    }

    #[test]
    fn phases_share_a_sum_and_lose_nothing_to_rounding() {
        let phase = |address| Register { address, ..term(Format::I16, WordOrder::HighFirst, 1.0) };
        let point = Point::of(vec![phase(820), phase(821), phase(822)]);
        let words: Vec<_> = value(&point, 1_000.0).into_iter().map(|(_, w)| w).collect();
        assert_eq!(words.iter().map(|w| i32::from(*w)).sum::<i32>(), 1_000);
    }

    #[test]
    fn import_and_export_registers_take_one_sign_each() {
        let mut export = term(Format::U32, WordOrder::HighFirst, -1.0);
        export.address = 200;
        let point = Point::of(vec![term(Format::U32, WordOrder::HighFirst, 1.0), export]);
        let words = |number| value(&point, number).into_iter().map(|(_, w)| w).collect::<Vec<_>>();
        assert_eq!(words(500.0), vec![0, 500, 0, 0]);
        assert_eq!(words(-500.0), vec![0, 0, 0, 500]);
    }

    #[test]
    fn no_value_is_the_profiles_pattern_or_nan() {
        let mut point = Point::of(vec![term(Format::I32, WordOrder::LowFirst, 1.0)]);
        assert_eq!(unavailable(&point), None);
        point.terms[0].unavailable = vec![0x8000_0001];
        let words: Vec<_> = unavailable(&point).unwrap().into_iter().map(|(_, w)| w).collect();
        assert_eq!(words, vec![1, 0x8000]);
        point.terms[0] = term(Format::F32, WordOrder::HighFirst, 1.0);
        let words: Vec<_> = unavailable(&point).unwrap().into_iter().map(|(_, w)| w).collect();
        assert!(f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1])).is_nan());
    }
}
