//! Who may come in: secrets, public keys, and the choice that must be said aloud.

use std::net::SocketAddr;
use std::sync::Arc;

use super::values::{Reader, path, said};
use crate::adapters::http::AuthMode;
use crate::adapters::secrets;
use crate::adapters::token::{TokenOptions, Verifier};
use crate::app::cli::RawSettings;

/// In the place of a secret.
const NOT_SHOWN: &str = "(not shown)";

/// The secret to sign with, from the value or the file's first line; never repeated in a message.
pub(super) fn read_secret(reader: &mut Reader, raw: &RawSettings) -> Option<Vec<u8>> {
    let value = said(raw.jwt_secret.as_ref());
    let file = path(raw.jwt_secret_file.as_ref());
    let of_value = value.and_then(|secret| read_value(reader, secret));
    let of_file = file.as_ref().and_then(|file| match secrets::read(file) {
        Ok(listed) => listed.into_iter().next(),
        Err(reason) => {
            reader.fault("FLASHDEAL_JWT_SECRET_FILE", file.display(), reason);
            None
        }
    });
    if value.is_some() && file.is_some() {
        // Whichever is not read would be the one that somebody believes in, and renews.
        let accepted = "accepted is one of FLASHDEAL_JWT_SECRET and FLASHDEAL_JWT_SECRET_FILE, \
                        and both are set";
        reader.fault("FLASHDEAL_JWT_SECRET", NOT_SHOWN, accepted);
    }
    of_value.or(of_file)
}

fn read_value(reader: &mut Reader, secret: &str) -> Option<Vec<u8>> {
    if let Some(reason) = secrets::weakness(secret.as_bytes()) {
        let accepted = format!("{reason}; `openssl rand -hex 32` makes one");
        reader.fault("FLASHDEAL_JWT_SECRET", NOT_SHOWN, accepted);
        return None;
    }
    Some(secret.as_bytes().to_vec())
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
    let mut warnings = Vec::new();
    let keys = secret || path(raw.jwks_file.as_ref()).is_some();
    if matches!(auth, AuthMode::Open) && keys {
        warnings.push(
            "keys for tokens are set, and FLASHDEAL_AUTH is open: nobody is asked for a token; \
             FLASHDEAL_AUTH=jwt asks"
                .to_owned(),
        );
    }
    warnings
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
    if said(raw.jwt_secret.as_ref()).is_some() {
        // The value was read once; it changes with a restart.
        if let Some(secret) = secret {
            verifier = verifier.with_secret(secret);
        }
    } else if let Some(file) = path(raw.jwt_secret_file.as_ref()).filter(|_| secret.is_some()) {
        verifier = match verifier.with_secret_file(&file) {
            Ok(verifier) => verifier,
            Err(reason) => {
                reader.fault("FLASHDEAL_JWT_SECRET_FILE", file.display(), reason);
                return AuthMode::Open;
            }
        };
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
