//! The tokens that `ballast token` keeps in a file: taken up while the daemon runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Api;
use crate::config::Config;
use crate::token::{Token, kept};

/// How often the file is looked at. What is revoked lets nobody in after this time.
const OFTEN: Duration = Duration::from_secs(2);

/// By what a file is known to be another one: it is replaced as a whole, so its number changes, and its times.
type Mark = (u64, i64, i64, u64);

/// What was seen of the file.
#[derive(Debug)]
pub(super) struct KeptTokens {
    path: Option<PathBuf>,
    /// `None` before the first look.
    seen: Option<Option<Mark>>,
}

impl KeptTokens {
    /// Nothing yet, where a configuration says.
    pub(super) fn new(config: &Config) -> Self {
        Self { path: config.web.tokens_file.clone(), seen: None }
    }

    /// The tokens, if the file is another one than at the last look. None where it cannot be read: a token that may have been
    /// revoked lets nobody in.
    fn news(&mut self) -> Option<Vec<Token>> {
        let path = self.path.as_deref()?;
        let mark = |at: std::fs::Metadata| (at.ino(), at.mtime(), at.mtime_nsec(), at.size());
        let now = std::fs::metadata(path).ok().map(mark);
        if self.seen.replace(now) == Some(now) {
            return None;
        }
        Some(kept::tokens(path).unwrap_or_else(|error| {
            tracing::error!("{error}; until then the tokens of the configuration alone are known");
            Vec::new()
        }))
    }
}

impl Api {
    /// Takes up what has changed in the file.
    pub(super) fn look_at_tokens(&self) {
        // Held while the door is told, so that an older list never comes after a newer one.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut tokens) = kept.news() else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|token| {
            let twice = state.tokens.iter().any(|own| own.name == token.name);
            if twice {
                tracing::warn!(
                    "the token `{}` stands in the configuration and in the file of `ballast token`; the configuration's \
                     counts",
                    token.name
                );
            }
            !twice
        });
        let super::Inside { gate, tokens: own, .. } = &mut *state;
        gate.set(own.iter().chain(&tokens));
    }

    /// Looks at the file of tokens from time to time, without an end.
    pub async fn watch_tokens(self: Arc<Self>) {
        loop {
            tokio::time::sleep(OFTEN).await;
            let api = Arc::clone(&self);
            // A file is read where it may take its time.
            if tokio::task::spawn_blocking(move || api.look_at_tokens()).await.is_err() {
                return;
            }
        }
    }
}
