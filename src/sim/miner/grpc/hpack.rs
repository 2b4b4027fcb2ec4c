//! Header compression of HTTP/2 (RFC 7541), for a server that reads two headers and writes few.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Entries of the static table (appendix A).
const STATIC: usize = 61;
/// The bound that clients keep until they are told another one (RFC 9113, 6.5.2).
const TABLE_BYTES: usize = 4_096;
/// Largest text of a header.
const TEXT_MAX: usize = 4_096;
/// Headers of one call.
const HEADERS_MAX: usize = 64;

/// The headers that a server of a miner needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    Path,
    Authorization,
    Other,
}

/// The texts of a call's known headers.
pub(super) type Headers = BTreeMap<Known, String>;

/// What the client has indexed. It is told to index nothing, but may have begun before it hears of that; of these few
/// entries none is ever dropped to make room, so their names need not be kept at full length.
#[derive(Default)]
pub(super) struct Table {
    /// The newest last.
    entries: Vec<(Known, Vec<u8>)>,
    bytes: usize,
}

impl Table {
    /// Reads a whole block; `None` for one that cannot be read.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Option<Headers> {
        let mut headers = Headers::new();
        for _ in 0..HEADERS_MAX {
            let Some(first) = block.first().copied() else { return Some(headers) };
            let (name, text) = match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    self.entry(index)?
                }
                0x40.. => {
                    let (name, text) = self.literal(&mut block, 6)?;
                    self.bytes += text.len() + 64;
                    if self.bytes > TABLE_BYTES {
                        return None;
                    }
                    self.entries.push((name, text.clone()));
                    (name, text)
                }
                0x20.. => {
                    // A new size of the table. Only none at all is asked for.
                    if integer(&mut block, 5)? == 0 {
                        *self = Self::default();
                    }
                    continue;
                }
                _ => self.literal(&mut block, 4)?,
            };
            if name != Known::Other {
                headers.insert(name, String::from_utf8(text).ok()?);
            }
        }
        None
    }

    fn literal(&self, block: &mut &[u8], bits: u32) -> Option<(Known, Vec<u8>)> {
        let index = integer(block, bits)?;
        let name = if index == 0 { known(&text(block)?) } else { self.entry(index)?.0 };
        Some((name, text(block)?))
    }

    fn entry(&self, index: usize) -> Option<(Known, Vec<u8>)> {
        match index {
            0 => None,
            4 => Some((Known::Path, b"/".to_vec())),
            5 => Some((Known::Path, b"/index.html".to_vec())),
            23 => Some((Known::Authorization, Vec::new())),
            1..=STATIC => Some((Known::Other, Vec::new())),
            _ => {
                let place = self.entries.len().checked_sub(index - STATIC)?;
                self.entries.get(place).cloned()
            }
        }
    }
}

fn known(name: &[u8]) -> Known {
    match name {
        b":path" => Known::Path,
        b"authorization" => Known::Authorization,
        _ => Known::Other,
    }
}

/// An integer with a prefix of so many bits (5.1), taken off the block.
fn integer(block: &mut &[u8], bits: u32) -> Option<usize> {
    let (first, mut rest) = block.split_first()?;
    let full = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & full;
    if value == full {
        for place in 0..4_u32 {
            let (byte, tail) = rest.split_first()?;
            rest = tail;
            value += usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                break;
            }
            if place == 3 {
                return None;
            }
        }
    }
    *block = rest;
    Some(value)
}

/// A text (5.2), taken off the block.
fn text(block: &mut &[u8]) -> Option<Vec<u8>> {
    let coded = block.first()? & 0x80 != 0;
    let length = integer(block, 7).filter(|length| *length <= TEXT_MAX)?;
    let (bytes, rest) = block.split_at_checked(length)?;
    *block = rest;
    if coded { unpacked(bytes) } else { Some(bytes.to_vec()) }
}

/// The bits of each byte in the code of appendix B. The code is canonical: codes of the same length follow each other in
/// the order of their bytes, and the first of a length follows the last of the one before. The end mark has 30 bits.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];

/// Code and length of each byte, made from the lengths.
fn codes() -> &'static BTreeMap<(u8, u32), u8> {
    static CODES: OnceLock<BTreeMap<(u8, u32), u8>> = OnceLock::new();
    CODES.get_or_init(|| {
        let mut order: Vec<(u8, u8)> = LENGTHS.into_iter().zip(0..=u8::MAX).collect();
        order.sort_unstable();
        let (mut next, mut before) = (0_u32, 0_u8);
        let code = |(length, byte): (u8, u8)| {
            next <<= length - before;
            before = length;
            let code = ((length, next), byte);
            next += 1;
            code
        };
        order.into_iter().map(code).collect()
    })
}

fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut code, mut length) = (Vec::new(), 0_u32, 0_u8);
    for byte in bytes {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            if let Some(byte) = codes().get(&(length, code)) {
                out.push(*byte);
                (code, length) = (0, 0);
            } else if length >= 30 {
                return None;
            }
        }
    }
    // The rest is the beginning of the end mark: ones, and fewer than eight.
    (length < 8 && code == (1 << length) - 1).then_some(out)
}

/// `:status: 200`, the eighth entry of the static table.
pub(super) fn status_ok() -> Vec<u8> {
    vec![0x88]
}

/// Writes a header that is not to be indexed, as it is. Names and texts are below 127 bytes.
pub(super) fn put(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(0);
    for part in [name, text] {
        let length = part.len().min(126);
        out.push(u8::try_from(length).unwrap_or_default());
        out.extend(part.bytes().take(length));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|letter| letter.to_digit(16)).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 7541, C.4.1 to C.4.3: three requests over one connection.
        let mut table = Table::default();
        for (block, path) in [
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", "/"),
            ("8286 84be 5886 a8eb 1064 9cbf", "/"),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", "/index.html"),
        ] {
            let headers = table.read(&bytes(block)).unwrap();
            assert_eq!(headers.get(&Known::Path).map(String::as_str), Some(path));
        }
        assert_eq!(table.entries[0].1, b"www.example.com");
        assert_eq!(table.entries[1].1, b"no-cache");
        assert_eq!(table.entries[2].1, b"custom-value");
    }

    #[test]
    fn no_block_can_grow_the_table_or_break_it() {
        let mut table = Table::default();
        let mut grows = vec![0x40, 1, b'a', 100];
        grows.extend([b'x'; 100]);
        assert!((0..100).any(|_| table.read(&grows).is_none()));
        for broken in
            [&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x80], &[0xfe], &[0x40], &[0x44, 0x82, 0, 0]]
        {
            assert_eq!(Table::default().read(broken), None, "{broken:?}");
        }
    }
}
