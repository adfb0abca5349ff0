//! Who may come in: secrets, public keys, and the choice that must be said aloud.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::values::{Reader, path, said};
use crate::adapters::http::AuthMode;
use crate::adapters::key_file;
use crate::adapters::token::{SECRET_MIN_BYTES, TokenOptions, Verifier};
use crate::app::cli::RawSettings;

/// The shared secret, from the value or the file; never repeated in a message.
pub(super) fn read_secret(reader: &mut Reader, raw: &RawSettings) -> Option<Vec<u8>> {
    let (name, secret) = match (&raw.jwt_secret, &raw.jwt_secret_file) {
        (Some(secret), _) if !secret.is_empty() => {
            ("FLASHDEAL_JWT_SECRET", secret.clone().into_bytes())
        }
        (_, Some(path)) if !path.as_os_str().is_empty() => {
            let name = "FLASHDEAL_JWT_SECRET_FILE";
            let text = key_file::read_secret(path);
            let text = text.map_err(|reason| reader.fault(name, path.display(), reason)).ok()?;
            (name, text.trim_end_matches(['\r', '\n']).as_bytes().to_vec())
        }
        _ => return None,
    };
    match weakness(&secret) {
        None => Some(secret),
        Some(reason) => {
            let accepted = format!("{reason}; `openssl rand -hex 32` makes one");
            reader.fault(name, "(not shown)", accepted);
            None
        }
    }
}

/// Fewer different bytes than any random key has: 32 hexadecimal digits have 14 on average.
const SECRET_BYTES_DIFFERENT_MIN: usize = 8;

/// What is wrong with a key. Nobody can measure chance in one text; what is refused here was made
/// by holding a key down, or by repeating a word until the length was right.
fn weakness(secret: &[u8]) -> Option<String> {
    if secret.len() < SECRET_MIN_BYTES {
        let length = secret.len();
        return Some(format!("the key has {length} bytes, at least {SECRET_MIN_BYTES} are needed"));
    }
    let different = secret.iter().collect::<HashSet<_>>().len();
    let repeats = |period: usize| secret[period..] == secret[..secret.len() - period];
    if different < SECRET_BYTES_DIFFERENT_MIN || (1..=secret.len() / 2).any(repeats) {
        return Some("the key repeats itself and can be guessed".to_owned());
    }
    None
}

/// The mode: open on loopback, said explicitly elsewhere.
pub(super) fn read_auth(
    reader: &mut Reader,
    raw: &RawSettings,
    listen: SocketAddr,
    token: &TokenOptions,
    secret: Option<&[u8]>,
) -> AuthMode {
    let accepted = "accepted are open and jwt";
    match raw.auth.as_deref().filter(|text| !text.is_empty()) {
        Some("open") => AuthMode::Open,
        Some("jwt") => read_verifier(reader, raw, token, secret),
        Some(other) => {
            reader.fault("FLASHDEAL_AUTH", other, accepted);
            AuthMode::Open
        }
        None if listen.ip().is_loopback() => AuthMode::Open,
        None => {
            let reason = format!(
                "must be said when FLASHDEAL_LISTEN is {listen}, which others can reach: jwt, or \
                 open if everyone who reaches it may spend everyone's money"
            );
            reader.fault("FLASHDEAL_AUTH", "(unset)", reason);
            AuthMode::Open
        }
    }
}

/// Keys that nobody asks for.
pub(super) fn auth_warnings(raw: &RawSettings, auth: &AuthMode, secret: bool) -> Vec<String> {
    let keys = secret || path(raw.jwks_file.as_ref()).is_some();
    if !matches!(auth, AuthMode::Open) || !keys {
        return Vec::new();
    }
    vec![
        "keys for tokens are set, and FLASHDEAL_AUTH is open: nobody is asked for a token; \
          FLASHDEAL_AUTH=jwt asks"
            .to_owned(),
    ]
}

/// The operator's address asks nobody for a token: where others can reach it, somebody must have
/// thought about who may come in.
pub(super) fn read_open_doors(
    reader: &mut Reader,
    raw: &RawSettings,
    ops_listen: Option<SocketAddr>,
) -> Option<String> {
    let open = ops_listen.filter(|address| !address.ip().is_loopback())?;
    if said(raw.auth.as_ref()).is_none() {
        let reason = format!(
            "must be said when FLASHDEAL_OPS_LISTEN is {open}, which others can reach: jwt or open"
        );
        reader.fault("FLASHDEAL_AUTH", "(unset)", reason);
    }
    Some(format!(
        "FLASHDEAL_OPS_LISTEN is {open}: whoever reaches it reads metrics and books without a token"
    ))
}

fn read_verifier(
    reader: &mut Reader,
    raw: &RawSettings,
    token: &TokenOptions,
    secret: Option<&[u8]>,
) -> AuthMode {
    let mut verifier = Verifier::new(token.clone());
    if let Some(secret) = secret {
        verifier = verifier.with_secret(secret);
    }
    if let Some(path) = &path(raw.jwks_file.as_ref()) {
        verifier = match verifier.with_jwks_file(path) {
            Ok(verifier) => verifier,
            Err(reason) => {
                reader.fault("FLASHDEAL_JWKS_FILE", path.display(), reason);
                return AuthMode::Open;
            }
        };
    }
    let any_key_named = said(raw.jwt_secret.as_ref()).is_some()
        || path(raw.jwt_secret_file.as_ref()).is_some()
        || path(raw.jwks_file.as_ref()).is_some();
    if !any_key_named {
        let reason = "needs FLASHDEAL_JWT_SECRET, FLASHDEAL_JWT_SECRET_FILE or FLASHDEAL_JWKS_FILE";
        reader.fault("FLASHDEAL_AUTH", "jwt", reason);
    }
    AuthMode::Jwt(Arc::new(verifier))
}

#[cfg(test)]
mod tests {
    use super::weakness;

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
        ] {
            assert_eq!(weakness(good.as_bytes()), None, "{good}");
        }
    }
}
