//! Where to scan and which units, as written on the command line.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::meter::line::{Line, Parity};
use crate::meter::{Link, Transport};

/// The port of Modbus TCP ("MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 4.3.1.1).
const MODBUS_PORT: u16 = 502;

/// A place as a person writes it: `tcp://10.0.0.5:502`, `rtu-over-tcp://10.0.0.5:4001?baud=9600`,
/// `rtu:///dev/ttyUSB0?baud=9600&parity=even&stop_bits=1`.
pub(super) fn parse(text: &str) -> Result<Transport, String> {
    let kinds = "write tcp://HOST:PORT, rtu-over-tcp://HOST:PORT or rtu:///dev/…?baud=9600&parity=none";
    let (kind, rest) =
        text.split_once("://").ok_or_else(|| format!("it does not say how to get there: {kinds}"))?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    match kind {
        "tcp" if query.is_empty() => Ok(Transport::Tcp(endpoint(place, Some(MODBUS_PORT))?)),
        "tcp" => Err(String::from(
            "baud rate and parity are for serial lines; behind a gateway they are set up at the gateway",
        )),
        "rtu-over-tcp" => Ok(Transport::RtuOverTcp(endpoint(place, None)?, line(query)?)),
        "rtu" if place.starts_with('/') && !place.ends_with('/') && !place.chars().any(char::is_control) => {
            Ok(Transport::Rtu(place.to_owned(), line(query)?))
        }
        "rtu" => {
            Err(String::from("a serial port is a path, with three slashes: rtu:///dev/ttyUSB0?baud=9600"))
        }
        other => Err(format!("there is no `{other}`: {kinds}")),
    }
}

fn endpoint(text: &str, port: Option<u16>) -> Result<Endpoint, String> {
    let text = text.trim_end_matches('/');
    let (host, written) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let usable = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || !host.chars().all(usable) {
        return Err(format!(
            "`{}` is no host and port, like 10.0.0.5:502",
            text.chars().take(64).collect::<String>()
        ));
    }
    let port = match (written, port) {
        (Some(text), _) => {
            text.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("`{text}` is no port"))?
        }
        (None, Some(usual)) => usual,
        (None, None) => return Err(String::from("a transparent gateway has no usual port: write HOST:PORT")),
    };
    Ok(Endpoint { host: host.to_owned(), port })
}

fn line(query: &str) -> Result<Line, String> {
    let mut line = Line::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let wrong = |help: &str| format!("`{key}={value}`: {help}");
        match key {
            "baud" => {
                let baud = value.parse().ok().filter(|baud| (300..=4_000_000).contains(baud));
                line.baud = baud.ok_or_else(|| wrong("a baud rate like 9600 or 19200"))?;
            }
            "parity" => {
                let parity = Parity::NAMES.iter().find(|(name, _)| *name == value);
                line.parity = parity.ok_or_else(|| wrong("none, even or odd"))?.1;
            }
            "stop_bits" => {
                let bits = value.parse().ok().filter(|bits| (1..=2).contains(bits));
                line.stop_bits = bits.ok_or_else(|| wrong("1 or 2"))?;
            }
            _ => return Err(format!("there is no `{key}`: baud, parity and stop_bits are there")),
        }
    }
    Ok(line)
}

/// Unit ids: numbers and ranges, like `1-32,100`. Each once, rising.
pub(super) fn units(text: &str) -> Result<Units, String> {
    let mut units = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let number = |text: &str| {
            text.trim().parse::<u8>().map_err(|_| format!("`{}` is no unit id, 0 to 255", text.trim()))
        };
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("`{part}` begins above its end"));
                }
                units.extend(first..=last);
            }
            None => {
                units.insert(number(part)?);
            }
        }
    }
    if units.is_empty() {
        return Err(String::from("name at least one unit, like 1-32"));
    }
    Ok(Units(units.into_iter().collect()))
}

/// Unit ids to ask, each once, rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Units(pub(super) Vec<u8>);

/// The link to scan over. Without a wish for a timeout: a gateway needs a second to give up on a unit that is not
/// there, and must have done so before the next is asked, or its queue grows; on a serial port of our own half of it
/// is plenty.
pub(super) fn link(transport: Transport, timeout: Option<Duration>, gap: Duration) -> Link {
    let usual = match transport {
        Transport::Rtu(..) => Duration::from_millis(500),
        Transport::Tcp(_) | Transport::RtuOverTcp(..) => Duration::from_secs(1),
    };
    let timeout = timeout.unwrap_or(usual).clamp(Duration::from_millis(50), Duration::from_secs(60));
    Link {
        name: String::from("scanned"),
        transport,
        connect_timeout: Duration::from_secs(3),
        timeout,
        connect_delay: Duration::ZERO,
        numbered: true,
        gap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }

    #[test]
    fn the_three_kinds_are_read() {
        assert_eq!(parse("tcp://10.0.0.5:1502"), Ok(Transport::Tcp(at("10.0.0.5", 1502))));
        assert_eq!(parse("tcp://meter.local"), Ok(Transport::Tcp(at("meter.local", 502))));
        assert_eq!(parse("tcp://[fe80::1]:502/"), Ok(Transport::Tcp(at("fe80::1", 502))));
        let line = Line { baud: 19_200, parity: Parity::Even, stop_bits: 2 };
        assert_eq!(
            parse("rtu-over-tcp://gw:4001?baud=19200&parity=even&stop_bits=2"),
            Ok(Transport::RtuOverTcp(at("gw", 4001), line))
        );
        assert_eq!(parse("rtu:///dev/ttyUSB0"), Ok(Transport::Rtu("/dev/ttyUSB0".into(), Line::default())));
    }

    #[test]
    fn what_is_wrong_with_a_place_is_told() {
        for (text, words) in [
            ("10.0.0.5:502", "write tcp://"),
            ("udp://10.0.0.5:502", "no `udp`"),
            ("tcp://10.0.0.5:0", "`0` is no port"),
            ("tcp://root@host", "is no host"),
            ("tcp://10.0.0.5:502?baud=9600", "at the gateway"),
            ("rtu-over-tcp://gw", "no usual port"),
            ("rtu://ttyUSB0", "three slashes"),
            ("rtu:///dev/ttyUSB0?baud=1", "a baud rate"),
            ("rtu:///dev/ttyUSB0?parity=mark", "none, even or odd"),
            ("rtu:///dev/ttyUSB0?bits=7", "no `bits`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn units_are_lists_and_ranges() {
        assert_eq!(units("3, 1-2,2,100"), Ok(Units(vec![1, 2, 3, 100])));
        for text in ["", "5-2", "256", "1-x", "-1"] {
            assert!(units(text).is_err(), "{text}");
        }
    }
}
