//! Any bytes for the answers of a miner over the cgminer API: the first says which driver, the sign 0x1e stands between two answers.
//! Every reading that comes of them is one that the control law may see, and nothing panics or waits for ever. The files
//! of `tests/fixtures` are a good corpus.
#![no_main]

use ballast::miner::fuzzing::{Wire, kinds, life};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((which, answers)) = data.split_first() else { return };
    let kinds = kinds(Wire::Cgminer);
    life(Wire::Cgminer, kinds[usize::from(*which) % kinds.len()], answers);
});
