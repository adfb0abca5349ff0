//! `openapi.yaml` against the routes, and the judge against itself.
