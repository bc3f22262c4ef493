//! Who may do what.
//!
//! Calls of `/api` come through a host that has checked a function key. Pages are for people: App Service has
//! authenticated them and says who they are in a header, which can be believed only where that is switched on.

/// How people are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches this machine's loopback address may do everything: `cpo dev`.
    Local,
    /// By the principal that App Service authentication puts into a header.
    Platform,
    /// Nobody is known, so that nobody gets in: App Service authentication is off.
    Nobody,
}
