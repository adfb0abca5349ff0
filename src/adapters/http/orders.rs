//! `/api/orders`

use std::sync::Arc;

use futures_util::Stream;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::answer::{Handled, created, ok, respond};
use super::body::{read_object, required_key};
use super::caller::{authenticate, forbidden};
use super::context::Context;
use super::dto::{ListDto, OrderDto};
use super::endpoint::{head, with};
use super::fields::{self, Fields, incomplete};
use super::head::Head;
use super::meters;
use super::problem::{self, Problem};
use super::query::{self, Query, cursor};
use super::rates::{Taken, Who};
use super::verdict::settle;
use crate::adapters::token::Caller;
use crate::domain::id::{Id, UserId};
use crate::domain::key::{IdempotencyKey, Operation};
use crate::domain::order::{Order, PlaceOrder};
use crate::domain::quantity::Quantity;
use crate::domain::text::ShortText;
use crate::logic::ids::new_id;
use crate::logic::keyed::Answer;
use crate::ports::read::{OrderFilter, OrderPosition, Page, Reads};
use crate::ports::store::Store;

/// `POST /api/orders`
pub(super) fn place<S: Store, R: Reads>(
    context: Context<S, R>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path!("api" / "orders")
        .and(warp::post())
        .and(with(context))
        .and(head())
        .and(warp::body::stream())
        .then(|context, head: Arc<Head>, body| async move {
            respond(handle_place(&context, &head, body).await)
        })
}

/// `GET /api/orders`
pub(super) fn list<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "orders")
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(|context, head: Arc<Head>| async move { respond(handle_list(&context, &head).await) })
        .boxed()
}

/// `GET /api/orders/{order_id}`
pub(super) fn get<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "orders" / String)
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(|id: String, context, head: Arc<Head>| async move {
            respond(handle_get(&context, &head, &id).await)
        })
        .boxed()
}

async fn handle_place<S: Store, R: Reads, B: bytes::Buf, E>(
    context: &Context<S, R>,
    head: &Head,
    body: impl Stream<Item = Result<B, E>>,
) -> Handled {
    let caller = authenticate(context, head)?;
    let key = required_key(head)?;
    let order = read_order(read_object(head, body).await?, caller, key)?;
    let engine = context.engine().name();
    let taken = admit(context, head, caller, &order).await.inspect_err(|problem| {
        meters::order(engine, problem.code());
    })?;
    context.require_ready().inspect_err(|problem| meters::order(engine, problem.code()))?;
    let deciding = context.engine().place(order);
    let shared = context.clone();
    let work = async move {
        let (options, outcome) = (shared.options(), deciding.await);
        count(engine, &options.currency, &outcome);
        if let (Ok(Answer::Replayed(_)), Some(taken)) = (&outcome, taken) {
            options.rates.give_back(taken);
        }
        outcome
    };
    let outcome = context.run_to_end(work).await?;
    let (order, settled) = settle(outcome, Operation::PlaceOrder)?.split();
    let location = format!("/api/orders/{}", order.id);
    created(&settled, location, &OrderDto::new(&order, &context.options().currency))
}

/// Lets an order in, or says when to come back. A replay is let in at any rate, as long as it can
/// be looked up; a spent key that comes with another wish is not one.
async fn admit<S: Store, R: Reads>(
    context: &Context<S, R>,
    head: &Head,
    caller: Caller,
    order: &PlaceOrder,
) -> Result<Option<Taken>, Problem> {
    let who = Who::of(&context.options().auth, caller);
    let limited = match context.options().rates.take(head, who, order.user_id) {
        Ok(taken) => return Ok(Some(taken)),
        Err(limited) => limited,
    };
    let Some(_turn) = context.turn_to_look().await else { return Err(limited) };
    let (user_id, key) = (Some(order.user_id), Some(order.key.clone()));
    let filter = OrderFilter { user_id, key, ..OrderFilter::default() };
    let made = read_list(context, &filter, None, 1).await.ok();
    let made = made.and_then(|page| page.items.into_iter().next());
    let is_replay = made.is_some_and(|made| {
        (made.sale_id, made.quantity, made.reference)
            == (order.sale_id, order.quantity, order.reference.clone())
    });
    if is_replay { Ok(None) } else { Err(limited) }
}

async fn read_list<S: Store, R: Reads>(
    context: &Context<S, R>,
    filter: &OrderFilter,
    from: Option<OrderPosition>,
    limit: u32,
) -> Result<Page<Order, OrderPosition>, Problem> {
    let read = |reads: R| {
        let filter = filter.clone();
        async move { reads.list_orders(&filter, from, limit).await }
    };
    context.read(read).await
}

