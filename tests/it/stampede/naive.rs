//! A shop that is wrong in the usual way: it reads the stock, checks it and writes it back, in a
//! transaction at READ COMMITTED, without a lock. It exists to be caught.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::net::TcpListener;

use crate::support::postgres::TestDatabase;

/// As many sessions as the real service sets aside for orders.
const SESSIONS: u32 = 8;

/// Opens the shop with one sale; it closes with the test's runtime.
pub(super) async fn open(database: &TestDatabase, units: u32) -> (SocketAddr, String) {
    let pool = PgPoolOptions::new().max_connections(SESSIONS);
    let pool = pool.connect_with(database.options()).await.unwrap();
    // All of them open before the first buyer comes: a pool that is still opening them would let
    // the first session serve the rush alone, one after the other.
    let sessions = (0..SESSIONS).map(|_| pool.acquire());
    drop(futures_util::future::try_join_all(sessions).await.unwrap());
    let sale: String = sqlx::query_scalar(
        "INSERT INTO sales (id, name, unit_price, stock, stock_initial, starts_at)
         VALUES (gen_random_uuid(), 'Test item', 1.00, $1, $1, clock_timestamp())
         RETURNING id::text",
    )
    .bind(units.cast_signed())
    .fetch_one(&pool)
    .await
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, pool));
    (address, sale)
}

/// What the shop believes to have left.
pub(super) async fn units_left(database: &TestDatabase) -> usize {
    let mut session = database.session().await;
    let stock = sqlx::query_scalar("SELECT stock FROM sales");
    let stock: i32 = stock.fetch_one(&mut session).await.unwrap();
    usize::try_from(stock).unwrap()
}

async fn serve(listener: TcpListener, pool: PgPool) {
    while let Ok((stream, _)) = listener.accept().await {
        let pool = pool.clone();
        let respond = service_fn(move |_: Request<Incoming>| {
            let pool = pool.clone();
            async move { Ok::<_, Infallible>(answer(sell(&pool).await)) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), respond));
    }
}

fn answer(sold: Result<bool, sqlx::Error>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = match sold {
        Ok(true) => StatusCode::CREATED,
        Ok(false) => StatusCode::BAD_REQUEST,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    response
}

async fn sell(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let stock: i32 =
        sqlx::query_scalar("SELECT stock FROM sales").fetch_one(&mut *transaction).await?;
    if stock == 0 {
        return Ok(false);
    }
    sqlx::query("UPDATE sales SET stock = $1").bind(stock - 1).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}
