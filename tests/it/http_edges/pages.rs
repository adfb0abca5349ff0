//! Pages for people: each is whole, comes from the binary, and asks nobody else for anything.

use std::collections::BTreeSet;

use flashdeal::adapters::http::PROBLEMS;

use super::{file, text};
use crate::support::Service;
use crate::support::api::{Api, Reply};

/// What an HTML page refers to.
fn references(page: &Reply) -> BTreeSet<String> {
    let html = String::from_utf8_lossy(&page.bytes).into_owned();
    let mut found = BTreeSet::new();
    for attribute in ["href=\"", "src=\""] {
        for rest in html.split(attribute).skip(1) {
            found.insert(rest.split('"').next().unwrap_or_default().to_owned());
        }
    }
    found.retain(|reference| !reference.starts_with("data:") && !reference.starts_with('#'));
    found
}

async fn assert_whole(api: &Api, path: &str) {
    let page = api.get(path).await.expect(200);
    let kind = page.header("content-type").unwrap_or_default().to_owned();
    assert!(kind.starts_with("text/html"), "{path}: {kind}");
    let html = String::from_utf8_lossy(&page.bytes).to_lowercase();
    assert!(html.contains("<!doctype html>") || html.contains("<!-- html"), "{path}");
    let inline =
        html.split("<script").skip(1).any(|tag| !tag.starts_with(" src=") && !tag.contains("src="));
    assert!(!inline, "{path}: the policy forbids inline scripts");
    let references = references(&page);
    assert!(!references.is_empty(), "{path}");
    for reference in references {
        assert!(reference.starts_with('/') && !reference.starts_with("//"), "{path}: {reference}");
        let found = file(api, &reference).await;
        assert_eq!(found.status.as_u16(), 200, "{path}: {reference}");
        assert!(!found.body.is_empty(), "{reference}");
        assert!(!text(&found, "content-security-policy").is_empty(), "{reference}");
        let kind = text(&found, "content-type");
        let wanted = match reference.rsplit('.').next() {
            Some("js") => "javascript",
            Some("css") => "text/css",
            Some("png") => "image/png",
            _ => "",
        };
        assert!(kind.contains(wanted), "{reference}: {kind}");
    }
}

#[tokio::test]
async fn every_page_and_every_file_of_it_is_there() {
    let service = Service::start().await;
    let api = &service.api;
    for path in ["/", "/docs", "/docs/"] {
        assert_whole(api, path).await;
    }
    for kind in PROBLEMS {
        let path = format!("/problems/{}", kind.code);
        assert_whole(api, &path).await;
        let page = api.get(&path).await.expect(200);
        let html = String::from_utf8_lossy(&page.bytes).into_owned();
        for part in [kind.title, kind.code, &kind.status.to_string()] {
            assert!(html.contains(part), "{path}: {part}");
        }
        assert_eq!(api.get(&format!("{path}/")).await.expect(200).bytes, page.bytes);
    }
    let none = api.get("/problems/none").await.expect(404);
    assert!(none.text("detail").contains("out_of_stock"), "it names the codes");
    service.finish().await;
}

#[tokio::test]
async fn swagger_ui_shows_our_document_and_nobody_elses() {
    let service = Service::start().await;
    let api = &service.api;
    let script = file(api, "/docs/swagger-initializer.js").await;
    let script = String::from_utf8_lossy(&script.body).into_owned();
    assert!(script.contains("/openapi.yaml"), "{script}");
    assert!(!script.contains("petstore"), "{script}");
    assert!(!script.contains("https://validator"), "{script}");
    service.finish().await;
}

#[tokio::test]
async fn the_served_document_is_the_committed_file() {
    let service = Service::start().await;
    for path in ["/openapi.yaml", "/openapi.yaml/"] {
        let served = service.api.get(path).await.expect(200);
        assert_eq!(served.header("content-type"), Some("application/yaml"));
        let committed = include_bytes!("../../../openapi.yaml");
        assert!(served.bytes == committed[..], "{path}");
    }
    service.finish().await;
}
