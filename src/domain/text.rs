//! Short human text: names, references, external ids.

use std::fmt;
use std::sync::Arc;

/// 1 to 200 characters without control characters (PostgreSQL cannot store NUL, and a log line
/// must stay one line).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortText(Arc<str>);

/// Why a text was not taken, as a sentence for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotShortText {
    /// Empty or too long.
    #[error("must have 1 to 200 characters")]
    Length,
    /// NUL, line breaks, escape sequences and their like.
    #[error("must not contain control characters")]
    Control,
}

impl ShortText {
    /// The longest text, in characters.
    pub const MAX_CHARS: usize = 200;

    /// Checks length and characters.
    ///
    /// # Errors
    /// [`NotShortText`] says which of the two.
    pub fn parse(text: &str) -> Result<ShortText, NotShortText> {
        if text.is_empty() || text.chars().count() > Self::MAX_CHARS {
            return Err(NotShortText::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(NotShortText::Control);
        }
        Ok(ShortText(Arc::from(text)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_to_two_hundred_characters_and_no_control_among_them() {
        for (text, expected) in [
            ("é".repeat(ShortText::MAX_CHARS), Ok(())),
            ("é".repeat(ShortText::MAX_CHARS + 1), Err(NotShortText::Length)),
            (String::new(), Err(NotShortText::Length)),
            ("one\ntwo".to_owned(), Err(NotShortText::Control)),
            ("nul\0".to_owned(), Err(NotShortText::Control)),
        ] {
            assert_eq!(ShortText::parse(&text).map(|_| ()), expected, "{text:?}");
        }
    }
}