/// Reads a wish for an order.
pub(super) fn read_order(
    mut body: Fields,
    caller: Caller,
    key: IdempotencyKey,
) -> Result<PlaceOrder, Problem> {
    let user_id = match caller {
        Caller::Buyer(own) => Some(body.optional("user_id", fields::id).unwrap_or(own)),
        _ => body.required("user_id", fields::id),
    };
    let sale_id = body.required("sale_id", fields::id);
    let quantity = body.optional("quantity", fields::integer(1, u64::from(Quantity::MAX)));
    let reference = body.optional("reference", fields::text);
    let valid_until = body.optional("valid_until", fields::moment);
    body.finish()?;
    let (Some(user_id), Some(sale_id)) = (user_id, sale_id) else {
        return Err(incomplete());
    };
    if !caller.may_act_for(user_id) {
        return Err(forbidden("A buyer's token buys for this buyer only."));
    }
    let quantity = quantity.and_then(Quantity::new).unwrap_or(Quantity::ONE);
    Ok(PlaceOrder {
        order_id: new_id(),
        entry_id: new_id(),
        user_id,
        sale_id,
        quantity,
        reference,
        valid_until,
        key,
    })
}

fn count(
    engine: &'static str,
    currency: &str,
    outcome: &Result<Answer<Order>, crate::logic::fault::Fault>,
) {
    let outcome = match outcome {
        Ok(Answer::Made(order)) => {
            meters::sold(order, currency);
            "confirmed"
        }
        Ok(Answer::Replayed(_)) => "replayed",
        Ok(Answer::Refused(refusal)) => refusal.code(),
        Ok(Answer::KeyReused { .. }) => problem::KEY_REUSED.code,
        Err(fault) => super::verdict::failed(fault).code(),
    };
    meters::order(engine, outcome);
}

async fn handle_get<S: Store, R: Reads>(context: &Context<S, R>, head: &Head, id: &str) -> Handled {
    let caller = authenticate(context, head)?;
    let absent = || Problem::new(problem::ORDER_NOT_FOUND, "No order of yours has this id.");
    let id = Id::parse(&query::segment(id)).ok_or_else(absent)?;
    context.require_ready()?;
    let order = context.read(|reads| async move { reads.find_order(id).await }).await?;
    // A foreign order is as absent as one that was never made.
    let order = order.filter(|order| caller.may_act_for(order.user_id)).ok_or_else(absent)?;
    ok(&OrderDto::new(&order, &context.options().currency))
}

async fn handle_list<S: Store, R: Reads>(context: &Context<S, R>, head: &Head) -> Handled {
    let caller = authenticate(context, head)?;
    let (filter, from, limit) = read_filter(head.query(), caller)?;
    context.require_ready()?;
    let page = read_list(context, &filter, from, limit).await?;
    let currency = &context.options().currency;
    ok(&ListDto {
        items: page.items.iter().map(|order| OrderDto::new(order, currency)).collect(),
        next_cursor: page.next.map(cursor::of_orders),
    })
}

/// Reads which orders are asked for.
pub(super) fn read_filter(
    query: Option<&str>,
    caller: Caller,
) -> Result<(OrderFilter, Option<OrderPosition>, u32), Problem> {
    let mut query = Query::parse(query);
    let asked: Option<UserId> = query.take("user_id", query::id);
    let user_id = match caller {
        Caller::Buyer(own) => Some(asked.unwrap_or(own)),
        _ => asked,
    };
    let filter = OrderFilter {
        user_id,
        sale_id: query.take("sale_id", query::id),
        key: query.take("idempotency_key", |text| {
            IdempotencyKey::parse(text.as_bytes()).map_err(|error| error.to_string())
        }),
        reference: query
            .take("reference", |text| ShortText::parse(text).map_err(|error| error.to_string())),
    };
    query.take("status", |text| {
        if text == "confirmed" { Ok(()) } else { Err("must be confirmed".to_owned()) }
    });
    let limit = query.limit();
    let from = query.take("cursor", cursor::to_orders);
    if filter.key.is_some() && filter.user_id.is_none() {
        query.fault("idempotency_key", "needs user_id: a key belongs to a user");
    }
    let wrong_list = match from {
        Some(OrderPosition::Sequence(_)) => !filter.by_sequence(),
        Some(OrderPosition::Id(_)) => filter.by_sequence(),
        None => false,
    };
    if wrong_list {
        query.fault("cursor", "must be a next_cursor of this list, with the same filters");
    }
    query.finish()?;
    if filter.user_id.is_some_and(|user| !caller.may_act_for(user)) {
        return Err(forbidden("A buyer's token lists this buyer's orders only."));
    }
    Ok((filter, from, limit))
}
