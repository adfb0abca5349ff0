//! The server's log file: bounded, and quoted when a start fails.
//!
//! The child writes to it directly, so it outlives us and costs no task. It grows by a few lines
//! for each start and check-point (`log_min_messages` keeps statements out), and is set aside when
//! a start finds it large: at most two files of about 10 MiB stay.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::place::Place;

/// Bytes after which a start begins a new file.
const LOG_SIZE_MAX: u64 = 10 * 1024 * 1024;
/// Bytes at the end of the log that an error may quote from.
const TAIL_SIZE_MAX: u64 = 4 * 1024;
/// Lines that an error quotes.
const TAIL_LINES_MAX: usize = 8;

/// Opens the log for a new server, and says where its part of the file begins.
pub(super) fn open(place: &Place) -> io::Result<(File, u64)> {
    let path = place.log_file();
    if fs::metadata(&path).is_ok_and(|found| found.len() > LOG_SIZE_MAX) {
        fs::rename(&path, path.with_extension("log.1"))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    // After `sudo`, the ordinary account must still be able to write.
    place.account.give(&path)?;
    let start = file.metadata()?.len();
    Ok((file, start))
}

/// What was written to the log since `start`, as far as an error can use it.
pub(super) fn tail(path: &Path, start: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL_SIZE_MAX))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_SIZE_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map(|text| last_lines(&text)).unwrap_or_else(|error| error.to_string())
}

/// The last lines of a program's output, on one line: they go into a sentence.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let skip = lines.len().saturating_sub(TAIL_LINES_MAX);
    if lines.is_empty() { "(nothing)".to_owned() } else { lines[skip..].join(" | ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_quoted() {
        let text: String = (1..=20).map(|number| format!("line {number}\n\n")).collect();
        let quoted = last_lines(&text);
        assert!(quoted.starts_with("line 13 | ") && quoted.ends_with(" | line 20"), "{quoted}");
        assert_eq!(last_lines("\n"), "(nothing)");
    }
}
