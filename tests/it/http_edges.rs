//! The edges of HTTP: methods, types, sizes, slow bodies, headers, ids, pages.
