//! The cryptography under TLS, one for storage, providers and telemetry.

/// To be called before a client of HTTP is made; more than once does no harm. Where the process has chosen another one
/// before, that stays.
///
/// `ring`, and not the default of the HTTP client: it is smaller, and its C and assembly build in seconds.
pub fn set_up() {
    // An error only says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
