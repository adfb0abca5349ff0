//! SIGINT and SIGTERM during a rehearsal: the first ends what is being done and leads to clearing
//! up, the second ends the command.
//!
//! What must stay true: every wait of a rehearsal is inside one of these methods, since the signals
//! are ours from [`Interrupts::listen`] on and a wait outside would swallow them.

use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;

use super::output::say;
use crate::app::commands::Failure;
use crate::app::signals::StopSignals;

/// The signals, and those that came.
pub(super) struct Interrupts {
    signals: StopSignals,
    heard: Vec<&'static str>,
}

impl Interrupts {
    /// Takes the signals over.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(super) fn listen() -> Result<Interrupts, Failure> {
        let signals = StopSignals::listen();
        let signals = signals.map_err(|error| Failure::other(format_args!("signals: {error}")))?;
        Ok(Interrupts { signals, heard: Vec::new() })
    }

    /// Does what may be dropped anywhere: the next signal drops it.
    ///
    /// # Errors
    /// The work's own, or that it was given up.
    pub(super) async fn phase<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            () = self.next() => Err(self.given_up()),
        }
    }

    /// Does what should not be dropped half done: after the first signal it still has `grace`.
    /// `None` when it was dropped all the same.
    pub(super) async fn whole<T>(
        &mut self,
        grace: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        tokio::select! {
            done = &mut work => return Some(done),
            () = self.next() => {}
        }
        tokio::select! {
            done = &mut work => Some(done),
            () = sleep(grace) => None,
            () = self.next() => None,
        }
    }

    /// Clears up, which a first signal only would have asked for.
    ///
    /// # Errors
    /// The second signal's name: there is no time left.
    pub(super) async fn clearing<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        let mut work = pin!(work);
        loop {
            if let [_, second, ..] = self.heard[..] {
                return Err(second);
            }
            tokio::select! {
                done = &mut work => return Ok(done),
                () = self.next() => {}
            }
        }
    }

    /// Asks whether to begin the next phase.
    ///
    /// # Errors
    /// When a signal came.
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        if self.heard.is_empty() { Ok(()) } else { Err(self.given_up()) }
    }

    /// What a rehearsal says that did not come to its end.
    pub(super) fn given_up(&self) -> Failure {
        let name = self.heard.first().copied().unwrap_or("a signal");
        Failure::other(format_args!("{name}: rehearsal given up"))
    }

    async fn next(&mut self) {
        let name = self.signals.next().await;
        if self.heard.is_empty() {
            say(format_args!("{name}: stopping and clearing up; once more to leave at once"));
        }
        self.heard.push(name);
    }
}
