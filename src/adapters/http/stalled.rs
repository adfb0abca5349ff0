//! A client that asks and hardly reads: its connection ends when its answers go too slowly.
//!
//! hyper bounds how long a request may take to come, not how long an answer may take to go. Once
//! the kernel's buffers are full such a client would keep its place, and its answers their memory,
//! for as long as it liked; and one that reads a few bytes now and then would look alive.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long an answer may stand still. A phone in a lift is slow for seconds.
const STALL_MAX: Duration = Duration::from_secs(10);
/// What must have gone by then while more waits: one KiB a second, a tenth of the slowest phone.
const BYTES_MIN: usize = 10 * 1024;

/// A connection whose writes must move.
pub(super) struct Stalled<S = TcpStream> {
    stream: S,
    /// Throws away what waits in the kernel, with the connection.
    reset: fn(&S),
    /// Open from the first write that waits until enough went, or everything.
    wait: Option<Wait>,
}

struct Wait {
    end: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Stalled {
    pub(super) fn over(stream: TcpStream) -> Stalled {
        Stalled { stream, reset: |stream| drop(stream.set_zero_linger()), wait: None }
    }
}

impl<S> Stalled<S> {
    /// Passes progress on; gives a wait its end.
    fn bounded(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match (written, &mut self.wait) {
            (Poll::Ready(Ok(bytes)), Some(wait)) => {
                wait.bytes += bytes;
                if wait.bytes < BYTES_MIN && wait.end.deadline() <= Instant::now() {
                    return self.cut();
                }
                if wait.bytes >= BYTES_MIN {
                    self.wait = None;
                }
                Poll::Ready(Ok(bytes))
            }
            (Poll::Pending, wait) => {
                let fresh = || Wait { end: Box::pin(sleep(STALL_MAX)), bytes: 0 };
                ready!(wait.get_or_insert_with(fresh).end.as_mut().poll(cx));
                self.cut()
            }
            (written, _) => written,
        }
    }

    fn cut(&self) -> Poll<io::Result<usize>> {
        (self.reset)(&self.stream);
        let reason = "the client does not read its answers";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalled<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all it had: nothing waits any more. (A TCP stream's own
    /// flush does nothing and never waits.)
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wait = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// Reads `bytes` each second for as long as there is something.
    async fn reader(mut stream: DuplexStream, bytes: usize) {
        let mut buffer = vec![0; bytes];
        while stream.read_exact(&mut buffer).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// How long `answer` bytes take to a client that reads so many a second, or until it is cut.
    async fn sent(answer: usize, a_second: usize) -> Result<u64, u64> {
        let (ours, theirs) = duplex(64);
        let mut stream = Stalled { stream: ours, reset: |_| {}, wait: None };
        let client = tokio::spawn(reader(theirs, a_second));
        let begun = Instant::now();
        let written = stream.write_all(&vec![0; answer]).await;
        client.abort();
        let seconds = begun.elapsed().as_secs();
        written.map(|()| seconds).map_err(|_| seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_a_little_now_and_then_is_cut_off_as_who_reads_nothing() {
        assert_eq!(sent(100_000, 1).await, Err(10));
        assert_eq!(sent(100_000, 100).await, Err(10));
        assert_eq!(sent(100_000, 1_000).await, Err(10));
        let slow = sent(1_000_000, 2_048).await.unwrap();
        assert!((400..600).contains(&slow), "slow enough is served: {slow} s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_went_leaves_nothing_to_wait_for() {
        let (ours, theirs) = duplex(64);
        let mut stream = Stalled { stream: ours, reset: |_| {}, wait: None };
        tokio::spawn(reader(theirs, 50));
        // Each waits for seconds, is shorter than the least, and comes long after the one before.
        for _ in 0..5 {
            stream.write_all(&[0; 300]).await.unwrap();
            stream.flush().await.unwrap();
            sleep(Duration::from_secs(60)).await;
        }
    }
}
