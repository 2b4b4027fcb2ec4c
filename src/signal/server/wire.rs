//! Requests of Modbus TCP out of bytes, and answers into bytes.
//!
//! Frame: "MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 3.1.3. Functions: "MODBUS Application Protocol
//! Specification V1.1b3", 6.3 (read holding registers), 6.4 (read input registers), 6.6 (write single register), 6.12
//! (write multiple registers).

use super::map::Exception;

/// Length of the header, the unit included.
pub(super) const HEADER: usize = 7;
/// Largest body behind the header, in bytes.
const LARGEST: u16 = 253;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    transaction: u16,
    unit: u8,
    /// How many bytes follow.
    pub length: usize,
}

impl Head {
    /// Reads it; `None` for what is not Modbus: then the connection has no future.
    pub fn read(bytes: [u8; HEADER]) -> Option<Self> {
        let [t0, t1, p0, p1, l0, l1, unit] = bytes;
        let length = u16::from_be_bytes([l0, l1]).checked_sub(1)?;
        let sound = (p0, p1) == (0, 0) && (1..=LARGEST).contains(&length);
        sound.then_some(Self { transaction: u16::from_be_bytes([t0, t1]), unit, length: usize::from(length) })
    }

    /// A whole frame in answer, to a request whose function code was this.
    pub fn answer(self, function: u8, answer: &Result<Vec<u8>, Exception>) -> Vec<u8> {
        let refusal;
        let (code, body): (u8, &[u8]) = match answer {
            Ok(body) => (function, body),
            Err(exception) => {
                refusal = [code(*exception)];
                (function | 0x80, &refusal)
            }
        };
        let length = u16::try_from(body.len()).unwrap_or(LARGEST).saturating_add(2);
        let mut frame = Vec::with_capacity(HEADER + 1 + body.len());
        frame.extend(self.transaction.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([self.unit, code]);
        frame.extend(body);
        frame
    }
}

const fn code(exception: Exception) -> u8 {
    match exception {
        Exception::Function => 1,
        Exception::Address => 2,
        Exception::Value => 3,
        Exception::Busy => 6,
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Registers from an address on.
    Read {
        /// The first.
        start: u16,
        /// How many, by its own word.
        count: u16,
    },
    /// Words into registers from an address on.
    Write {
        /// The first.
        start: u16,
        /// At least one, at most 123.
        words: Vec<u16>,
        /// What the answer repeats of the request.
        echo: [u8; 4],
    },
}

impl Request {
    /// Reads what follows the header.
    ///
    /// # Errors
    /// [`Exception::Function`] for a function that is not served, [`Exception::Value`] for what is not whole.
    pub fn read(function: u8, body: &[u8]) -> Result<Self, Exception> {
        match (function, body) {
            (3 | 4, [s0, s1, c0, c1]) => Ok(Self::Read {
                start: u16::from_be_bytes([*s0, *s1]),
                count: u16::from_be_bytes([*c0, *c1]),
            }),
            (6, [s0, s1, v0, v1]) => Ok(Self::Write {
                start: u16::from_be_bytes([*s0, *s1]),
                words: vec![u16::from_be_bytes([*v0, *v1])],
                echo: [*s0, *s1, *v0, *v1],
            }),
            (16, [s0, s1, c0, c1, length, words @ ..]) => {
                let count = u16::from_be_bytes([*c0, *c1]);
                let agree = usize::from(*length) == words.len() && usize::from(count) * 2 == words.len();
                if !agree || !(1..=123).contains(&count) {
                    return Err(Exception::Value);
                }
                let (pairs, _) = words.as_chunks::<2>();
                Ok(Self::Write {
                    start: u16::from_be_bytes([*s0, *s1]),
                    words: pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect(),
                    echo: [*s0, *s1, *c0, *c1],
                })
            }
            (3 | 4 | 6 | 16, _) => Err(Exception::Value),
            _ => Err(Exception::Function),
        }
    }
}

/// The body of the answer to a read.
pub fn words(words: &[u16]) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 + words.len() * 2);
    body.push(u8::try_from(words.len() * 2).unwrap_or(u8::MAX));
    body.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_specification_are_read() {
        // 6.12: two registers from 1 on, 10 and 258.
        let body = [0, 1, 0, 2, 4, 0, 0x0A, 1, 2];
        let request = Request::read(16, &body);
        assert_eq!(request, Ok(Request::Write { start: 1, words: vec![10, 258], echo: [0, 1, 0, 2] }));
        // 6.3: three registers from 107 on.
        assert_eq!(Request::read(3, &[0, 0x6B, 0, 3]), Ok(Request::Read { start: 107, count: 3 }));
        // 6.6: 3 into the second register.
        let request = Request::read(6, &[0, 1, 0, 3]);
        assert_eq!(request, Ok(Request::Write { start: 1, words: vec![3], echo: [0, 1, 0, 3] }));
    }

