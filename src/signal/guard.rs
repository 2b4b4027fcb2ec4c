//! To be written.

/// The settings of this kind of source.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {}
