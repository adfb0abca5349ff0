//! `migrations/README.md` as a judge of one migration: what it says that would stop a sale, or the
//! older version that runs beside the newer one.
//!
//! It reads words, not SQL: a statement that it does not understand passes, so it helps a review
//! and does not replace it.

use std::collections::HashSet;

/// Longer than this no statement may wait in front of all orders, in milliseconds.
const LOCK_WAIT_MAX: u64 = 2_000;
/// What a file says that takes away what no released version uses any more.
const REMOVAL: &str = "-- unused since ";

/// One migration.
pub(super) struct Migration<'a> {
    text: &'a str,
    statements: Vec<String>,
    /// Tables that it makes itself: nobody waits for them.
    own: HashSet<String>,
}

impl Migration<'_> {
    /// Reads one.
    pub(super) fn of(text: &str) -> Migration<'_> {
        let statements = statements(text);
        let made = |statement: &String| {
            let rest = statement.strip_prefix("create table ")?;
            Some(first_word(rest.trim_start_matches("if not exists ")))
        };
        let own = statements.iter().filter_map(made).collect();
        Migration { text, statements, own }
    }

    /// Everything that is wrong with it.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut patient = true;
        for statement in &self.statements {
            if let Some(wait) = lock_timeout(statement) {
                patient = wait == 0 || wait > LOCK_WAIT_MAX;
                continue;
            }
            let table = table_of(statement);
            if table.is_some_and(|table| self.own.contains(&table)) {
                found.extend(anywhere(statement).map(|fault| said(fault, statement)));
                continue;
            }
            let faults = anywhere(statement).chain(taken_away(statement, self.text));
            let faults = faults.chain(altered(statement)).chain(self.indexed(statement));
            found.extend(faults.map(|fault| said(fault, statement)));
            let locks = ["alter table ", "create trigger ", "create or replace trigger "];
            let locks = locks.iter().chain(&["drop table ", "drop trigger "]);
            if patient && locks.into_iter().any(|lock| statement.starts_with(lock)) {
                let rule = "waits for its lock without SET lock_timeout of at most 2 s before it";
                found.push(said(rule, statement));
            }
        }
        found.extend(self.mixed().map(str::to_owned));
        found
    }

    /// An index that is built while orders go on.
    fn indexed(&self, statement: &str) -> Option<&'static str> {
        let words = ["create index", "create unique index", "reindex", "drop index"];
        if !words.iter().any(|word| statement.starts_with(word)) {
            return None;
        }
        if !has(statement, "concurrently") {
            return Some("keeps writers out: CONCURRENTLY");
        }
        if !self.text.starts_with("-- no-transaction") {
            return Some("cannot run in a transaction: the file begins with -- no-transaction");
        }
        // Several statements sent as one are a transaction, whatever the file says.
        (self.statements.len() > 1).then_some("wants a file of its own")
    }

    /// Statements that must not share a file.
    fn mixed(&self) -> Option<&'static str> {
        let validates = |statement: &String| has(statement, "validate constraint");
        let rest = |statement: &String| !validates(statement) && !statement.starts_with("set ");
        (self.statements.iter().any(validates) && self.statements.iter().any(rest))
            .then_some("VALIDATE CONSTRAINT in a file with other changes holds their locks")
    }
}

/// Wrong wherever it stands.
fn anywhere(statement: &str) -> impl Iterator<Item = &'static str> {
    let begins = |word: &str| statement.starts_with(word);
    [
        (begins("update ") || begins("insert ") || begins("delete ") || begins("with "))
            .then_some("changes rows: a backfill is a command that works in batches"),
        has(statement, "public.").then_some("names a schema"),
        (begins("set search_path") || begins("set local search_path")).then_some("names a schema"),
        has(statement, "serial").then_some("makes a sequence"),
        has(statement, "as identity").then_some("makes a sequence"),
        begins("create sequence").then_some("makes a sequence"),
    ]
    .into_iter()
    .flatten()
}

/// What an older version may still use.
fn taken_away(statement: &str, text: &str) -> Option<&'static str> {
    let drops = statement.starts_with("drop ") || has(statement, " drop ");
    if drops && !text.contains(REMOVAL) {
        return Some(
            "drops something, and no line `-- unused since VERSION` says why that is safe",
        );
    }
    if has(statement, "rename ") {
        return Some("renames what an older version uses");
    }
    statement.starts_with("truncate").then_some("empties a table")
}

