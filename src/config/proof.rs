//! The section `[proof]`: how much of the chained record stays, and how fast decisions are written into it.

use std::time::Duration;

use super::reader::Table;
use crate::proof::Settings;

/// Reads `[proof]`. Every key has a default.
pub(super) fn proof(root: &Table<'_>) -> Settings {
    let mut settings = Settings::default();
    let Some(table) = root.table("proof") else {
        return settings;
    };
    if let Some(keep) = table.integer("keep", 2_000, 10_000_000) {
        settings.keep = u64::from(keep.value);
    }
    let range = (Duration::from_secs(1), Duration::from_secs(3_600));
    if let Some(every) = table.time("decisions_every", range.0, range.1) {
        settings.decisions_every = every.value;
    }
    table.finish();
    settings
}
