//! The contract and its explorer: `/openapi.yaml`, `/docs` (Swagger UI from the binary, no network)
//! and a page for each problem code.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_SECURITY_POLICY;
use utoipa_swagger_ui::Config;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{Handled, file, respond, with_type};
use super::problem::{self, PROBLEMS, Problem, ProblemKind};

/// The contract, as committed.
const OPENAPI: &str = include_str!("../../../openapi.yaml");

/// Swagger UI styles itself inline; its scripts are files.
const SWAGGER_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; font-src 'self' data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    Arc::new(
        Config::from("/openapi.yaml")
            .try_it_out_enabled(true)
            .deep_linking(true)
            .display_request_duration(true)
            .use_base_layout()
            .validator_url("none"),
    )
});

/// `GET /openapi.yaml`
pub(super) fn openapi() -> BoxedFilter<(Response,)> {
    warp::path!("openapi.yaml")
        .and(warp::get())
        .then(|| async { file("application/yaml", OPENAPI) })
        .boxed()
}

/// `GET /docs` and its files
pub(super) fn swagger() -> BoxedFilter<(Response,)> {
    let page = warp::path!("docs").map(String::new);
    let files = warp::path!("docs" / String);
    page.or(files)
        .unify()
        .and(warp::get())
        .then(|name: String| async move { respond(swagger_file(&name)) })
        .boxed()
}

/// `GET /problems/{code}`
pub(super) fn problems() -> BoxedFilter<(Response,)> {
    warp::path!("problems" / String)
        .and(warp::get())
        .then(|code: String| async move { respond(problem_page(&code)) })
        .boxed()
}

fn swagger_file(name: &str) -> Handled {
    let absent =
        || Problem::new(problem::ROUTE_NOT_FOUND, "Swagger UI has no such file; see /docs.");
    let found = utoipa_swagger_ui::serve(name, Arc::clone(&SWAGGER)).map_err(|error| {
        tracing::error!(%error, "Swagger UI cannot be served");
        absent()
    })?;
    let found = found.ok_or_else(absent)?;
    // `/docs` and `/docs/` are the same page, so its links cannot be relative.
    let bytes = match found.bytes {
        bytes if found.content_type.starts_with("text/html") => {
            let page = String::from_utf8_lossy(&bytes);
            let page = page.replace("\"./", "\"/docs/");
            Bytes::from(page.replace("href=\"index.css\"", "href=\"/docs/index.css\""))
        }
        // The script has 1.5 MB: every reader is sent the one in the program, and none a copy.
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let content_type = HeaderValue::from_str(&found.content_type).map_err(|_| absent())?;
    let mut response = with_type(content_type, bytes);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, SWAGGER_POLICY);
    Ok(response)
}

fn problem_page(code: &str) -> Handled {
    let kind = PROBLEMS.iter().find(|kind| kind.code == code).ok_or_else(|| {
        let codes: Vec<&str> = PROBLEMS.iter().map(|kind| kind.code).collect();
        let detail = format!("No problem has this code; the codes are {}.", codes.join(", "));
        Problem::new(problem::ROUTE_NOT_FOUND, detail)
    })?;
    let ProblemKind { code, status, title, meaning, .. } = kind;
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} · FlashDeal</title>\
         <link rel=\"icon\" href=\"data:,\">\
         <link rel=\"stylesheet\" href=\"/assets/style.css\"></head>\n\
         <body><main><p>{status} <code>{code}</code></p><h1>{title}</h1><p>{meaning}</p>\
         <p><a href=\"/docs\">All operations</a> · <a href=\"/openapi.yaml\">The contract</a></p>\
         </main></body>\n</html>\n"
    );
    Ok(file("text/html; charset=utf-8", page))
}
