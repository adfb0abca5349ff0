//! One order of locks in every engine: key, sale, wallet, and only then new rows. Who waits for one
//! of them holds none of those behind it, so nobody else has to wait, and no circle can close.

use crate::faults::send;
use crate::support::api::new_key;
use crate::support::crowd::{Wish, crowd};
use crate::support::locks::{Held, number, run, until_someone_waits};
use crate::support::{ENGINES, Service};

async fn scene(engine: &str) -> (Service, String, String) {
    let service = Service::start_with(|raw| raw.engine = Some(engine.to_owned())).await;
    let (user, sale) = (service.api.user("9.00").await, service.api.sale("1.00", 9).await);
    (service, user, sale)
}

/// While an order waits for `row(user, sale)`, whoever holds that row does what `then(user)` says
/// and waits for nobody.
async fn who_holds_goes_on(row: fn(&str, &str) -> String, then: fn(&str) -> String) {
    for engine in ENGINES {
        let (service, user, sale) = scene(engine).await;
        let mut held = Held::by(&service.database, row(&user, &sale)).await;
        let order = send(&service.api, &new_key(), &user, &sale);
        until_someone_waits(&service.database).await;
        run(&mut held.session, then(&user)).await;
        held.release().await;
        let (reply, _) = order.await.unwrap();
        assert_eq!(reply.status, 201, "{engine}");
        service.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_sale_holds_no_wallet() {
    who_holds_goes_on(
        |_, sale| format!("SELECT FROM sales WHERE id = '{sale}' FOR UPDATE"),
        |user| format!("SELECT FROM wallets WHERE user_id = '{user}' FOR UPDATE NOWAIT"),
    )
    .await;
}

/// As a deposit does, which holds the wallet and then writes its entry: the number of that entry
/// must not be taken by somebody who waits for the wallet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_wallet_has_written_nothing_yet() {
    who_holds_goes_on(
        |user, _| format!("SELECT FROM wallets WHERE user_id = '{user}' FOR UPDATE"),
        |user| {
            format!(
                "SET LOCAL lock_timeout = '100ms';
                 INSERT INTO ledger_entries (user_id, number, id, type, amount, balance_after,
                                             created_at)
                 VALUES ('{user}', 2, gen_random_uuid(), 'deposit', 1, 10, clock_timestamp())"
            )
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_and_deposits_of_one_wallet_never_meet_in_a_circle() {
    for engine in ENGINES {
        let (service, user, sale) = scene(engine).await;
        let wishes = (0..60).map(|n| match n % 2 {
            0 => Wish::unit(&user, &sale),
            _ => Wish::deposit(&new_key(), &user, "1.00"),
        });
        crowd(service.api.address(), 20, wishes.collect()).await;
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let mut session = service.database.session().await;
        assert_eq!(number(&mut session, deadlocks).await, 0, "{engine}");
        service.finish().await;
    }
}

/// An operator brings ten units by SQL while an order is under way: whatever the engine has read,
/// none of them is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_that_an_operator_brings_is_not_lost() {
    for engine in ENGINES {
        let (service, user, sale) = scene(engine).await;
        let bring = format!(
            "UPDATE sales SET stock = stock + 10, stock_initial = stock_initial + 10
             WHERE id = '{sale}'"
        );
        let mut operator = Held::by(&service.database, bring).await;
        let order = send(&service.api, &new_key(), &user, &sale);
        until_someone_waits(&service.database).await;
        run(&mut operator.session, "COMMIT").await;
        let (reply, _) = order.await.unwrap();
        assert_eq!(reply.status, 201, "{engine}");
        assert_eq!(service.api.stock(&sale).await, 18, "{engine}");
        service.finish().await;
    }
}
