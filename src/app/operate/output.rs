//! What a command prints and says: in one piece, and without a complaint when nobody reads on.

use std::io::{self, ErrorKind, Write};

use crate::app::commands::Failure;

/// Prints a result on standard output. A reader who left (`| head`) is no failure.
pub(in crate::app) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    quietly(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Says a sentence on standard error. One that cannot be written is no reason to fall over: what
/// comes behind it, clearing up above all, goes on.
pub(in crate::app) fn say(sentence: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "flashdeal: {sentence}");
}

/// Takes a broken pipe for an end.
pub(super) fn quietly(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::other(format_args!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// RFC 3339 in UTC with microseconds, as everywhere in the house.
pub(super) fn instant(at: crate::domain::Instant) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
