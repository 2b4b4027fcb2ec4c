//! To be written.

use super::Context;
use crate::config::reader::Table;
use crate::signal::guard::Settings;

/// Reads the keys of this kind of source.
pub(super) fn read(table: &Table<'_>, context: &Context<'_, '_>) -> Option<Settings> {
    let _ = (context.circuits, context.meters, context.store);
    table.report().error(table.span(), "this kind of source is not there yet", "");
    None
}
