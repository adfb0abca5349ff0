//! `openapi.yaml` as a judge: every answer must be one that the document promises, and hold nothing
//! that it does not list.
//!
//! Answers are open for clients (they ignore what they do not know), but here every response
//! schema is closed: a renamed, forgotten or invented member turns a test red.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use flashdeal::adapters::http::PROBLEMS;
use http::{Method, StatusCode};
use jsonschema::Validator;
use serde_json::{Value, json};

use super::api::Reply;

/// The document with closed response schemas.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = raw();
    close(&mut document["components"]["schemas"]);
    document
});
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> =
    LazyLock::new(|| Mutex::new(HashMap::new()));

/// The document as committed.
pub(crate) fn raw() -> Value {
    let text = include_str!("../../../openapi.yaml");
    serde_saphyr::from_str(text).expect("openapi.yaml is YAML")
}

/// Closes every object schema that lists its properties.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Panics unless the document promises this answer to this request.
pub(crate) fn check(method: &Method, path: &str, reply: &Reply) {
    let bare = path.split('?').next().unwrap_or(path);
    let Some((template, operation)) = operation(method, bare) else {
        // No operation: only the two problems of routing may come back.
        let code = reply.body["code"].as_str();
        let head = *method == Method::HEAD;
        let known = head || matches!(code, Some("route_not_found" | "method_not_allowed"));
        assert!(known, "{method} {path} is not in openapi.yaml, answered {reply:?}");
        check_unrouted(method, reply);
        return;
    };
    let status = reply.status.as_u16().to_string();
    let at = format!("{method} {template} {status}");
    let response = resolve(&operation["responses"][&status]);
    if reply.status == StatusCode::NOT_FOUND && reply.body["code"] == "route_not_found" {
        check_unrouted(method, reply);
        return;
    }
    assert!(!response.is_null(), "{at} is not in openapi.yaml: {reply:?}");
    check_headers(&at, response, reply);
    if reply.status == StatusCode::NOT_MODIFIED {
        assert!(reply.bytes.is_empty(), "{at}: {reply:?}");
        return;
    }
    let content = response["content"].as_object().unwrap_or_else(|| panic!("{at}: no content"));
    let content_type = reply.header("content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default();
    let media = content.get(essence).unwrap_or_else(|| panic!("{at}: {essence} is not promised"));
    if essence.ends_with("json") {
        check_body(&at, &media["schema"], reply);
    }
}

/// The two problems of routing, which no operation lists: the plain shape of the method.
fn check_unrouted(method: &Method, reply: &Reply) {
    if *method == Method::HEAD {
        return;
    }
    let shape = match *method {
        Method::POST => json!({ "$ref": "#/components/schemas/WriteProblem" }),
        _ => json!({ "$ref": "#/components/schemas/Problem" }),
    };
    let at = format!("{method} beside the operations");
    check_shape(&at, &shape, reply);
    check_problem(&at, reply);
}

/// What a schema cannot say of a problem: its parts agree with each other, with the answer that
/// carries it and with the table of codes.
fn check_problem(at: &str, reply: &Reply) {
    let body = &reply.body;
    let code = body["code"].as_str().unwrap_or_default();
    let kind = PROBLEMS.iter().find(|kind| kind.code == code);
    let kind = kind.unwrap_or_else(|| panic!("{at}: {code} is no code: {body}"));
    let found = (&body["type"], &body["title"], &body["status"]);
    let wanted = (&json!(format!("/problems/{code}")), &json!(kind.title), &json!(kind.status));
    assert_eq!(found, wanted, "{at}: {body}");
    assert_eq!(reply.status.as_u16(), kind.status, "{at}: {body}");
    let instance = body["instance"].as_str();
    assert_eq!(instance, reply.header("x-request-id"), "{at}: {body}");
    let content_type = reply.header("content-type");
    assert_eq!(content_type, Some("application/problem+json"), "{at}");
}

fn check_headers(at: &str, response: &'static Value, reply: &Reply) {
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let header = resolve(header);
        let required = header["required"] == true;
        assert!(!required || reply.header(name).is_some(), "{at}: {name} is missing: {reply:?}");
    }
}

/// A union is judged by the shape that lists the answer's code, so that a special problem cannot
/// pass as a plain one.
fn check_body(at: &str, schema: &'static Value, reply: &Reply) {
    let shapes: Vec<&'static Value> = match schema["anyOf"].as_array() {
        Some(shapes) => shapes.iter().collect(),
        None => vec![schema],
    };
    let code = reply.body["code"].as_str();
    let lists = |shape: &&&'static Value| {
        let codes = &resolve(shape)["properties"]["code"]["x-extensible-enum"];
        codes.as_array().is_some_and(|codes| codes.iter().any(|known| known.as_str() == code))
    };
    let is_problem = reply.status.as_u16() >= 400 && code.is_some();
    let shape = if is_problem {
        shapes.iter().find(lists).unwrap_or_else(|| panic!("{at}: code {code:?} is not promised"))
    } else {
        shapes[0]
    };
    check_shape(at, shape, reply);
    if is_problem {
        check_problem(at, reply);
    }
}

fn check_shape(at: &str, shape: &Value, reply: &Reply) {
    let validator = validator(shape);
    let errors: Vec<String> = validator
        .iter_errors(&reply.body)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{at}: {errors:#?} in {}", reply.body);
}

fn validator(shape: &Value) -> Arc<Validator> {
    let mut known = VALIDATORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let key = shape.to_string();
    let made = known.entry(key).or_insert_with(|| {
        let mut schema = shape.clone();
        schema["components"] = DOCUMENT["components"].clone();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        close(&mut schema);
        let validator = jsonschema::options().should_validate_formats(true).build(&schema);
        Arc::new(validator.expect("a schema of openapi.yaml"))
    });
    Arc::clone(made)
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("a reference that resolves"),
        None => value,
    }
}

/// The operation of a path, literal paths before templates.
fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let mut candidates: Vec<_> =
        paths.iter().filter(|(template, _)| fits(template, path)).collect();
    candidates.sort_by_key(|(template, _)| template.matches('{').count());
    let method = method.as_str().to_lowercase();
    candidates
        .into_iter()
        .find_map(|(template, item)| item.get(&method).map(|found| (template.as_str(), found)))
}

fn fits(template: &str, path: &str) -> bool {
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let (wanted, given): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    wanted.len() == given.len()
        && wanted
            .iter()
            .zip(given)
            .all(|(wanted, given)| *wanted == given || wanted.starts_with('{'))
}
