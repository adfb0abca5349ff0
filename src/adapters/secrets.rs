//! Shared secrets (HS256): what is too weak, and a file that may hold several, one a line, while
//! one takes the other's place.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::key_file;
use super::token::Key;

/// The shortest HS256 key, in bytes (RFC 7518, section 3.2: as long as the hash).
const BYTES_MIN: usize = 32;
/// Fewer different bytes than any random key has: 32 hexadecimal digits have 14 on average.
const BYTES_DIFFERENT_MIN: usize = 8;
/// A word of so many different bytes may be said twice: 16 random hexadecimal digits have ten on
/// average, and no word of a language has more than this.
const BYTES_DIFFERENT_OF_A_WORD: usize = 14;
/// The new one, the old one, and somebody's mistake; each may cost a token one more check.
const SECRETS_MAX: usize = 4;

/// What is wrong with a key. Nobody can measure chance in one text; what is refused here was made
/// by holding a key down, or by repeating a word until the length was right.
pub fn weakness(secret: &[u8]) -> Option<String> {
    if secret.len() < BYTES_MIN {
        let length = secret.len();
        return Some(format!("the key has {length} bytes, at least {BYTES_MIN} are needed"));
    }
    let different = secret.iter().collect::<HashSet<_>>().len();
    let repeats = |period: usize| secret[period..] == secret[..secret.len() - period];
    let is_a_word = different < BYTES_DIFFERENT_OF_A_WORD && (1..=secret.len() / 2).any(repeats);
    if different < BYTES_DIFFERENT_MIN || is_a_word {
        return Some("the key repeats itself and can be guessed".to_owned());
    }
    None
}

/// The secrets of a file, one a line. The first is the one to sign with.
///
/// # Errors
/// A sentence that holds nothing of the file.
pub fn read(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    parse(&key_file::read_secret(path)?)
}

/// The same as keys.
pub(super) fn keys(path: &Path) -> Result<Arc<[Key]>, String> {
    Ok(read(path)?.iter().map(|secret| Key::shared(secret)).collect())
}

fn parse(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let text = text.trim_end_matches(['\r', '\n']);
    let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    if lines.len() > SECRETS_MAX {
        let count = lines.len();
        return Err(format!("it has {count} lines; at most {SECRETS_MAX} keys are accepted"));
    }
    for (at, line) in lines.iter().enumerate() {
        if let Some(reason) = weakness(line.as_bytes()) {
            let place = if lines.len() > 1 { format!("line {}: ", at + 1) } else { String::new() };
            return Err(format!("{place}{reason}; `openssl rand -hex 32` makes one"));
        }
    }
    Ok(lines.into_iter().map(|line| line.as_bytes().to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_can_be_guessed_is_weak() {
        for weak in [
            "short",
            "0000000000000000000000000000000000000000",
            "0123456701234567012345670123456701234567",
            "passwordpasswordpasswordpassword",
            "flashdeal-secret-flashdeal-secret-",
            "change-me-please-change-me-please-change",
        ] {
            assert!(weakness(weak.as_bytes()).is_some(), "{weak}");
        }
        for good in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "a test secret of more than thirty-two bytes",
            "correct horse battery staple and so on",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(weakness(good.as_bytes()), None, "{good}");
        }
    }

    #[test]
    fn a_file_has_one_key_a_line_and_no_weak_one_among_them() {
        let (one, two) = ("9f86d081884c7d659a2feaa0c55ad015", "correct horse battery staple, on");
        for (text, count) in [
            (one.to_owned(), 1),
            (format!("{one}\n"), 1),
            (format!("{one}\r\n{two}\r\n"), 2),
            (format!("{one}\n{two}\n{one}\n{two}\n\n"), 4),
        ] {
            let read = parse(&text).unwrap();
            assert_eq!((read.len(), read[0].as_slice()), (count, one.as_bytes()));
        }
        for (text, word) in [
            (String::new(), "0 bytes"),
            (format!("{one}\n\n{two}"), "line 2: the key has 0 bytes"),
            (format!("{one}\n{}", "ab".repeat(20)), "line 2: the key repeats"),
            (format!("{one}\n").repeat(5), "5 lines"),
        ] {
            let refused = parse(&text).unwrap_err();
            assert!(refused.contains(word) && !refused.contains(one), "{refused}");
        }
    }
}
