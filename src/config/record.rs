//! The section `[record]`: whether every cycle is kept on disk, where, and how much.

use std::path::Path;
use std::time::Duration;

use super::reader::Table;
use crate::record::Settings;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads `[record]`. Every key has a default. Paths in it are relative to `folder`.
pub(super) fn record(root: &Table<'_>, folder: &Path) -> Settings {
    let mut settings = Settings::default();
    let Some(table) = root.table("record") else {
        return settings;
    };
    if let Some(enabled) = table.boolean("enabled") {
        settings.enabled = enabled;
    }
    if let Some(path) = table.text("folder") {
        let text = path.value.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            table.report().error(
                path.span,
                "`folder` names no folder",
                "name one that the service may write, like folder = \"/var/lib/ballast/record\"",
            );
        } else {
            settings.folder = Some(folder.join(text));
        }
    }
    if let Some(megabytes) = table.integer("max_megabytes", 16, 1_000_000) {
        settings.max_size = u64::from(megabytes.value) * 1_000_000;
    }
    if let Some(keep) = table.time("keep", Duration::from_secs(3_600), DAY * 3_660) {
        settings.keep = keep.value;
    }
    table.finish();
    settings
}
