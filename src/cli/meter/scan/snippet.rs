//! What was found, as lines for a configuration. Pure.

use crate::meter::line::{Line, Parity};
use crate::meter::{Link, Transport};

/// A meter for a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its unit id.
    pub(super) unit: u8,
    /// The profile's name; `None` where none fits.
    pub(super) profile: Option<String>,
    /// What a person should know of it; becomes comments.
    pub(super) notes: Vec<String>,
    /// Whether the profile needs `full_scale`.
    pub(super) needs_scale: bool,
}

/// A text of TOML: it holds nothing but what was checked to be printable before.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The link and its meters. Names are suggestions.
pub(super) fn snippet(link: &Link, entries: &[Entry]) -> String {
    let mut text = String::from("[links.switchboard]\n");
    match &link.transport {
        Transport::Tcp(endpoint) => text.push_str(&format!("tcp = {}\n", quoted(&endpoint.to_string()))),
        Transport::RtuOverTcp(endpoint, line) => {
            text.push_str(&format!("rtu_over_tcp = {}\n", quoted(&endpoint.to_string())));
            if line.baud != Line::default().baud {
                text.push_str(&format!("baud = {}\n", line.baud));
            }
        }
        Transport::Rtu(path, line) => {
            let parity = Parity::NAMES
                .iter()
                .find(|(_, parity)| *parity == line.parity)
                .map_or("none", |(name, _)| name);
            text.push_str(&format!(
                "rtu = {}\nbaud = {}\nparity = \"{parity}\"\nstop_bits = {}\n",
                quoted(path),
                line.baud,
                line.stop_bits
            ));
        }
    }
    for entry in entries {
        text.push_str(&format!(
            "\n[meters.meter-{}]\nlink = \"switchboard\"\nunit = {}\n",
            entry.unit, entry.unit
        ));
        for note in &entry.notes {
            text.push_str(&format!("# {note}\n"));
        }
        match &entry.profile {
            Some(profile) => text.push_str(&format!("profile = {}\n", quoted(profile))),
            None => text.push_str(
                "# profile = \"…\"   # see `ballast meter profiles`, or describe its registers here\n",
            ),
        }
        if entry.needs_scale {
            text.push_str("# full_scale = { power = \"… kW\", voltage = \"… V\" }   # from its transformers, see the profile\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Options};
    use crate::endpoint::Endpoint;

    fn entry(profile: Option<&str>) -> Entry {
        Entry {
            unit: 7,
            profile: profile.map(String::from),
            notes: vec!["a note".into()],
            needs_scale: false,
        }
    }

    fn link(transport: Transport) -> Link {
        super::super::place::link(transport, None, Duration::ZERO)
    }

    /// The rest of a configuration around a snippet.
    const AROUND: &str = "\n[site]\nname = \"s\"\nmode = \"observe\"\n[circuits.pcc]\nmeter = \"meter-7\"\n\
                          [limits.l]\ncircuit = \"pcc\"\nimport = \"0 W\"\n[miners.m]\ndriver = \"whatsminer-v3\"\n\
                          model = \"m60s\"\ncircuit = \"pcc\"\naddress = \"192.0.2.1\"\n";

    #[test]
    fn a_snippet_of_each_kind_is_a_configuration_that_checks() {
        let endpoint = Endpoint { host: "10.0.0.5".into(), port: 502 };
        let line = Line { baud: 19_200, parity: Parity::Even, stop_bits: 1 };
        for transport in [
            Transport::Tcp(endpoint.clone()),
            Transport::RtuOverTcp(endpoint.clone(), line),
            Transport::Rtu("/dev/ttyUSB0".into(), line),
        ] {
            let text = snippet(&link(transport.clone()), &[entry(Some("eastron-sdm630"))]) + AROUND;
            let config = config::parse(&text, Path::new("found.toml"), &Options::default());
            let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            match (&config.links[0].transport, &transport) {
                // Behind a gateway the parity is the gateway's affair.
                (Transport::RtuOverTcp(place, found), Transport::RtuOverTcp(..)) => {
                    assert_eq!((place, found.baud), (&endpoint, 19_200));
                }
                (found, wanted) => assert_eq!(found, wanted),
            }
            assert_eq!(
                (config.meters[0].unit, config.meters[0].profile.name.as_str()),
                (7, "eastron-sdm630")
            );
        }
    }

    #[test]
    fn what_is_not_known_is_left_for_a_person() {
        let text = snippet(&link(Transport::Tcp(Endpoint { host: "h".into(), port: 1 })), &[entry(None)]);
        assert!(text.contains("# a note\n# profile = \"…\""), "{text}");
    }
}
