//! The integration tests: one binary, one PostgreSQL server, one database for each test.
