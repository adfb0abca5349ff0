//! What the logic needs from outside, in the logic's own words.

pub mod facts;
pub mod read;
pub mod signals;
pub mod store;
