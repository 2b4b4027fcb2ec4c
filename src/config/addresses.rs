//! Addresses of devices: single hosts, and ranges like `"10.0.1.1-10.0.1.40"`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::endpoint::Endpoint;

/// A host, and a port where the text gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Host {
    /// As an endpoint, at this port where the text gave none.
    pub(super) fn with_port(self, port: u16) -> Endpoint {
        Endpoint { host: self.host, port: self.port.unwrap_or(port) }
    }
}

/// What a text of a list of addresses stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// One device.
    One(Host),
    /// All addresses from the first to the last, both included.
    Range(Ipv4Addr, Ipv4Addr),
}

impl Addresses {
    /// How many devices.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Range(first, last) => usize::try_from(u32::from(*last) - u32::from(*first))
                .map_or(usize::MAX, |more| more.saturating_add(1)),
        }
    }

    /// Every device. Call it only after [`Self::count`] was found bearable.
    pub(super) fn hosts(&self) -> Box<dyn Iterator<Item = Host> + '_> {
        match self {
            Self::One(host) => Box::new(std::iter::once(host.clone())),
            Self::Range(first, last) => Box::new(
                (u32::from(*first)..=u32::from(*last))
                    .map(|bits| Host { host: Ipv4Addr::from(bits).to_string(), port: None }),
            ),
        }
    }
}

/// Reads one text of a list of addresses.
///
/// # Errors
/// What is wrong; completes a sentence that begins with the key.
pub(super) fn addresses(text: &str) -> Result<Addresses, String> {
    let text = text.trim();
    if let Some((first, last)) = text.split_once('-')
        && let Ok(first) = first.trim().parse::<Ipv4Addr>()
    {
        let last = last.trim().parse::<Ipv4Addr>().map_err(|_| {
            String::from("is a range without a whole last address; write both ends in full, like \"10.0.1.1-10.0.1.40\"")
        })?;
        usable(IpAddr::V4(first))?;
        usable(IpAddr::V4(last))?;
        if last < first {
            return Err(format!("is a range that ends ({last}) before it begins ({first})"));
        }
        return Ok(Addresses::Range(first, last));
    }
    if text.contains('/') {
        return Err(String::from(
            "is no address; write a host or a range like \"10.0.1.1-10.0.1.40\", not a network or a URL",
        ));
    }
    host(text).map(Addresses::One)
}

/// Reads `host` or `host:port`, for whatever may be reached by HTTP.
///
/// # Errors
/// What is wrong; completes a sentence that begins with the key.
pub(super) fn host(text: &str) -> Result<Host, String> {
    let host = anywhere(text)?;
    if let Some((_, zone)) = host.host.split_once('%') {
        // The address of a page cannot have one (RFC 3986; RFC 6874 is not in use).
        return Err(format!(
            "has a network interface in it (%{zone}), which a page cannot be asked for by; give the device an address \
             that counts beyond its own cable"
        ));
    }
    Ok(host)
}

/// An IPv6 address with the interface on which it counts, such as `fe80::1%eth0` (RFC 4007, section 11).
fn zoned(text: &str) -> Result<bool, String> {
    let Some((ip, zone)) = text.split_once('%') else { return Ok(false) };
    let Ok(ip) = ip.parse::<Ipv6Addr>() else { return Ok(false) };
    // Names of interfaces have 15 characters at the most (IFNAMSIZ).
    let named = (1..=15).contains(&zone.len())
        && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !named || !ip.is_unicast_link_local() {
        return Err(String::from(
            "has a % in it, which stands between a link-local address and its network interface only, as in \
             \"[fe80::1%eth0]:502\"",
        ));
    }
    Ok(true)
}

/// Reads `host` or `host:port`; the host may be a link-local address with its interface.
fn anywhere(text: &str) -> Result<Host, String> {
    let text = text.trim();
    if text.contains('@') {
        return Err(String::from("has an account in it; accounts are written under `credentials`"));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        usable(ip)?;
        return Ok(Host { host: ip.to_string(), port: None });
    }
    if zoned(text)? {
        return Ok(Host { host: text.to_owned(), port: None });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']').ok_or("has an opening bracket without a closing one")?;
        let inner = if zoned(inner)? {
            inner.to_owned()
        } else {
            let ip: Ipv6Addr =
                inner.parse().map_err(|_| String::from("has no IPv6 address in its brackets"))?;
            usable(IpAddr::V6(ip))?;
            ip.to_string()
        };
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port_number(port)?),
            None if port.is_empty() => None,
            None => return Err(String::from("has something other than a port after its bracket")),
        };
        return Ok(Host { host: inner, port });
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port_number(port)?)),
        None => (text, None),
    };
    if let Ok(ip) = name.parse::<IpAddr>() {
        usable(ip)?;
    } else {
        host_name(name)?;
    }
    Ok(Host { host: name.to_owned(), port })
}

