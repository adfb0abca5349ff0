//! Who has bought is known in time, and of too many buyers those who matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flashdeal::adapters::postgres::reads::PgReads;
use flashdeal::adapters::postgres::store::Gate;
use flashdeal::domain::id::{SaleId, UserId};
use flashdeal::domain::order::PlaceOrder;
use flashdeal::domain::refusal::Refusal;
use flashdeal::logic::keyed::Answer;
use flashdeal::logic::orders::sold_out::{BELIEVED, SoldOut};
use flashdeal::logic::orders::{Deciding, Engine};
use serde_json::json;
use sqlx::PgPool;

use super::{felt, sold_out_by_heart};
use crate::operate::export::{SALE, sell_many};
use crate::store_contract::worlds::wish;
use crate::support::Service;
use crate::support::api::new_key;
use crate::support::crowd::seed_buyers;
use crate::support::locks::until;

/// Who has bought is read in pages of 20,000 orders, and the last winner is on the second. He asks
/// all the time while the sale is looked at for the first time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_many_winners_is_not_told_that_it_is_sold_out() {
    let service = Service::start_with(felt).await;
    sell_many(&service.database, 25_000).await;
    let buyers = seed_buyers(&service.database, 2, "100.00").await;
    let ten = json!({ "user_id": buyers[0], "sale_id": SALE, "quantity": 10 });
    let press = async || service.api.post("/api/orders", "last", &ten).await.expect(201);
    let made = press().await;
    service.api.buy(&new_key(), &buyers[1], SALE).await.expect(400);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(600) {
        let again = press().await;
        assert_eq!((again.replayed(), again.id()), (true, made.id()));
    }
    let held = sold_out_by_heart(&service, &buyers[1], SALE).await;
    assert!(press().await.replayed());
    held.release().await;
    service.finish().await;
}

/// An engine that counts who comes, and sells nothing.
#[derive(Default)]
struct LongWay(AtomicUsize);

impl Engine for LongWay {
    fn name(&self) -> &'static str {
        "long-way"
    }

    fn place(&self, _order: PlaceOrder) -> Deciding {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(Answer::Refused(Refusal::OutOfStock { stock: 0 })) })
    }

    fn waiting(&self) -> usize {
        0
    }

    fn oldest(&self) -> Duration {
        Duration::ZERO
    }

    fn close(&self) {}
}

/// The sale is looked at each 200 ms.
const THREE_LOOKS: Duration = Duration::from_millis(700);

/// The shortcut of another instance than the one that sells.
struct Shortcut {
    engine: SoldOut<PgReads>,
    long_way: Arc<LongWay>,
    pool: PgPool,
}

impl Shortcut {
    /// With room for so many buyers.
    async fn new(service: &Service, buyers_max: usize) -> Shortcut {
        let pool = service.database.pool().await;
        let gate = Gate::new(2, Duration::from_secs(1));
        let reads = PgReads::new(pool.clone(), gate, service.database.options());
        let long_way = Arc::<LongWay>::default();
        let engine = SoldOut::new(long_way.clone(), reads, buyers_max);
        Shortcut { engine, long_way, pool }
    }

    /// Whether this buyer goes the long way.
    async fn is_long(&self, user: &str, sale: &str) -> bool {
        let before = self.long_way.0.load(Ordering::Relaxed);
        let (user, sale) = (UserId::parse(user).unwrap(), SaleId::parse(sale).unwrap());
        let answer = self.engine.place(wish(1, user, sale, &new_key())).await.unwrap();
        assert_eq!(answer, Answer::Refused(Refusal::OutOfStock { stock: 0 }));
        self.long_way.0.load(Ordering::Relaxed) > before
    }

    /// Waits until this buyer hears from memory that the sale is sold out.
    async fn learns(&self, sale: &str, buyer: &str) {
        until("sold out is known", async || !self.is_long(buyer, sale).await).await;
    }

    /// Many ask without a pause, so that the sale stays watched; none of them goes the long way.
    async fn storm(&self, user: &str, sale: &str) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            assert!(!self.is_long(user, sale).await, "the shortcut has closed");
        }
    }
}

/// A sale with two units, and who has bought them: the last two of these.
async fn small_sale(service: &Service, buyers: &[String]) -> String {
    let sale = service.api.sale("1.00", 2).await;
    for buyer in &buyers[buyers.len() - 2..] {
        service.api.buy(&new_key(), buyer, &sale).await.expect(201);
    }
    sale
}

/// Another instance makes an order in another sale. Its key is no key for this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_buys_elsewhere_from_another_instance_is_looked_up_a_moment_later() {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, 4, "100.00").await;
    let (small, other) = (small_sale(&service, &buyers).await, service.api.sale("1.00", 9).await);
    let shortcut = Shortcut::new(&service, 100).await;
    shortcut.learns(&small, &buyers[0]).await;
    assert!(!shortcut.is_long(&buyers[1], &small).await);
    service.api.buy(&new_key(), &buyers[1], &other).await.expect(201);
    let looked_up = async || {
        shortcut.storm(&buyers[0], &small).await;
        shortcut.is_long(&buyers[1], &small).await
    };
    until("who bought elsewhere goes the long way", looked_up).await;
    shortcut.pool.close().await;
    service.finish().await;
}

/// A shop may have had more buyers than anybody wants to remember.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_too_many_buyers_those_of_the_sale_at_hand_are_remembered() {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, 8, "100.00").await;
    let (others, winners) = (&buyers[1..6], &buyers[6..]);
    let (small, large) = (small_sale(&service, &buyers).await, service.api.sale("1.00", 5).await);
    let shortcut = Shortcut::new(&service, 4).await;
    shortcut.learns(&small, &buyers[0]).await;
    // Soon there are seven. While those of the small sale are read anew, none of them is forgotten.
    let selling = async {
        for buyer in others {
            service.api.buy(&new_key(), buyer, &large).await.expect(201);
        }
    };
    let asking = async {
        let began = Instant::now();
        while began.elapsed() < THREE_LOOKS {
            for winner in winners {
                assert!(shortcut.is_long(winner, &small).await, "a winner is told from memory");
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(selling, asking);
    let reopened = async || !shortcut.is_long(&others[4], &small).await;
    until("buyers of the large sale are left out", reopened).await;
    for other in others {
        assert!(!shortcut.is_long(other, &small).await);
    }
    // With all buyers of the large one there are too many again, and nobody is believed anything.
    let closed = async || {
        assert!(shortcut.is_long(&buyers[0], &large).await, "believed with too many buyers");
        shortcut.is_long(&buyers[0], &small).await
    };
    until("the shortcut is closed", closed).await;
    for buyer in &buyers {
        assert!(shortcut.is_long(buyer, &small).await && shortcut.is_long(buyer, &large).await);
    }
    shortcut.pool.close().await;
    service.finish().await;
}

/// What is believed was seen within a second. Whether it still holds cannot be read any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nobody_can_look_nothing_is_believed_for_long() {
    let service = Service::start().await;
    let buyers = seed_buyers(&service.database, 3, "100.00").await;
    let small = small_sale(&service, &buyers).await;
    let shortcut = Shortcut::new(&service, 100).await;
    shortcut.learns(&small, &buyers[0]).await;
    shortcut.pool.close().await;
    let last_look = Instant::now();
    let nothing = async || {
        let asked = last_look.elapsed();
        let long = shortcut.is_long(&buyers[0], &small).await;
        assert!(long || asked <= BELIEVED, "{asked:?} behind the last look");
        long
    };
    until("nothing is believed", nothing).await;
    service.finish().await;
}
