//! Locks held, deadlocks, serialization failures: every answer in time, nothing half done.
