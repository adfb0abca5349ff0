//! `/api/sales`

use std::sync::Arc;

use futures_util::Stream;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{Handled, created, respond};
use super::body::{look_first, optional_key, read_object};
use super::caller::{authenticate, require_admin};
use super::context::Context;
use super::dto::{ListDto, SaleDto};
use super::endpoint::{head, with};
use super::fields::{self, Fields, incomplete};
use super::head::Head;
use super::problem::{self, Problem};
use super::query::{self, Query, cursor};
use super::sales_board::Rendered;
use super::verdict::{Settled, settle};
use crate::domain::id::Id;
use crate::domain::key::{IdempotencyKey, Operation};
use crate::domain::sale::{Sale, SaleStatus};
use crate::logic::ids::new_id;
use crate::logic::sales::{CreateSale, create_sale};
use crate::ports::read::{Reads, SaleView};
use crate::ports::store::Store;

/// The largest stock: no sale of a few hundred items comes near, and it fits the column.
const STOCK_MAX: u64 = 1_000_000_000;
/// The largest limit for one user.
const LIMIT_MAX: u64 = 1_000_000;

/// `POST /api/sales`
pub(super) fn create<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "sales")
        .and(warp::post())
        .and(with(context))
        .and(head())
        .and(warp::body::stream())
        .then(|context, head: Arc<Head>, body| async move {
            respond(handle_create(&context, &head, body).await)
        })
        .boxed()
}

/// `GET /api/sales`
pub(super) fn list<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "sales")
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(|context, head: Arc<Head>| async move { respond(handle_list(&context, &head).await) })
        .boxed()
}

/// `GET /api/sales/{sale_id}`
pub(super) fn get<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "sales" / String)
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(|id: String, context, head: Arc<Head>| async move {
            respond(handle_get(&context, &head, &id).await)
        })
        .boxed()
}

async fn handle_create<S: Store, R: Reads, B: bytes::Buf, E>(
    context: &Context<S, R>,
    head: &Head,
    body: impl Stream<Item = Result<B, E>>,
) -> Handled {
    require_admin(authenticate(context, head)?)?;
    let key = optional_key(head)?;
    let request = read_sale(read_object(head, body).await?, key)?;
    let keyed = request.key.is_some();
    let (sale, settled) = execute(context, request).await.map_err(look_first(keyed))?.split();
    context.options().known_sales.note(sale.id);
    let location = format!("/api/sales/{}", sale.id);
    let currency = &context.options().currency;
    created(&settled, location, &SaleDto::new(&sale, sale.created_at, currency))
}

async fn execute<S: Store, R: Reads>(
    context: &Context<S, R>,
    request: CreateSale,
) -> Result<Settled<Sale>, Problem> {
    context.require_ready()?;
    let (store, time_limit) = (context.store().clone(), context.options().request_timeout);
    let work = async move { create_sale(&store, time_limit, request).await };
    settle(context.run_to_end(work).await?, Operation::CreateSale)
}

/// Reads a wish for a sale.
pub(super) fn read_sale(
    mut body: Fields,
    key: Option<IdempotencyKey>,
) -> Result<CreateSale, Problem> {
    let name = body.required("name", fields::text);
    let unit_price = body.required("unit_price", fields::money);
    let stock = body.required("stock", fields::integer(0, STOCK_MAX));
    let sku = body.optional("sku", fields::text);
    let starts_at = body.optional("starts_at", fields::moment);
    let ends_at = body.optional("ends_at", fields::moment);
    let per_user_limit = body.optional("per_user_limit", fields::integer(1, LIMIT_MAX));
    if let (Some(start), Some(end)) = (starts_at, ends_at)
        && end <= start
    {
        body.fault("ends_at", "must be after starts_at");
    }
    body.finish()?;
    let (Some(name), Some(unit_price), Some(stock)) = (name, unit_price, stock) else {
        return Err(incomplete());
    };
    let small = |number: u64| u32::try_from(number).map_err(|_| incomplete());
    Ok(CreateSale {
        sale_id: new_id(),
        name,
        sku,
        unit_price,
        stock: small(stock)?,
        per_user_limit: per_user_limit.map(small).transpose()?,
        starts_at,
        ends_at,
        key,
    })
}

async fn handle_get<S: Store, R: Reads>(context: &Context<S, R>, head: &Head, id: &str) -> Handled {
    let absent = || Problem::new(problem::SALE_NOT_FOUND, "No sale has this id.");
    let id = Id::parse(&query::segment(id)).ok_or_else(absent)?;
    context.require_ready()?;
    let known = &context.options().known_sales;
    let read = async {
        let _turn = match known.has(id) {
            true => None,
            false => Some(context.turn_of_a_stranger().await?),
        };
        let view = context.read(move |reads| async move { reads.find_sale(id).await }).await?;
        let SaleView { sale, read_at } = view.ok_or_else(absent)?;
        known.note(id);
        Rendered::new(&SaleDto::new(&sale, read_at, &context.options().currency))
    };
    context.sales().answer(head, &id.to_string(), read).await
}

async fn handle_list<S: Store, R: Reads>(context: &Context<S, R>, head: &Head) -> Handled {
    let mut query = Query::parse(head.query());
    let status = query.take("status", |text| {
        SaleStatus::from_name(text)
            .ok_or_else(|| "must be upcoming, live, sold_out or ended".to_owned())
    });
    let limit = query.limit();
    let from = query.take("cursor", |text| cursor::to_since('t', text));
    query.finish()?;
    context.require_ready()?;
    // What stands behind a cursor is not looked at by many, and there is no end of cursors. Of
    // lengths there are two hundred, and each would be read anew five times a second.
    let usual = from.is_none() && limit.is_multiple_of(10);
    let question = usual.then(|| format!("{status:?} {limit}"));
    let read = async {
        let _turn = match usual {
            true => None,
            false => Some(context.turn_of_a_stranger().await?),
        };
        let read = move |reads: R| async move { reads.list_sales(status, from, limit).await };
        let page = context.read(read).await?;
        let currency = &context.options().currency;
        let items = page.items.iter();
        Rendered::new(&ListDto {
            items: items.map(|view| SaleDto::new(&view.sale, view.read_at, currency)).collect(),
            next_cursor: page.next.map(|at| cursor::of_since('t', at)),
        })
    };
    match question {
        Some(question) => context.sales().answer(head, &question, read).await,
        None => Ok(read.await?.respond(head)),
    }
}
