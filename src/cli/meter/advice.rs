//! What a person in a switch room should look at, in words.

use crate::meter::line::Parity;
use crate::meter::{Link, ReadError, Transport};

/// What to check after a failed read, the likeliest first.
pub(super) fn advice(error: &ReadError, link: &Link) -> Vec<String> {
    let text = |lines: &[&str]| lines.iter().map(|line| String::from(*line)).collect();
    match error {
        ReadError::Connect { reason, .. } => connect(reason, link),
        ReadError::Timeout { .. } | ReadError::Broken { .. } => silence(link),
        ReadError::Malformed { reason, .. } => malformed(reason, link),
        ReadError::Answerer { got, .. } => vec![
            format!("the device calls itself unit {got}: write unit = {got}"),
            String::from("behind a gateway: its table of units may lead to another device than you mean"),
        ],
        ReadError::Number { .. } => text(&[
            "if it is so each time: the gateway does not repeat the numbers of requests, as Modbus TCP wants it; write \
             numbered = false in the link",
            "or set the gateway to its transparent mode and write rtu_over_tcp instead of tcp",
            "if it is so now and then: another program reads through the same gateway, or it answers late (`timeout`)",
        ]),
        ReadError::Exception { code, address, .. } => match code {
            1 => text(&[
                "the meter has no such table: the profile reads the other one (`function = \"holding\"` is code 3, \
                 \"input\" is code 4)",
                "or the profile is that of another meter",
            ]),
            2 | 3 => vec![
                format!(
                    "the meter has no register {address} (0x{address:04X}): the profile is that of another model or \
                     firmware"
                ),
                String::from(
                    "manuals often count from 1 (register 30053 is address 52): a profile of your own may be off by one",
                ),
                String::from("`ballast meter scan` says which profile fits"),
            ],
            4 => text(&["the meter reports a fault of its own: look at its display"]),
            5 | 6 => text(&["the meter is busy: read it less often (`period`), or give it rest (`gap`)"]),
            10 => text(&[
                "the gateway answers, but has no line for this unit id: look at its table of units",
                "or the unit id is wrong",
            ]),
            11 => {
                let mut lines = vec![String::from(
                    "the gateway answers, the meter behind it does not: check the unit id in the meter's menu",
                )];
                lines.extend(line(None));
                lines
            }
            _ => text(&["an exception that is not in the standard: see the meter's manual"]),
        },
    }
}

fn connect(reason: &str, link: &Link) -> Vec<String> {
    let reason = reason.to_lowercase();
    let mut lines = Vec::new();
    match &link.transport {
        Transport::Rtu(path, _) => {
            if reason.contains("no such") {
                lines.push(format!("there is no {path}: is the adapter plugged in? `ls /dev/serial/by-id/` shows which there are"));
            } else if reason.contains("permission") {
                lines.push(format!(
                    "this account may not open {path}: `ls -l {path}` shows which group may (often dialout)"
                ));
            } else {
                lines.push(format!("{path} is not free: stop the daemon and whatever else reads the line"));
            }
        }
        Transport::Tcp(endpoint) | Transport::RtuOverTcp(endpoint, _) => {
            if reason.contains("refused") {
                lines.push(format!(
                    "something is at {}, but nothing listens on port {}: look up the port in the device's menu (502 is \
                     usual for Modbus TCP; transparent gateways have their own)",
                    endpoint.host, endpoint.port
                ));
                lines.push(String::from(
                    "devices that serve one client refuse the second: stop the daemon or other programs that read it",
                ));
            } else if reason.contains("lookup") || reason.contains("name") {
                lines.push(format!(
                    "the name {} is not known here: write the address in numbers",
                    endpoint.host
                ));
            } else {
                lines.push(format!(
                    "nothing answers at {}: check the address, the cable and the power",
                    endpoint.host
                ));
                lines.push(String::from(
                    "is this computer in the same network, and is no firewall in between?",
                ));
            }
        }
    }
    lines
}

/// What to check on the wires. The settings are those of this side, where they are known.
fn line(settings: Option<&crate::meter::line::Line>) -> Vec<String> {
    let settings = match settings {
        Some(settings) => {
            let parity = match settings.parity {
                Parity::None => "no parity",
                Parity::Even => "even parity",
                Parity::Odd => "odd parity",
            };
            format!(
                "baud rate and parity: the line is opened with {} baud, {parity}, {} stop bit{}; the meter's menu must say \
                 the same",
                settings.baud,
                settings.stop_bits,
                if settings.stop_bits == 1 { "" } else { "s" }
            )
        }
        None => String::from(
            "baud rate and parity: those of the gateway's serial port must be those in the meter's menu",
        ),
    };
    vec![
        settings,
        String::from("the two data wires: makers do not agree which is A and which is B, so swap them once"),
        String::from(
            "termination: 120 Ω at both ends of the line and nowhere else, and a common ground wire",
        ),
    ]
}

