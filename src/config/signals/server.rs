//! `kind = "modbus-server"`: a terminal writes our registers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::Context;
use crate::config::diagnostic::At;
use crate::config::reader::{Table, Wrong, is_a, shorten, text_of};
use crate::signal::server::{Network, Settings};
use crate::units::Watts;

/// Where it listens unless the configuration says otherwise: loopback, above the ports that take privileges.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1502);
/// More networks than any site lets in.
const MOST_CLIENTS: usize = 64;

/// Reads the keys of this kind of source.
pub(super) fn read(table: &Table<'_>, context: &Context<'_, '_>) -> Option<Settings> {
    let _ = (context.circuits, context.meters, context.store);
    let report = table.report();
    let listen = table.read("listen", |value| {
        let text = text_of(value)?;
        text.parse::<SocketAddr>().ok().filter(|at| at.port() != 0).ok_or_else(|| {
            Wrong::new(
                format!("is no address to listen at: \"{}\"", shorten(text)),
                "write an IP address and a port, like \"127.0.0.1:1502\" or \"10.0.0.2:502\"",
            )
        })
    });
    let given = table.list("clients");
    let mut clients = Vec::new();
    for (span, value) in given.iter().flat_map(|at| &at.value) {
        match text_of(value).map(network) {
            Ok(Ok(client)) => clients.push(client),
            Ok(Err(what)) => report.error(
                *span,
                format!("`clients` has \"{}\", which {what}", shorten(text_of(value).unwrap_or(""))),
                "write an IP address or a network, like \"10.0.0.7\" or \"10.0.8.0/24\"",
            ),
            Err(_) => report.error(*span, format!("a client {}", is_a(value)), "write a text in quotes"),
        }
    }
    if clients.len() > MOST_CLIENTS {
        report.error(
            table.key_span("clients"),
            format!("`clients` has {} entries", clients.len()),
            format!("the most is {MOST_CLIENTS}; a network takes many addresses together"),
        );
    }
    let open = listen.as_ref().is_some_and(|at| !at.value.ip().is_loopback());
    match (&given, open) {
        (None, true) => report.error(
            table.span(),
            format!("{} listens to other machines and has no `clients`", table.title()),
            "Modbus has no password: write who may order, like clients = [\"10.0.0.7\"]",
        ),
        (Some(given), _) if given.value.is_empty() => report.error(
            given.span,
            "`clients` is empty: nobody could connect",
            "write who may order, like clients = [\"10.0.0.7\"]; without the key this machine alone may",
        ),
        _ => {}
    }
    if given.is_none() && !table.has("clients") {
        clients.push(Network { address: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix: 8 });
        clients.push(Network { address: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 });
    }
    for client in &clients {
        if client.prefix == 0 {
            report.warn(
                table.key_span("clients"),
                "every address may order: there is no password behind it",
                "name the terminal's address alone",
            );
        }
    }
    let second = Duration::from_secs(1);
    let idle = table.time("idle_timeout", second, second * 3_600);
    let scale = table.power("scale", 1.0, 50_000.0);
    let scale = scale.filter(|at| {
        let whole = at.value.get().fract().abs() < 1e-9;
        if !whole {
            report.error(
                at.span,
                "`scale` is no whole number of watts",
                "write one unit of the registers, like \"1 kW\"",
            );
        }
        whole
    });
    let emergency = table.load("emergency_cap");
    Some(Settings {
        listen: listen.map_or(DEFAULT_LISTEN, |at| at.value),
        clients,
        idle_timeout: idle.map_or(second * 120, |at: At<Duration>| at.value),
        scale: scale.map_or(Watts::whole(1), |at| at.value),
        emergency_cap: emergency.map_or(Watts::ZERO, |at| at.value),
    })
}

/// Reads an address, or a network as address and number of leading bits.
fn network(text: &str) -> Result<Network, &'static str> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address = address.trim().parse::<IpAddr>().map_err(|_| "is no IP address")?.to_canonical();
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => most,
        Some(text) => {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let prefix = text.parse::<u8>().ok().filter(|prefix| digits && *prefix <= most);
            prefix.ok_or("has no number of bits after its stroke that fits")?
        }
    };
    Ok(Network { address, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_read() {
        let net = |address: &str, prefix| Ok(Network { address: address.parse().unwrap(), prefix });
        assert_eq!(network("10.0.0.7"), net("10.0.0.7", 32));
        assert_eq!(network("10.0.8.0/24"), net("10.0.8.0", 24));
        assert_eq!(network("2001:db8::/33"), net("2001:db8::", 33));
        assert_eq!(network("::ffff:10.0.0.7"), net("10.0.0.7", 32));
        for wrong in ["", "10.0.0", "10.0.0.7/33", "10.0.0.7/", "10.0.0.7/+8", "10.0.0.7/-1", "rtu.example", "10.0.0.7:502"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }
}
