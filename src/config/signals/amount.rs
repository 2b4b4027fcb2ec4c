//! How much a source asks for, as people write it: `"100 kW"`, `"30 %"` of the nameplate, `"none"`.

use toml::de::DeValue;

use crate::config::diagnostic::{At, Report, Span};
use crate::config::quantity;
use crate::config::reader::{MOST_POWER, Table, Wrong, quantity_of, text_of};
use crate::control::signal::Ask;
use crate::units::Watts;

/// A cap in watts, as a share of the nameplate of what hangs on the circuit, or `"none"` (`None`).
pub(super) fn ask(table: &Table<'_>, key: &'static str) -> Option<At<Option<Ask>>> {
    table.read(key, parse)
}

/// The same for an element of a list.
pub(super) fn ask_of(report: &Report<'_>, span: Span, key: &str, value: &DeValue<'_>) -> Option<Option<Ask>> {
    match parse(value) {
        Ok(ask) => Some(ask),
        Err(wrong) => {
            wrong.tell(report, span, key);
            None
        }
    }
}

fn parse(value: &DeValue<'_>) -> Result<Option<Ask>, Wrong> {
    let text = text_of(value).map_err(|_| {
        Wrong::new(
            "is no cap",
            "write a power like \"100 kW\", a share of the nameplate like \"30 %\", or \"none\"",
        )
    })?;
    if text.trim() == "none" {
        return Ok(None);
    }
    if text.trim_end().ends_with('%') {
        return quantity_of(value, &quantity::SHARE, 0.0, 1.0)
            .map(|share| Some(Ask::ShareOfNameplate(share)));
    }
    quantity_of(value, &quantity::POWER, 0.0, MOST_POWER)
        .map(|power| Some(Ask::Cap(Watts::saturating(power))))
}
