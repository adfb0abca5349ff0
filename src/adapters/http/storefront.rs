//! The page at `/`: plain HTML, one style sheet, one script, all from the binary.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{Handled, file, respond};
use super::problem::{self, Problem};

const PAGE: &str = include_str!("assets/index.html");
const SCRIPT: &str = include_str!("assets/app.js");
const STYLE: &str = include_str!("assets/style.css");

/// `GET /`
pub(super) fn page() -> BoxedFilter<(Response,)> {
    warp::path::end()
        .and(warp::get())
        .then(|| async { file("text/html; charset=utf-8", PAGE) })
        .boxed()
}

/// `GET /assets/{file}`
pub(super) fn assets() -> BoxedFilter<(Response,)> {
    warp::path!("assets" / String)
        .and(warp::get())
        .then(|name: String| async move { respond(asset(&name)) })
        .boxed()
}

fn asset(name: &str) -> Handled {
    match name {
        "app.js" => Ok(file("text/javascript; charset=utf-8", SCRIPT)),
        "style.css" => Ok(file("text/css; charset=utf-8", STYLE)),
        _ => Err(Problem::new(problem::ROUTE_NOT_FOUND, "There is no such file.")),
    }
}
