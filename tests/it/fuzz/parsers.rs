//! Readers that need no service: the committed corpus of each target and its mutations, and what a
//! fuzzer that watches coverage has found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::targets::{TARGETS, Target, inputs};
use super::{escaped, feed_inputs};

/// Eats one input; a finding says which.
fn eat(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.eat)(input))).is_err() {
        panic!("{}: {}", target.name, escaped(input));
    }
}

async fn mutate(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    feed_inputs(name, inputs(target), target.length_max, async |input| eat(target, input)).await;
}

#[test]
fn every_committed_input_is_eaten() {
    let mut count = 0;
    for target in &TARGETS {
        let inputs = inputs(target);
        assert!(inputs.len() >= 8, "{}: {}", target.name, inputs.len());
        for input in inputs {
            eat(target, &input);
            count += 1;
        }
    }
    println!("fuzz: {count} committed inputs");
}

#[tokio::test]
async fn a_body_is_taken_only_for_what_it_says() {
    mutate("json").await;
}

#[tokio::test]
async fn money_is_what_its_grammar_says_and_reads_back() {
    mutate("money").await;
}

#[tokio::test]
async fn a_key_is_visible_ascii_and_its_two_spellings_are_one() {
    mutate("key").await;
}

#[tokio::test]
async fn no_mutation_of_a_token_is_a_token() {
    mutate("token").await;
}

#[tokio::test]
async fn no_claims_are_accepted_that_do_not_say_so() {
    mutate("claims").await;
}

#[tokio::test]
async fn a_cursor_is_of_one_list_and_reads_back() {
    mutate("cursor").await;
}

#[tokio::test]
async fn a_filter_never_reaches_further_than_its_caller() {
    mutate("query").await;
}

#[tokio::test]
async fn a_trace_has_its_grammar_and_only_proxies_are_believed() {
    mutate("traceparent").await;
}
