//! Who a miner is, whatever address it has, and whether the one that answers is still the one that was meant.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A hardware address that can belong to one device: neither zero nor broadcast nor multicast.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

/// A text that is no hardware address of a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no hardware address of a device; write it like \"02:EE:DA:00:00:01\"")]
pub struct NotAMac;

impl FromStr for Mac {
    type Err = NotAMac;

    /// Reads six bytes in hexadecimal, with colons, hyphens, dots or nothing in between.
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let text = text.trim();
        if text.len() > 17 {
            return Err(NotAMac);
        }
        let digits: Vec<u8> = text
            .chars()
            .filter(|character| !matches!(character, ':' | '-' | '.'))
            .map(|character| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(NotAMac)?;
        let mut bytes = [0_u8; 6];
        if digits.len() != 12 {
            return Err(NotAMac);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            if let [high, low] = pair {
                *byte = (high << 4) | low;
            }
        }
        let group = bytes.first().is_some_and(|first| first & 1 == 1);
        if bytes == [0; 6] || group { Err(NotAMac) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What stays the same when a miner gets another address. Each part may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Who made the hardware, such as `Bitmain`; not who made the firmware.
    pub vendor: Option<String>,
    /// The model, as the device names it.
    pub model: Option<String>,
    /// The hardware address of its control board.
    pub mac: Option<Mac>,
    /// The serial number of the miner or its control board.
    pub serial: Option<String>,
}

impl Identity {
    /// Whether nothing in it tells one miner from another one.
    pub const fn is_anonymous(&self) -> bool {
        self.mac.is_none() && self.serial.is_none()
    }
}

/// A serial number that means something: not empty, not a row of one character, not a word for "none".
pub fn meaningful_serial(text: &str) -> Option<String> {
    let text = super::reply::text::clean(text)?;
    let mut letters = text.chars().filter(|character| character.is_ascii_alphanumeric());
    let first = letters.next()?;
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "none" | "null" | "n/a" | "na" | "unknown" | "undefined" | "default" | "to be filled by o.e.m."
    );
    (text.len() >= 4 && !word && letters.any(|letter| letter != first)).then_some(text)
}

/// The answer to "is this still the miner that was meant?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// A hardware address or serial number agrees, and none contradicts.
    Same,
    /// Something that cannot change does not agree. The reason is for people.
    Different(String),
    /// Neither side tells anything that the other one tells too.
    CannotTell,
}

/// Compares who a miner is known to be with who answers at its address.
///
/// A contradiction in anything that cannot change decides, because commanding a stranger is worse than asking a
/// person: hardware address, then serial number, then vendor. The name of the model is a weak witness, since each
/// firmware writes it in its own way: it can contradict only where nothing better agrees, and can never prove.
pub fn same_miner(known: &Identity, seen: &Identity) -> Sameness {
    let mut agrees = false;
    if let (Some(known), Some(seen)) = (known.mac, seen.mac) {
        if known != seen {
            return Sameness::Different(format!("its hardware address is {seen}, not {known}"));
        }
        agrees = true;
    }
    if let (Some(known), Some(seen)) = (&known.serial, &seen.serial) {
        if !known.eq_ignore_ascii_case(seen) {
            return Sameness::Different(format!("its serial number is {seen}, not {known}"));
        }
        agrees = true;
    }
    if let (Some(known), Some(seen)) = (&known.vendor, &seen.vendor)
        && !known.eq_ignore_ascii_case(seen)
    {
        return Sameness::Different(format!("it was made by {seen}, not by {known}"));
    }
    if agrees {
        return Sameness::Same;
    }
    if let (Some(known), Some(seen)) = (&known.model, &seen.model) {
        let (a, b) = (super::reply::models::slug(known), super::reply::models::slug(seen));
        if a != b {
            return Sameness::Different(format!("it is a {seen}, not a {known}"));
        }
    }
    Sameness::CannotTell
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(mac: &str, serial: &str, vendor: &str, model: &str) -> Identity {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Identity { mac: mac.parse().ok(), serial: text(serial), vendor: text(vendor), model: text(model) }
    }

    #[test]
    fn a_hardware_address_is_read_in_every_common_way() {
        for text in ["02:ee:da:00:00:01", "02-EE-DA-00-00-01", "02EEDA000001", "02ee.da00.0001"] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "02:EE:DA:00:00:01");
        }
        for text in ["", "02:ee:da:00:00", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "x"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_serial_number_that_says_nothing_is_none() {
        for text in ["", "0000000000", "N/A", "unknown", "xx", "----", "\u{7}"] {
            assert_eq!(meaningful_serial(text), None, "{text}");
        }
        assert_eq!(meaningful_serial(" BTM3CS40 ").as_deref(), Some("BTM3CS40"));
    }

    #[test]
    fn contradictions_decide_and_the_model_alone_never_proves() {
        let known = who("02:ee:da:00:00:01", "SN12345", "MicroBT", "M60S_VK40");
        let cases = [
            (who("02:ee:da:00:00:01", "SN12345", "MicroBT", "M60S"), "same"),
            (who("02:ee:da:00:00:01", "", "", ""), "same"),
            (who("", "sn12345", "", ""), "same"),
            (who("02:ee:da:00:00:02", "SN12345", "", ""), "different"),
            (who("02:ee:da:00:00:01", "SN99999", "", ""), "different"),
            (who("", "SN12345", "Bitmain", ""), "different"),
            (who("", "", "MicroBT", "M60S"), "cannot tell"),
            (who("", "", "MicroBT", "M30S++"), "different"),
            (who("", "", "", ""), "cannot tell"),
        ];
        for (seen, expected) in cases {
            let found = match same_miner(&known, &seen) {
                Sameness::Same => "same",
                Sameness::Different(_) => "different",
                Sameness::CannotTell => "cannot tell",
            };
            assert_eq!(found, expected, "{seen:?}");
        }
    }
}
