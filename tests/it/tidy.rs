//! House rules that a machine can keep: how long things are and what they may not hold. Who may
//! import whom is in `layers`, which words and names are used in `names`, which claims name their
//! tests in `claims`, what the compose file starts in `compose`.

mod claims;
mod compose;
mod layers;
mod names;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct Source {
    /// The path from the repository's root, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl Source {
    /// The lines with their numbers, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The lines before the unit tests, which stand last in a file.
    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take_while(|(_, line)| *line != "#[cfg(test)]")
    }

    /// The same without comments.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.production().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// The files below these places whose names end so.
pub(crate) fn sources(places: &[&str], end: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = places.iter().map(|place| root.join(place)).collect();
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            // What tools leave behind is not ours.
            if !matches!(name.as_str(), "target" | "node_modules" | ".git" | ".flashdeal") {
                let entries = fs::read_dir(&path).expect("a directory");
                open.extend(entries.map(|entry| entry.expect("an entry").path()));
            }
        } else if name.ends_with(end)
            && let Ok(text) = fs::read_to_string(&path)
        {
            let path = path.strip_prefix(root).expect("a place below the root");
            found.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "nothing below {places:?}");
    found
}

/// Fails with every finding at once.
pub(crate) fn none(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "{rule}:\n{}", findings.join("\n"));
}

#[test]
fn files_and_lines_have_a_measure_and_say_what_they_are_for() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests", "benches", "build.rs"], ".rs") {
        let length = source.lines().count();
        if length > 300 {
            findings.push(format!("{}: {length} lines, 300 are enough", source.path));
        }
        if !source.text.starts_with("//! ") {
            findings.push(format!("{}: does not open with `//!`", source.path));
        }
        for (at, line) in source.lines() {
            // A sentence for people is not cut, nor a row of the table of problems.
            let sentence = line.trim_start().starts_with('"') || line.ends_with("\",");
            let width = line.chars().count();
            if width > 100 && !sentence && !line.contains("://") {
                findings.push(format!("{}:{at}: {width} columns", source.path));
            }
        }
    }
    none(findings, "files have 300 lines of 100 columns and open with their purpose");
}

/// Where a function begins and how many lines it has: from its `fn` to the brace that closes it at
/// the same indentation (rustfmt puts it there).
fn functions(source: &Source) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let words: Vec<&str> =
            trimmed.split_whitespace().take_while(|word| *word != "fn").collect();
        let is_fn = trimmed.contains("fn ")
            && words
                .iter()
                .all(|word| matches!(*word, "async" | "const") || word.starts_with("pub"));
        if !is_fn || line.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let (close, short) = (format!("{indent}}}"), line.ends_with('}'));
        let body = lines[at..].iter().position(|line| *line == close);
        if let Some(length) = body.filter(|_| !short) {
            found.push((at + 1, length + 1));
        }
    }
    found
}

#[test]
fn no_function_is_longer_than_seventy_lines() {
    let mut findings = Vec::new();
    let mut count = 0;
    for source in sources(&["src", "tests", "benches"], ".rs") {
        for (at, length) in functions(&source) {
            count += 1;
            if length > 70 {
                findings.push(format!("{}:{at}: {length} lines", source.path));
            }
        }
    }
    assert!(count > 500, "only {count} functions were found");
    none(findings, "a function has at most 70 lines");
}

#[test]
fn src_neither_unwraps_nor_leaves_work_undone() {
    let mut findings = Vec::new();
    for source in sources(&["src"], ".rs") {
        for (at, line) in source.code() {
            for word in [".unwrap()", "todo!", "unimplemented!", "dbg!", "#[allow(", "unsafe "] {
                if line.contains(word) {
                    findings.push(format!("{}:{at}: {word}", source.path));
                }
            }
        }
    }
    none(findings, "an `expect` states its invariant, an `#[expect]` its reason");
}

/// Where the moment of a transaction is meant: an audit is of one snapshot.
const SNAPSHOTS: [&str; 1] = ["src/adapters/postgres/verify_repo.rs"];

/// The database's clock decides. The process's clock may only be read where it says why.
#[test]
fn only_the_databases_clock_decides() {
    let mut findings = Vec::new();
    for source in sources(&["src"], ".rs") {
        for (at, line) in source.code() {
            let wall = line.contains("Utc::now") || line.contains("SystemTime::now");
            if wall || line.contains("Local::now") {
                findings.push(format!("{}:{at}: {}", source.path, line.trim()));
            }
            // now() is the start of the transaction, before the wait for the lock.
            let sql = line.to_lowercase();
            let alone = |at: usize| matches!(sql[..at].chars().next_back(), Some(' ' | '('));
            let transaction_time = ["current_timestamp", "now()"]
                .iter()
                .any(|name| sql.match_indices(name).any(|(at, _)| alone(at)));
            let in_sql = source.path.contains("postgres/") && !SNAPSHOTS.contains(&&*source.path);
            if in_sql && transaction_time {
                findings.push(format!("{}:{at}: {}", source.path, line.trim()));
            }
        }
    }
    none(findings, "clock_timestamp() after the lock is the only clock that decides");
}
