//! A bad value is named with its flag or variable and with what is accepted, and all are named at
//! once, wherever they come from.

use super::{ended, on, refused, stderr};
use crate::support::postgres::TestDatabase;
use crate::support::process::run;
use crate::support::service::{scratch, secret_file};

/// A secret that nobody minds.
const SECRET: &str = "a test secret of more than thirty-two bytes";

/// Runs a command that has these and no other bad values: a sentence for each, in their order.
async fn named(arguments: &[&str], environment: &[(&str, &str)], sentences: &[&str]) {
    let output = run(arguments, environment).await;
    assert_eq!(ended(&output, 2), "", "{arguments:?}");
    let said = stderr(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), sentences.len(), "{arguments:?}: {said}");
    for (line, sentence) in lines.iter().zip(sentences) {
        let whole = format!("flashdeal: {sentence}");
        assert!(line.starts_with(&whole), "{arguments:?}: {line} instead of {whole}");
    }
}

#[tokio::test]
async fn a_negative_value_of_a_flag_is_a_bad_value_like_any_other() {
    let queue = "FLASHDEAL_MAX_QUEUE=-1: accepted is an integer from 1 to 1000000";
    let engine = "FLASHDEAL_ENGINE=fast: accepted are";
    named(&["serve", "--max-queue", "-1", "--engine", "fast"], &[], &[engine, queue]).await;
    named(&["--max-queue", "-1"], &[("FLASHDEAL_ENGINE", "fast")], &[engine, queue]).await;
    let times = ["startup", "lock", "request"].map(|name| format!("--{name}-timeout"));
    let wait = |name: &str| format!("FLASHDEAL_{name}=-1s: accepted is a time from");
    for (flag, name) in times.iter().zip(["STARTUP_TIMEOUT", "LOCK_TIMEOUT", "REQUEST_TIMEOUT"]) {
        named(&["serve", flag, "-1s"], &[], &[&wait(name)]).await;
    }
    named(&["serve", "--shutdown-grace", "-1s"], &[], &[&wait("SHUTDOWN_GRACE")]).await;
    let rehearse = ["rehearse", "--buyers", "5", "--stock", "5", "--time-limit", "-1s"];
    named(&rehearse, &[], &["--time-limit -1s: accepted is a time from 1s to 10m"]).await;
    let output = run(&["rehearse", "--buyers", "-1", "--stock", "5"], &[]).await;
    ended(&output, 2);
    let said = stderr(&output);
    assert!(said.contains("'-1' for '--buyers") && said.contains("1..=100000"), "{said}");
}

#[tokio::test]
async fn a_command_names_all_bad_values_of_its_flags_and_of_its_settings() {
    let amount = "accepted is an amount with two decimals, such as 49.90, up to 99999999999.99";
    let arguments = ["seed", "--users", "x", "--balance", "10", "--stock", "-1", "--price", "2.5"];
    let sentences = [
        "--users x: accepted is an integer from 1 to 1000000".to_owned(),
        format!("--balance 10: {amount}"),
        "--stock -1: accepted is an integer from 0 to 1000000000".to_owned(),
        format!("--price 2.5: {amount}"),
        "--name : must have 1 to 200 characters".to_owned(),
        "--limit 0: accepted is an integer from 1 to 1000000".to_owned(),
    ];
    let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
    let more = [&arguments[..], &["--name", "", "--limit", "0"]].concat();
    named(&more, &[], &sentences).await;
    let settings = [("FLASHDEAL_ENGINE", "fast"), ("FLASHDEAL_MAX_QUEUE", "0")];
    let of_settings = ["FLASHDEAL_ENGINE=fast: ", "FLASHDEAL_MAX_QUEUE=0: "];
    named(&more, &settings, &[&of_settings, &sentences[..]].concat()).await;
    let user = "--user nope: accepted is a UUID";
    let ttl = "accepted is a time from 1s to 24h, such as 30m or 12h";
    let ttl_x = format!("--ttl x: {ttl}");
    let secret = [("FLASHDEAL_JWT_SECRET", SECRET)];
    named(&["token", "--user", "nope", "--ttl", "x"], &secret, &[user, &ttl_x]).await;
    for (wrong, right) in [("25h", "24h"), ("500ms", "1000ms"), ("-1s", "1s")] {
        let sentence = format!("--ttl {wrong}: {ttl}");
        named(&["token", "--admin", "--ttl", wrong], &secret, &[&sentence]).await;
        ended(&run(&["token", "--admin", "--ttl", right], &secret).await, 0);
    }
}

