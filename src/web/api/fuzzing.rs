//! A way in for the fuzz targets: whatever a client may write.

use super::body;
use crate::control::signal::Ask;
use crate::units::Watts;

/// Reads any bytes as each of the bodies. What is read must be something that can be meant.
///
/// # Panics
/// When it is not, which is a mistake in the program.
pub fn body(bytes: &[u8]) {
    if let Ok(limit) = body::limit(bytes) {
        let sound = match limit.ask {
            Ask::Cap(watts) | Ask::ReduceBy(watts) => watts.abs() <= Watts::saturating(10e9),
            Ask::ShareOfNameplate(share) => (0.0..=1.0).contains(&share),
        };
        assert!(sound, "{limit:?}");
    }
    if let Ok(heartbeat) = body::heartbeat(bytes) {
        assert!(heartbeat.limits.is_none_or(|names| names.len() <= 512), "a heartbeat is bounded");
    }
    if let Ok(lift) = body::lift(bytes) {
        assert!(!lift.by.trim().is_empty() && lift.end != body::End::Open, "{lift:?}");
    }
}
