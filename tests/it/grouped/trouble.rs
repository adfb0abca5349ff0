//! Trouble in a group: one bad order, one held key, a lost COMMIT. The neighbours do not notice.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Gathered, behind_a_wire};
use crate::support::Service;
use crate::support::crowd::{Wish, crowd, seed_buyers};
use crate::support::locks::{Held, run, until_anyone_waits};
use crate::support::relay::Break;

async fn start() -> Service {
    Service::start_with(|raw| {
        raw.engine = Some("grouped".to_owned());
        raw.lock_timeout = Some("1s".to_owned());
    })
    .await
}

/// A row that PostgreSQL itself refuses, for a reason nobody foresaw, fails its statement and with
/// it the whole group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_order_does_not_fail_its_neighbours() {
    let service = start().await;
    let buyers = seed_buyers(&service.database, 60, "10.00").await;
    let sale = service.api.sale("10.00", 60).await;
    let poisoned = [7, 31, 32];
    let names: Vec<String> = poisoned.iter().map(|at| format!("'{}'", buyers[*at])).collect();
    let mut session = service.database.session().await;
    run(
        &mut session,
        format!(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'poisoned'; END $$;
             CREATE TRIGGER poison BEFORE INSERT ON orders FOR EACH ROW
             WHEN (NEW.user_id IN ({})) EXECUTE FUNCTION poison()",
            names.join(", ")
        ),
    )
    .await;
    let answers = Gathered::behind_the_sale(&service, &sale, &buyers).await.release().await;
    for (place, reply) in answers.iter().enumerate() {
        if poisoned.contains(&place) {
            reply.clone().refused(500, "internal", "unknown", "same_key");
        } else {
            assert_eq!(reply.status, 201, "place {place}: {reply:?}");
        }
    }
    assert_eq!(service.api.stock(&sale).await, 3);
    // Healed, the same keys buy.
    run(&mut session, "DROP TRIGGER poison ON orders").await;
    for at in poisoned {
        service.api.buy(&format!("k{at}"), &buyers[at], &sale).await.expect(201);
    }
    service.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_held_key_does_not_hold_its_neighbours_for_long() {
    let service = start().await;
    let buyers = seed_buyers(&service.database, 40, "10.00").await;
    let sale = service.api.sale("10.00", 40).await;
    let elsewhere = Held::key(&service.database, &buyers[21], "k21").await;
    let answers = Gathered::behind_the_sale(&service, &sale, &buyers).await.release().await;
    for (place, reply) in answers.iter().enumerate() {
        if place == 21 {
            reply.clone().refused(409, "request_in_progress", "unknown", "same_key");
        } else {
            assert_eq!(reply.status, 201, "place {place}: {reply:?}");
        }
    }
    elsewhere.release().await;
    service.api.buy("k21", &buyers[21], &sale).await.expect(201);
    service.finish().await;
}

fn wallets_of(users: &[&String]) -> String {
    let users: Vec<String> = users.iter().map(|user| format!("'{user}'")).collect();
    format!(
        "SELECT 1 FROM wallets WHERE user_id IN ({}) ORDER BY user_id FOR UPDATE",
        users.join(", ")
    )
}

/// Somebody's session holds the wallets of some of them, and somebody else waits for them already.
/// The group waits once, not once for each: its callers would be gone by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_wallets_do_not_fail_their_neighbours() {
    let service = start().await;
    let buyers = seed_buyers(&service.database, 40, "10.00").await;
    let sale = service.api.sale("10.00", 40).await;
    let places = [3, 9, 16, 21, 28, 30, 37];
    let users: Vec<&String> = places.iter().map(|at| &buyers[*at]).collect();
    let wallets = wallets_of(&users);
    let elsewhere = Held::by(&service.database, wallets.clone()).await;
    let mut session = service.database.session().await;
    let waiting = tokio::spawn(async move { run(&mut session, wallets).await });
    until_anyone_waits(&service.database).await;

    let answers = Gathered::behind_the_sale(&service, &sale, &buyers).await.release().await;
    for (place, reply) in answers.iter().enumerate() {
        if places.contains(&place) {
            reply.clone().refused(409, "concurrent_conflict", "no", "same_key");
        } else {
            assert_eq!(reply.status, 201, "place {place}: {reply:?}");
        }
    }
    elsewhere.release().await;
    waiting.await.unwrap();
    for place in places {
        service.api.buy(&format!("k{place}"), &buyers[place], &sale).await.expect(201);
    }
    service.finish().await;
}

/// Winners who have lost their answers ask again beside new orders, and the row is held for too
/// long: the new ones hear that nothing was taken, which of the winners would be a lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_fails_does_not_tell_its_winners_that_nothing_was_taken() {
    let service = start().await;
    let buyers = seed_buyers(&service.database, 5, "30.00").await;
    let sale = service.api.sale("10.00", 40).await;
    let first = service.api.buy("k2", &buyers[2], &sale).await.expect(201);
    let two = json!({ "user_id": buyers[3], "sale_id": sale, "quantity": 2 });
    service.api.post("/api/orders", "k3", &two).await.expect(201);
    let answers = Gathered::behind_the_sale(&service, &sale, &buyers).await.in_vain().await;
    for (place, reply) in answers.into_iter().enumerate() {
        match place {
            2 => assert!(reply.replayed() && reply.bytes == first.bytes, "{reply:?}"),
            3 => drop(reply.refused(422, "idempotency_key_reused", "yes", "new_key")),
            _ => drop(reply.refused(409, "concurrent_conflict", "no", "same_key")),
        }
    }
    assert_eq!(service.api.stock(&sale).await, 37);
    service.finish().await;
}

/// Each COMMIT of the first groups is lost in one of three ways; everyone is answered with the
/// truth, once. No group has two orders of one caller, so forty callers make at least three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_survive_the_loss_of_their_commit() {
    for how in [Break::CutBefore, Break::CutDuring, Break::CutAfter] {
        let (service, relay) = behind_a_wire().await;
        let buyers = seed_buyers(&service.database, 120, "10.00").await;
        let sale = service.api.sale("10.00", 100).await;
        relay.break_next("COMMIT", &[how, how, how]);
        let wishes: Vec<Wish> = buyers.iter().map(|buyer| Wish::unit(buyer, &sale)).collect();
        let replies = crowd(service.api.address(), 40, wishes.clone()).await;
        assert_eq!(relay.broken(), 3, "{how:?}");
        let made: BTreeSet<String> =
            replies.iter().filter(|reply| reply.status == 201).map(|reply| reply.id()).collect();
        assert_eq!(made.len(), 100, "{how:?}");
        assert_eq!(service.api.stock(&sale).await, 0);
        // The same again: every winner's answer, byte by byte.
        let again = crowd(service.api.address(), 60, wishes).await;
        for (reply, again) in replies.iter().zip(&again) {
            assert_eq!(reply.status, again.status, "{again:?}");
            if reply.status == 201 {
                assert_eq!(reply.bytes, again.bytes);
            }
        }
        service.finish().await;
    }
}
