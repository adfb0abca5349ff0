//! Readers that need no service: tokens, money, keys. What they accept must read back the same.

use flashdeal::adapters::token::{Caller, TokenOptions, Verifier, sign};
use flashdeal::domain::key::IdempotencyKey;
use flashdeal::domain::money::Money;

use super::{escaped, feed};
use crate::support::service::SECRET;

/// The contract's own grammar, written down a second time.
fn is_money(text: &str) -> bool {
    let Some((whole, cents)) = text.split_once('.') else {
        return false;
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = whole == "0" || !whole.starts_with('0');
    digits(whole) && digits(cents) && whole.len() <= 11 && cents.len() == 2 && plain
}

#[tokio::test]
async fn money_is_what_its_grammar_says_and_reads_back() {
    feed("money", include_str!("money.txt"), 40, async |input| {
        let text = String::from_utf8_lossy(input);
        let read = Money::parse(&text);
        assert_eq!(read.is_ok(), is_money(&text), "{}", escaped(input));
        if let Ok(money) = read {
            assert_eq!(money.to_string(), text, "{}", escaped(input));
            assert!(money <= Money::MAX && Money::from_decimal(money.decimal()) == Some(money));
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_is_visible_ascii_and_its_two_spellings_are_one() {
    feed("key", include_str!("key.txt"), 300, async |input| {
        let Ok(key) = IdempotencyKey::parse(input) else {
            return;
        };
        let text = key.as_str();
        assert!((1..=255).contains(&text.len()), "{}", escaped(input));
        assert!(text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{}", escaped(input));
        let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        assert_eq!(IdempotencyKey::parse(quoted.as_bytes()).as_ref(), Ok(&key), "{quoted}");
    })
    .await;
}

/// Only what was signed is accepted, and only as who it was signed for.
#[tokio::test]
async fn no_mutation_of_a_token_is_a_token() {
    let options = TokenOptions { issuer: "flashdeal".into(), audience: "flashdeal".into() };
    let secret = SECRET.as_bytes();
    let verifier = Verifier::new(options.clone()).with_secret(secret);
    let expires_at = jsonwebtoken::get_current_timestamp() + 3_600;
    let good = sign(&options, secret, Caller::Service, expires_at).expect("a token");
    assert_eq!(verifier.verify(&good), Ok(Caller::Service));
    let text = include_str!("token.txt").replace("GOOD", &good);
    feed("token", &text, 9_000, async |input| {
        let token = String::from_utf8_lossy(input);
        if token != good {
            assert!(verifier.verify(&token).is_err(), "{}", escaped(input));
        }
    })
    .await;
}
