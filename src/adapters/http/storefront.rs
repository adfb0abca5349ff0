//! The page at `/`: plain HTML, one style sheet, one script, all from the binary.

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use bytes::Bytes;

use super::answer::{Handled, file, respond};
use super::ops::Door;
use super::problem::{self, Problem};

const PAGE: &str = include_str!("assets/index.html");
const SCRIPT: &str = include_str!("assets/app.js");
const STYLE: &str = include_str!("assets/style.css");

/// A link that leads nowhere when metrics live on the operator's address.
const METRICS_LINK: &str = "    <a href=\"/metrics\">Metrics</a>\n";

/// `GET /`
pub(super) fn page(door: Door) -> BoxedFilter<(Response,)> {
    let page = match door.has("/metrics") {
        true => Bytes::from_static(PAGE.as_bytes()),
        false => Bytes::from(PAGE.replace(METRICS_LINK, "")),
    };
    warp::path::end()
        .and(warp::get())
        .map(move || file("text/html; charset=utf-8", page.clone()))
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
