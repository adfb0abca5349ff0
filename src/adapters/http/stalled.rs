//! A client that asks and never reads: its connection ends when its answer has not moved for a
//! while.
//!
//! hyper bounds how long a request may take to come, not how long an answer may take to go. Once
//! the kernel's buffers are full such a client would keep its place, and its answers their memory,
//! for as long as it liked.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long an answer may stand still. A phone in a lift is slow for seconds.
const STALL_MAX: Duration = Duration::from_secs(10);

/// A connection whose writes must move.
pub(super) struct Stalled {
    stream: TcpStream,
    /// Counts while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Stalled {
    pub(super) fn over(stream: TcpStream) -> Stalled {
        Stalled { stream, deadline: None }
    }

    /// Passes progress on; gives a wait its end.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        moved: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if moved.is_ready() {
            self.deadline = None;
            return moved;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(STALL_MAX)));
        ready!(deadline.as_mut().poll(cx));
        // What waits in the kernel is thrown away with the connection, not kept for minutes.
        let _ = self.stream.set_zero_linger();
        let reason = "the client does not read its answers";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }
}

impl AsyncRead for Stalled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stalled {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, moved)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let moved = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, moved)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, moved)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let moved = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, moved)
    }
}
