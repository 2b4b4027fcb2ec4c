//! Passwords and tokens that never show in logs, errors or `Debug`.

use std::fmt;

/// A secret text. Its `Debug` is a fixed word; only [`Secret::expose`] gives it away, at the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret as it is to be sent.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself. Call it where the bytes go onto the wire and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What a file holds of a secret: without the byte order mark that some editors put before it and the line end that most
/// put behind it.
pub fn bare(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches(['\n', '\r'])
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
