//! What TLS is made with. Every HTTP client of the program is built after [`ready`].

/// Chooses the cryptography of TLS for the whole process, once; later calls do nothing.
///
/// reqwest is built without a provider of its own (the one it would bring is a long C build), and a client that is
/// built before one is chosen ends the program.
pub fn ready() {
    // An error says that it is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
