//! One suite on both stores.
