//! What each tenant's miners did since the start, for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::units::Joules;

/// Of one tenant, since the start; both only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// Drawn by its miners that were known.
    pub energy: Joules,
    /// Hashes by their own word, in terahashes.
    pub terahashes: f64,
}

/// By the name of the tenant.
pub type Totals = BTreeMap<Arc<str>, Total>;

/// The totals as they stand. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<Totals>>);

impl Tally {
    /// Takes them in.
    pub fn set(&self, totals: &Totals) {
        totals.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// As they stand.
    pub fn get(&self) -> Totals {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
