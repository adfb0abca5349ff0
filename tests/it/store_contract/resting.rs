//! Sessions that rest between transactions: which one is used next, and that none is kept from
//! those who wait for one.

use std::time::{Duration, Instant};

use flashdeal::adapters::postgres::connect::parse_url;
use flashdeal::adapters::postgres::sessions::Sessions;
use flashdeal::adapters::postgres::store::PgStore;
use flashdeal::ports::store::{Store, Transaction};
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

use crate::support::locks::{number, until};
use crate::support::postgres::TestDatabase;
use crate::support::relay::{Break, Relay};

/// At most `most` sessions on a database of their own.
async fn sessions(most: u32) -> (Sessions, TestDatabase) {
    let database = TestDatabase::create().await;
    let options = database.options().application_name("resting");
    let pool = PgPoolOptions::new().max_connections(most);
    let pool = pool.acquire_timeout(Duration::from_secs(5)).test_before_acquire(false);
    (Sessions::resting(pool.connect_lazy_with(options.clone()), options), database)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many transactions at a time, which open as many sessions.
async fn open(store: &PgStore, sessions: usize) {
    let mut open = Vec::new();
    for _ in 0..sessions {
        open.push(store.begin().await.unwrap());
    }
    for transaction in open {
        transaction.commit().await.unwrap();
    }
}

#[tokio::test]
async fn the_session_that_was_used_last_is_used_next() {
    let (sessions, database) = sessions(8).await;
    let store = PgStore::admitted(sessions.clone());
    open(&store, 5).await;
    assert_eq!((sessions.pool().size(), sessions.idle()), (5, 5));
    let mut session = database.session().await;
    let micros = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let began = number(&mut session, micros).await;
    for _ in 0..20 {
        open(&store, 1).await;
    }
    let used = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'resting' \
                AND extract(epoch FROM query_start) * 1000000 > ";
    assert_eq!(number(&mut session, format!("{used}{began}")).await, 1, "of five sessions");
    sessions.close().await;
}

/// A waiter at the pool learns of sessions that come back to the pool only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_while_a_session_rests() {
    let (sessions, _database) = sessions(2).await;
    let store = PgStore::admitted(sessions.clone());
    let (began, mut callers) = (Instant::now(), JoinSet::new());
    for _ in 0..8 {
        let store = store.clone();
        callers.spawn(async move {
            for _ in 0..100 {
                open(&store, 1).await;
            }
        });
    }
    callers.join_all().await;
    println!("800 transactions over two sessions took {:?}", began.elapsed());
    // The last one may still be on its way to the pool, which asks it first whether it lives.
    until("both are idle", async || sessions.idle() == 2).await;
    sessions.close().await;
}

/// The pool ends those that are too old, so it has to see them.
#[tokio::test]
async fn who_was_away_for_long_goes_back_by_way_of_the_pool() {
    let (sessions, _database) = sessions(1).await;
    let store = PgStore::admitted(sessions.clone());
    open(&store, 1).await;
    assert_eq!((sessions.pool().num_idle(), sessions.idle()), (0, 1), "it rests");
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(900)).await;
    tokio::time::resume();
    open(&store, 1).await;
    assert_eq!(sessions.pool().num_idle(), 0, "it rests again");
    let transaction = store.begin().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    transaction.commit().await.unwrap();
    until("it is the pool's", async || sessions.pool().num_idle() == 1).await;
    open(&store, 1).await;
    sessions.close().await;
}

#[tokio::test]
async fn closing_ends_those_that_rest_and_those_that_come_back_later() {
    let (sessions, database) = sessions(4).await;
    let store = PgStore::admitted(sessions.clone());
    open(&store, 3).await;
    let last = store.begin().await.unwrap();
    let closing = tokio::spawn(async move { sessions.close().await });
    let mut session = database.session().await;
    let theirs = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'resting'";
    until("three are closed", async || number(&mut session, theirs).await == 1).await;
    last.commit().await.unwrap();
    closing.await.unwrap();
    until("all are closed", async || number(&mut session, theirs).await == 0).await;
}

/// Somebody's session died while it rested: those that have rested longer are not tried one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_silent_speaks_for_all_that_rested_longer() {
    let database = TestDatabase::create().await;
    let relay = Relay::to(&database).await;
    let options = parse_url(&relay.url()).unwrap();
    let pool = PgPoolOptions::new().max_connections(12).connect_lazy_with(options.clone());
    let sessions = Sessions::resting(pool, options);
    let store = PgStore::admitted(sessions.clone());
    // Only a session that has rested for a second is asked whether it lives; else BEGIN does.
    for (rested, limit) in [(0, 4_000), (1_100, 1_900)].map(|(a, b)| (millis(a), millis(b))) {
        open(&store, 12).await;
        tokio::time::sleep(rested).await;
        relay.silence_open_wires();
        let began = Instant::now();
        open(&store, 1).await;
        assert!(began.elapsed() < limit, "after {rested:?}: {:?}", began.elapsed());
        assert_eq!(sessions.pool().size(), 1, "all others are closed");
    }
}

/// Commands keep nothing: the pool asks each session that comes back whether it lives, and knows no
/// limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_goes_silent_on_its_way_to_the_pool_does_not_keep_its_place() {
    let database = TestDatabase::create().await;
    let relay = Relay::to(&database).await;
    let options = parse_url(&relay.url()).unwrap();
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    let store = PgStore::admitted(pool);
    relay.break_next("COMMIT", &[Break::SilentAfter]);
    open(&store, 1).await;
    assert_eq!(relay.broken(), 1);
    let again = tokio::time::timeout(Duration::from_secs(10), open(&store, 1));
    again.await.expect("its place is free again");
}
