//! The commands, their output and exit codes.