#[tokio::test]
async fn one_secret_is_named_or_the_other() {
    let file = scratch("cli-two-secrets").join("secret");
    secret_file(&file, SECRET);
    let file = file.to_str().expect("UTF-8");
    let both = "FLASHDEAL_JWT_SECRET=(not shown): accepted is one of FLASHDEAL_JWT_SECRET and \
                FLASHDEAL_JWT_SECRET_FILE";
    let weak = "FLASHDEAL_JWT_SECRET=(not shown): the key has 7 bytes";
    let gone = "FLASHDEAL_JWT_SECRET_FILE=gone: ";
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for (value, path, sentences) in [
        (SECRET, file, &[both][..]),
        ("hunter2", file, &[weak, both]),
        (SECRET, "gone", &[gone, both]),
        ("hunter2", "gone", &[weak, gone, both]),
    ] {
        let environment = [
            ("FLASHDEAL_AUTH", "jwt"),
            ("FLASHDEAL_JWT_SECRET", value),
            ("FLASHDEAL_JWT_SECRET_FILE", path),
        ];
        for arguments in [&serve[..], &["token", "--admin"]] {
            named(arguments, &environment, sentences).await;
        }
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_one_is_a_bad_setting() {
    let place = scratch("cli-no-directory");
    let (file, below) = (place.join("file"), place.join("file").join("below"));
    std::fs::write(&file, "a file").expect("a file");
    for path in [&file, &below] {
        let path = path.to_str().expect("UTF-8");
        let sentence = format!("FLASHDEAL_DATA_DIR={path}: accepted is a directory");
        let environment = [("FLASHDEAL_DATA_DIR", path), ("FLASHDEAL_ENGINE", "fast")];
        named(&["verify"], &environment, &[&sentence, "FLASHDEAL_ENGINE=fast: "]).await;
        named(&["serve", "--data-dir", path], &[], &[&sentence]).await;
    }
}

#[tokio::test]
async fn times_that_are_accepted_are_the_times_that_are_named() {
    let range = "FLASHDEAL_LOCK_TIMEOUT=1ms: accepted is a time from 2ms to 24h";
    named(&["token", "--admin"], &[("FLASHDEAL_LOCK_TIMEOUT", "1ms")], &[range]).await;
    let range = "FLASHDEAL_REQUEST_TIMEOUT=4ms: accepted is a time from 5ms to 24h";
    named(&["token", "--admin"], &[("FLASHDEAL_REQUEST_TIMEOUT", "4ms")], &[range]).await;
    let shortest = [
        ("FLASHDEAL_LOCK_TIMEOUT", "2ms"),
        ("FLASHDEAL_REQUEST_TIMEOUT", "5ms"),
        ("FLASHDEAL_JWT_SECRET", SECRET),
    ];
    ended(&run(&["token", "--admin"], &shortest).await, 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_database_is_said_once_and_without_lines_of_its_source() {
    let tls = "DATABASE_URL=(not shown): its sslmode is none of disable, allow, prefer, require, \
               verify-ca, verify-full";
    named(&["verify"], &[("DATABASE_URL", "postgres:///x?sslmode=nope")], &[tls]).await;
    let port = "DATABASE_URL=(not shown): its port is no number from 1 to 65535";
    named(&["verify"], &[("DATABASE_URL", "postgres://h:hunter2/x")], &[port]).await;
    let database = TestDatabase::create().await;
    let url = database
        .url
        .replace(database.options().get_database().expect("a name"), "flashdeal_no_such_database");
    assert_ne!(url, database.url);
    let environment = on(&database, &[("DATABASE_URL", &url)]);
    let said = refused(&run(&["verify"], &environment).await, 1);
    let sentence = "flashdeal: database: database \"flashdeal_no_such_database\" does not exist\n";
    assert_eq!(said, sentence);
}

#[tokio::test]
async fn what_is_missing_is_asked_for_and_nothing_that_is_set() {
    let environment = [
        ("FLASHDEAL_DATA_DIR", "elsewhere"),
        ("FLASHDEAL_LISTEN", "127.0.0.1:0"),
        ("FLASHDEAL_JWT_SECRET", SECRET),
    ];
    for (arguments, usage) in [
        (&["seed", "--users", "1"][..], "flashdeal seed [OPTIONS] --users <USERS> --balance"),
        (&["token"], "flashdeal token [OPTIONS] <--user <ID>|--service|--admin>"),
        (&["report"], "flashdeal report [OPTIONS] --sale <ID>"),
        (&["import", "users"], "flashdeal import users [OPTIONS] <FILE>"),
    ] {
        let output = run(arguments, &environment).await;
        ended(&output, 2);
        let said = stderr(&output);
        assert!(said.contains(&format!("Usage: {usage}")), "{said}");
        assert!(!said.contains("--data-dir") && !said.contains("--listen"), "{said}");
    }
}
