//! The document's examples: each is valid by its own schema, and each request works as it stands
//! on the demo data, as Swagger UI's Execute sends it.

use std::collections::BTreeSet;

use flashdeal::app::demo;
use http::Method;
use serde_json::{Value, json};

use super::judge::reply;
use super::{Operation, operations, resolved};
use crate::contract::DOCUMENT;
use crate::support::Service;
use crate::support::api::{Api, Reply, new_key};
use crate::support::contract::check;

/// The examples of a content, with their names.
fn examples_of(content: &Value) -> Vec<(String, Value)> {
    let examples = content["examples"].as_object().cloned().unwrap_or_default();
    examples.into_iter().map(|(name, example)| (name, resolved(example)["value"].clone())).collect()
}

/// What keeps `value` from being what `schema` says.
fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut schema = schema.clone();
    schema["components"] = DOCUMENT["components"].clone();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .expect("a schema of openapi.yaml");
    validator.iter_errors(value).map(|error| error.to_string()).collect()
}

#[test]
fn every_answer_has_examples_that_the_judge_accepts() {
    let mut count = 0;
    for operation in operations() {
        let Operation { template, method, value, .. } = &operation;
        let method: Method = method.parse().expect("a method");
        for (status, response) in value["responses"].as_object().expect("responses") {
            let response = resolved(response.clone());
            // 304 has no body.
            let none = serde_json::Map::new();
            let contents = match status.as_str() {
                "304" => &none,
                _ => response["content"].as_object().expect("content"),
            };
            for (media, content) in contents {
                let examples = examples_of(content);
                assert!(!examples.is_empty(), "{method} {template} {status}: no example");
                for (_, example) in &examples {
                    let status = status.parse().expect("a status");
                    check(&method, template, &reply(status, media, example));
                }
                count += examples.len();
            }
        }
    }
    assert!(count > 200, "{count} examples");
}

#[test]
fn every_request_has_examples_of_its_own_schema() {
    for operation in operations() {
        let Operation { id, value, .. } = &operation;
        for parameter in value["parameters"].as_array().expect("parameters") {
            let example = &parameter["example"];
            let required = parameter["required"] == true;
            assert!(!required || !example.is_null(), "{id}: {parameter}");
            if !example.is_null() {
                let faults = faults(&parameter["schema"], example);
                assert!(faults.is_empty(), "{id}: {faults:?} in {parameter}");
            }
        }
        let content = &value["requestBody"]["content"]["application/json"];
        let examples = examples_of(content);
        assert_eq!(examples.is_empty(), operation.method == "GET", "{id}");
        for (name, example) in examples {
            let faults = faults(&content["schema"], &example);
            assert!(faults.is_empty(), "{id} {name}: {faults:?}");
            let refused = super::examples::faults(&content["schema"], &json!({ "x": example }));
            assert!(!refused.is_empty(), "{id}: its schema takes anything");
        }
    }
}

/// The path of an operation with the examples of its parameters.
fn example_path(operation: &Operation) -> String {
    let mut path = operation.template.clone();
    for parameter in operation.value["parameters"].as_array().expect("parameters") {
        if let (Some(name), Some(example)) =
            (parameter["name"].as_str(), parameter["example"].as_str())
        {
            path = path.replace(&format!("{{{name}}}"), example);
        }
    }
    path
}

/// Sends every example request of an operation.
async fn execute(api: &Api, operation: &Operation) -> Vec<Reply> {
    let path = example_path(operation);
    if operation.method == "GET" {
        return vec![api.get(&path).await];
    }
    let method: Method = operation.method.parse().expect("a method");
    let content = &operation.value["requestBody"]["content"]["application/json"];
    let mut replies = Vec::new();
    for (_, example) in examples_of(content) {
        let key = new_key();
        let sent = api.try_write(method.clone(), &path, Some(&key), &example);
        replies.push(sent.await.expect("an answer"));
    }
    replies
}

#[tokio::test]
async fn every_example_request_works_on_the_demo_data() {
    let service = Service::start().await;
    let (api, pool) = (&service.api, service.database.pool().await);
    demo::fill(&pool).await.expect("demo data");
    pool.close().await;
    first_order_is_the_example(api).await;
    for operation in operations() {
        for answer in execute(api, &operation).await {
            assert!(answer.status.is_success(), "{}: {answer:?}", operation.id);
        }
    }
    for id in demo_ids() {
        let path = match &id[..5] {
            "0190a" => format!("/api/users/{id}"),
            "0190b" => format!("/api/sales/{id}"),
            _ => format!("/api/orders/{id}"),
        };
        api.get(&path).await.expect(200);
    }
    service.finish().await;
}

/// Execute, and Execute again: the documented answer, then its replay.
async fn first_order_is_the_example(api: &Api) {
    let operations = operations();
    let place = operations.iter().find(|operation| operation.id == "placeOrder");
    let place = place.expect("placeOrder");
    let keys = place.value["parameters"].as_array().expect("parameters");
    let key = keys.iter().find(|parameter| parameter["name"] == "Idempotency-Key");
    let key = key.expect("a key")["example"].as_str().expect("its example").to_owned();
    let content = &place.value["requestBody"]["content"]["application/json"];
    let (_, body) = examples_of(content).remove(0);
    let made = api.post("/api/orders", &key, &body).await.expect(201);
    let mut documented = DOCUMENT["components"]["examples"]["Order"]["value"].clone();
    for name in ["id", "created_at"] {
        documented[name] = made.body[name].clone();
    }
    assert_eq!(made.body, documented);
    let again = api.post("/api/orders", &key, &body).await.expect(201);
    assert!(again.replayed() && again.bytes == made.bytes);
    let buyer = DOCUMENT["components"]["examples"]["DemoBuyer"]["value"].clone();
    let found = api.get(&format!("/api/users/{}", demo::buyer(1))).await.expect(200);
    for name in ["id", "external_id", "name"] {
        assert_eq!(found.body[name], buyer[name]);
    }
}

/// Every id of the demo data that the document speaks of; those that end in `ffff` are nobody's.
fn demo_ids() -> BTreeSet<String> {
    let text = include_str!("../../../openapi.yaml");
    let mut ids = BTreeSet::new();
    for prefix in ["0190a000-", "0190b000-", "0190c000-"] {
        for (at, _) in text.match_indices(prefix) {
            ids.insert(text[at..at + 36].to_owned());
        }
    }
    ids.retain(|id| !id.ends_with("ffff"));
    assert!(ids.len() >= 5, "{ids:?}");
    ids
}
