//! Requests that arrive when they arrive, whoever is still waiting: an open model with a bound on
//! its sockets. A latency counts from the moment of arrival. The client is as small as can be,
//! because it shares its cores with the service: it writes bytes and reads a status, a length and
//! whether the answer says when to come again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::api::new_key;

/// Sockets, all open before the first order arrives. Who finds none is counted and goes away.
const SOCKETS: usize = 2_000;
/// Opened side by side: fewer than a listener keeps waiting.
const OPENED_TOGETHER: usize = 100;
/// How often the generator looks whether somebody has come.
const TICK: Duration = Duration::from_millis(1);
/// A service closes what was idle for 30 s: a socket that has waited so long is not used again.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// No answer of a living service takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Where orders go, and whose they are.
#[derive(Clone)]
pub(crate) struct Target {
    /// The service.
    pub(crate) address: SocketAddr,
    /// Who buys, by chance.
    pub(crate) users: Arc<Vec<String>>,
    /// What they buy.
    pub(crate) sale: String,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Requests that arrived.
    pub(crate) arrived: u64,
    /// Of these, those that found no socket.
    pub(crate) turned_away: u64,
    /// Microseconds from arrival to answer of each 201.
    pub(crate) admitted: Vec<u64>,
    /// And of each 503 that says when to come again.
    pub(crate) shed: Vec<u64>,
    /// Those of them that nobody knows the outcome of: there may be an order.
    pub(crate) unknown: u64,
    /// Everything else, which nobody should be told.
    pub(crate) others: BTreeMap<String, u64>,
    /// When each 201 came.
    pub(crate) moments: Vec<Instant>,
}

impl Outcome {
    fn file(&mut self, arrived: Instant, told: io::Result<Answer>) {
        let (now, micros) = (Instant::now(), arrived.elapsed().as_micros());
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        match told {
            Ok(Answer { status: 201, .. }) => {
                self.admitted.push(micros);
                self.moments.push(now);
            }
            Ok(Answer { status: 503, says_when: true, unknown }) => {
                self.shed.push(micros);
                self.unknown += u64::from(unknown);
            }
            Ok(Answer { status, says_when, .. }) => {
                let when = if says_when { ", says when" } else { "" };
                *self.others.entry(format!("{status}{when}")).or_default() += 1;
            }
            Err(error) => *self.others.entry(error.kind().to_string()).or_default() += 1,
        }
    }
}

struct Answer {
    status: u16,
    says_when: bool,
    unknown: bool,
}

/// A keep-alive connection.
struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
    used: Instant,
}

/// Idle sockets, and what was told so far.
struct Hall {
    target: Target,
    idle: Mutex<Vec<Socket>>,
    outcome: Mutex<Outcome>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hall {
    fn of(target: &Target) -> Arc<Hall> {
        let (idle, outcome) = (Mutex::default(), Mutex::default());
        Arc::new(Hall { target: target.clone(), idle, outcome })
    }

    /// One order, from its arrival to its answer.
    async fn visit(&self, arrived: Instant) {
        let told = match tokio::time::timeout(ANSWER_MAX, self.exchange()).await {
            Ok(told) => told,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        };
        lock(&self.outcome).file(arrived, told);
    }

    async fn exchange(&self) -> io::Result<Answer> {
        let idle = lock(&self.idle).pop();
        let mut socket = match idle {
            Some(socket) if socket.used.elapsed() < IDLE_MAX => socket,
            _ => Socket::to(self.target.address).await?,
        };
        socket.stream.write_all(self.target.request().as_bytes()).await?;
        let answer = socket.answer().await?;
        socket.used = Instant::now();
        lock(&self.idle).push(socket);
        Ok(answer)
    }

    async fn open(&self, sockets: usize) {
        for _ in 0..sockets.div_ceil(OPENED_TOGETHER) {
            let opening = (0..OPENED_TOGETHER).map(|_| Socket::to(self.target.address));
            let opened = futures_util::future::try_join_all(opening).await;
            lock(&self.idle).extend(opened.expect("sockets"));
        }
    }

    fn end(&self) -> Outcome {
        std::mem::take(&mut lock(&self.outcome))
    }
}

impl Target {
    /// An order under a key of its own.
    fn request(&self) -> String {
        let user = &self.users[fastrand::usize(..self.users.len())];
        let body = format!(r#"{{"user_id":"{user}","sale_id":"{}"}}"#, self.sale);
        format!(
            "POST /api/orders HTTP/1.1\r\nhost: drill\r\ncontent-type: application/json\r\n\
             idempotency-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
            new_key(),
            body.len(),
        )
    }
}

impl Socket {
    async fn to(address: SocketAddr) -> io::Result<Socket> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Socket { stream, read: Vec::with_capacity(1_024), used: Instant::now() })
    }

    /// Reads one whole answer.
    async fn answer(&mut self) -> io::Result<Answer> {
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
            let field =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let length: usize = field("content-length:").and_then(|n| n.parse().ok()).unwrap_or(0);
            if self.read.len() >= end + 4 + length {
                let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
                let code = b"\"outcome_unknown\"";
                let unknown = self.read[end..].windows(code.len()).any(|window| window == code);
                return Ok(Answer { status, says_when: field("retry-after:").is_some(), unknown });
            }
        }
    }
}

/// Lets so many arrive each second, for a while; waits for the last answer.
pub(crate) async fn open(target: &Target, per_second: f64, lasting: Duration) -> Outcome {
    let (hall, mut visits) = (Hall::of(target), JoinSet::new());
    hall.open(SOCKETS).await;
    let (mut arrived, mut turned_away) = (0, 0);
    let began = Instant::now();
    let mut next = began;
    while next - began < lasting {
        tokio::time::sleep(TICK).await;
        while visits.try_join_next().is_some() {}
        while next <= Instant::now() && next - began < lasting {
            arrived += 1;
            if visits.len() < SOCKETS {
                let (hall, at) = (Arc::clone(&hall), next);
                visits.spawn(async move { hall.visit(at).await });
            } else {
                turned_away += 1;
            }
            // Gaps of a Poisson process are exponential.
            next += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / per_second);
        }
    }
    visits.join_all().await;
    Outcome { arrived, turned_away, ..hall.end() }
}

/// So many at a time, each with one request after the other, for a while.
pub(crate) async fn closed(target: &Target, clients: usize, lasting: Duration) -> Outcome {
    let (hall, began) = (Hall::of(target), Instant::now());
    let mut visits = JoinSet::new();
    for _ in 0..clients {
        let hall = Arc::clone(&hall);
        visits.spawn(async move {
            while began.elapsed() < lasting {
                hall.visit(Instant::now()).await;
            }
        });
    }
    visits.join_all().await;
    hall.end()
}
