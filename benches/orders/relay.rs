//! A wire of known length: bytes to and from the database arrive a fixed time after they were sent.
//!
//! Plain threads, because the runtime's timers are no finer than a millisecond and the delay may be
//! one. A pool has ten connections, each of which takes four threads.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use flashdeal::adapters::postgres::connect;

use crate::Outcome;

/// Chunks under way in one direction, before the sender has to wait as on a full wire.
const CHUNKS_MAX: usize = 1_024;
const CHUNK_BYTES: usize = 64 * 1024;

/// The wire. Dropping it stops listening; open connections end with their clients.
pub(crate) struct Relay {
    address: SocketAddr,
    url: String,
    stop: Arc<AtomicBool>,
}

/// The far end.
#[derive(Debug, Clone)]
enum Far {
    Socket(PathBuf),
    Tcp(String, u16),
}

impl Relay {
    /// A wire to the server of a URL, `delay` long each way.
    pub(crate) fn to(url: &str, delay: Duration) -> Outcome<Relay> {
        let options = connect::parse_url(url)?;
        let far = match options.get_socket() {
            Some(directory) => {
                Far::Socket(directory.join(format!(".s.PGSQL.{}", options.get_port())))
            }
            None => Far::Tcp(options.get_host().to_owned(), options.get_port()),
        };
        let (base, _) = url.split_once('?').unwrap_or((url, ""));
        let (server, database) = base.rsplit_once('/').ok_or("a URL names its database")?;
        let (user, _) = server.rsplit_once('@').ok_or("a URL names its user")?;
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = listener.local_addr()?;
        let url = format!("{user}@{address}/{database}?sslmode=disable");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                if let Err(error) = connect(near, &far, delay) {
                    eprintln!("relay: {error}");
                }
            }
        });
        Ok(Relay { address, url, stop })
    }

    /// The `DATABASE_URL` of a client at this end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener, which then finds out.
        drop(TcpStream::connect(self.address));
    }
}

fn connect(near: TcpStream, far: &Far, delay: Duration) -> io::Result<()> {
    near.set_nodelay(true)?;
    match far {
        Far::Socket(path) => {
            let far = UnixStream::connect(path)?;
            let end = far.try_clone()?;
            carry(near.try_clone()?, far.try_clone()?, delay, move || {
                let _ = end.shutdown(Shutdown::Write);
            });
            let end = near.try_clone()?;
            carry(far, near, delay, move || {
                let _ = end.shutdown(Shutdown::Write);
            });
        }
        Far::Tcp(host, port) => {
            let far = TcpStream::connect((host.as_str(), *port))?;
            far.set_nodelay(true)?;
            let end = far.try_clone()?;
            carry(near.try_clone()?, far.try_clone()?, delay, move || {
                let _ = end.shutdown(Shutdown::Write);
            });
            let end = near.try_clone()?;
            carry(far, near, delay, move || {
                let _ = end.shutdown(Shutdown::Write);
            });
        }
    }
    Ok(())
}

/// One direction: one thread reads and notes when, one writes when it is time.
fn carry(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    delay: Duration,
    close: impl FnOnce() + Send + 'static,
) {
    let (sender, chunks) = mpsc::sync_channel(CHUNKS_MAX);
    thread::spawn(move || take(&mut from, &sender, delay));
    thread::spawn(move || {
        bring(&mut to, &chunks);
        close();
    });
}

fn take(from: &mut impl Read, sender: &SyncSender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = vec![0; CHUNK_BYTES];
    // An error ends the direction as an end of file does.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn bring(to: &mut impl Write, chunks: &Receiver<(Instant, Vec<u8>)>) {
    for (due, chunk) in chunks {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&chunk).is_err() {
            return;
        }
    }
}
