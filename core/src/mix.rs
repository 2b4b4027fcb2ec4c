//! Mixing bits, for what must look random and be the same every time.

/// Two's power of 64 over the golden ratio: a step that visits every number before it comes back.
pub const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Mixes bits until neighbours have nothing in common. It is the output function of `SplitMix64` (Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", 2014); of 0 it makes 0.
pub const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The first number that `SplitMix64` draws from a seed: any key, 0 too, is spread over all bits.
pub const fn spread(key: u64) -> u64 {
    mix(key.wrapping_add(GOLDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of SplitMix64 with the seed 1234567, as the generator's users publish them.
    #[test]
    fn it_is_the_output_of_splitmix64() {
        let drawn = |index: u64| mix(1_234_567_u64.wrapping_add(GOLDEN.wrapping_mul(index)));
        assert_eq!(
            [1, 2, 3].map(drawn),
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
