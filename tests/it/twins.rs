//! One key, one order: in parallel, in sequence, with other bodies, by other users.
