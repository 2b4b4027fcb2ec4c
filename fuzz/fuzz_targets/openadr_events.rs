//! Whatever an OpenADR top node answers: no panic, and no more orders than a book holds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    assert!(ballast::signal::openadr::fuzzing::events(data));
});
