//! What every statement must do without, so that FlashDeal can move to an engine that speaks
//! PostgreSQL's protocol and is another inside.
//!
//! Sources (2026-11-21): CockroachDB, "PostgreSQL compatibility" and "Known limitations"
//! (cockroachlabs.com/docs); YugabyteDB, "PostgreSQL compatibility", its table of what is not
//! supported, and "Explicit locking" (docs.yugabyte.com). This is about words in statements; nobody
//! has run FlashDeal there.

use std::collections::BTreeSet;

use crate::tidy::{Source, none, sources};

/// A word, and why a statement does without it. Capitals are compared as they stand.
const ABSENT: [(&str, &str); 31] = [
    ("pg_advisory", "CockroachDB's do nothing; YugabyteDB has them since 2025 only"),
    ("pg_try_advisory", "as pg_advisory"),
    ("LISTEN", "CockroachDB: none; YugabyteDB: issue 1872"),
    ("NOTIFY", "as LISTEN"),
    ("pg_notify", "as LISTEN"),
    ("LOCK TABLE", "CockroachDB: none; YugabyteDB: issue 5384"),
    ("ctid", "a row's place in PostgreSQL's own heap"),
    ("xmin", "a row's version in PostgreSQL's own heap"),
    ("xmax", "as xmin"),
    ("EXCLUDE USING", "CockroachDB: none; YugabyteDB: issue 3944"),
    ("DEFERRABLE", "CockroachDB: issue 31632; YugabyteDB: issue 1709"),
    ("INHERITS", "CockroachDB: none; YugabyteDB: issue 5956"),
    ("USING gist", "YugabyteDB: issue 1337"),
    ("TEMP TABLE", "CockroachDB: experimental; a pooler may lose it"),
    ("UNLOGGED", "ignored, so it would promise nothing"),
    ("SAVEPOINT", "a transaction is retried as a whole"),
    ("CREATE RULE", "CockroachDB: none"),
    ("LANGUAGE plpgsql", "CockroachDB: a subset, since 23.2"),
    ("CREATE TRIGGER", "CockroachDB: since 24.3, row triggers only"),
    ("CREATE OR REPLACE TRIGGER", "as CREATE TRIGGER"),
    ("DO $$", "CockroachDB: since 24.1"),
    ("TABLESAMPLE", "YugabyteDB: another meaning"),
    ("pg_current_wal", "there is no such log"),
    ("pg_current_xact", "there is no such number"),
    ("txid_", "as pg_current_xact"),
    ("pg_stat_", "views that are empty, or say something else"),
    ("pg_database_size", "as pg_stat_"),
    ("enable_nestloop", "the planner of PostgreSQL"),
    ("enable_mergejoin", "as enable_nestloop"),
    ("enable_seqscan", "as enable_nestloop"),
    ("max_parallel_workers", "as enable_nestloop"),
];

/// Where a word stands all the same: word, file, reason.
const ALLOWED: [(&str, &str, &str); 25] = [
    ("enable_seqscan", "src/adapters/postgres/connect.rs", "BEGIN; without it plans may be worse"),
    ("enable_nestloop", "src/adapters/postgres/report_repo.rs", "BEGIN; as above, of a report"),
    ("pg_stat_", "src/adapters/postgres/stats_repo.rs", "monitoring: gauges stay away without it"),
    ("pg_database_size", "src/adapters/postgres/stats_repo.rs", "monitoring"),
    ("enable_nestloop", "src/adapters/postgres/verify_repo.rs", "the audit, beside orders"),
    ("enable_mergejoin", "src/adapters/postgres/verify_repo.rs", "the audit"),
    ("max_parallel_workers", "src/adapters/postgres/verify_repo.rs", "the audit"),
    ("max_parallel_workers", "src/adapters/postgres/report_repo.rs", "a command"),
    ("max_parallel_workers", "src/adapters/postgres/export_repo.rs", "a command"),
    ("max_parallel_workers", "src/adapters/postgres/embedded/settings.rs", "the embedded server"),
    ("LANGUAGE plpgsql", "migrations/0001_foundation.sql", "a second guard: no code relies on it"),
    ("CREATE TRIGGER", "migrations/0001_foundation.sql", "as above"),
    ("LANGUAGE plpgsql", "migrations/0002_references_by_statement.sql", "foreign keys do it too"),
    ("CREATE TRIGGER", "migrations/0002_references_by_statement.sql", "as above: ADR 14"),
    ("enable_seqscan", "migrations/0002_references_by_statement.sql", "as above"),
    ("LANGUAGE plpgsql", "migrations/0003_entries_of_their_orders.sql", "as above"),
    ("enable_seqscan", "migrations/0003_entries_of_their_orders.sql", "as above"),
    ("LANGUAGE plpgsql", "migrations/0004_locks_in_one_call.sql", "two locks in one trip: ADR 15"),
    ("LANGUAGE plpgsql", "migrations/0005_reads_by_buyer.sql", "as 0002 and 0004"),
    ("enable_seqscan", "migrations/0005_reads_by_buyer.sql", "as 0002"),
    ("LANGUAGE plpgsql", "migrations/0006_what_can_be_read_back.sql", "as 0001"),
    ("CREATE TRIGGER", "migrations/0006_what_can_be_read_back.sql", "as 0001"),
    ("CREATE OR REPLACE TRIGGER", "migrations/0006_what_can_be_read_back.sql", "as 0002"),
    ("LANGUAGE plpgsql", "migrations/0007_orders_name_their_debit.sql", "as 0002 and 0004"),
    ("enable_seqscan", "migrations/0007_orders_name_their_debit.sql", "as 0002"),
];

