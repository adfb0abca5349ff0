//! A COMMIT that is cut off resolves to one truth.
