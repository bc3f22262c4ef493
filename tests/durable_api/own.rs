//! What the recording does not show, or tells in one line only.
