//! Statistics as pure functions: no I/O, no product types.
