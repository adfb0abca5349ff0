//! Who may come in: secrets, public keys, and the choice that must be said aloud.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::values::{Reader, path, said};
use crate::adapters::http::AuthMode;
use crate::adapters::token::{SECRET_MIN_BYTES, TokenOptions, Verifier};
use crate::app::cli::RawSettings;

/// The shared secret, from the value or the file; never repeated in a message.
pub(super) fn read_secret(reader: &mut Reader, raw: &RawSettings) -> Option<Vec<u8>> {
    let (name, secret) = match (&raw.jwt_secret, &raw.jwt_secret_file) {
        (Some(secret), _) if !secret.is_empty() => {
            ("FLASHDEAL_JWT_SECRET", secret.clone().into_bytes())
        }
        (_, Some(path)) if !path.as_os_str().is_empty() => {
            let text = read_file(reader, "FLASHDEAL_JWT_SECRET_FILE", path)?;
            let secret = text.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
            ("FLASHDEAL_JWT_SECRET_FILE", secret)
        }
        _ => return None,
    };
    if secret.len() < SECRET_MIN_BYTES {
        let accepted = format!(
            "the key has {} bytes, at least {SECRET_MIN_BYTES} are needed; `openssl rand -hex 32` \
             makes one",
            secret.len()
        );
        reader.fault(name, "(not shown)", accepted);
        return None;
    }
    Some(secret)
}

fn read_file(reader: &mut Reader, name: &str, path: &Path) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            reader.fault(name, path.display(), format_args!("cannot be read: {error}"));
            None
        }
    }
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
        let Some(json) = read_file(reader, "FLASHDEAL_JWKS_FILE", path) else {
            return AuthMode::Open;
        };
        verifier = match verifier.with_jwks(&json) {
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