/// Reads `host:port`, the port not left out.
///
/// # Errors
/// What is wrong; completes a sentence that begins with the key.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let Host { host, port } = anywhere(text)?;
    let port = port.ok_or_else(|| match host.contains(':') {
        true => format!("has no port; an IPv6 address stands in brackets before it: \"[{host}]:502\""),
        false => String::from("has no port"),
    })?;
    Ok(Endpoint { host, port })
}

/// Stands in for an address that could not be read; the mistake is noted already.
pub(super) fn nowhere() -> Endpoint {
    Endpoint { host: String::new(), port: 0 }
}

fn port_number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(String::from("has no port from 1 to 65535 after its colon"));
    }
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    port.ok_or_else(|| String::from("has a port that there is not: they go from 1 to 65535"))
}

/// Addresses that no device can have.
fn usable(ip: IpAddr) -> Result<(), String> {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Err(format!("is {ip}, which no single device can have"));
    }
    Ok(())
}

/// Host names as of RFC 1123, with the underscore that some networks use.
fn host_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err(String::from("is empty"));
    }
    // What looks like an IPv4 address must be one: `10.0.0.256` would otherwise be asked of the name server.
    if name.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(String::from("is no IPv4 address; it takes four numbers from 0 to 255"));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.trim_end_matches('.').split('.').all(label) {
        return Err(String::from("is neither an IP address nor a host name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_counts_both_ends_and_crosses_octets() {
        let range = addresses("10.0.0.250 - 10.0.1.5").unwrap();
        assert_eq!(range.count(), 12);
        let hosts: Vec<String> = range.hosts().map(|host| host.host).collect();
        assert_eq!(hosts.first().unwrap(), "10.0.0.250");
        assert_eq!(hosts[6], "10.0.1.0");
        assert_eq!(hosts.last().unwrap(), "10.0.1.5");
    }

    #[test]
    fn a_host_name_may_have_a_hyphen() {
        assert_eq!(addresses("miner-7.farm.example").unwrap().count(), 1);
    }

    #[test]
    fn a_link_local_address_names_its_interface_where_no_page_is_asked_for() {
        let found = endpoint("[fe80::1%eth0]:502").unwrap();
        assert_eq!((found.host.as_str(), found.port), ("fe80::1%eth0", 502));
        assert_eq!(found.to_string(), "[fe80::1%eth0]:502");
        let without = endpoint("fe80::1%eth0").unwrap_err();
        assert!(without.contains("\"[fe80::1%eth0]:502\""), "{without}");
        assert!(endpoint("fe80::1").unwrap_err().contains("\"[fe80::1]:502\""));
        for address in ["fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%eth0]:80"] {
            assert!(host(address).unwrap_err().contains("network interface"), "{address}");
            assert!(addresses(address).unwrap_err().contains("network interface"), "{address}");
        }
        for address in ["[2001:db8::1%eth0]:502", "[fe80::1%]:502", "[fe80::1%a/b]:502"] {
            assert!(endpoint(address).unwrap_err().contains("has a % in it"), "{address}");
        }
    }

    #[test]
    fn a_port_may_follow() {
        assert_eq!(endpoint("[::1]:502").unwrap(), Endpoint { host: "::1".into(), port: 502 });
        assert_eq!(endpoint("gateway:502").unwrap().port, 502);
        for (text, said) in
            [("gateway:70502", "has a port that there is not"), ("gateway:", "has no port from 1")]
        {
            assert!(endpoint(text).unwrap_err().starts_with(said), "{text}");
        }
        assert_eq!(host("fe80::1").unwrap().port, None);
        assert!(endpoint("gateway").is_err());
        for text in ["a:0", "a:65536", "a:+5", "a:", "[::1", "[::1]x", ":502"] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_no_device_can_have_is_refused() {
        for text in [
            "10.0.0.256",
            "10.0.0",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "10.0.0.0/24",
            "http://x",
            "",
            "a b",
            "-x",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-40",
            "10.0.0.1-",
            "root:pw@10.0.0.1",
        ] {
            assert!(addresses(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_never_panics(text in "[-0-9a-z.:@/\\[\\] ]{0,40}") {
            if let Ok(addresses) = addresses(&text) {
                prop_assert!(addresses.count() >= 1);
                prop_assert!(addresses.hosts().next().is_some());
            }
        }
    }
}
