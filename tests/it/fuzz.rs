//! Mutated input: a committed corpus is replayed in every run, then mutated for a bounded time. No
//! input may cause a 5xx, a panic, an answer that the contract does not know, or books that are
//! off.
//!
//! `doors` goes through a running service; `targets` are the readers alone, which `fuzz/` feeds,
//! too, under the eyes of a fuzzer that watches coverage.
//!
//! `TEST_SEED` repeats a run, `FUZZ_SECONDS` (2) is the time for each target. A finding is printed
//! as a line for `tests/it/fuzz/<target>.txt`: bytes beyond visible ASCII are written `\xHH`.

mod doors;
mod parsers;
mod targets;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::support::load::Dice;
use targets::unescaped;

/// A committed corpus, one input a line.
fn corpus(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    let found: Vec<Vec<u8>> = lines.map(unescaped).collect();
    assert!(found.len() >= 8, "a corpus of {} lines", found.len());
    found
}

/// An input as a line of a corpus.
fn escaped(input: &[u8]) -> String {
    let mut line = String::new();
    for byte in input {
        match byte {
            0x20..=0x7e => line.push(char::from(*byte)),
            other => write!(line, "\\x{other:02x}").expect("a String takes everything"),
        }
    }
    line
}

/// Pieces that have broken readers before.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\xc0\x80",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"%00",
    b"%",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"0.10",
    b"00.00",
    b"{}",
    b"[[[[",
    b"{\"a\":",
    b"'",
    b"--",
    b";",
    b"$1",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x8e\xa7",
    b"e1",
    b"=",
    b"&",
    b"..",
];

/// One input made from another, by one to four small changes.
fn mutated(dice: &mut Dice, corpus: &[Vec<u8>], length_max: usize) -> Vec<u8> {
    let any = |dice: &mut Dice| corpus[dice.below(corpus.len() as u64) as usize].clone();
    let mut input = any(dice);
    for _ in 0..=dice.below(3) {
        let at = dice.below(input.len() as u64 + 1) as usize;
        let to = at + dice.below((input.len() - at) as u64 + 1) as usize;
        match dice.below(7) {
            0 => drop(
                input.splice(at..at, PIECES[dice.below(PIECES.len() as u64) as usize].to_vec()),
            ),
            1 => drop(input.drain(at..to)),
            2 if at < input.len() => input[at] ^= 1 << dice.below(8),
            3 if at < input.len() => input[at] = dice.below(256) as u8,
            4 => {
                let part = input[at..to].to_vec();
                (0..dice.below(8)).for_each(|_| drop(input.splice(at..at, part.clone())));
            }
            5 => {
                let other = any(dice);
                let from = dice.below(other.len() as u64 + 1) as usize;
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.truncate(at),
        }
        input.truncate(length_max);
    }
    input
}

/// Feeds the corpus, then its mutations, to `eat`.
async fn feed(target: &str, text: &str, length_max: usize, eat: impl AsyncFnMut(&[u8])) {
    feed_inputs(target, corpus(text), length_max, eat).await;
}

async fn feed_inputs(
    target: &str,
    corpus: Vec<Vec<u8>>,
    length_max: usize,
    mut eat: impl AsyncFnMut(&[u8]),
) {
    for input in &corpus {
        eat(input).await;
    }
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let (mut dice, mut count) = (Dice::new(&format!("fuzz {target}")), corpus.len());
    while Instant::now() < end {
        eat(&mutated(&mut dice, &corpus, length_max)).await;
        count += 1;
    }
    println!("fuzz {target}: {count} inputs");
}
