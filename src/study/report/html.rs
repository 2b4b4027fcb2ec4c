//! The report as one page that needs nothing from elsewhere.

use crate::study::assess::Assessment;
use crate::study::assess::rank::Ranked;

/// The page.
pub fn page(_sites: &[Assessment], _ranked: &[Ranked]) -> String {
    String::new()
}
