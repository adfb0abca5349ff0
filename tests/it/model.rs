//! Random sequences against a small model.
