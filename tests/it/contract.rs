//! `openapi.yaml` against the program: the same routes, the same codes with the same words. Its
//! examples are held against its own schemas and against the demo data in `examples`; the judge of
//! every other test is held against answers that must not pass in `judge`.

mod examples;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use flashdeal::adapters::http::{PROBLEMS, ROUTES};
use serde_json::Value;

use crate::support::contract::raw;

/// The document, read once.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(raw);

/// An operation of the document.
pub(crate) struct Operation {
    /// The path with its parameters.
    pub(crate) template: String,
    /// The method in capitals.
    pub(crate) method: String,
    /// The `operationId`.
    pub(crate) id: String,
    /// What the document says of it, with the parameters of its path.
    pub(crate) value: Value,
}

/// Every operation of the document.
pub(crate) fn operations() -> Vec<Operation> {
    let document = &*DOCUMENT;
    let mut operations = Vec::new();
    for (template, item) in document["paths"].as_object().expect("paths") {
        let shared = item["parameters"].as_array().cloned().unwrap_or_default();
        for method in ["get", "put", "post", "delete", "patch", "head", "options"] {
            let Some(value) = item.get(method) else {
                continue;
            };
            let mut value = value.clone();
            let mut parameters = value["parameters"].as_array().cloned().unwrap_or_default();
            parameters.extend(shared.clone());
            value["parameters"] = parameters.into_iter().map(resolved).collect();
            operations.push(Operation {
                template: template.clone(),
                method: method.to_uppercase(),
                id: value["operationId"].as_str().expect("an operationId").to_owned(),
                value,
            });
        }
    }
    operations
}

/// What a `$ref` names, or the value itself.
pub(crate) fn resolved(value: Value) -> Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("a reference").clone(),
        None => value,
    }
}

/// Section 6 of the contract, written down a second time.
const CODES: &[(&str, u16, &str, &str)] = &[
    ("validation_failed", 400, "no", "never"),
    ("idempotency_key_missing", 400, "no", "never"),
    ("idempotency_key_invalid", 400, "no", "never"),
    ("out_of_stock", 400, "no", "same_key"),
    ("insufficient_balance", 400, "no", "same_key"),
    ("sale_not_open", 400, "no", "same_key"),
    ("purchase_limit_reached", 400, "no", "same_key"),
    ("order_expired", 400, "no", "new_key"),
    ("balance_limit_exceeded", 400, "no", "never"),
    ("unauthenticated", 401, "no", "never"),
    ("forbidden", 403, "no", "never"),
    ("sale_not_found", 404, "no", "never"),
    ("user_not_found", 404, "no", "never"),
    ("order_not_found", 404, "no", "never"),
    ("route_not_found", 404, "no", "never"),
    ("method_not_allowed", 405, "no", "never"),
    ("request_timeout", 408, "no", "never"),
    ("concurrent_conflict", 409, "no", "same_key"),
    ("request_in_progress", 409, "unknown", "same_key"),
    ("already_exists", 409, "no", "never"),
    ("body_too_large", 413, "no", "never"),
    ("unsupported_media_type", 415, "no", "never"),
    ("idempotency_key_reused", 422, "yes", "new_key"),
    ("rate_limited", 429, "unknown", "same_key"),
    ("headers_too_large", 431, "no", "never"),
    ("internal", 500, "unknown", "same_key"),
    ("overloaded", 503, "unknown", "same_key"),
    ("draining", 503, "unknown", "same_key"),
    ("database_unavailable", 503, "unknown", "same_key"),
    ("outcome_unknown", 503, "unknown", "same_key"),
];

/// Files behind pages: nobody calls them as an API.
const FILES: [&str; 2] = ["/docs/{file}", "/assets/{file}"];

#[test]
fn routes_and_documented_paths_are_the_same() {
    let served: BTreeMap<&str, BTreeSet<String>> = ROUTES
        .iter()
        .filter(|route| !FILES.contains(&route.template))
        .map(|route| {
            let methods = route.allow.split(", ").filter(|method| *method != "HEAD");
            (route.template, methods.map(str::to_owned).collect())
        })
        .collect();
    let operations = operations();
    let mut documented: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for operation in &operations {
        let methods = documented.entry(&operation.template).or_default();
        methods.insert(operation.method.clone());
    }
    assert_eq!(served, documented);
    for route in ROUTES {
        let (get, head) = (route.allow.contains("GET"), route.allow.contains("HEAD"));
        assert_eq!(get, head, "{route:?}: HEAD works where GET does");
    }
    let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id.as_str()).collect();
    assert_eq!(ids.len(), operations.len(), "operationIds are unique");
    for id in "placeOrder getOrder listOrders createUser putUser getUser listUsers getWallet \
               listWalletEntries createDeposit createSale getSale listSales getAudit"
        .split_whitespace()
    {
        assert!(ids.contains(id), "{id} is promised by name");
    }
}

#[test]
fn the_codes_of_contract_program_and_document_are_the_same() {
    let contract: BTreeMap<&str, u16> = CODES.iter().map(|row| (row.0, row.1)).collect();
    let program: BTreeMap<&str, u16> =
        PROBLEMS.iter().map(|kind| (kind.code, kind.status)).collect();
    assert_eq!(contract, program);
    let operations = operations();
    let page = operations.iter().find(|operation| operation.id == "getProblem");
    let parameters = page.expect("getProblem").value["parameters"].clone();
    let listed = parameters[0]["schema"]["enum"].as_array().expect("an enum").clone();
    let listed: BTreeSet<&str> = listed.iter().filter_map(Value::as_str).collect();
    assert_eq!(listed, contract.keys().copied().collect());
}

/// Every object of the document that is a problem, wherever it stands.
fn problems_in(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(members) => {
            let kind = members.get("type").and_then(Value::as_str).unwrap_or_default();
            if kind.starts_with("/problems/") {
                found.push(value.clone());
            }
            members.values().for_each(|member| problems_in(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| problems_in(item, found)),
        Value::String(text) => {
            // The description shows some as JSON.
            for block in text.split("```json").skip(1) {
                let block = block.split("```").next().unwrap_or_default();
                let shown = serde_json::from_str(block).expect("an example in a description");
                problems_in(&shown, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_example_of_a_problem_says_what_the_service_says() {
    let mut examples = Vec::new();
    problems_in(&DOCUMENT, &mut examples);
    for example in &examples {
        let code = example["code"].as_str().expect("a code");
        let kind = PROBLEMS.iter().find(|kind| kind.code == code).expect("a known code");
        assert_eq!(example["title"], kind.title, "{example}");
        assert_eq!(example["status"], kind.status, "{example}");
        assert_eq!(example["type"], format!("/problems/{code}"), "{example}");
        let (_, _, charged, retry) = CODES.iter().find(|row| row.0 == code).expect("a row");
        if !example["charged"].is_null() {
            assert_eq!(
                (&example["charged"], &example["retry"]),
                (&(*charged).into(), &(*retry).into())
            );
        }
    }
    for (code, ..) in CODES {
        let shown = examples.iter().any(|example| example["code"] == *code);
        assert!(shown, "{code} has no example");
    }
}
