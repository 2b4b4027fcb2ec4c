//! Any bytes from a client of our Modbus server: frames, registers and answers hold what they promise, and nothing
//! panics.
#![no_main]

use ballast::signal::server::fuzzing::session;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    session(data);
    // A head that is right leads further in than chance does.
    let mut bytes = Vec::new();
    for body in data.chunks(14) {
        let length = u8::try_from(body.len() + 1).unwrap_or(1);
        bytes.extend([0, 1, 0, 0, 0, length, 1]);
        bytes.extend(body);
    }
    session(&bytes);
});
