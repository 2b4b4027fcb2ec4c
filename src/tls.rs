//! The one implementation of TLS in this process.

/// Sees to it that HTTP clients have an implementation of TLS. Call it before one is built; once is enough, and more do no
/// harm.
pub fn ready() {
    // That it is there already is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
