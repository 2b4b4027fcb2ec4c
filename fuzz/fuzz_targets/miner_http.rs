//! Any bytes as the body of an answer over HTTP, through the readers of every driver alone: no runtime, no driver, nothing
//! waits. Every reading that comes of them is one that the control law may see. The files of `tests/fixtures` are the first
//! corpus, `fuzz/dictionaries/miner.dict` has the vendors' words (see `fuzz/README.md`).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| ballast::miner::fuzzing::http_parsers(data));
