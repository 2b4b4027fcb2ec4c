//! The section `[proof]`: how much of the chained record stays, and how fast decisions are written into it.

use std::path::Path;
use std::time::Duration;

use super::reader::{Table, text_of};
use super::urls;
use crate::proof::Settings;
use crate::proof::authority::Authority;

/// Reads `[proof]`. Every key has a default.
pub(super) fn proof(root: &Table<'_>, folder: &Path) -> Settings {
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
    settings.time_stamps = table.table("time_stamps").and_then(|inner| time_stamps(inner, folder));
    table.finish();
    settings
}

/// `[proof.time_stamps]`.
fn time_stamps(table: Table<'_>, folder: &Path) -> Option<Authority> {
    let url = table.read("url", |value| urls::http(text_of(value)?));
    let url = table.require(
        "url",
        url,
        "write where an RFC 3161 service answers, like url = \"https://tsa.example/tsr\"",
    );
    let every = table.time("every", Duration::from_secs(60), Duration::from_secs(7 * 86_400));
    let ca = table.text("ca").and_then(|at| urls::certificates(folder, at, table.report()));
    table.finish();
    Some(Authority { url: url?.value, ca, every: every.map_or(Duration::from_secs(3_600), |at| at.value) })
}