    #[test]
    fn what_is_not_whole_is_no_write() {
        for body in [
            &[0, 1, 0, 2, 4, 0, 10, 1][..],
            &[0, 1, 0, 2, 4, 0, 10, 1, 2, 3],
            &[0, 1, 0, 1, 4, 0, 10, 1, 2],
            &[0, 1, 0, 2, 2, 0, 10, 1, 2],
            &[0, 1, 0, 0, 0],
            &[0, 1],
            &[],
        ] {
            assert_eq!(Request::read(16, body), Err(Exception::Value), "{body:?}");
        }
        assert_eq!(Request::read(6, &[0, 1, 0]), Err(Exception::Value));
        assert_eq!(Request::read(5, &[0, 1, 0, 0]), Err(Exception::Function));
        assert_eq!(Request::read(0x83, &[]), Err(Exception::Function));
    }

    #[test]
    fn a_frame_that_is_no_modbus_ends_the_connection() {
        assert!(Head::read([0, 1, 0, 0, 0, 6, 1]).is_some());
        assert_eq!(Head::read([0, 1, 0, 1, 0, 6, 1]), None, "another protocol");
        assert_eq!(Head::read([0, 1, 0, 0, 0, 1, 1]), None, "no function");
        assert_eq!(Head::read([0, 1, 0, 0, 0, 0, 1]), None);
        assert_eq!(Head::read([0, 1, 0, 0, 0, 255, 1]), None, "longer than a frame can be");
        assert_eq!(Head::read(*b"GET / H"), None);
    }

    #[test]
    fn an_answer_repeats_transaction_and_unit() {
        let head = Head::read([0x12, 0x34, 0, 0, 0, 6, 9]).unwrap();
        assert_eq!(head.answer(3, &Ok(words(&[0xABCD]))), [0x12, 0x34, 0, 0, 0, 5, 9, 3, 2, 0xAB, 0xCD]);
        assert_eq!(head.answer(6, &Err(Exception::Value)), [0x12, 0x34, 0, 0, 0, 3, 9, 0x86, 3]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::super::fuzzing::session(&bytes);
        }

        #[test]
        fn any_writes_leave_a_state_that_can_be_read(
            writes in proptest::collection::vec((0..6_u16, proptest::collection::vec(0..4_u16, 1..6), any::<bool>()), 0..40),
        ) {
            let mut bytes = Vec::new();
            for (start, words, single) in writes {
                let mut body = start.to_be_bytes().to_vec();
                let function = if single {
                    body.extend(words[0].to_be_bytes());
                    6
                } else {
                    body.extend(u16::try_from(words.len()).unwrap().to_be_bytes());
                    body.push(u8::try_from(words.len() * 2).unwrap());
                    body.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                    16
                };
                bytes.extend([0, 1, 0, 0, 0, u8::try_from(body.len() + 2).unwrap(), 1, function]);
                bytes.extend(body);
            }
            super::super::fuzzing::session(&bytes);
        }
    }
}
