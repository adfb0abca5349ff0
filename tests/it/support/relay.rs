//! A wire to PostgreSQL that breaks where it is told to.
//!
//! It listens on a port of its own, passes everything on to the server of a [`TestDatabase`] and
//! reads what the client says: a start-up message (length, body), then frames (type, length, body).
//! A simple query that begins with a chosen text is broken as planned.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use super::postgres::TestDatabase;

/// What becomes of a chosen statement.
#[allow(dead_code, reason = "not everyone who shares this file uses them all")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The server never sees it.
    CutBefore,
    /// The server sees it; the wire is cut while it works.
    CutDuring,
    /// The server has answered; the answer is lost.
    CutAfter,
    /// The server has answered; from here on nobody hears anything, and nobody is told.
    SilentAfter,
    /// The answer comes late.
    Delay(Duration),
    /// The server sees it and then the end of what it is told; its answers still come.
    HalfClose,
    /// From here on the server hears nothing, and nobody is told.
    SilentUp,
    /// The server sees it; from here on its answers get lost, and nobody is told.
    SilentDown,
}

#[derive(Default)]
struct Plan {
    /// Statements that begin with the text suffer these, one each.
    next: Option<(&'static str, VecDeque<Break>)>,
    /// All statements that begin with the text suffer this.
    always: Option<(&'static str, Break)>,
    /// Statements that are this text reach the server as that one.
    instead: Option<(&'static str, &'static str)>,
    broken: usize,
    /// How often all open wires fell silent; at the most, those to come do too.
    silences: usize,
    /// Answers of the server with SQLSTATE 40001.
    serialization_failures: usize,
    /// Statements that went by: simple queries and executions of prepared ones.
    statements: usize,
    /// Those between a BEGIN and its end, both included.
    in_transactions: usize,
}

/// The wire.
pub(crate) struct Relay {
    address: SocketAddr,
    database_url: String,
    plan: Arc<Mutex<Plan>>,
    listening: JoinHandle<()>,
}

impl Relay {
    /// A sound wire to a database.
    pub(crate) async fn to(database: &TestDatabase) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let plan = Arc::new(Mutex::new(Plan::default()));
        let listening = tokio::spawn(listen(listener, database.clone(), Arc::clone(&plan)));
        Relay { address, database_url: database.url.clone(), plan, listening }
    }

    /// The `DATABASE_URL` of a client at this end.
    pub(crate) fn url(&self) -> String {
        let (base, _) = self.database_url.split_once('?').unwrap_or((&self.database_url, ""));
        let (server, name) = base.rsplit_once('/').expect("a URL with a database");
        let (user, _) = server.rsplit_once('@').expect("a URL with a user");
        format!("{user}@{}/{name}?sslmode=disable", self.address)
    }

    /// Breaks the next statements that begin with `text`, one each.
    pub(crate) fn break_next(&self, text: &'static str, breaks: &[Break]) {
        lock(&self.plan).next = Some((text, breaks.iter().copied().collect()));
    }

    /// Breaks every statement that begins with `text` and is not broken otherwise.
    pub(crate) fn break_always(&self, text: &'static str, how: Break) {
        lock(&self.plan).always = Some((text, how));
    }

    /// Has the server told `instead` where the client says `text`: a client that cannot be had
    /// otherwise, because no switch of the service makes it.
    pub(crate) fn say_instead(&self, text: &'static str, instead: &'static str) {
        lock(&self.plan).instead = Some((text, instead));
    }

    /// Nobody hears anything on the wires that are open, and nobody is told. New ones are sound.
    pub(crate) fn silence_open_wires(&self) {
        lock(&self.plan).silences += 1;
    }

    /// From here on nobody hears anything on any wire, new ones included, and nobody is told.
    pub(crate) fn silence_all_wires(&self) {
        lock(&self.plan).silences = usize::MAX;
    }

    /// How often the server answered that a transaction cannot be serialized.
    pub(crate) fn serialization_failures(&self) -> usize {
        lock(&self.plan).serialization_failures
    }

    /// How many statements went by.
    pub(crate) fn statements(&self) -> usize {
        lock(&self.plan).statements
    }

    /// How many of them belonged to transactions, BEGIN and COMMIT included.
    pub(crate) fn in_transactions(&self) -> usize {
        lock(&self.plan).in_transactions
    }

    /// How many statements have been broken.
    pub(crate) fn broken(&self) -> usize {
        lock(&self.plan).broken
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plan {
    /// The frame that the server sees.
    fn translated(&self, frame: Bytes) -> Bytes {
        let Some((text, instead)) = self.instead else { return frame };
        let is_said =
            frame.starts_with(b"Q") && frame.get(5..frame.len() - 1) == Some(text.as_bytes());
        if !is_said {
            return frame;
        }
        let length = u32::try_from(instead.len() + 5).expect("a short statement");
        [b"Q", &length.to_be_bytes()[..], instead.as_bytes(), b"\0"].concat().into()
    }

    /// Listens to what the server says, also where a word comes in two pieces.
    fn overhear(&mut self, heard: &mut BytesMut, answered: &[u8]) {
        const FIELD: &[u8] = b"C40001\0";
        heard.extend_from_slice(answered);
        let found = heard.windows(FIELD.len()).filter(|window| *window == FIELD);
        self.serialization_failures += found.count();
        let _ = heard.split_to(heard.len().saturating_sub(FIELD.len() - 1));
    }

    /// What is to become of a frame.
    fn judge(&mut self, frame: &[u8], inside: &mut bool) -> Option<Break> {
        if matches!(frame.first(), Some(b'Q' | b'E')) {
            let begins = |word: &[u8]| frame.get(5..).is_some_and(|text| text.starts_with(word));
            *inside |= begins(b"BEGIN");
            self.statements += 1;
            self.in_transactions += usize::from(*inside);
            *inside &= !begins(b"COMMIT") && !begins(b"ROLLBACK");
        }
        let statement = statement(frame)?;
        let planned = match &mut self.next {
            Some((text, breaks)) if statement.starts_with(text.as_bytes()) => breaks.pop_front(),
            _ => None,
        };
        let always = self.always.filter(|(text, _)| statement.starts_with(text.as_bytes()));
        let how = planned.or(always.map(|(_, how)| how))?;
        self.broken += 1;
        Some(how)
    }
}

/// The text that a frame brings: a simple query, or one that is to be prepared.
fn statement(frame: &[u8]) -> Option<&[u8]> {
    let text = frame.get(5..)?;
    match frame.first()? {
        b'Q' => Some(text),
        b'P' => text.splitn(2, |byte| *byte == 0).nth(1),
        _ => None,
    }
}

async fn listen(listener: TcpListener, database: TestDatabase, plan: Arc<Mutex<Plan>>) {
    // Wires end with the relay.
    let mut wires = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (database, plan) = (database.clone(), Arc::clone(&plan));
        // A broken wire is what this is for: nobody asks how it ended.
        wires.spawn(async move { pass(client, server_of(&database).await?, &plan).await });
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn server_of(database: &TestDatabase) -> io::Result<Box<dyn Stream>> {
    let options = database.options();
    let (host, port) = (options.get_host(), options.get_port());
    Ok(match options.get_socket() {
        Some(directory) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            Box::new(UnixStream::connect(path).await?)
        }
        None => {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}

/// Passes both directions on until one end closes or the plan cuts.
async fn pass(
    mut client: TcpStream,
    mut server: Box<dyn Stream>,
    plan: &Mutex<Plan>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut said, mut answered) = (BytesMut::new(), BytesMut::new());
    let (mut typed, mut inside, mut heard) = (false, false, BytesMut::new());
    let born = lock(plan).silences.min(usize::MAX - 1);
    loop {
        while let Some(frame) = take_frame(&mut said, typed) {
            typed = true;
            let judged = lock(plan).judge(&frame, &mut inside);
            let how = if lock(plan).silences > born { Some(Break::SilentUp) } else { judged };
            // One read takes a whole answer.
            answered.reserve(1_024);
            match how {
                Some(Break::CutBefore) => return Ok(()),
                Some(Break::SilentUp) => return swallow(&mut client).await,
                _ => {
                    let frame = lock(plan).translated(frame);
                    server.write_all(&frame).await?;
                }
            }
            match how {
                None | Some(Break::CutBefore | Break::SilentUp) => {}
                Some(Break::SilentDown) => return swallow(&mut client).await,
                Some(Break::HalfClose) => {
                    server.shutdown().await?;
                    return io::copy(&mut server, &mut client).await.map(drop);
                }
                Some(Break::CutDuring) => return Ok(()),
                Some(Break::CutAfter) => return server.read_buf(&mut answered).await.map(drop),
                Some(Break::SilentAfter) => {
                    server.read_buf(&mut answered).await?;
                    client.write_all(&answered.split()).await?;
                    return swallow(&mut client).await;
                }
                Some(Break::Delay(time)) => {
                    server.read_buf(&mut answered).await?;
                    tokio::time::sleep(time).await;
                    client.write_all(&answered.split()).await?;
                }
            }
        }
        tokio::select! {
            read = client.read_buf(&mut said) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            read = server.read_buf(&mut answered) => {
                if read? == 0 {
                    return Ok(());
                }
                lock(plan).overhear(&mut heard, &answered);
                client.write_all(&answered.split()).await?;
            }
        }
    }
}

/// Listens to the client until it gives up.
async fn swallow(client: &mut TcpStream) -> io::Result<()> {
    io::copy(client, &mut io::sink()).await.map(drop)
}

/// The next whole frame, the type byte included if there is one.
fn take_frame(said: &mut BytesMut, typed: bool) -> Option<Bytes> {
    let at = usize::from(typed);
    let length = said.get(at..at + 4)?.try_into().expect("four bytes");
    let whole = at + u32::from_be_bytes(length) as usize;
    (said.len() >= whole).then(|| said.split_to(whole).freeze())
}
