//! Any words through any register: a finite number or none, and as many words as the extent says; and the same with factors,
//! a status and a second register at its end.
#![no_main]

use ballast::meter::decode::{self, Amount};
use ballast::meter::profile::{
    ByteOrder, Condition, Effect, Ends, Factor, Format, Patterns, Point, RawRange, Register, Sign, WordOrder,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_at_checked(32) else { return };
    let number = |at: usize| f64::from_bits(u64::from_be_bytes(std::array::from_fn(|i| head[at + i])));
    let (format, flags) = (Format::NAMES[usize::from(head[0]) % Format::NAMES.len()].1, head[1]);
    let register = Register {
        address: u16::from_be_bytes([head[2], head[3]]),
        format,
        word_order: if flags & 1 == 0 { WordOrder::HighFirst } else { WordOrder::LowFirst },
        byte_order: if flags & 2 == 0 { ByteOrder::HighFirst } else { ByteOrder::LowFirst },
        scale: number(8),
        offset: number(16),
        scale_register: (flags & 4 != 0).then_some(u16::from_be_bytes([head[4], head[5]])),
        range: (flags & 8 != 0).then_some(RawRange {
            raw_low: 0.0,
            raw_high: number(24),
            ends: Ends::Known { low: number(16), high: number(8) },
        }),
        sign: (flags & 16 != 0).then(|| Sign {
            address: u16::from_be_bytes([head[7], head[6]]),
            positive: Patterns { mask: 1, any_of: vec![0] },
            negative: Patterns { mask: 3, any_of: vec![1, 2] },
        }),
        unavailable: vec![0],
        saturated: vec![u64::from(head[6])],
        ..Register::default()
    };
    let words: Vec<u16> = rest.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    if let Ok(value) = decode::read(&register, &words) {
        assert!(value.is_finite());
        assert_eq!(words.len(), usize::from(register.extent().1));
    }
    let beside = |address, format| Register { address, format, scale: number(8), ..Register::default() };
    let effect = if flags & 32 != 0 { Effect::Multiply } else { Effect::PowerOfTen };
    let status = Condition {
        register: beside(1, Format::U16),
        patterns: Patterns { mask: u64::from(head[4]), any_of: vec![u64::from(head[5])] },
        good: flags & 64 != 0,
    };
    let factors = vec![Factor { register: beside(2, format), effect }];
    let point =
        Point { terms: vec![Register { factors, ..register.clone() }, register], only_if: vec![status] };
    let amount = decode::amount(&point, |register| words.get(..usize::from(register.extent().1)));
    if let Ok(Amount::Exactly(value) | Amount::AtMost(value) | Amount::AtLeast(value)) = amount {
        assert!(value.is_finite());
    }
});
