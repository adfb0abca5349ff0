//! What the logic needs from outside, in the logic's own words.

pub mod read;
pub mod signals;
pub mod store;
