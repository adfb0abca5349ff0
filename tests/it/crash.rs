//! `kill -9` of the service and of PostgreSQL under load.
