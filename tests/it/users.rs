//! Users: making them, finding them, keys and taken ids.
