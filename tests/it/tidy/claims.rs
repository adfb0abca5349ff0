//! A claim about security names its test, and the test is there.

use std::fs;
use std::path::Path;

/// Every `it a::b` of a document.
fn claims(text: &str) -> Vec<&str> {
    let words = text.split('`').filter_map(|quoted| quoted.strip_prefix("it "));
    words.filter(|name| name.contains("::")).collect()
}

/// Whether a path of modules, perhaps with a test at its end, is in the suite.
fn is_there(claim: &str) -> bool {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let (modules, test) = match claim.rsplit_once("::") {
        Some((modules, test)) => (modules, Some(test).filter(|test| !test.is_empty())),
        None => (claim, None),
    };
    let Ok(text) = fs::read_to_string(suite.join(modules.replace("::", "/") + ".rs")) else {
        return false;
    };
    test.is_none_or(|test| text.contains(&format!("fn {test}(")))
}

#[test]
fn every_claim_about_security_names_a_test_that_is_there() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SECURITY.md");
    let text = fs::read_to_string(document).expect("docs/SECURITY.md");
    let claims = claims(&text);
    assert!(claims.len() > 30, "{}", claims.len());
    let gone: Vec<_> = claims.into_iter().filter(|claim| !is_there(claim)).collect();
    assert!(gone.is_empty(), "no such tests: {gone:?}");
    for risk in 1..=10 {
        let row = text.lines().find(|line| line.starts_with(&format!("| API{risk} ")));
        let tested = row.is_some_and(|row| row.contains("`it "));
        assert!(tested, "API{risk} has no row that names its test");
    }
}
