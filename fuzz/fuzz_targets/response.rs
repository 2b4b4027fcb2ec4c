//! Any bytes for an answer, over TCP and on a serial line: what becomes words has the frame of the answer to what was
//! asked, and nothing panics or waits for ever.
#![no_main]

use ballast::meter::fuzzing::{ASKED, answer};
use ballast::meter::rtu::crc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else { return };
    let mut bytes = rest.to_vec();
    // A head and a check that are right lead further in than chance does.
    if how & 2 != 0 {
        let head: &[u8] = if how & 1 == 0 { &[0, 0, 0, 0, 0, 7, 1, 4, 4] } else { &[1, 4, 4] };
        bytes.splice(..0, head.iter().copied());
    }
    if how & 5 == 5 {
        bytes.extend(crc(&bytes).to_le_bytes());
    }
    let serial = how & 1 != 0;
    let Some(words) = answer(serial, &bytes) else { return };
    let pdu = if serial {
        let length = 5 + 2 * words.len();
        assert_eq!(bytes[0], 1, "the unit that was asked");
        assert_eq!(crc(&bytes[..length]), 0, "a sound frame");
        assert_eq!(words.len(), usize::from(ASKED));
        &bytes[1..length - 2]
    } else {
        assert_eq!(bytes[..4], [0; 4], "transaction and protocol");
        assert_eq!(bytes[6], 1, "the unit that was asked");
        let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        &bytes[7..6 + length]
    };
    assert_eq!(pdu[0], 4, "the function that was asked");
    let sent: Vec<u16> = pdu[2..]
        .chunks_exact(2)
        .map(|word| u16::from_be_bytes([word[0], word[1]]))
        .take(words.len())
        .collect();
    assert_eq!(words, sent, "as they came");
});
