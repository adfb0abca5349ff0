//! What everyone looks at while they wait: sales, read once for many readers.
//!
//! An answer is written once and given to everyone for [`FRESH`]; those who come when it has grown
//! old wait together for one reading. So a hundred thousand readers cost the database a handful of
//! queries a second, and a reader sees a sale as it was at most a quarter of a second ago. Whoever
//! needs the present says `Cache-Control: no-cache`, and has a reading that began behind the
//! request: of those who say so at the same time one reads, and the others share it. Browsers that
//! were told to keep nothing say so in every request.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, StatusCode};
use moka::future::Cache;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use warp::reply::Response;

use super::answer::with_type;
use super::head::Head;
use super::problem::Problem;
use super::verdict::failed;
use crate::logic::fault::Fault;

/// How long an answer is given again. With the time of the reading itself it is less than 250 ms.
const FRESH: Duration = Duration::from_millis(200);
/// Answers kept at a time.
const KEPT: usize = 4_096;
/// Questions whose present can be read at the same time.
const TURNS: usize = 64;
/// How long somebody else's reading is waited for.
const TURN_MAX: Duration = Duration::from_secs(1);

/// Written answers by what was asked. The board is what everyone looks at; behind it, readers who
/// find nothing fresh wait together for one reading.
#[derive(Clone)]
pub(super) struct SalesBoard {
    board: Arc<RwLock<HashMap<String, Rendered>>>,
    readings: Cache<String, Rendered>,
    /// Who reads the present, by a hash of the question.
    turns: Arc<[Mutex<()>; TURNS]>,
}

/// An answer, ready to be sent.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    body: Bytes,
    etag: HeaderValue,
    written: Instant,
    /// When its reading began: nothing that came later is in it.
    began: Instant,
}

impl Default for SalesBoard {
    fn default() -> Self {
        let readings = Cache::builder().max_capacity(KEPT as u64).time_to_live(FRESH).build();
        SalesBoard {
            board: Arc::default(),
            readings,
            turns: Arc::new([const { Mutex::const_new(()) }; TURNS]),
        }
    }
}

impl SalesBoard {
    /// The answer to `question`, from the board or read now.
    pub(super) async fn answer(
        &self,
        head: &Head,
        question: &str,
        read: impl Future<Output = Result<Rendered, Problem>>,
    ) -> Result<Response, Problem> {
        let rendered = match head.no_cache() {
            true => self.present(question, read).await?,
            false => self.recent(question, read).await?,
        };
        Ok(rendered.respond(head))
    }

    /// What is on the board, or a reading that everyone waits for who finds nothing fresh.
    async fn recent(
        &self,
        question: &str,
        read: impl Future<Output = Result<Rendered, Problem>>,
    ) -> Result<Rendered, Problem> {
        if let Some(known) = self.known(question)
            && known.written.elapsed() < FRESH
        {
            return Ok(known);
        }
        let reading = self.readings.try_get_with(question.to_owned(), from_now(read)).await;
        let rendered = reading.map_err(|problem: Arc<Problem>| (*problem).clone())?;
        Ok(self.keep(question, rendered))
    }

    /// A reading that began behind this call, this caller's or another's.
    async fn present(
        &self,
        question: &str,
        read: impl Future<Output = Result<Rendered, Problem>>,
    ) -> Result<Rendered, Problem> {
        let arrived = Instant::now();
        let mut hasher = DefaultHasher::new();
        question.hash(&mut hasher);
        let turn = &self.turns[(hasher.finish() % TURNS as u64) as usize];
        // Where readings fail, one after the other would wait for each; so nobody waits for long.
        let _turn = timeout(TURN_MAX, turn.lock()).await.ok();
        if let Some(known) = self.known(question)
            && known.began >= arrived
        {
            return Ok(known);
        }
        let rendered = from_now(read).await?;
        Ok(self.keep(question, rendered))
    }

    fn known(&self, question: &str) -> Option<Rendered> {
        self.board.read().unwrap_or_else(PoisonError::into_inner).get(question).cloned()
    }

    /// Puts it on the board, unless a reading that began later has been there before: a slow one
    /// must not take back what others have been told. The later of the two.
    fn keep(&self, question: &str, rendered: Rendered) -> Rendered {
        let mut board = self.board.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = board.get(question)
            && known.began > rendered.began
        {
            return known.clone();
        }
        if board.len() >= KEPT {
            board.retain(|_, known| known.written.elapsed() < FRESH);
        }
        if board.len() < KEPT {
            board.insert(question.to_owned(), rendered.clone());
        }
        rendered
    }
}

/// A reading that begins now.
async fn from_now(
    read: impl Future<Output = Result<Rendered, Problem>>,
) -> Result<Rendered, Problem> {
    let began = Instant::now();
    Ok(Rendered { began, ..read.await? })
}

impl Rendered {
    /// Writes a body and names it by its content.
    pub(super) fn new(body: &impl Serialize) -> Result<Rendered, Problem> {
        let defect = |error: String| failed(&Fault::Internal(error));
        let body = serde_json::to_vec(body).map_err(|error| defect(error.to_string()))?;
        let digest = Sha256::digest(&body);
        let name: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{name}\""));
        let etag = etag.map_err(|error| defect(error.to_string()))?;
        let now = Instant::now();
        Ok(Rendered { body: body.into(), etag, written: now, began: now })
    }

    /// 200, or 304 to whoever has these bytes already (RFC 9110, 13.1.2).
    pub(super) fn respond(&self, head: &Head) -> Response {
        let known = head.if_none_match();
        let mut known = known.flat_map(|line| line.split(',')).map(str::trim);
        let etag = self.etag.to_str().unwrap_or_default();
        let same = known.any(|name| name == "*" || name.trim_start_matches("W/") == etag);
        let mut response = if same {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            with_type(HeaderValue::from_static("application/json"), self.body.clone())
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_wants_the_present_at_the_same_time_shares_a_reading_that_began_behind_all() {
        let (board, readings) = (SalesBoard::default(), Arc::new(AtomicUsize::new(0)));
        let ask = |question: &'static str| {
            let (board, readings) = (board.clone(), Arc::clone(&readings));
            tokio::spawn(async move {
                let reading = async {
                    let number = readings.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Rendered::new(&number)
                };
                board.present(question, reading).await.ok().map(|seen| seen.body)
            })
        };
        let first: Vec<_> = (0..20).map(|_| ask("a")).collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        // These come while it is read: what it finds may be older than they are.
        let second: Vec<_> = (0..20).map(|_| ask("a")).collect();
        for (asked, number) in [(first, "0"), (second, "1")] {
            for reader in asked {
                assert_eq!(reader.await.unwrap().as_deref(), Some(number.as_bytes()));
            }
        }
        assert_eq!(ask("a").await.unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(readings.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reading_takes_nothing_back() {
        let board = SalesBoard::default();
        let shown = |stock: u32, after_ms: u64| async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            Rendered::new(&stock)
        };
        let slow = {
            let board = board.clone();
            tokio::spawn(async move { board.recent("a", shown(2, 100)).await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        let present = board.present("a", shown(1, 10)).await.ok();
        assert_eq!(present.map(|seen| seen.body).as_deref(), Some(&b"1"[..]));
        assert_eq!(slow.await.unwrap().ok().map(|seen| seen.body).as_deref(), Some(&b"1"[..]));
        // Not on the board any more, but still the last that was read for those who wait.
        tokio::time::sleep(FRESH).await;
        let later = board.recent("a", shown(0, 1)).await.ok();
        assert!(later.is_some_and(|seen| seen.body != "2"), "nor later");
    }
}
