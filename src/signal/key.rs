//! Names across a wait: a source and its circuits are found in one configuration and used when there may be another.

use std::sync::Arc;

use super::desk::{Source, State};
use crate::control::site::{Site, SourceId};

/// Configurations from before that are remembered, for whoever found a source or a circuit in one of them.
const MOST_PAST: usize = 16;

/// A source, and the configuration by which it and the circuits of its orders are numbered. It stays that source when
/// another configuration gives its number to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceKey {
    pub(super) generation: u64,
    pub(super) at: SourceId,
}

impl SourceKey {
    /// Its position in the configuration by which it was found.
    pub const fn position(self) -> SourceId {
        self.at
    }
}

impl State {
    /// Takes another site; whoever found a source in the one before still finds it.
    pub(super) fn renew(&mut self, site: Arc<Site>) -> Arc<Site> {
        let before = std::mem::replace(&mut self.site, site);
        self.generation = self.generation.saturating_add(1);
        if self.past.len() >= MOST_PAST {
            self.past.pop_front();
        }
        self.past.push_back(before.clone());
        before
    }

    pub(super) fn key(&self, name: &str) -> Option<SourceKey> {
        let at = self.site.sources.iter().position(|source| source.name == name).map(SourceId)?;
        Some(SourceKey { generation: self.generation, at })
    }

    pub(super) fn site_of(&self, generation: u64) -> Option<Arc<Site>> {
        match usize::try_from(self.generation.checked_sub(generation)?).ok()? {
            0 => Some(self.site.clone()),
            ago => self.past.len().checked_sub(ago).and_then(|at| self.past.get(at)).cloned(),
        }
    }

    /// The name by which a source was found.
    pub(super) fn name_of(&self, source: SourceKey) -> Option<Arc<str>> {
        let site = self.site_of(source.generation)?;
        site.sources.get(source.at.0).map(|known| known.name.as_str().into())
    }

    pub(super) fn at(&self, source: SourceKey) -> Option<&Source> {
        self.named(&self.name_of(source)?)
    }

    pub(super) fn at_mut(&mut self, source: SourceKey) -> Option<&mut Source> {
        let name = self.name_of(source)?;
        self.named_mut(&name)
    }
}
