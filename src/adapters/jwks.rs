//! Public keys from a JWK set in a file (RFC 7517).

use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::key_file;
use super::token::Key;

/// Each key may cost one check of a signature.
const KEYS_MAX: usize = 16;
/// The shortest RSA modulus, in base64url characters: 2048 bits (RFC 7518, section 3.3).
const MODULUS_MIN_CHARS: usize = 342;

/// The keys of a file.
///
/// # Errors
/// A sentence: what is wrong with the file or its first bad key.
pub(super) fn keys(path: &Path) -> Result<Arc<[Key]>, String> {
    parse(&key_file::read_public(path)?)
}

/// Members that only private or shared keys have (RFC 7518, section 6).
const PRIVATE: [&str; 5] = ["d", "p", "q", "k", "oth"];

fn parse(json: &str) -> Result<Arc<[Key]>, String> {
    let set: serde_json::Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let listed = set["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    let private = |key: &&serde_json::Value| PRIVATE.iter().any(|name| !key[*name].is_null());
    if let Some(key) = listed.iter().find(private) {
        return Err(format!("key {} is not public: only public halves belong here", key["kid"]));
    }
    let set: JwkSet = serde_json::from_value(set).map_err(|error| error.to_string())?;
    let signing = set.keys.iter().filter(|jwk| {
        // A provider's set may hold keys for encryption, too.
        !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption))
    });
    let keys: Arc<[Key]> = signing.map(key).collect::<Result<_, _>>()?;
    match keys.len() {
        0 => Err("it holds no keys".to_owned()),
        1..=KEYS_MAX => Ok(keys),
        more => Err(format!("it holds {more} keys; at most {KEYS_MAX} are accepted")),
    }
}

fn key(jwk: &Jwk) -> Result<Key, String> {
    let id = jwk.common.key_id.clone();
    let named = |reason: &str| format!("key {id:?} {reason}");
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            if rsa.n.trim_start_matches('A').len() < MODULUS_MIN_CHARS {
                return Err(named("is too short: RSA keys have at least 2048 bits"));
            }
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return Err(named("is neither RSA nor Ed25519")),
    };
    if jwk.common.key_algorithm.is_some_and(|said| said != name) {
        return Err(named("is for another algorithm; accepted are RS256 and EdDSA"));
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|error| named(&error.to_string()))?;
    Ok(Key { id, algorithm, key })
}
