//! What is scanned: networks, ranges and single hosts.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Most addresses of one scan: those of a /16.
pub const MOST: usize = 65_536;

/// One text of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All addresses from the first to the last, both included.
    Range(Ipv4Addr, Ipv4Addr),
    /// One address.
    One(IpAddr),
    /// A name that must be looked up.
    Name(String),
}

/// A text that names no hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be read.
    #[error("`{text}` {reason}")]
    Text {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There are too many.
    #[error("that is more than {MOST} addresses (a /16) at once; scan one part after the other")]
    TooMany,
}

impl std::str::FromStr for Target {
    type Err = TargetError;

    /// Reads `10.20.0.0/22`, `10.20.0.1-10.20.0.40`, `10.20.0.1-40`, an address or a host name. Of a network up to
    /// /30 the first and last address are left out: no host has them.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        let shown = || crate::miner::reply::text::clean(text).unwrap_or_default();
        let wrong = |reason| TargetError::Text { text: shown(), reason };
        if let Some((network, length)) = text.split_once('/') {
            const HELP: &str = "is no network; write it like 10.20.0.0/22";
            let network: Ipv4Addr = network.parse().map_err(|_| wrong(HELP))?;
            let length: u32 =
                length.parse().ok().filter(|length| *length <= 32).ok_or_else(|| wrong(HELP))?;
            if length < 16 {
                return Err(TargetError::TooMany);
            }
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            let (first, last) = (u32::from(network) & mask, u32::from(network) | !mask);
            let (first, last) = if length <= 30 { (first + 1, last - 1) } else { (first, last) };
            return Ok(Self::Range(first.into(), last.into()));
        }
        if let Some((first, last)) = text.split_once('-')
            && let Ok(first) = first.trim().parse::<Ipv4Addr>()
        {
            let last = last.trim();
            let short = last.parse::<u8>().ok().map(|octet| {
                let [a, b, c, _] = first.octets();
                Ipv4Addr::new(a, b, c, octet)
            });
            let last = short.or_else(|| last.parse().ok()).ok_or_else(|| {
                wrong("is a range without a last address; write it like 10.20.0.1-10.20.0.40")
            })?;
            if last < first {
                return Err(wrong("is a range that ends before it begins"));
            }
            return Ok(Self::Range(first, last));
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::One(ip));
        }
        let dotted = text.chars().all(|character| character.is_ascii_digit() || character == '.');
        let name =
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if text.is_empty() || text.len() > 253 || dotted || !name || text.starts_with('-') {
            return Err(wrong("is neither a network, a range, an address nor a host name"));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl Target {
    /// Its addresses, in order; none for a name. At most one more than [`MOST`].
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::Range(first, last) => (u32::from(*first)..=u32::from(*last))
                .take(MOST + 1)
                .map(|bits| IpAddr::V4(Ipv4Addr::from(bits)))
                .collect(),
            Self::One(ip) => vec![*ip],
            Self::Name(_) => Vec::new(),
        }
    }
}

/// All addresses of some targets, each once, in order. `lookup` gives the address of a name.
///
/// # Errors
/// Too many, or none for a name.
pub fn addresses(
    targets: &[Target],
    mut lookup: impl FnMut(&str) -> Option<IpAddr>,
) -> Result<BTreeSet<IpAddr>, TargetError> {
    let mut all = BTreeSet::new();
    for target in targets {
        match target {
            Target::Name(name) => {
                let found = lookup(name).ok_or_else(|| TargetError::Text {
                    text: name.clone(),
                    reason: "has no address; check the name, or write the address",
                })?;
                all.insert(found);
            }
            other => all.extend(other.addresses()),
        }
        if all.len() > MOST {
            return Err(TargetError::TooMany);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        text.parse::<Target>().unwrap().addresses().len()
    }

    #[test]
    fn networks_leave_out_the_addresses_that_no_host_has() {
        assert_eq!(count("10.20.0.0/22"), 1_022);
        assert_eq!(count("10.20.3.7/22"), 1_022);
        assert_eq!(count("127.9.4.0/26"), 62);
        assert_eq!(count("10.0.0.0/31"), 2);
        assert_eq!(count("10.0.0.9/32"), 1);
        assert_eq!(count("10.0.0.0/16"), 65_534);
    }

    #[test]
    fn ranges_have_both_ends_and_may_be_short() {
        assert_eq!(count("10.0.0.250-10.0.1.5"), 12);
        assert_eq!(count("10.0.0.1-40"), 40);
        assert_eq!(count("fe80::1"), 1);
        assert_eq!("miner-7".parse(), Ok(Target::Name("miner-7".into())));
    }

    #[test]
    fn what_is_no_target_is_refused_and_more_than_a_16_too() {
        for text in
            ["10.0.0.0/8", "10.0.0.0/33", "10.0.0/24", "10.0.0.9-10.0.0.1", "10.0.0.256", "", "a b", "-x"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        let two = ["10.0.0.0/16".parse().unwrap(), "10.1.0.0/24".parse().unwrap()];
        assert_eq!(addresses(&two, |_| None), Err(TargetError::TooMany));
        let wide = ["10.0.0.0-10.9.0.0".parse().unwrap()];
        assert_eq!(addresses(&wide, |_| None), Err(TargetError::TooMany));
    }

    #[test]
    fn an_address_given_twice_is_scanned_once() {
        let twice = ["10.0.0.1-10.0.0.4".parse().unwrap(), "10.0.0.3".parse().unwrap()];
        assert_eq!(addresses(&twice, |_| None).unwrap().len(), 4);
    }
}
