//! Lanes: who comes first is decided first, and a group costs what one order costs.

use std::sync::Arc;
use std::time::Duration;

use flashdeal::adapters::memory::{MemoryStore, MemoryTransaction};
use flashdeal::domain::id::{Id, UserId};
use flashdeal::domain::refusal::Refusal;
use flashdeal::logic::keyed::Answer;
use flashdeal::logic::known_sales::KnownSales;
use flashdeal::logic::orders::Engine;
use flashdeal::logic::orders::grouped::{GROUP_MAX, Grouped, GroupedOptions};
use flashdeal::ports::store::{Store, StoreError, Transaction};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Gathered, behind_a_wire, grouped, transactions};
use crate::store_contract::worlds::{make_user, open_sale, wish, year};
use crate::support::Service;
use crate::support::crowd::{Wish, crowd, seed_buyers};
use crate::support::locks::number;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_decided_together_and_in_the_order_of_arrival() {
    let service = Service::start_with(grouped).await;
    let buyers = seed_buyers(&service.database, 80, "10.00").await;
    let sale = service.api.sale("10.00", 50).await;
    let gathered = Gathered::behind_the_sale(&service, &sale, &buyers).await;
    let answers = gathered.release().await;
    for (place, reply) in answers.iter().enumerate() {
        let wanted = if place < 50 { 201 } else { 400 };
        assert_eq!(reply.status, wanted, "place {place}: {reply:?}");
    }
    assert_eq!(transactions(&service).await, 2, "the first went ahead, the rest went together");
    let mut session = service.database.session().await;
    for (place, reply) in answers.iter().take(50).enumerate() {
        let id = reply.id();
        let sequence = format!("SELECT sequence FROM orders WHERE id = '{id}'");
        assert_eq!(number(&mut session, sequence).await, place as i64 + 1);
    }
    service.finish().await;
}

/// BEGIN, keys, locks, record, and COMMIT; one more to give keys back where some lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_statements_does_not_grow_with_the_group() {
    let mut counted = Vec::new();
    for size in [2, 12, 120] {
        let (service, relay) = behind_a_wire().await;
        let buyers = seed_buyers(&service.database, size + 1, "10.00").await;
        let sale = service.api.sale("10.00", u32::try_from(size).unwrap()).await;
        let gathered = Gathered::behind_the_sale(&service, &sale, &buyers).await;
        let before = relay.in_transactions();
        let answers = gathered.release().await;
        assert_eq!(answers.iter().filter(|reply| reply.status == 201).count(), size as usize);
        counted.push(relay.in_transactions() - before);
        service.finish().await;
    }
    // Write and COMMIT of the first order, which waited for the sale. Behind it BEGIN, six
    // statements at most, and COMMIT of the group.
    assert!(counted.iter().all(|statements| *statements <= 2 + 1 + 6 + 1), "{counted:?}");
    assert_eq!(counted[1], counted[2], "twelve or a hundred and twenty: {counted:?}");
}

fn options() -> GroupedOptions {
    GroupedOptions {
        slots: 2,
        waiting_max: 100_000,
        wait_max: Duration::from_secs(60),
        time_limit: Duration::from_secs(60),
    }
}

/// Twenty thousand orders, each handed over when the one before it has been: an earlier one never
/// has a later place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_thousand_pairs_the_first_to_come_is_decided_first() {
    let store = MemoryStore::default();
    store.world().await.now = year(2026);
    let user = UserId::new(Uuid::from_u128(0xb1));
    let mut transaction = store.begin().await.unwrap();
    make_user(&mut transaction, user, 100).await;
    assert!(transaction.insert_sale(&open_sale(7, 0, 20_000)).await.unwrap());
    transaction.commit().await.unwrap();
    let engine = Grouped::new(store.clone(), options(), Arc::default());
    let mut decisions = JoinSet::new();
    for place in 0..20_000_u32 {
        let order =
            wish(u128::from(place) + 1, user, Id::new(Uuid::from_u128(7)), &format!("k{place}"));
        let deciding = engine.place(order);
        decisions.spawn(async move { (place, deciding.await) });
        if place % 97 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut sequences = vec![0; 20_000];
    while let Some(decided) = decisions.join_next().await {
        let (place, answer) = decided.unwrap();
        match answer {
            Ok(Answer::Made(order)) => sequences[place as usize] = order.sequence,
            other => panic!("{place}: {other:?}"),
        }
    }
    for pair in sequences.chunks(2) {
        assert!(pair[0] < pair[1], "{pair:?}");
    }
}

/// A store whose BEGIN is answered when somebody says so.
#[derive(Clone)]
struct Distant {
    store: MemoryStore,
    answers: Arc<Semaphore>,
    asked: watch::Sender<usize>,
}

impl Store for Distant {
    type Transaction = MemoryTransaction;

    fn patience(&self) -> Duration {
        self.store.patience()
    }

    async fn begin(&self) -> Result<MemoryTransaction, StoreError> {
        self.asked.send_modify(|asked| *asked += 1);
        self.answers.acquire().await.unwrap().forget();
        self.store.begin().await
    }
}

/// With the runtime, a group that waits for BEGIN and those behind it are gone. Whoever passes the
/// turn on then has nobody to pass it to.
#[test]
fn a_runtime_that_ends_takes_full_lanes_with_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (asked, mut begins) = watch::channel(0);
    let answers = Arc::new(Semaphore::new(0));
    let engine = Grouped::new(
        Distant { store: MemoryStore::default(), answers, asked },
        options(),
        Arc::default(),
    );
    let (user, sale) = (UserId::new(Uuid::from_u128(0xb1)), Id::new(Uuid::from_u128(7)));
    let place = |number: u128| engine.place(wish(number, user, sale, &format!("k{number}")));
    let first = runtime.spawn(place(1));
    runtime.block_on(begins.wait_for(|asked| *asked == 1)).unwrap();
    let second = runtime.spawn(place(2));
    drop(runtime);
    assert!(first.is_finished() && second.is_finished());
    assert_eq!(engine.waiting(), 1, "nobody decided it");
}

