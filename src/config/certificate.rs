//! Whose certificate a device must have that is reached over HTTPS.

use std::path::Path;

use super::diagnostic::{At, Report, Span};
use super::reader::{Table, Wrong, text_of};
use super::urls;
use crate::miner::{DriverKind, Endpoint};
use crate::tls::{Fingerprint, Trust};

/// The keys `certificate` and `ca`: whose certificate a device must have that is reached over HTTPS.
pub(super) fn trust(table: &Table<'_>, folder: &Path) -> Option<At<Trust>> {
    let pinned = table.read("certificate", |value| {
        let text = text_of(value)?;
        text.parse::<Fingerprint>().map_err(|fault| {
            Wrong::new(
                fault.to_string(),
                "`openssl x509 -noout -fingerprint -sha256` shows it for a certificate",
            )
        })
    });
    let ca = table.text("ca").and_then(|at| {
        let pem = urls::certificates(folder, at, table.report())?;
        Some(At::new(Trust::Authority(pem.into()), at.span))
    });
    if let (Some(_), Some(ca)) = (&pinned, &ca) {
        table.report().error(
            ca.span,
            "`certificate` and `ca` exclude each other",
            "keep the one that is meant",
        );
    }
    pinned.map(|at| At::new(Trust::Pinned(at.value), at.span)).or(ca)
}

/// Refuses them where they would mean nothing.
pub(super) fn only_over_https(
    title: &str,
    driver: DriverKind,
    certificate: Option<&At<Trust>>,
    report: &Report<'_>,
) {
    if let Some(at) = certificate.filter(|_| driver != DriverKind::Redfish) {
        report.error(
            at.span,
            format!("{title} is not reached over HTTPS"),
            "`certificate` and `ca` are for driver = \"redfish\"",
        );
    }
}

/// Demands one where a password would go over the network: in the clear a BMC is reached on this machine alone.
pub(super) fn must_be_known(
    name: &str,
    span: Span,
    driver: DriverKind,
    certificate: Option<&Trust>,
    endpoint: &Endpoint,
    report: &Report<'_>,
) {
    if driver == DriverKind::Redfish && certificate.is_none() && !endpoint.is_here() {
        report.error(
            span,
            format!("`{name}` is reached over HTTPS, and nothing says whose certificate it must have"),
            "write certificate = \"sha256:…\" (its own) or ca = \"FILE\" (of who signed it)",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::server;
    use crate::tls::Trust;

    fn read(address: &str, driver: &str, more: &str) -> Result<Option<Trust>, String> {
        let config = server(driver, address, more)?;
        Ok(config.miners.into_iter().next().and_then(|miner| miner.certificate))
    }

    #[test]
    fn a_bmc_needs_to_be_known_by_its_certificate_unless_it_is_on_this_machine() {
        let pinned = format!("certificate = \"sha256:{}\"", "ab".repeat(32));
        assert!(matches!(read("10.0.0.9", "redfish", &pinned), Ok(Some(Trust::Pinned(_)))));
        assert_eq!(read("127.0.0.1:8000", "redfish", ""), Ok(None));
        for (address, driver, more, words) in [
            ("10.0.0.9", "redfish", "", "nothing says whose certificate"),
            ("10.0.0.9", "redfish", "certificate = \"sha256:12\"", "fingerprint"),
            ("10.0.0.9", "redfish", "ca = \"nowhere.pem\"", "nowhere.pem"),
            ("10.0.0.9", "vnish", pinned.as_str(), "not reached over HTTPS"),
        ] {
            let told = read(address, driver, more).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }
}
