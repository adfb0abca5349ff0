//! Worlds in the database, one statement each: a thousand of them must not cost more than what
//! happens in them.

use sqlx::PgConnection;

use super::script::Script;

/// Users with their wallets; what they begin with is a deposit.
pub(super) async fn make_users(session: &mut PgConnection, script: &Script) -> Vec<String> {
    let cents: Vec<i64> = script.balances.iter().map(|n| n.cast_signed()).collect();
    sqlx::query_scalar(
        "WITH wanted AS MATERIALIZED (
           SELECT gen_random_uuid() AS id, cents * 0.01 AS amount, place, clock_timestamp() AS at
           FROM unnest($1::bigint[]) WITH ORDINALITY AS w (cents, place)
         ), made AS (
           INSERT INTO users (id, created_at) SELECT id, at FROM wanted
         ), filled AS (
           INSERT INTO wallets (user_id, balance, entry_count)
           SELECT id, amount, (amount > 0)::integer FROM wanted
         ), deposited AS (
           INSERT INTO ledger_entries
             (user_id, number, id, type, amount, balance_after, created_at)
           SELECT id, 1, gen_random_uuid(), 'deposit', amount, amount, at
           FROM wanted WHERE amount > 0
         )
         SELECT id::text FROM wanted ORDER BY place",
    )
    .bind(cents)
    .fetch_all(session)
    .await
    .expect("users")
}

/// The sales.
pub(super) async fn make_sales(session: &mut PgConnection, script: &Script) -> Vec<String> {
    let sales = &script.sales;
    let prices: Vec<i64> = sales.iter().map(|sale| sale.price.cast_signed()).collect();
    let stocks: Vec<i32> = sales.iter().map(|sale| sale.stock.cast_signed()).collect();
    let limits: Vec<Option<i32>> =
        sales.iter().map(|sale| sale.limit.map(u32::cast_signed)).collect();
    let starts: Vec<&str> = sales.iter().map(|sale| sale.window.bounds().0).collect();
    let ends: Vec<Option<&str>> = sales.iter().map(|sale| sale.window.bounds().1).collect();
    sqlx::query_scalar(
        "WITH wanted AS MATERIALIZED (
           SELECT gen_random_uuid() AS id, w.*
           FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::text[], $5::text[])
             WITH ORDINALITY AS w (cents, stock, per_user_limit, starts_at, ends_at, place)
         ), made AS (
           INSERT INTO sales (id, name, unit_price, stock, stock_initial, per_user_limit,
                              starts_at, ends_at, sold_out_at)
           SELECT id, 'Test item', cents * 0.01, stock, stock, per_user_limit,
                  starts_at::timestamptz, ends_at::timestamptz,
                  CASE WHEN stock = 0 THEN clock_timestamp() END
           FROM wanted
         )
         SELECT id::text FROM wanted ORDER BY place",
    )
    .bind(prices)
    .bind(stocks)
    .bind(limits)
    .bind(starts)
    .bind(ends)
    .fetch_all(session)
    .await
    .expect("sales")
}

/// Cents of each user, units of each sale.
pub(super) async fn left(
    session: &mut PgConnection,
    users: &[String],
    sales: &[String],
) -> (Vec<u64>, Vec<u32>) {
    let (balances, stock): (Vec<i64>, Vec<i32>) = sqlx::query_as(
        "SELECT ARRAY(SELECT (balance * 100)::bigint FROM wallets
                      JOIN unnest($1::text[]) WITH ORDINALITY AS w (id, place)
                        ON user_id = w.id::uuid
                      ORDER BY place),
                ARRAY(SELECT stock FROM sales s
                      JOIN unnest($2::text[]) WITH ORDINALITY AS w (id, place)
                        ON s.id = w.id::uuid
                      ORDER BY place)",
    )
    .bind(users)
    .bind(sales)
    .fetch_one(session)
    .await
    .expect("what is left");
    let balances = balances.into_iter().map(|cents| cents.cast_unsigned());
    let stock = stock.into_iter().map(|units| units.cast_unsigned());
    (balances.collect(), stock.collect())
}
