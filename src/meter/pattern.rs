//! The bits of registers and the numbers that they stand for, format by format. Sentinels, scales and signs are the
//! business of [`super::decode`].

use super::profile::{ByteOrder, Format, WordOrder};

/// The raw bit pattern of a value, right-aligned, most significant register first.
pub(super) fn bits(words: &[u16], order: WordOrder, bytes: ByteOrder) -> u64 {
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
pub(super) fn low16(bits: u64) -> u16 {
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
pub(super) fn number(bits: u64, format: Format) -> f64 {
    match format {
        Format::U16 => f64::from(low16(bits)),
        Format::I16 => f64::from(low16(bits).cast_signed()),
        Format::U32 => f64::from(low32(bits)),
        Format::I32 => f64::from(low32(bits).cast_signed()),
        Format::U64 => join(f64::from(high32(bits)), low32(bits)),
        Format::I64 => join(f64::from(high32(bits).cast_signed()), low32(bits)),
        Format::F32 => f64::from(f32::from_bits(low32(bits))),
        Format::F64 => f64::from_bits(bits),
        Format::F16 => half(low16(bits)),
        Format::Sm16 => signed(bits, 15),
        Format::Sm32 => signed(bits, 31),
        Format::Bcd16 => digits(bits, 4),
        Format::Bcd32 => digits(bits, 8),
        Format::Bcd64 => digits(bits, 16),
        Format::Bool => f64::from(u8::from(bits != 0)),
    }
}

/// IEEE 754, 16 bits: a sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3FF);
    let size = match bits >> 10 & 0x1F {
        0 => fraction * 2_f64.powi(-24),
        0x1F if bits & 0x3FF == 0 => f64::INFINITY,
        0x1F => f64::NAN,
        exponent => (1_024.0 + fraction) * 2_f64.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

/// Sign and magnitude, the sign at a position.
fn signed(bits: u64, sign: u32) -> f64 {
    let size = f64::from(low32(bits & ((1 << sign) - 1)));
    if bits >> sign & 1 == 0 { size } else { -size }
}

/// So many decimal digits; NaN where there is another one.
fn digits(bits: u64, count: u32) -> f64 {
    (0..count).rev().fold(0.0, |number, place| match bits >> (4 * place) & 0xF {
        digit @ 0..=9 => number * 10.0 + f64::from(low32(digit)),
        _ => f64::NAN,
    })
}
