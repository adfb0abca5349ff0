//! A wire to PostgreSQL that breaks where it is told to.
