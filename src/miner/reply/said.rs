//! What a miner says of itself, read out of its vendor's words. Each driver has one reader, and discovery uses the same, so
//! that `ballast discover` never calls a miner something else than the daemon does.

use crate::control::snapshot::{Activity, Measured};
use crate::units::{Hashrate, Watts};

/// A reading without memory: what one answer, or a few of the same moment, say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Draw at the wall.
    pub power: Measured<Watts>,
    /// Hashrate of this moment.
    pub hashrate: Measured<Hashrate>,
    /// What it does.
    pub activity: Activity,
}
