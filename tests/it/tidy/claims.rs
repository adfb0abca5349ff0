//! A claim about what is tested names its test, and the test is there.

use std::fs;
use std::path::{Path, PathBuf};

/// The tests that a line of a document names: `it a::b`, or a command with `--test it a::b`.
fn claims(line: &str) -> Vec<&str> {
    let quoted = line.split('`').filter_map(|quoted| quoted.strip_prefix("it "));
    let commands = line.split("--test it ").skip(1);
    let words = quoted.chain(commands).flat_map(filters);
    // `x::` stands for any.
    words.filter(|word| word.contains("::") && *word != "x::").collect()
}

/// The filters at the beginning of what stands behind `--test it`.
fn filters(rest: &str) -> Vec<&str> {
    let rest = rest.strip_prefix("-- ").unwrap_or(rest);
    let is_filter =
        |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
    let end = rest.find('`').unwrap_or(rest.len());
    rest[..end].split_whitespace().take_while(is_filter).collect()
}

/// `cargo test` takes one filter; several go behind `--`.
fn is_too_much_for_cargo(line: &str) -> bool {
    let behind = |option: &'static str| line.split(option).skip(1);
    let commands = behind("--test it ").chain(behind("--lib "));
    let refused = |rest: &str| !rest.starts_with("-- ") && filters(rest).len() > 1;
    line.contains("cargo test") && commands.into_iter().any(refused)
}

/// Whether it is a module of the suite, or the beginning of a test's name in one.
fn is_there(claim: &str) -> bool {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let text = |modules: &str| {
        fs::read_to_string(suite.join(modules.trim_end_matches("::").replace("::", "/") + ".rs"))
    };
    let is_test = || {
        let (modules, test) = claim.rsplit_once("::").expect("a path");
        text(modules).is_ok_and(|text| text.contains(&format!("fn {test}")))
    };
    text(claim).is_ok() || is_test()
}

/// README and everything below `docs`.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (vec![root.join("README.md")], vec![root.join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_test_that_a_document_names_is_there_and_every_command_can_be_run() {
    let (mut named, mut faults) = (0, Vec::new());
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document");
        for (number, line) in (1..).zip(text.lines()) {
            let at = format!("{}:{number}", document.display());
            let claims = claims(line);
            named += claims.len();
            let gone = claims.into_iter().filter(|claim| !is_there(claim));
            faults.extend(gone.map(|claim| format!("{at}: no such test: {claim}")));
            if is_too_much_for_cargo(line) {
                faults.push(format!("{at}: cargo takes one filter, the others go behind `--`"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(named > 200, "only {named} were read");
}

#[test]
fn every_claim_about_security_names_its_test() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    let text = fs::read_to_string(document).expect("docs/SECURITY.md");
    for risk in 1..=10 {
        let row = text.lines().find(|line| line.starts_with(&format!("| API{risk} ")));
        let tested = row.is_some_and(|row| row.contains("`it "));
        assert!(tested, "API{risk} has no row that names its test");
    }
}

#[test]
fn what_cannot_be_run_or_found_is_seen() {
    let line =
        "`it twins::`, `cargo test --test it -- orders:: faults::`, `it orders::no_such_test`";
    let expected = ["twins::", "orders::no_such_test", "orders::", "faults::"];
    assert_eq!(claims(line), expected);
    assert_eq!(expected.map(is_there), [true, false, true, true]);
    assert!(!is_too_much_for_cargo(line));
    assert!(is_too_much_for_cargo("`cargo test --test it stampede:: model::`"));
    assert!(is_too_much_for_cargo("`cargo test --lib pace admission`"));
    assert!(!is_too_much_for_cargo(
        "`TEST_ENGINE=optimistic cargo test --test it model::` and more"
    ));
}