/// Whether the word stands in the line, alone on its left.
fn stands(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().unwrap_or(' ');
        let after = line[at + word.len()..].chars().next().unwrap_or(' ');
        let ends = word.ends_with('_') || !after.is_alphanumeric() || word.starts_with("pg_");
        let ends = ends || word.starts_with("max_");
        !before.is_alphanumeric() && before != '_' && ends && after != '='
    })
}

/// Lines that may hold SQL: code with a literal in it, or continued from one, and SQL files.
fn statements() -> Vec<Source> {
    let mut found = sources(&["src"], ".rs");
    found.extend(sources(&["src", "migrations"], ".sql"));
    found
}

/// SQL files have comments of their own.
fn lines(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.code().filter(|(_, line)| !line.trim_start().starts_with("--"))
}

/// Settings and sentences speak of listening; statements begin with it.
fn is_speech(word: &str, line: &str) -> bool {
    word == "LISTEN" && !line.contains("\"LISTEN")
}

#[test]
fn statements_do_without_what_other_engines_do_not_have() {
    let (mut findings, mut used) = (Vec::new(), BTreeSet::new());
    for source in statements() {
        for (at, line) in lines(&source) {
            for (word, reason) in ABSENT.iter().filter(|(word, _)| stands(line, word)) {
                let allowed =
                    |(one, path, _): &&(&str, &str, &str)| one == word && source.path == **path;
                match ALLOWED.iter().find(allowed) {
                    Some(entry) => drop(used.insert((entry.0, entry.1))),
                    None if is_speech(word, line) => {}
                    None => findings.push(format!("{}:{at}: {word} ({reason})", source.path)),
                }
            }
        }
    }
    for (word, path, _) in ALLOWED.iter().filter(|entry| !used.contains(&(entry.0, entry.1))) {
        findings.push(format!("{path}: {word} is allowed and not there"));
    }
    none(findings, "not every engine has this");
}

/// Everything but what Rust and its formatter change in a literal.
fn bare(text: &str) -> String {
    let plain = text.replace("\\\"", "\"").replace("\\n", "").replace('\\', "");
    plain.chars().filter(|letter| !letter.is_whitespace()).collect()
}

#[test]
fn every_checked_query_is_among_the_statements_that_are_looked_at() {
    let all: String = statements().iter().map(|source| bare(&source.text)).collect();
    let mut findings = Vec::new();
    for source in sources(&[".sqlx"], ".json") {
        let query: serde_json::Value = serde_json::from_str(&source.text).expect("JSON");
        let query = query["query"].as_str().expect("a query");
        if !all.contains(&bare(query)) {
            findings.push(format!("{}: {query}", source.path));
        }
    }
    none(findings, "a query that no file holds");
}

#[test]
fn words_are_found_where_they_stand_and_nowhere_else() {
    for (line, word, expected) in [
        ("SELECT ctid FROM orders", "ctid", true),
        ("SELECT o.ctid, 1", "ctid", true),
        ("let detectid = 1;", "ctid", false),
        ("SELECT pg_advisory_xact_lock(1)", "pg_advisory", true),
        ("SELECT pg_stat_activity", "pg_stat_", true),
        ("FLASHDEAL_LISTEN", "LISTEN", false),
        ("LISTEN sold", "LISTEN", true),
        ("SET LOCAL enable_seqscan = off", "enable_seqscan", true),
    ] {
        assert_eq!(stands(line, word), expected, "{word} in {line}");
    }
}