fn silence(link: &Link) -> Vec<String> {
    let mut lines = vec![String::from("the unit id: it stands in the meter's menu")];
    match &link.transport {
        Transport::Tcp(_) => {
            lines.push(String::from(
                "one client only? Many meters and gateways serve one: stop the daemon or other programs that read it",
            ));
            if link.connect_delay.is_zero() {
                lines.push(String::from(
                    "some devices swallow what is asked right after connecting (Huawei does): connect_delay = \"2s\" in the \
                     link, or --connect-delay 2s for a scan",
                ));
            }
            lines.push(String::from("behind a gateway, its serial side:"));
            lines.extend(line(None));
            lines.push(String::from(
                "a transparent serial gateway does not speak Modbus TCP: write `rtu_over_tcp` instead of `tcp`",
            ));
        }
        Transport::RtuOverTcp(..) => {
            lines.extend(line(None));
            lines.push(String::from(
                "a gateway that translates speaks Modbus TCP: write `tcp` instead of `rtu_over_tcp`",
            ));
        }
        Transport::Rtu(_, settings) => {
            lines.extend(line(Some(settings)));
            lines
                .push(String::from("two meters with one unit id garble each other: connect them one by one"));
        }
    }
    lines
}

fn malformed(reason: &str, link: &Link) -> Vec<String> {
    match &link.transport {
        Transport::Tcp(_) => vec![String::from(
            "the device does not speak Modbus TCP here: behind a transparent serial gateway write `rtu_over_tcp`",
        )],
        transport => {
            let mut lines = Vec::new();
            if reason.contains("CRC") || reason.contains("noise") {
                lines.push(String::from("characters are lost or garbled on the line:"));
            }
            let settings = if let Transport::Rtu(_, settings) = transport { Some(settings) } else { None };
            lines.extend(line(settings));
            if settings.is_none() {
                lines.push(String::from(
                    "is it a gateway that translates? Then write `tcp` instead of `rtu_over_tcp`",
                ));
            } else {
                lines.push(String::from("two meters with one unit id, or a second master on the line"));
            }
            lines
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::endpoint::Endpoint;
    use crate::meter::line::Line;
    use crate::meter::profile::Function;

    fn link(transport: Transport) -> Link {
        Link {
            name: "l".into(),
            transport,
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            connect_delay: Duration::ZERO,
            numbered: true,
            gap: Duration::ZERO,
        }
    }

    fn endpoint() -> Endpoint {
        Endpoint { host: "10.0.0.5".into(), port: 502 }
    }

    fn timeout() -> ReadError {
        ReadError::Timeout { place: "10.0.0.5:502".into(), unit: 3, limit: Duration::from_secs(1) }
    }

    #[test]
    fn a_silent_serial_line_names_its_own_settings_and_its_wires() {
        let rtu = link(Transport::Rtu(
            "/dev/ttyUSB0".into(),
            Line { baud: 19_200, parity: Parity::Even, stop_bits: 1 },
        ));
        let words = advice(&timeout(), &rtu).join("\n");
        for part in ["unit id", "19200 baud, even parity, 1 stop bit;", "swap them", "120 Ω"] {
            assert!(words.contains(part), "{part} is not in\n{words}");
        }
    }

    #[test]
    fn a_silent_gateway_is_told_apart_from_a_port_without_listener() {
        let tcp = link(Transport::Tcp(endpoint()));
        assert!(advice(&timeout(), &tcp).join("\n").contains("rtu_over_tcp"));
        let refused =
            ReadError::Connect { place: String::new(), reason: "Connection refused (os error 111)".into() };
        let words = advice(&refused, &tcp).join("\n");
        assert!(words.contains("nothing listens on port 502") && !words.contains("baud"), "{words}");
    }

    #[test]
    fn exception_two_leads_to_the_profile_and_eleven_to_the_unit() {
        let tcp = link(Transport::Tcp(endpoint()));
        let exception = |code| ReadError::Exception {
            place: String::new(),
            unit: 1,
            function: Function::Input,
            address: 0x34,
            count: 2,
            code,
        };
        assert!(advice(&exception(2), &tcp).join("\n").contains("52 (0x0034)"));
        assert!(advice(&exception(11), &tcp).join("\n").contains("unit id in the meter's menu"));
    }
}
