//! The keys of a source of kind `calendar`.

use super::{Context, amount, windows};
use crate::config::reader::Table;
use crate::signal::calendar::Settings;

/// Reads the keys of this kind of source.
pub(super) fn read(table: &Table<'_>, context: &Context<'_, '_>) -> Option<Settings> {
    for key in ["fail_safe", "lost_after", "release_to", "fail_safe_hold", "finish_schedule"] {
        if table.has(key) {
            table.report().warn(
                table.key_span(key),
                format!("`{key}` has no effect: a calendar needs nobody and is never lost"),
                "its one doubt is the clock: see `clock_allowance` and `clock_tolerance`",
            );
        }
    }
    let (windows, caps) = windows::windows(table, "windows", context, |window| {
        let ask = amount::ask(window, "cap");
        window
            .require(
                "cap",
                ask,
                "write what holds in the window: cap = \"100 kW\", cap = \"30 %\" of the nameplate, or cap = \"none\"",
            )
            .map(|at| at.value)
    })?;
    Some(Settings { windows, caps })
}
