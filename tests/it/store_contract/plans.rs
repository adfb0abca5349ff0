//! Plans are kept, and the lock of a hot sale is no place for a bad one: no statement of an order
//! reads a whole table, however small the tables were when its plan was made.

use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::domain::id::{SaleId, UserId};
use flashdeal::domain::key::{IdempotencyKey, KeyRef, Operation};
use flashdeal::ports::store::{Store, Transaction};
use serde_json::json;
use sqlx::PgConnection;

use crate::support::Service;
use crate::support::crowd::seed_buyers;
use crate::support::locks::{number, run, until};

/// A new shop: as many orders as make a first ANALYZE, and would all fit on a page or two.
const ORDERS: i64 = 60;

/// How often the tables of an order were read from end to end.
async fn whole_reads(session: &mut PgConnection) -> i64 {
    let tables = "('orders', 'ledger_entries', 'wallets', 'sales', 'idempotency_keys')";
    let asked =
        format!("SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables WHERE relname IN {tables}");
    number(session, asked).await
}

/// Sessions tell their counts when they end.
async fn until_alone(session: &mut PgConnection) {
    until("the others have ended", async || {
        let others = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        number(session, others).await == 0
    })
    .await;
}

#[tokio::test]
async fn in_a_small_shop_no_order_reads_a_whole_table() {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, ORDERS, "10.00").await;
    let sale = json!({ "unit_price": "1.00", "stock": 100, "per_user_limit": 2 });
    let sale = service.api.sale_with(sale).await;
    for (place, buyer) in buyers.iter().enumerate() {
        service.api.buy(&format!("k{place}"), buyer, &sale).await.expect(201);
    }
    let database = service.finish().await;
    let mut session = database.session().await;
    run(&mut session, "ANALYZE").await;
    until_alone(&mut session).await;
    let before = whole_reads(&mut session).await;

    let pool = database.pool().await;
    let store = PgStore::admitted(pool.clone());
    let user = UserId::parse(&buyers[0]).unwrap();
    let key = KeyRef {
        key: IdempotencyKey::parse(b"k0").unwrap(),
        scope: user.uuid(),
        operation: Operation::PlaceOrder,
    };
    let mut transaction = store.begin().await.unwrap();
    let found = transaction.earlier_orders(&[key]).await.unwrap();
    let locked = transaction.lock(SaleId::parse(&sale).unwrap(), &[user]).await.unwrap();
    transaction.rollback().await;
    assert_eq!((found.len(), locked.buyers.by_user[&user].units_bought), (1, 1));
    pool.close().await;
    until_alone(&mut session).await;
    assert_eq!(whole_reads(&mut session).await, before, "a table was read from end to end");
}

/// How many entries were read of the index that leads from a sale to its orders.
const BY_SALE: &str = "SELECT idx_tup_read FROM pg_stat_user_indexes
                       WHERE indexrelname = 'orders_sequence_once'";

/// A shop with a history, as ANALYZE sees it: many small sales, and buyers who come again. Then one
/// sale becomes hot. What its buyers have bought is read under its lock, and not by reading all of
/// its orders for each of them.
#[tokio::test]
async fn what_a_buyer_has_bought_is_not_looked_for_among_all_orders_of_the_sale() {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, 2, "10.00").await;
    let sale = json!({ "unit_price": "1.00", "stock": 100, "per_user_limit": 2 });
    let sale = service.api.sale_with(sale).await;
    service.api.buy("k0", &buyers[0], &sale).await.expect(201);
    let database = service.finish().await;
    let mut session = database.session().await;
    // Behind the books: only the planner looks at these.
    let orders = |sale: &str, of: &str, count: i64| {
        format!(
            "WITH made AS (
               INSERT INTO orders (id, user_id, sale_id, sequence, quantity, unit_price, total,
                                   balance_after, created_at)
               SELECT gen_random_uuid(), md5('buyer' || n % 5000)::uuid, {sale}, n + 1000, 1, 1, 1,
                      0, clock_timestamp()
               FROM {of} generate_series(1, {count}) n
               RETURNING id, user_id, created_at
             )
             INSERT INTO ledger_entries (user_id, number, id, type, amount, balance_after,
                                         order_id, created_at)
             SELECT user_id, {count} * 1000000::bigint + row_number() OVER (), id, 'order', -1, 0,
                    id, created_at
             FROM made"
        )
    };
    run(&mut session, "SET session_replication_role = replica").await;
    let of = "generate_series(1, 300) s,";
    run(&mut session, orders("md5('sale' || s)::uuid", of, 50)).await;
    run(&mut session, "ANALYZE").await;
    run(&mut session, orders(&format!("'{sale}'"), "", 3000)).await;
    until_alone(&mut session).await;
    let before = number(&mut session, BY_SALE).await;

    let pool = database.pool().await;
    let store = PgStore::admitted(pool.clone());
    let users: Vec<UserId> = buyers.iter().map(|buyer| UserId::parse(buyer).unwrap()).collect();
    let mut ascending = users.clone();
    ascending.sort_unstable();
    let sale = SaleId::parse(&sale).unwrap();
    let mut transaction = store.begin().await.unwrap();
    let locked = transaction.lock(sale, &ascending).await.unwrap();
    let (_, seen) = transaction.look(sale, &ascending).await.unwrap();
    transaction.rollback().await;
    for buyers in [locked.buyers, seen] {
        let units = users.iter().map(|user| buyers.by_user[user].units_bought);
        assert_eq!(units.collect::<Vec<u32>>(), [1, 0]);
    }
    pool.close().await;
    until_alone(&mut session).await;
    assert_eq!(number(&mut session, BY_SALE).await, before, "read by sale");
}
