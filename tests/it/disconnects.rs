//! Clients that leave harm nobody.
