//! `/api/users/{user_id}/wallet`

use std::sync::Arc;

use futures_util::Stream;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{Handled, created, ok, respond};
use super::body::{read_object, required_key};
use super::caller::{authenticate, require_admin, require_own};
use super::context::Context;
use super::dto::{EntryDto, ListDto, WalletDto};
use super::endpoint::{head, with};
use super::fields::{self, Fields, incomplete};
use super::head::Head;
use super::problem::Problem;
use super::query::{Query, cursor};
use super::users::{absent, user_in_path};
use super::verdict::settle;
use crate::domain::key::Operation;
use crate::domain::money::Money;
use crate::domain::text::ShortText;
use crate::logic::accounts::{Deposit, deposit};
use crate::logic::ids::new_id;
use crate::ports::read::Reads;
use crate::ports::store::Store;

/// `GET /api/users/{user_id}/wallet`
pub(super) fn get<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "users" / String / "wallet")
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(|id: String, context, head: Arc<Head>| async move {
            respond(handle_get(&context, &head, &id).await)
        })
        .boxed()
}

/// `GET /api/users/{user_id}/wallet/entries`
pub(super) fn entries<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "users" / String / "wallet" / "entries")
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(|id: String, context, head: Arc<Head>| async move {
            respond(handle_entries(&context, &head, &id).await)
        })
        .boxed()
}

/// `POST /api/users/{user_id}/wallet/deposits`
pub(super) fn deposits<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "users" / String / "wallet" / "deposits")
        .and(warp::post())
        .and(with(context))
        .and(head())
        .and(warp::body::stream())
        .then(|id: String, context, head: Arc<Head>, body| async move {
            respond(handle_deposit(&context, &head, &id, body).await)
        })
        .boxed()
}

async fn handle_get<S: Store, R: Reads>(context: &Context<S, R>, head: &Head, id: &str) -> Handled {
    let caller = authenticate(context, head)?;
    let user = user_in_path(id)?;
    require_own(caller, user)?;
    context.require_ready()?;
    let wallet = context.read(|reads| async move { reads.find_wallet(user).await }).await?;
    ok(&WalletDto::new(&wallet.ok_or_else(absent)?, &context.options().currency))
}

async fn handle_entries<S: Store, R: Reads>(
    context: &Context<S, R>,
    head: &Head,
    id: &str,
) -> Handled {
    let caller = authenticate(context, head)?;
    let user = user_in_path(id)?;
    require_own(caller, user)?;
    let mut query = Query::parse(head.query());
    let limit = query.limit();
    let before = query.take("cursor", cursor::to_entry);
    query.finish()?;
    context.require_ready()?;
    let page = context
        .read(|reads| async move { reads.list_entries(user, before, limit).await })
        .await?
        .ok_or_else(absent)?;
    ok(&ListDto {
        items: page.items.iter().map(EntryDto::new).collect(),
        next_cursor: page.next.map(cursor::of_entry),
    })
}

async fn handle_deposit<S: Store, R: Reads, B: bytes::Buf, E>(
    context: &Context<S, R>,
    head: &Head,
    id: &str,
    body: impl Stream<Item = Result<B, E>>,
) -> Handled {
    require_admin(authenticate(context, head)?)?;
    let user_id = user_in_path(id)?;
    let key = required_key(head)?;
    let (amount, reference) = read_deposit(read_object(head, body).await?)?;
    context.require_ready()?;
    let request = Deposit { entry_id: new_id(), user_id, amount, reference, key };
    let (store, time_limit) = (context.store().clone(), context.options().request_timeout);
    let work = async move { deposit(&store, time_limit, request).await };
    let outcome = context.run_to_end(work).await?;
    let (entry, settled) = settle(outcome, Operation::CreateDeposit)?.split();
    let location = format!("/api/users/{user_id}/wallet/entries");
    created(&settled, location, &EntryDto::new(&entry))
}

/// Reads a wish for a deposit.
pub(super) fn read_deposit(mut body: Fields) -> Result<(Money, Option<ShortText>), Problem> {
    let amount = body.required("amount", fields::positive_money);
    let reference = body.optional("reference", fields::text);
    body.finish()?;
    Ok((amount.ok_or_else(incomplete)?, reference))
}
