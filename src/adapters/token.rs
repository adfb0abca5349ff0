//! Tokens (RFC 7519): who calls, in mode `jwt`.
//!
//! A key is bound to its algorithm when it is loaded, and the token's header may only choose among
//! keys, never an algorithm for a key: that closes the door on `none` and on HS256 signed with a
//! public key (RFC 8725, sections 2.1 and 3.1).

use std::collections::HashSet;
use std::path::Path;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::followed::Followed;
use super::{claims, jwks, secrets};
use crate::domain::id::UserId;

/// Who calls, and so what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Everything. In mode `open` everyone.
    Admin,
    /// The shop's back end: orders for any user, reads, users without money.
    Service,
    /// One user's own things.
    Buyer(UserId),
}

impl Caller {
    /// Whether this caller may do what the shop's back end does.
    pub fn serves(self) -> bool {
        matches!(self, Caller::Admin | Caller::Service)
    }

    /// Whether this caller may see and use what belongs to `user`.
    pub fn may_act_for(self, user: UserId) -> bool {
        self.serves() || self == Caller::Buyer(user)
    }
}

/// Seconds by which clocks may differ.
const LEEWAY_SECONDS: u64 = 30;
/// The longest token worth reading, in bytes.
const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// The claims that are read; others are ignored. Times are read by `Validation`, which also names
/// what is missing: a NumericDate may have a fraction (RFC 7519, section 2).
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    role: String,
    /// One: `Validation` would also take a list.
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: serde_json::Value,
    #[serde(skip_deserializing)]
    exp: u64,
    /// For people.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
}

/// Who issues tokens, and for whom.
#[derive(Debug, Clone)]
pub struct TokenOptions {
    /// `iss`
    pub issuer: String,
    /// `aud`
    pub audience: String,
}

/// A key, bound to its algorithm.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl Key {
    /// A shared secret.
    pub(super) fn shared(secret: &[u8]) -> Key {
        let key = DecodingKey::from_secret(secret);
        Key { id: None, algorithm: Algorithm::HS256, key }
    }
}

/// Checks tokens.
pub struct Verifier {
    secret: Option<Key>,
    files: Vec<Followed>,
    warnings: Vec<String>,
    options: TokenOptions,
}

/// Why a token is not accepted. The text says nothing that helps to forge one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenRefused(pub &'static str);

impl Verifier {
    /// A verifier that has no key yet.
    pub fn new(options: TokenOptions) -> Verifier {
        Verifier { secret: None, files: Vec::new(), warnings: Vec::new(), options }
    }

    /// Accepts HS256 tokens signed with `secret`.
    pub fn with_secret(mut self, secret: &[u8]) -> Verifier {
        self.secret = Some(Key::shared(secret));
        self
    }

    /// Accepts HS256 tokens signed with one of the secrets in a file, one a line. The file is
    /// followed: what stands in it is what is accepted, seconds later.
    ///
    /// # Errors
    /// A sentence that holds nothing of the file.
    pub fn with_secret_file(mut self, path: &Path) -> Result<Verifier, String> {
        self.files.push(Followed::open("FLASHDEAL_JWT_SECRET_FILE", path, secrets::keys)?);
        Ok(self)
    }

    /// Accepts tokens signed with the private halves of the RSA (RS256) and Ed25519 (EdDSA) keys in
    /// a JWK set. The file is followed, too. Keys of other kinds are left out; [`Self::warnings`]
    /// says which.
    ///
    /// # Errors
    /// A sentence: what is wrong with the file or its keys.
    pub fn with_jwks_file(mut self, path: &Path) -> Result<Verifier, String> {
        self.files.push(Followed::open("FLASHDEAL_JWKS_FILE", path, jwks::keys)?);
        let left_out = |which| format!("FLASHDEAL_JWKS_FILE: keys are left out: {which}");
        self.warnings.extend(jwks::ignored(path).map(left_out));
        Ok(self)
    }

    /// What an operator should know of the keys as they were at first.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Who presents this token.
    ///
    /// # Errors
    /// [`TokenRefused`] for anything but a valid token of a known role.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenRefused> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenRefused("the token is too long"));
        }
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| TokenRefused("the token is malformed or its algorithm is not accepted"))?;
        if header.crit.is_some() {
            // What must be understood and is not must be refused (RFC 7515, section 4.1.11).
            return Err(TokenRefused("the token has an extension that is not known here"));
        }
        let fits = |key: &&Key| {
            key.algorithm == header.alg
                && (header.kid.is_none() || key.id == header.kid || key.id.is_none())
        };
        let mut refused = TokenRefused("no accepted key has this algorithm and key id");
        let followed: Vec<_> = self.files.iter().map(Followed::keys).collect();
        let keys = self.secret.iter().chain(followed.iter().flat_map(|keys| keys.iter()));
        for key in keys.filter(fits) {
            match jsonwebtoken::decode::<Claims>(token, &key.key, &self.validation(key)) {
                Ok(token) => return caller(&token.claims),
                // Not this key's signature; perhaps the next one's.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {
                    refused = TokenRefused(reason(error.kind()));
                }
                Err(error) => return Err(self.unfit(token, key, error.kind())),
            }
        }
        Err(refused)
    }

    fn validation(&self, key: &Key) -> Validation {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.required_spec_claims = HashSet::from(["exp", "iss", "aud"].map(str::to_owned));
        validation.set_issuer(&[&self.options.issuer]);
        validation.set_audience(&[&self.options.audience]);
        validation
    }

    /// Why claims under a good signature are not accepted. They are read again, so the signature is
    /// checked again: what is not signed is never looked into.
    fn unfit(&self, token: &str, key: &Key, kind: &ErrorKind) -> TokenRefused {
        let mut signed = self.validation(key);
        signed.required_spec_claims.clear();
        (signed.validate_exp, signed.validate_nbf, signed.validate_aud) = (false, false, false);
        signed.iss = None;
        let looked_into = match kind {
            ErrorKind::MissingRequiredClaim(_)
            | ErrorKind::InvalidClaimFormat(_)
            | ErrorKind::Json(_) => jsonwebtoken::decode(token, &key.key, &signed).ok(),
            _ => None,
        };
        let fault = looked_into.and_then(|token| claims::fault(&token.claims));
        TokenRefused(fault.unwrap_or_else(|| reason(kind)))
    }
}

fn caller(claims: &Claims) -> Result<Caller, TokenRefused> {
    match claims.role.as_str() {
        "admin" => Ok(Caller::Admin),
        "service" => Ok(Caller::Service),
        "buyer" => claims
            .sub
            .as_deref()
            .and_then(UserId::parse)
            .map(Caller::Buyer)
            .ok_or(TokenRefused("a buyer's token needs a user id as its sub")),
        _ => Err(TokenRefused("the token's role is not buyer, service or admin")),
    }
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is from another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        _ => "the token is malformed",
    }
}

/// Signs a token with a shared secret. `expires_at` is in seconds since 1970.
///
/// # Errors
/// When the token cannot be encoded.
pub fn sign(
    options: &TokenOptions,
    secret: &[u8],
    caller: Caller,
    expires_at: u64,
) -> Result<String, String> {
    let (role, sub) = match caller {
        Caller::Admin => ("admin", None),
        Caller::Service => ("service", None),
        Caller::Buyer(user) => ("buyer", Some(user.to_string())),
    };
    let claims = Claims {
        sub,
        role: role.to_owned(),
        iss: options.issuer.clone(),
        aud: options.audience.clone().into(),
        exp: expires_at,
        iat: None,
    };
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret))
        .map_err(|error| error.to_string())
}
