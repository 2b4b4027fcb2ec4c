//! The section `[store]`: where orders are kept, and what a power outage is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::At;
use super::reader::Table;
use crate::store::Settings;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads `[store]`. Every key has a default. Paths in it are relative to `folder`.
pub(super) fn store(root: &Table<'_>, folder: &Path) -> Settings {
    let mut settings = Settings::default();
    let Some(table) = root.table("store") else {
        return settings;
    };
    if let Some(path) = table.text("path") {
        settings.path = usable(&table, path, folder);
    }
    let minute = Duration::from_secs(60);
    if let Some(at) = table.time("outage_after", minute, DAY) {
        settings.outage_after = at.value;
    }
    if let Some(at) = table.time("restart_spread", Duration::ZERO, Duration::from_secs(3_600)) {
        settings.restart_spread = at.value;
    }
    table.finish();
    settings
}

fn usable(table: &Table<'_>, path: At<&str>, folder: &Path) -> Option<PathBuf> {
    let text = path.value.trim();
    if text.is_empty() || text.ends_with('/') || text.chars().any(char::is_control) {
        table.report().error(
            path.span,
            "`path` names no file",
            "name a file that the service may write, like path = \"/var/lib/ballast/ballast.db\"",
        );
        return None;
    }
    Some(folder.join(text))
}
