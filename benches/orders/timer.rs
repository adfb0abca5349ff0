//! A timer finer than the runtime's, whose ticks are milliseconds: a fifth of what an order takes.

use std::io;
use std::time::Instant;

#[cfg(target_os = "linux")]
pub(crate) use fine::Timer;

/// Without a finer one, the runtime's.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// The runtime's.
    pub(crate) fn new() -> io::Result<Timer> {
        Ok(Timer)
    }

    /// Waits until then.
    pub(crate) async fn until(&mut self, at: Instant) -> io::Result<()> {
        tokio::time::sleep_until(at.into()).await;
        Ok(())
    }
}

/// timerfd_create(2), which wakes the runtime's own poll: no thread besides.
#[cfg(target_os = "linux")]
mod fine {
    use std::os::fd::AsFd;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::net::unix::pipe::Receiver;

    use super::{Instant, io};

    /// Waits for one moment at a time.
    pub(crate) struct Timer {
        timer: TimerFd,
        /// The same timer. To the runtime a pipe: something that becomes readable.
        passed: Receiver,
        /// What it is set to, and has not been seen to pass.
        set_to: Option<Instant>,
    }

    impl Timer {
        /// Within a runtime, which polls it.
        pub(crate) fn new() -> io::Result<Timer> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let same = timer.as_fd().try_clone_to_owned()?;
            Ok(Timer { timer, passed: Receiver::from_owned_fd_unchecked(same)?, set_to: None })
        }

        /// Waits until then. Given up and asked again for the same moment, it goes on waiting.
        pub(crate) async fn until(&mut self, at: Instant) -> io::Result<()> {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if self.set_to != Some(at) {
                let once = Expiration::OneShot(TimeSpec::from_duration(left));
                self.timer.set(once, TimerSetTimeFlags::empty())?;
                self.set_to = Some(at);
            }
            loop {
                self.passed.readable().await?;
                match self.passed.try_read(&mut [0; size_of::<u64>()]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    passed => {
                        self.set_to = None;
                        return passed.map(drop);
                    }
                }
            }
        }
    }
}
