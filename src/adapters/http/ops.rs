//! For the operator: `/livez`, `/readyz`, `/metrics`, `/api/audit`.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use serde_json::json;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{Handled, json, ok, respond, with_type};
use super::caller::{authenticate, require_admin};
use super::context::{Context, Phase};
use super::dto::AuditDto;
use super::endpoint::{head, with};
use super::head::Head;
use super::problem::Problem;
use crate::ports::read::Reads;
use crate::ports::store::Store;

/// Which door a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The only address: everything is behind it.
    Only,
    /// The public address, where the operator has another.
    Public,
    /// `FLASHDEAL_OPS_LISTEN`, trusted as a whole.
    Operator,
}

/// What the operator's address has; the second half is behind no other door.
const OPERATORS: [&str; 4] = ["/livez", "/readyz", "/metrics", "/api/audit"];

impl Door {
    /// Whether this path is behind this door at all.
    pub(super) fn has(self, template: &str) -> bool {
        match self {
            Door::Only => true,
            Door::Public => !OPERATORS[2..].contains(&template),
            Door::Operator => OPERATORS.contains(&template),
        }
    }

    /// What one is told who finds nothing at a path behind this door.
    pub(super) fn absent(self, template: &str) -> &'static str {
        match self {
            Door::Operator => {
                "This address has /livez, /readyz, /metrics and /api/audit, nothing else. \
                 Nothing was executed."
            }
            Door::Public if OPERATORS.contains(&template) => {
                "This lives on the operator's address (FLASHDEAL_OPS_LISTEN). Nothing was executed."
            }
            Door::Only | Door::Public => {
                "There is nothing at this path; /docs lists every operation. Nothing was executed."
            }
        }
    }
}

/// `GET /livez`: the process runs.
pub(super) fn livez() -> BoxedFilter<(Response,)> {
    warp::path!("livez")
        .and(warp::get())
        .then(|| async { respond(ok(&json!({ "status": "alive" }))) })
        .boxed()
}

/// `GET /readyz`: orders are taken.
pub(super) fn readyz<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("readyz")
        .and(warp::get())
        .and(with(context))
        .then(|context: Context<S, R>| async move {
            let (status, word) = match context.phase() {
                Phase::Ready => (StatusCode::OK, "ready"),
                Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
                Phase::DatabaseAway => (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable"),
                Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            };
            respond(json(status, &json!({ "status": word })))
        })
        .boxed()
}

/// `GET /metrics`
pub(super) fn metrics<S: Store, R: Reads>(
    context: Context<S, R>,
    door: Door,
) -> BoxedFilter<(Response,)> {
    warp::path!("metrics")
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(move |context: Context<S, R>, head: Arc<Head>| async move {
            respond(handle_metrics(&context, &head, door))
        })
        .boxed()
}

/// `GET /api/audit`
pub(super) fn audit<S: Store, R: Reads>(
    context: Context<S, R>,
    door: Door,
) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "audit")
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(move |context: Context<S, R>, head: Arc<Head>| async move {
            respond(handle_audit(&context, &head, door).await)
        })
        .boxed()
}

fn admit<S, R>(context: &Context<S, R>, head: &Head, door: Door) -> Result<(), Problem> {
    match door {
        Door::Operator => Ok(()),
        Door::Only | Door::Public => require_admin(authenticate(context, head)?),
    }
}

fn handle_metrics<S, R>(context: &Context<S, R>, head: &Head, door: Door) -> Handled {
    admit(context, head, door)?;
    let text = (context.options().render_metrics)();
    Ok(with_type(HeaderValue::from_static("text/plain; version=0.0.4"), text.into()))
}

async fn handle_audit<S: Store, R: Reads>(
    context: &Context<S, R>,
    head: &Head,
    door: Door,
) -> Handled {
    admit(context, head, door)?;
    context.require_ready()?;
    let audit = match context.audits().fetch() {
        Some(audit) => audit,
        None => context.audit().await?,
    };
    ok(&AuditDto::new(&audit))
}
