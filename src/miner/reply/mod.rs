//! Reading what vendors write: JSON as it comes, values with and without units, and what several firmwares have in common.

pub(crate) mod fields;
pub(crate) mod mend;
pub mod models;
pub(super) mod percent;
pub(super) mod presets;
pub(super) mod pulse;
pub(crate) mod said;
pub(super) mod splice;
pub mod text;
