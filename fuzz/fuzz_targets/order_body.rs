//! Any bytes for the bodies of orders over HTTP: what is read can be meant, and nothing panics.
#![no_main]

use ballast::web::api::fuzzing::body;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| body(data));
