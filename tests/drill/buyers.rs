//! Buyers: they keep a key until it is finished and write down everything they were told. Some
//! press twice, some hang up, some come late, some send a spent key with another body.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use fastrand::Rng;
use tokio::task::JoinSet;

use crate::board::Board;
use crate::journal::{History, Told, Wish};
use crate::line::{Leaving, Line, leave};
use crate::shop::{Shop, now};
use crate::stage::Doors;

/// Buyers at work at the same time.
const BUYERS: usize = 192;
/// Before the next attempt, in milliseconds. A person would wait longer.
const PAUSE: std::ops::Range<u64> = 30..200;
/// How long one key may take to be finished, faults and all.
const FINISHED_WITHIN: Duration = Duration::from_secs(60);

/// One buyer's way to both instances.
pub(crate) struct Buyer {
    shop: Arc<Shop>,
    board: Arc<Board>,
    doors: Doors,
    /// Two to each instance.
    lines: [Line; 4],
    chance: Rng,
}

/// Buyers at work.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    buyers: JoinSet<Vec<History>>,
}

impl Crowd {
    /// Everyone begins.
    pub(crate) fn start(shop: &Arc<Shop>, board: &Arc<Board>, doors: &Doors, seed: u64) -> Crowd {
        let stop = Arc::new(AtomicBool::new(false));
        let mut buyers = JoinSet::new();
        for number in 0..BUYERS {
            let chance = Rng::with_seed(seed.wrapping_add(number as u64));
            let mut buyer = Buyer::new(Arc::clone(shop), Arc::clone(board), doors.clone(), chance);
            let stop = Arc::clone(&stop);
            buyers.spawn(async move {
                let mut histories = Vec::new();
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    histories.extend(buyer.turn(number, turn).await);
                }
                histories
            });
        }
        Crowd { stop, buyers }
    }

    /// Lets everyone finish the key they are at.
    pub(crate) async fn finish(mut self, board: &Board) -> Vec<History> {
        self.stop.store(true, Ordering::Relaxed);
        let mut histories = Vec::new();
        while let Some(ended) = self.buyers.join_next().await {
            match ended {
                Ok(more) => histories.extend(more),
                Err(error) => board.violation(format!("a buyer ended early: {error}")),
            }
        }
        histories
    }
}

impl Buyer {
    /// A buyer with lines that are not open yet.
    pub(crate) fn new(shop: Arc<Shop>, board: Arc<Board>, doors: Doors, chance: Rng) -> Buyer {
        let lines = [0, 1, 0, 1].map(|instance| Line::to(instance, &doors));
        Buyer { shop, board, doors, lines, chance }
    }

    /// One wish, the way this buyer feels like.
    async fn turn(&mut self, buyer: usize, turn: usize) -> Vec<History> {
        let wish = self.shop.wish(buyer, turn, &mut self.chance);
        let mut history = History::of(wish);
        match self.chance.u32(..100) {
            0..3 => self.twins(&mut history).await,
            3..6 => self.leave(&mut history).await,
            6 => return self.stale(history).await,
            _ => {}
        }
        self.insist(&mut history).await;
        match self.chance.u32(..100) {
            0..4 => self.late_duplicate(&mut history).await,
            4 => self.other_body(&mut history).await,
            _ => {}
        }
        vec![history]
    }

    /// Sends until the key is finished, or refused.
    pub(crate) async fn insist(&mut self, history: &mut History) {
        let began = std::time::Instant::now();
        while history.order().is_none() && !history.refused() {
            self.once(history).await;
            let last = history.attempts.last().map(|attempt| &attempt.told);
            if matches!(last, Some(Told::NotNow { .. } | Told::Unknown)) {
                self.pause().await;
            }
            if self.board.is_lost() {
                return;
            }
            if began.elapsed() > FINISHED_WITHIN {
                let key = &history.wish.key;
                self.board.violation(format!("{key} is not finished after {FINISHED_WITHIN:?}"));
                return;
            }
        }
    }

    /// Sends once, to either instance.
    pub(crate) async fn once(&mut self, history: &mut History) {
        let line = &mut self.lines[self.chance.usize(..4)];
        let attempt = line.send(&self.shop, &self.board, &history.wish).await;
        history.attempts.push(attempt);
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.chance.u64(PAUSE))).await;
    }

    /// Four times at once, at both instances.
    async fn twins(&mut self, history: &mut History) {
        let (shop, board, wish) = (&*self.shop, &*self.board, &history.wish);
        let [a, b, c, d] = &mut self.lines;
        let (a, b, c, d) = tokio::join!(
            a.send(shop, board, wish),
            b.send(shop, board, wish),
            c.send(shop, board, wish),
            d.send(shop, board, wish),
        );
        board.fault("client: the same request four times at once", 1);
        history.attempts.extend([a, b, c, d]);
    }

    /// Sends, and does not wait for the answer.
    async fn leave(&mut self, history: &mut History) {
        let wait = Duration::from_micros(self.chance.u64(..20_000));
        let instance = self.chance.usize(..2);
        let how = [Leaving::HangUp, Leaving::HangUp, Leaving::HalfSent, Leaving::HalfClose];
        let how = how[self.chance.usize(..how.len())];
        let left = leave(&self.doors, instance, (how, wait), &history.wish, &self.shop).await;
        self.board.fault(how.name(), 1);
        history.attempts.push(left);
    }

    /// Much later than its order, at the other instance too.
    async fn late_duplicate(&mut self, history: &mut History) {
        if history.order().is_some() {
            self.pause().await;
            self.once(history).await;
            self.board.fault("client: the request again, behind later ones", 1);
        }
    }

    /// A spent key with another body.
    async fn other_body(&mut self, history: &mut History) {
        if history.order().is_none() {
            return;
        }
        let other = Wish { quantity: history.wish.quantity + 1, ..history.wish.clone() };
        let line = &mut self.lines[self.chance.usize(..4)];
        let mut attempt = line.send(&self.shop, &self.board, &other).await;
        attempt.other_body = true;
        self.board.fault("client: a spent key with another body", 1);
        history.attempts.push(attempt);
    }

    /// An attempt that is held back on its way until behind its `valid_until`, while its buyer buys
    /// with a new key.
    async fn stale(&mut self, mut history: History) -> Vec<History> {
        let wait = TimeDelta::milliseconds(self.chance.i64(20..120));
        history.wish.valid_until = Some(now() + wait);
        tokio::time::sleep(wait.to_std().expect("a wait") + Duration::from_millis(1)).await;
        let mut again = History::of(Wish {
            key: format!("{}-again", history.wish.key),
            valid_until: None,
            ..history.wish.clone()
        });
        self.insist(&mut again).await;
        self.insist(&mut history).await;
        self.board.fault("client: an attempt behind its valid_until", 1);
        vec![history, again]
    }
}
