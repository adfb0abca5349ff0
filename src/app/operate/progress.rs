//! How far a long command is: a bar on a terminal, a plain line now and then anywhere else. All of
//! it on standard error, so that results can be piped.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Cells of the bar.
const WIDTH: u64 = 24;
/// Between two pictures of the bar: often enough to look alive.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// Between two plain lines: a log should not be flooded.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// A count on its way to a known total.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    began: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    /// Begins; `what` is the participle behind the numbers: "1200 of 5000 pressed".
    pub(super) fn new(what: &'static str, total: u64) -> Progress {
        let began = Instant::now();
        Progress { what, total, began, shown: began, terminal: io::stderr().is_terminal() }
    }

    /// Shows `done`, if it is time to.
    pub(super) fn show(&mut self, done: u64) {
        let every = if self.terminal { BAR_EVERY } else { LINE_EVERY };
        if self.shown.elapsed() >= every {
            self.shown = Instant::now();
            self.write(done, false);
        }
    }

    /// Says a sentence in between.
    pub(super) fn say(&self, sentence: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        // Nobody may be there to look; the work goes on.
        let _ = writeln!(io::stderr(), "{clear}{sentence}");
    }

    /// Shows where it ended, whatever the time.
    pub(super) fn finish(self, done: u64) {
        self.write(done, true);
    }

    fn write(&self, done: u64, last: bool) {
        let seconds = self.began.elapsed().as_secs_f64();
        let line = line(self.what, done, self.total, seconds);
        // Nobody may be there to look; the work goes on.
        let _ = if self.terminal {
            let end = if last { "\n" } else { "" };
            write!(io::stderr(), "\r{} {line}\x1b[K{end}", bar(done, self.total))
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }
}

fn line(what: &str, done: u64, total: u64, seconds: f64) -> String {
    let percent = done * 100 / total.max(1);
    let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
    format!("{percent:>3} %  {done} of {total} {what}, {rate:.0} a second")
}

fn bar(done: u64, total: u64) -> String {
    let full = (done.min(total) * WIDTH).checked_div(total).unwrap_or(WIDTH) as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(WIDTH as usize - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_always_as_wide_as_itself() {
        assert_eq!(bar(0, 10), format!("[{}]", "-".repeat(24)));
        assert_eq!(bar(5, 10), format!("[{}{}]", "#".repeat(12), "-".repeat(12)));
        for (done, total) in [(10, 10), (11, 10), (0, 0)] {
            assert_eq!(bar(done, total), format!("[{}]", "#".repeat(24)), "{done} of {total}");
        }
        assert_eq!(line("pressed", 5, 10, 2.0), " 50 %  5 of 10 pressed, 2 a second");
        assert_eq!(line("imported", 0, 0, 0.0), "  0 %  0 of 0 imported, 0 a second");
    }
}
