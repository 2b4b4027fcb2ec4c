//! Members that are no miners: other daemons, which are larger and whose response goes by their size, and servers, which have a
//! class, are never put to sleep and bring more by the watt the less they draw.

use super::diagnostic::{At, Report, Span};
use super::miners::Keys;
use super::models::MOST_MINER_POWER;
use super::reader::Table;
use crate::control::site::{LoadClass, Response};
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

/// What is left of the work of a server under a cap, as shares of all of it, by the share of its highest power: about the middle of
/// what was measured with eight workloads on processors of 400 W, straightened to be concave. Below half it falls off steeply, which
/// is why a server goes no lower unless it is told to. Any hall differs; the order within a class is all that hangs on it.
pub const THROUGHPUT: [(f64, f64); 6] =
    [(0.25, 0.21), (0.5, 0.72), (0.625, 0.84), (0.75, 0.905), (0.875, 0.955), (1.0, 1.0)];

/// Nobody's work is worth less, or more than a hundred times that of others.
const LEAST_WORTH: f64 = 0.01;
/// See [`LEAST_WORTH`].
const MOST_WORTH: f64 = 100.0;

/// The keys `class`, `contract` and `worth`.
#[derive(Clone, Copy, Default)]
pub(super) struct ClassKeys {
    class: Option<At<LoadClass>>,
    contract: Option<At<Watts>>,
    worth: Option<At<f64>>,
}

impl ClassKeys {
    /// Reads them; what is wrong with them is noted.
    pub(super) fn read(table: &Table<'_>) -> Self {
        let classes = [LoadClass::Interruptible, LoadClass::Throttle, LoadClass::Guaranteed];
        Self {
            class: table.choice("class", &classes.map(|class| (class.name(), class))),
            contract: table.power("contract", 1.0, MOST_POWER),
            worth: table.share("worth", MOST_WORTH),
        }
    }

    /// These where they are given, else those of the group.
    pub(super) fn or(self, group: Self) -> Self {
        Self {
            class: self.class.or(group.class),
            contract: self.contract.or(group.contract),
            worth: self.worth.or(group.worth),
        }
    }

    /// What the work of a server counts by within its class, a watt of whose usual work counts as one; notes what does not fit.
    pub(super) fn worth(&self, report: &Report<'_>) -> f64 {
        let Some(At { value, span }) = self.worth else { return 1.0 };
        if value < LEAST_WORTH {
            report.error(
                span,
                "work that is worth nothing would be the first to go in any case",
                "write how much a watt brings beside one of the others of the class, from \"1 %\" to \"10000 %\"",
            );
        }
        value
    }

    /// The class of a member that runs between these powers, and what it has by contract; notes what does not fit.
    pub(super) fn of(
        &self,
        title: &str,
        span: Span,
        driver: DriverKind,
        (lowest, highest): (Watts, Watts),
        report: &Report<'_>,
    ) -> (LoadClass, Option<Watts>) {
        let usual = if driver.is_server() { LoadClass::Throttle } else { LoadClass::Miner };
        if !driver.is_server() {
            let spans =
                [self.class.map(|at| at.span), self.contract.map(|at| at.span), self.worth.map(|at| at.span)];
            for span in spans.into_iter().flatten() {
                report.error(
                    span,
                    format!("{title} is no server"),
                    "`class`, `contract` and `worth` say which servers give power up before which; miners do before all of them",
                );
            }
            return (usual, None);
        }
        let class = self.class.map_or(usual, |at| at.value);
        match (class, self.contract) {
            (LoadClass::Guaranteed, None) => report.error(
                self.class.map_or(span, |at| at.span),
                format!("{title} is guaranteed, and `contract` does not say how much"),
                "write the power that was agreed, like contract = \"5 kW\"",
            ),
            (LoadClass::Guaranteed, Some(At { value, span })) if value < lowest || value > highest => {
                report.error(
                    span,
                    format!("{title} runs between {lowest} and {highest}: `contract` ({value}) lies outside"),
                    "write the power that was agreed, as it is drawn by the whole server",
                );
            }
            (LoadClass::Guaranteed, Some(_)) | (_, None) => {}
            (_, Some(At { span, .. })) => report.error(
                span,
                format!("{title} has a `contract` and is not guaranteed"),
                "write class = \"guaranteed\" too, or leave `contract` out",
            ),
        }
        (class, self.contract.map(|at| at.value))
    }
}

/// How a draw follows before anything is learned: a driver's seed, that of a member by its size.
pub(super) fn response(driver: DriverKind, traits: &Traits, nameplate: Watts) -> Response {
    if driver == DriverKind::Ballast { ballast::response(nameplate) } else { traits.response }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Options, parse};
    use crate::units::Hashrate;

    fn full(driver: &str, more: &str) -> Result<Hashrate, String> {
        let text = format!(
            "[site]\nname = \"s\"\nmode = \"observe\"\n[circuits.pcc]\n[limits.cap]\ncircuit = \"pcc\"\nminers = \"9 kW\"\n\
             [miners.one]\ndriver = \"{driver}\"\ncircuit = \"pcc\"\naddress = \"127.0.0.1\"\nmaximum = \"6 kW\"\n{more}\n"
        );
        let config =
            parse(&text, Path::new("site.toml"), &Options::default()).map_err(|errors| errors.to_string())?;
        let last = config.site.miners.first().and_then(|miner| miner.points.last().copied());
        last.map(|point| point.hashrate).ok_or_else(|| "no points".into())
    }

    #[test]
    fn what_work_is_worth_counts_in_the_allocation() {
        let usual = full("zeusd", "").unwrap();
        assert_eq!(full("zeusd", "worth = \"150 %\""), Ok(usual.scaled(1.5)));
        assert!(full("zeusd", "worth = \"0 %\"").unwrap_err().contains("work that is worth nothing"));
        assert!(full("zeusd", "worth = \"20000 %\"").unwrap_err().contains("`worth`"));
        let told = full("vnish", "worth = \"200 %\"").unwrap_err();
        assert!(told.contains("is no server"), "{told}");
    }
}
