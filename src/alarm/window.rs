//! Times in which nobody is called for some alarms: every week, or once.
//!
//! The alarm itself is raised, shown and kept as always; only the webhook is not called. What has come in a window and stands when
//! it ends is told then.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::kind::Kind;
use super::look::Quiet;
use crate::control::signal::Wall;
use crate::signal::windows::{Windows, timestamp};

/// When a window is.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// On days of the week or year.
    Often(Windows),
    /// Once, from the first moment to before the second, in Unix milliseconds.
    Once(i64, i64),
}

/// A window, as `[[alarms.windows]]` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Its name.
    pub name: Arc<str>,
    /// When it is.
    pub when: When,
    /// For what nobody is called.
    pub mutes: Muting,
}

/// For what nobody is called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Muting {
    /// Of these kinds.
    pub kinds: BTreeSet<Kind>,
    /// In these circuits and below them; everywhere where there are none.
    pub circuits: Quiet,
}

impl Window {
    /// Whether it is open at a time of the wall clock, in Unix milliseconds.
    pub fn is_open(&self, wall: i64) -> bool {
        match &self.when {
            When::Often(windows) => !windows.at(timestamp(Wall::unix_millis(wall))).is_empty(),
            When::Once(from, to) => (*from..*to).contains(&wall),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_once_begins_with_its_first_moment_and_ends_before_its_last() {
        let window = Window { name: "works".into(), when: When::Once(10, 20), mutes: Muting::default() };
        assert_eq!([9, 10, 19, 20].map(|wall| window.is_open(wall)), [false, true, true, false]);
    }
}