/// Changes of a table that is in use.
fn altered(statement: &str) -> impl Iterator<Item = &'static str> {
    let alters = statement.starts_with("alter table ");
    let kinds = ["column ", "constraint ", "check", "foreign ", "unique", "primary ", "exclude"];
    let names = |rest: &str| kinds.iter().any(|kind| rest.starts_with(kind));
    let is = move |found: bool, fault: &'static str| (alters && found).then_some(fault);
    let any = |words: &[&str]| words.iter().any(|word| has(statement, word));
    let adds_column = any(&["add column"]);
    let adds_constraint = any(&["add constraint", "add check", "add foreign key", "add exclude"]);
    let checked = any(&["check (", "check(", "references ", "foreign key"]);
    let rewritten =
        ["set logged", "set unlogged", "set tablespace", "set access method", "generated always"];
    [
        is(!statement.split(" add ").skip(1).all(names), "ADD COLUMN is written out"),
        is(any(&[" type "]), "changes a type, which rewrites the table"),
        is(any(&rewritten), "rewrites the table"),
        is(any(&["set not null"]), "SET NOT NULL reads the whole table under its lock"),
        is(
            adds_column && any(&["not null"]) && !any(&[" default "]),
            "a new column NOT NULL without a default: the older version cannot write",
        ),
        is(adds_column && !constant_default(statement), "a default that rewrites the table"),
        is(
            adds_column && (checked || any(&[" unique", "primary key"])),
            "a constraint inside ADD COLUMN reads the whole table: apart, and NOT VALID",
        ),
        is(
            adds_constraint && checked && !any(&["not valid"]),
            "a constraint without NOT VALID reads the whole table under its lock",
        ),
        is(
            adds_constraint && any(&["unique", "primary key"]) && !any(&["using index"]),
            "an index built under the lock: CONCURRENTLY first, then USING INDEX",
        ),
        is(adds_constraint && any(&["exclude"]), "an exclusion reads the whole table"),
    ]
    .into_iter()
    .flatten()
}

/// Whether a default is the same for every row.
fn constant_default(statement: &str) -> bool {
    statement.split(" default ").skip(1).all(|rest| {
        let value = rest.split([',', ';']).next().unwrap_or_default();
        !value.contains('(') || value.starts_with("now()")
    })
}

/// `SET lock_timeout`, in milliseconds; what cannot be read is no limit.
fn lock_timeout(statement: &str) -> Option<u64> {
    let rest = statement.strip_prefix("set ")?;
    let rest = rest.trim_start_matches("local ").strip_prefix("lock_timeout")?;
    let value = rest.trim_start_matches([' ', '=']).trim_start_matches("to ").trim();
    let value = value.trim_matches('\'');
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let read = match value.strip_suffix("ms") {
        Some(text) => number(text),
        None => match value.strip_suffix('s') {
            Some(text) => number(text).map(|seconds| seconds * 1_000),
            None => number(value),
        },
    };
    Some(read.unwrap_or(0))
}

/// The table that a statement is about.
fn table_of(statement: &str) -> Option<String> {
    if let Some(rest) = statement.strip_prefix("alter table ") {
        let rest = rest.trim_start_matches("if exists ").trim_start_matches("only ");
        return Some(first_word(rest));
    }
    let index = statement.starts_with("create") && has(statement, " on ");
    index.then(|| first_word(statement.split(" on ").nth(1).unwrap_or_default()))
}

fn first_word(text: &str) -> String {
    text.split([' ', '(']).next().unwrap_or_default().to_owned()
}

fn has(statement: &str, words: &str) -> bool {
    statement.contains(words)
}

fn said(fault: &str, statement: &str) -> String {
    format!("{fault}: {statement}")
}

/// Statements in small letters with single spaces, without comments. Texts stay whole, whatever
/// stands in them, and so do bodies between dollars.
fn statements(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let end = |from: usize, mark: &str| {
            rest[from..].find(mark).map_or(rest.len(), |at| from + at + mark.len())
        };
        let statement = found.last_mut().expect("there is always one");
        let taken = if rest.starts_with("--") {
            statement.push(' ');
            end(2, "\n")
        } else if rest.starts_with("/*") {
            statement.push(' ');
            end(2, "*/")
        } else if next == '\'' {
            let taken = end(1, "'");
            statement.push_str(&rest[..taken]);
            taken
        } else if rest.starts_with("$$") {
            statement.push_str("$$ $$");
            end(2, "$$")
        } else if next == ';' {
            found.push(String::new());
            1
        } else {
            statement.extend(next.to_lowercase());
            next.len_utf8()
        };
        rest = &rest[taken..];
    }
    let tidy = |text: &String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    found.iter().map(tidy).filter(|statement| !statement.is_empty()).collect()
}
