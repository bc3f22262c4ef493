//! The host's envelope: a trigger's data in, outputs and logs out.
