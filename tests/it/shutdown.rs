//! Shut-down loses nothing.
