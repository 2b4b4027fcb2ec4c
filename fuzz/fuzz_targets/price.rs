//! Any answer of whoever tells a price, under any pointer: a price that was called possible, or none.
#![no_main]

use ballast::signal::price::poll::any_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &[u8], &str)| {
    let (pointer, body, date) = data;
    any_answer(pointer, body, date);
});
