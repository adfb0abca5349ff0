//! `/api/users`

use std::sync::Arc;

use futures_util::Stream;
use http::StatusCode;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::answer::{Handled, created, json, ok, respond};
use super::body::{key_missing, look_first, optional_key, read_object};
use super::caller::{authenticate, require_admin, require_service};
use super::context::Context;
use super::dto::{ListDto, UserDto};
use super::endpoint::{head, with};
use super::fields::{self, Fields};
use super::head::Head;
use super::problem::{self, Problem};
use super::query::{self, Query, cursor};
use super::verdict::{Settled, settle};
use crate::domain::id::{Id, UserId};
use crate::domain::key::Operation;
use crate::domain::money::Money;
use crate::domain::text::ShortText;
use crate::logic::accounts::{CreateUser, create_user};
use crate::logic::ids::new_id;
use crate::ports::read::Reads;
use crate::ports::store::Store;

/// `POST /api/users`
pub(super) fn create<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "users")
        .and(warp::post())
        .and(with(context))
        .and(head())
        .and(warp::body::stream())
        .then(|context, head: Arc<Head>, body| async move {
            respond(handle_create(&context, &head, body).await)
        })
        .boxed()
}

/// `PUT /api/users/{user_id}`
pub(super) fn put<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "users" / String)
        .and(warp::put())
        .and(with(context))
        .and(head())
        .and(warp::body::stream())
        .then(|id: String, context, head: Arc<Head>, body| async move {
            respond(handle_put(&context, &head, &id, body).await)
        })
        .boxed()
}

/// `GET /api/users`
pub(super) fn list<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "users")
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(|context, head: Arc<Head>| async move { respond(handle_list(&context, &head).await) })
        .boxed()
}

/// `GET /api/users/{user_id}`
pub(super) fn get<S: Store, R: Reads>(context: Context<S, R>) -> BoxedFilter<(Response,)> {
    warp::path!("api" / "users" / String)
        .and(warp::get())
        .and(with(context))
        .and(head())
        .then(|id: String, context, head: Arc<Head>| async move {
            respond(handle_get(&context, &head, &id).await)
        })
        .boxed()
}

/// The id in a path, or the 404 of something that cannot exist.
pub(super) fn user_in_path(text: &str) -> Result<UserId, Problem> {
    Id::parse(&query::segment(text)).ok_or_else(absent)
}

/// The id of a user to be made.
fn chosen_in_path(text: &str) -> Result<UserId, Problem> {
    user_in_path(text).map_err(|_| {
        Problem::new(
            problem::USER_NOT_FOUND,
            "The id in the path must be a UUID, of your choice. Nothing was executed.",
        )
    })
}

/// There is no such user.
pub(super) fn absent() -> Problem {
    Problem::new(problem::USER_NOT_FOUND, "No user has this id. Nothing was executed.")
}

async fn handle_create<S: Store, R: Reads, B: bytes::Buf, E>(
    context: &Context<S, R>,
    head: &Head,
    body: impl Stream<Item = Result<B, E>>,
) -> Handled {
    let caller = authenticate(context, head)?;
    require_service(caller)?;
    let key = optional_key(head)?;
    let (name, external_id, opening_balance) = read_user(read_object(head, body).await?)?;
    if opening_balance.is_some() {
        require_admin(caller)?;
        if key.is_none() {
            return Err(key_missing());
        }
    }
    let keyed = key.is_some();
    let request = CreateUser { user_id: new_id(), external_id, name, opening_balance, key };
    let made = execute(context, request).await.map_err(look_first(keyed))?;
    let (user, settled) = made.split();
    created(&settled, format!("/api/users/{}", user.id), &UserDto::new(&user))
}

/// Name, external id and opening balance.
pub(super) type NewUser = (Option<ShortText>, Option<ShortText>, Option<Money>);

/// Reads a wish for a user.
pub(super) fn read_user(mut body: Fields) -> Result<NewUser, Problem> {
    let name = body.optional("name", fields::text);
    let external_id = body.optional("external_id", fields::text);
    let opening_balance = body.optional("opening_balance", fields::money);
    body.finish()?;
    Ok((name, external_id, opening_balance))
}

async fn handle_put<S: Store, R: Reads, B: bytes::Buf, E>(
    context: &Context<S, R>,
    head: &Head,
    id: &str,
    body: impl Stream<Item = Result<B, E>>,
) -> Handled {
    require_service(authenticate(context, head)?)?;
    let user_id = chosen_in_path(id)?;
    let mut body = read_object(head, body).await?;
    let name = body.optional("name", fields::text);
    let external_id = body.optional("external_id", fields::text);
    body.finish()?;
    let request = CreateUser { user_id, external_id, name, opening_balance: None, key: None };
    let put = execute(context, request).await;
    match put.map_err(|problem| problem.without_key("Ask again: a user is made once."))? {
        Settled::Made(user) => {
            let location = format!("/api/users/{}", user.id);
            created(&Settled::Made(()), location, &UserDto::new(&user))
        }
        Settled::Replayed(user) => json(StatusCode::OK, &UserDto::new(&user)),
    }
}

async fn execute<S: Store, R: Reads>(
    context: &Context<S, R>,
    request: CreateUser,
) -> Result<Settled<crate::domain::user::User>, Problem> {
    context.require_ready()?;
    let (store, time_limit) = (context.store().clone(), context.options().request_timeout);
    let work = async move { create_user(&store, time_limit, request).await };
    settle(context.run_to_end(work).await?, Operation::CreateUser)
}

async fn handle_get<S: Store, R: Reads>(context: &Context<S, R>, head: &Head, id: &str) -> Handled {
    require_service(authenticate(context, head)?)?;
    let id = user_in_path(id)?;
    context.require_ready()?;
    let user = context.read(|reads| async move { reads.find_user(id).await }).await?;
    ok(&UserDto::new(&user.ok_or_else(absent)?))
}

async fn handle_list<S: Store, R: Reads>(context: &Context<S, R>, head: &Head) -> Handled {
    require_service(authenticate(context, head)?)?;
    let mut query = Query::parse(head.query());
    let external_id =
        query.take("external_id", |text| ShortText::parse(text).map_err(|error| error.to_string()));
    let limit = query.limit();
    let from = query.take("cursor", |text| cursor::to_since('u', text));
    query.finish()?;
    context.require_ready()?;
    let read = |reads: R| {
        let external_id = external_id.clone();
        async move { reads.list_users(external_id.as_ref(), from, limit).await }
    };
    let page = context.read(read).await?;
    ok(&ListDto {
        items: page.items.iter().map(UserDto::new).collect(),
        next_cursor: page.next.map(|at| cursor::of_since('u', at)),
    })
}