#[tokio::test]
async fn who_comes_while_begin_is_under_way_comes_along_as_far_as_there_is_room() {
    let (store, user) = (MemoryStore::default(), UserId::new(Uuid::from_u128(0xb1)));
    let sale = Id::new(Uuid::from_u128(7));
    let mut transaction = store.begin().await.unwrap();
    assert!(transaction.insert_sale(&open_sale(7, 0, 2_000)).await.unwrap());
    make_user(&mut transaction, user, 100).await;
    transaction.commit().await.unwrap();
    store.world().await.now = year(2026);
    let (answers, (asked, mut begins)) = (Arc::new(Semaphore::new(0)), watch::channel(0));
    let engine = Grouped::new(
        Distant { store, answers: Arc::clone(&answers), asked },
        options(),
        Arc::default(),
    );
    let place =
        |number: usize| engine.place(wish(number as u128 + 1, user, sale, &format!("k{number}")));
    let first = tokio::spawn(place(0));
    begins.wait_for(|asked| *asked == 1).await.unwrap();
    let crowd: Vec<_> = (1..GROUP_MAX + 6).map(place).map(tokio::spawn).collect();
    assert_eq!(engine.waiting(), GROUP_MAX + 5, "they wait in the lane");
    answers.add_permits(1);
    begins.wait_for(|asked| *asked == 2).await.unwrap();
    assert_eq!(engine.waiting(), 0, "the last six are taken, their BEGIN is under way");
    answers.add_permits(1);
    for (at, decided) in std::iter::once(first).chain(crowd).enumerate() {
        match decided.await.unwrap() {
            Ok(Answer::Made(order)) => assert_eq!(order.sequence, at as i64 + 1),
            other => panic!("{at}: {other:?}"),
        }
    }
    assert_eq!(*begins.borrow(), 2, "all others came along with the first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_with_lanes_on_one_sale_sell_each_unit_once() {
    let first = Service::start_with(grouped).await;
    let second = Service::start_on(first.database.clone(), |raw| {
        raw.engine = Some("grouped".to_owned());
    })
    .await;
    let buyers = seed_buyers(&first.database, 600, "10.00").await;
    let sale = first.api.sale("10.00", 150).await;
    let wishes: Vec<Wish> = buyers.iter().map(|buyer| Wish::unit(buyer, &sale)).collect();
    // Half the wishes go to both: twins on two instances.
    let (left, right) = (wishes[..400].to_vec(), wishes[200..].to_vec());
    let (left, right) =
        tokio::join!(crowd(first.api.address(), 32, left), crowd(second.api.address(), 32, right));
    let mut ids: Vec<String> = left
        .iter()
        .chain(&right)
        .filter(|reply| reply.status == 201)
        .map(|reply| reply.id())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 150);
    for (one, other) in left[200..].iter().zip(&right[..200]) {
        assert_eq!((one.status, one.code()), (other.status, other.code()), "twins");
        if one.status == 201 {
            assert_eq!(one.bytes, other.bytes);
        }
    }
    assert_eq!(first.api.stock(&sale).await, 0);
    first.finish().await;
    second.finish().await;
}

/// Fifty sales that somebody invented each have an order, four groups may be decided at a time, and
/// the database takes its time. An order of a sale that is known to exist stands behind none.
#[tokio::test]
async fn invented_sales_do_not_stand_before_one_that_exists() {
    let (store, user) = (MemoryStore::default(), UserId::new(Uuid::from_u128(0xb1)));
    let (seen, unseen) = (Id::new(Uuid::from_u128(7)), Id::new(Uuid::from_u128(8)));
    let mut transaction = store.begin().await.unwrap();
    for sale in [7, 8] {
        assert!(transaction.insert_sale(&open_sale(sale, 0, 9)).await.unwrap());
    }
    make_user(&mut transaction, user, 100).await;
    transaction.commit().await.unwrap();
    store.world().await.now = year(2026);
    let (answers, (asked, mut begins)) = (Arc::new(Semaphore::new(0)), watch::channel(0));
    let known = Arc::<KnownSales>::default();
    known.note(seen);
    let store = Distant { store, answers: Arc::clone(&answers), asked };
    let options = GroupedOptions { slots: 4, ..options() };
    let engine = Grouped::new(store, options, Arc::clone(&known));
    let place = |number: u128, sale| {
        tokio::spawn(engine.place(wish(number, user, sale, &format!("k{number}"))))
    };
    let invented: Vec<_> =
        (100..150).map(|number| place(number, Id::new(Uuid::from_u128(number)))).collect();
    begins.wait_for(|asked| *asked >= 1).await.unwrap();
    let real = place(1, seen);
    let found = place(2, unseen);
    let second = tokio::time::timeout(Duration::from_secs(10), begins.wait_for(|it| *it == 2));
    second.await.expect("a turn of its own").unwrap();
    assert_eq!(engine.waiting(), 50, "the others stand behind the first that was invented");
    answers.add_permits(1_000);
    for (order, sequence) in [(real, 1), (found, 1)] {
        match order.await.unwrap() {
            Ok(Answer::Made(order)) => assert_eq!(order.sequence, sequence),
            other => panic!("{other:?}"),
        }
    }
    for order in invented {
        assert!(matches!(order.await.unwrap(), Ok(Answer::Refused(Refusal::SaleNotFound))));
    }
    assert!(known.has(unseen), "whose order was decided is known to exist");
}
