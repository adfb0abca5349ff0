//! One thing, one name: the word of the house, metrics, environment names, and no machine's paths.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use flashdeal::ports::signals::ALL;

use super::{none, sources};

#[test]
fn an_order_is_called_an_order() {
    let mut findings = Vec::new();
    let mut files = sources(&["src"], "");
    files.extend(sources(&["migrations", "openapi.yaml"], ""));
    for source in files {
        for (at, line) in source.lines() {
            let hint = line.contains("\"/api/purchase\" | \"/api/purchases\"");
            let rest = line.to_lowercase().replace("purchase_limit_reached", "");
            if rest.contains("purchase") && !hint {
                findings.push(format!("{}:{at}: {}", source.path, line.trim()));
            }
        }
    }
    none(findings, "it is called an order");
}

/// Words in quotes that look like metrics: they end in a unit, or stand in the table.
#[test]
fn every_metric_has_a_constant_and_every_constant_is_used() {
    let table = "src/ports/signals.rs";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(table));
    let text = text.expect("the table of metrics");
    let sources = sources(&["src"], ".rs");
    let mut findings = Vec::new();
    for signal in ALL {
        let row = text.lines().find(|line| line.contains(&format!("= \"{}\"", signal.name)));
        let constant = row.and_then(|row| row.split_whitespace().next()).unwrap_or_default();
        let used = sources.iter().filter(|source| source.path != table).any(|source| {
            source.code().any(|(_, line)| line.contains(&format!("signals::{constant}")))
        });
        if !used {
            findings.push(format!("{table}: {} ({constant}) is never used", signal.name));
        }
    }
    for source in sources.iter().filter(|source| source.path != table) {
        for (at, line) in source.code() {
            let direct = ["counter!(\"", "gauge!(\"", "histogram!(\""];
            // `ready` is a metric and a word.
            let mut named = ALL.iter().filter(|signal| signal.name.contains('_'));
            let named = named.any(|signal| line.contains(&format!("\"{}\"", signal.name)));
            if named || direct.iter().any(|call| line.contains(call)) {
                findings.push(format!("{}:{at}: a metric beside the table", source.path));
            }
        }
    }
    none(findings, "metrics are named once, in ports/signals.rs");
    for signal in ALL {
        let counter = signal.name.ends_with("_total");
        let is_counter = signal.kind == flashdeal::ports::signals::Kind::Counter;
        assert_eq!(counter, is_counter, "{}: `_total` is for counters", signal.name);
    }
}

/// Every `FLASHDEAL_…` in a text.
pub(super) fn settings_in(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("FLASHDEAL_") {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_' && !c.is_ascii_digit());
        found.insert(rest[..end.unwrap_or(rest.len())].trim_end_matches('_').to_owned());
    }
    found.remove("FLASHDEAL");
    found
}

#[test]
fn every_setting_is_written_down_where_people_look() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = fs::read_to_string(root.join("src/app/cli.rs")).expect("the command line");
    let program = settings_in(&program);
    assert!(program.len() >= 20, "{program:?}");
    let mut used = BTreeSet::new();
    for source in sources(&["src"], ".rs") {
        used.extend(settings_in(&source.text));
    }
    let unknown: Vec<_> = used.difference(&program).collect();
    assert!(unknown.is_empty(), "named in src, but no flag has them: {unknown:?}");
    for place in [".env.example", "README.md"] {
        // Both come later than this test.
        let Ok(text) = fs::read_to_string(root.join(place)) else {
            continue;
        };
        let written = settings_in(&text);
        let missing: Vec<_> = program.difference(&written).collect();
        assert!(missing.is_empty(), "{place} lacks {missing:?}");
        let stale: Vec<_> = written.difference(&program).collect();
        assert!(stale.is_empty(), "{place} names {stale:?}, which nothing reads");
    }
}

/// Where one machine keeps its things: none of it means anything in another clone.
#[test]
fn no_file_speaks_of_one_machine() {
    let mut findings = Vec::new();
    let places = ["src", "tests", "benches", "migrations", "k6", "openapi.yaml", "Cargo.toml"];
    // Written apart, so that this file does not find itself.
    let roots = ["work", "root", "home", "Users", "tmp"].map(|root| format!("/{root}/"));
    for source in sources(&places, "") {
        if source.path.ends_with("package-lock.json") {
            continue;
        }
        for (at, line) in source.lines() {
            // Homebrew for Linux lives in one place on every machine.
            let line = line.replace("/home/linuxbrew/", "");
            for root in &roots {
                let begins = |at: usize| {
                    let before = line[..at].chars().next_back().unwrap_or(' ');
                    matches!(before, ' ' | '"' | '\'' | '`' | '(' | '=' | ':')
                };
                if line.match_indices(root.as_str()).any(|(at, _)| begins(at)) {
                    findings.push(format!("{}:{at}: {}", source.path, line.trim()));
                }
            }
        }
    }
    none(findings, "a path of one machine");
}

/// One row for each metric, and no row for a metric that is not there. The process's own figures
/// come from a library.
#[test]
fn every_metric_is_explained_to_the_operator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/OBSERVABILITY.md")).expect("the document");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let explained: BTreeSet<&str> = rows.filter(|name| !name.starts_with("process_")).collect();
    let known: BTreeSet<&str> = ALL.iter().map(|signal| signal.name).collect();
    assert_eq!(explained, known);
}
