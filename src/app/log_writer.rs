//! Standard error, without waiting for whoever reads it.
//!
//! A pipe that nobody empties holds 64 KiB; behind that a write waits for ever: a terminal after
//! Ctrl-S, a log driver that hangs. No request may wait for it, nor the end of the process. So
//! lines go into a buffer, one thread writes them out at once, and what does not fit is dropped and
//! counted. The crate `tracing-appender` would bring half a dozen crates for this, and limits lines
//! where memory is bytes: the few lines here are less to read.

use std::fmt::Display;
use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use crate::ports::signals;

/// What may wait to be written, in bytes: some thousands of lines. As much again may be on its way.
const BYTES_MAX: usize = 1024 * 1024;
/// How long the end of the process waits for its last lines to be read.
const FLUSH_MAX: Duration = Duration::from_secs(1);

static STANDARD_ERROR: Lines = Lines::new();

/// Takes whole lines, one a call, and never waits. The lines of a process come out in their order.
#[derive(Debug, Clone, Copy)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        static STARTED: Once = Once::new();
        STARTED.call_once(start);
        if !STANDARD_ERROR.add(line) {
            metrics::counter!(signals::LOG_LINES_DROPPED).increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says a sentence to people, behind everything that was logged before it.
pub fn say(sentence: impl Display) {
    // The writer takes everything.
    let _ = LogWriter.write_all(format!("flashdeal: {sentence}\n").as_bytes());
}

/// Waits until everything is written, for a second at most. For the end of the process.
pub fn flush() {
    STANDARD_ERROR.wait_until_written(FLUSH_MAX);
}

fn start() {
    let write = || {
        loop {
            STANDARD_ERROR.write_to(&mut io::stderr(), |lines| {
                tracing::warn!(lines, "the log was not read in time: lines were dropped");
            });
        }
    };
    if let Err(error) = thread::Builder::new().name("log".to_owned()).spawn(write) {
        eprintln!("flashdeal: nothing will be logged, there is no thread for it: {error}");
    }
}

/// Lines between those who log and the one thread that writes.
struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    bytes: Vec<u8>,
    /// How many lines did not fit since the last were taken.
    dropped: u64,
    /// Whether some were taken that are not written yet.
    writing: bool,
}

impl Lines {
    const fn new() -> Lines {
        let waiting = Waiting { bytes: Vec::new(), dropped: 0, writing: false };
        Lines { waiting: Mutex::new(waiting), changed: Condvar::new() }
    }

    /// Whether there was room.
    fn add(&self, line: &[u8]) -> bool {
        let mut waiting = self.lock();
        let fits = waiting.bytes.len() + line.len() <= BYTES_MAX;
        if fits {
            waiting.bytes.extend_from_slice(line);
            self.changed.notify_all();
        } else {
            waiting.dropped += 1;
        }
        fits
    }

    /// Waits for lines and writes all that are there; `tell` hears how many were dropped behind
    /// them.
    fn write_to(&self, sink: &mut impl Write, tell: impl FnOnce(u64)) {
        let waiting = self.changed.wait_while(self.lock(), |waiting| waiting.bytes.is_empty());
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let (bytes, dropped) = (mem::take(&mut waiting.bytes), mem::take(&mut waiting.dropped));
        waiting.writing = true;
        drop(waiting);
        if sink.write_all(&bytes).is_err() {
            // Nobody is left who could be told.
            let lost = bytes.iter().filter(|byte| **byte == b'\n').count();
            metrics::counter!(signals::LOG_LINES_DROPPED).increment(lost as u64);
        }
        if dropped > 0 {
            tell(dropped);
        }
        self.lock().writing = false;
        self.changed.notify_all();
    }

    /// Whether everything was written in time.
    fn wait_until_written(&self, limit: Duration) -> bool {
        let open = |waiting: &mut Waiting| waiting.writing || !waiting.bytes.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), limit, open);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// A panic in the middle of a line spoils no other.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_in_their_order_and_those_that_do_not_fit_are_counted() {
        let lines = Lines::new();
        let line = [b'x'; 1_023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        assert!(lines.add(b"first\n"));
        let fitted = (0..2_000).filter(|_| lines.add(&line)).count();
        assert_eq!(fitted, BYTES_MAX / line.len() - 1);
        let (mut written, mut told) = (Vec::new(), 0);
        lines.write_to(&mut written, |dropped| told = dropped);
        assert!(written.starts_with(b"first\nxxx") && written.len() <= BYTES_MAX);
        assert_eq!(told, 2_000 - fitted as u64);
        assert!(lines.add(b"next\n"), "there is room again");
        written.clear();
        lines.write_to(&mut written, |_| panic!("nothing was dropped"));
        assert_eq!(written, b"next\n");
    }

    #[test]
    fn the_end_waits_for_the_last_line_but_not_for_ever() {
        let lines = Lines::new();
        assert!(lines.wait_until_written(Duration::ZERO), "nothing to wait for");
        lines.add(b"last\n");
        assert!(!lines.wait_until_written(Duration::from_millis(10)), "nobody writes");
        thread::scope(|scope| {
            scope.spawn(|| lines.write_to(&mut io::sink(), |_| {}));
            assert!(lines.wait_until_written(Duration::from_secs(60)));
        });
    }
}
