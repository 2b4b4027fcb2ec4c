//! Other daemons as members: they are larger than any miner, and their response goes by their size.

use super::diagnostic::{At, Report};
use super::miners::Keys;
use super::models::MOST_MINER_POWER;
use crate::control::site::Response;
use crate::miner::DriverKind;
use crate::miner::drivers::ballast;
use crate::miner::kind::Traits;
use crate::units::Watts;

/// No member is larger, in watts.
pub(super) const MOST_POWER: f64 = 1e9;

/// Refuses powers that no single miner has, except of a member.
pub(super) fn sizes(driver: DriverKind, keys: &Keys, report: &Report<'_>) {
    if driver == DriverKind::Ballast {
        return;
    }
    let all = [keys.minimum, keys.maximum, keys.nameplate, keys.sleep, keys.rated];
    for At { value, span } in all.into_iter().flatten().filter(|at| at.value.get() > MOST_MINER_POWER) {
        report.error(
            span,
            format!("no miner draws {value}"),
            format!(
                "the most is {}; a whole daemon as a member (driver = \"ballast\") may have more",
                Watts::saturating(MOST_MINER_POWER)
            ),
        );
    }
}

/// Whether a driver can put its device to sleep. A server goes to its lowest power, and is counted at that.
pub(super) fn sleeps(driver: DriverKind) -> bool {
    !matches!(driver, DriverKind::Redfish | DriverKind::Zeusd)
}

/// How a draw follows before anything is learned: a driver's seed, that of a member by its size.
pub(super) fn response(driver: DriverKind, traits: &Traits, nameplate: Watts) -> Response {
    if driver == DriverKind::Ballast { ballast::response(nameplate) } else { traits.response }
}
