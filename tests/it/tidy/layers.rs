//! Who may import whom: the domain knows nobody, ports know the domain, logic knows both, adapters
//! know all three and not each other.

use super::{none, sources};

/// Words that follow `use`, or stand before `::`, in a line of code.
fn mentions(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back().unwrap_or(' ');
        !before.is_alphanumeric() && before != '_' && before != ':'
    })
}

/// For each layer, the crates and layers that its code must not name.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "src/domain/",
        &[
            "sqlx",
            "warp",
            "http",
            "hyper",
            "serde",
            "serde_json",
            "tokio",
            "tracing",
            "metrics",
            "bytes",
            "futures_util",
            "crate::ports",
            "crate::logic",
            "crate::adapters",
            "crate::app",
        ],
    ),
    (
        "src/ports/",
        &[
            "sqlx",
            "warp",
            "http",
            "hyper",
            "serde",
            "serde_json",
            "tokio",
            "metrics",
            "crate::logic",
            "crate::adapters",
            "crate::app",
        ],
    ),
    (
        "src/logic/",
        &["sqlx", "warp", "http", "hyper", "serde", "serde_json", "crate::adapters", "crate::app"],
    ),
    ("src/adapters/http/", &["sqlx", "crate::adapters::postgres", "crate::app"]),
    ("src/adapters/postgres/", &["warp", "http", "hyper", "crate::adapters::http", "crate::app"]),
    ("src/adapters/", &["crate::app"]),
];

/// What the domain may use besides itself.
const DOMAIN: [&str; 7] = ["std", "chrono", "uuid", "rust_decimal", "thiserror", "sha2", "super"];

#[test]
fn layers_look_inwards_only() {
    let mut findings = Vec::new();
    for source in sources(&["src"], ".rs") {
        for (_, forbidden) in LAYERS.iter().filter(|(layer, _)| source.path.starts_with(layer)) {
            for (at, line) in source.code() {
                for name in forbidden.iter().filter(|name| mentions(line, name)) {
                    findings.push(format!("{}:{at}: {name}", source.path));
                }
            }
        }
        let uses = source.code().filter_map(|(at, line)| Some((at, line.strip_prefix("use ")?)));
        for (at, path) in uses.filter(|_| source.path.starts_with("src/domain/")) {
            let root = path.split("::").next().unwrap_or_default();
            if !DOMAIN.contains(&root) && !path.starts_with("crate::domain") {
                findings.push(format!("{}:{at}: the domain does not use {root}", source.path));
            }
        }
    }
    none(findings, "a layer looks outwards");
}
