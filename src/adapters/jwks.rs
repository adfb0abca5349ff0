//! Public keys from a JWK set in a file (RFC 7517).
//!
//! A provider's set may hold keys that nobody here can use: other kinds, other curves, keys for
//! encryption. They are left out (section 5), so that the rest still rotates, and the log names
//! them. A private or a shared key is another matter: it lies where it must not, and the whole set
//! is refused.

use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::key_file;
use super::token::Key;

/// Each key may cost one check of a signature.
const KEYS_MAX: usize = 16;
/// The shortest RSA modulus, in base64url characters: 2048 bits (RFC 7518, section 3.3).
const MODULUS_MIN_CHARS: usize = 342;
/// An Ed25519 key in base64url: 32 bytes (RFC 8032, section 5.1.5).
const ED25519_CHARS: usize = 43;
/// Keys that one line of the log names; a file of 64 KiB can hold thousands.
const NAMED_MAX: usize = 8;
/// The longest name of a key, or of its kind, that is told back, in characters.
const SHOWN_MAX_CHARS: usize = 80;

/// Members that only private or shared keys have (RFC 7518, section 6; `priv` is newer kinds').
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// The keys of a file. What is left out of them goes to the log.
///
/// # Errors
/// A sentence: what is wrong with the file or its keys.
pub(super) fn keys(path: &Path) -> Result<Arc<[Key]>, String> {
    let sorted = sort(&key_file::read_public(path)?)?;
    if let Some(ignored) = sorted.ignored() {
        tracing::warn!(file = %path.display(), ignored, "keys are left out");
    }
    Ok(sorted.usable.into())
}

/// What is left out of the keys of a file, in one sentence: settings are read before there is a
/// log.
pub(super) fn ignored(path: &Path) -> Option<String> {
    key_file::read_public(path).and_then(|json| sort(&json)).ok()?.ignored()
}

/// The keys of a set, and why others are none: each with its name.
struct Sorted {
    usable: Vec<Key>,
    unusable: Vec<String>,
}

impl Sorted {
    fn ignored(&self) -> Option<String> {
        let named = self.unusable.get(..NAMED_MAX).unwrap_or(&self.unusable).join("; ");
        match self.unusable.len() {
            0 => None,
            1..=NAMED_MAX => Some(named),
            all => Some(format!("{named}; and {} more", all - NAMED_MAX)),
        }
    }
}

fn sort(json: &str) -> Result<Sorted, String> {
    let set: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let listed = set["keys"].as_array().ok_or("it is no JWK set: an object with a list `keys`")?;
    let named = || listed.iter().enumerate().map(|(at, key)| (name(at, key), key));
    for (name, key) in named() {
        if key["kty"] == "oct" || PRIVATE.iter().any(|member| !key[*member].is_null()) {
            return Err(format!("{name} is not public: only public halves belong here"));
        }
    }
    let mut sorted = Sorted { usable: Vec::new(), unusable: Vec::new() };
    // Keys for encryption are expected in a provider's set, and no news.
    for (name, key) in named().filter(|(_, key)| key["use"] != "enc") {
        match usable(key) {
            Ok(key) => sorted.usable.push(key),
            Err(reason) => sorted.unusable.push(format!("{name} {reason}")),
        }
    }
    match (sorted.usable.len(), sorted.ignored()) {
        (0, None) => Err("it holds no keys for signatures".to_owned()),
        (0, Some(ignored)) => Err(format!("it holds no key that can be used: {ignored}")),
        (1..=KEYS_MAX, _) => Ok(sorted),
        (more, _) => Err(format!("it holds {more} keys; at most {KEYS_MAX} are accepted")),
    }
}

/// How people find a key: by its id, else by its place.
fn name(at: usize, key: &Value) -> String {
    match key["kid"].as_str() {
        Some(id) => format!("key \"{}\"", shown(id)),
        None => format!("key number {}, without a kid,", at + 1),
    }
}

fn shown(text: &str) -> String {
    text.chars().flat_map(char::escape_default).take(SHOWN_MAX_CHARS).collect()
}

/// Binds a key to its algorithm, or says why it cannot be used.
fn usable(key: &Value) -> Result<Key, String> {
    let kind = key["kty"].as_str().ok_or("has no kty")?;
    if !["RSA", "OKP"].contains(&kind) {
        return Err(format!("is of kty \"{}\"; accepted are RSA and OKP", shown(kind)));
    }
    let malformed = "lacks a member of its kty, or has a malformed one";
    let jwk: Jwk = serde_json::from_value(key.clone()).map_err(|_| malformed)?;
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            if rsa.n.trim_start_matches('A').len() < MODULUS_MIN_CHARS {
                return Err("is too short: RSA keys have at least 2048 bits".to_owned());
            }
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
        _ if kind == "OKP" && key["crv"] != "Ed25519" => {
            return Err("is of another crv; accepted is Ed25519".to_owned());
        }
        AlgorithmParameters::OctetKeyPair(pair)
            if pair.curve == EllipticCurve::Ed25519 && pair.x.len() == ED25519_CHARS =>
        {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return Err(malformed.to_owned()),
    };
    if jwk.common.key_algorithm.is_some_and(|said| said != name) {
        return Err("is for another algorithm; accepted are RS256 and EdDSA".to_owned());
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| malformed)?;
    Ok(Key { id: jwk.common.key_id, algorithm, key })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The public key of RFC 8037, appendix A.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn good() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "good", "x": X })
    }

    fn of(keys: &[Value]) -> Result<Sorted, String> {
        sort(&json!({ "keys": keys }).to_string())
    }

    #[test]
    fn a_foreign_key_beside_a_good_one_is_named_and_left_out() {
        let (long, whole) = ("A".repeat(400), "s".repeat(MODULUS_MIN_CHARS));
        for (foreign, said) in [
            (json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": X, "y": X}), "kty \"EC\""),
            (json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "k", "pub": "AA"}), "kty \"AKP\""),
            (json!({"kty": "\u{1b}[31m", "kid": "k"}), "\\u{1b}[31m"),
            (json!({"kid": "k", "x": X}), "has no kty"),
            (json!({"kty": 7, "kid": "k"}), "has no kty"),
            (json!({"kty": "OKP", "crv": "X25519", "kid": "k", "x": X}), "another crv"),
            (json!({"kty": "OKP", "crv": "Ed25519", "kid": "k"}), "lacks a member"),
            (json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "AA"}), "lacks a member"),
            (json!({"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": X, "alg": 7}), "lacks"),
            (json!({"kty": "RSA", "kid": "k", "e": "AQAB"}), "lacks a member"),
            (json!({"kty": "RSA", "kid": "k", "e": "AQAB", "n": "sQ"}), "2048 bits"),
            (json!({"kty": "RSA", "kid": "k", "e": "!", "n": whole}), "malformed"),
            (json!({"kty": "RSA", "kid": "k", "e": "AQAB", "n": long}), "2048 bits"),
            (
                json!({"kty": "RSA", "kid": "k", "e": "AQAB", "n": whole, "alg": "PS256"}),
                "another algorithm",
            ),
        ] {
            let sorted = of(&[foreign.clone(), good()]).unwrap();
            let ids: Vec<_> = sorted.usable.iter().map(|key| key.id.as_deref()).collect();
            assert_eq!(ids, [Some("good")], "{foreign}");
            let ignored = sorted.ignored().unwrap();
            assert!(ignored.starts_with("key \"k\" ") && ignored.contains(said), "{ignored}");
            assert!(!ignored.contains("Some(") && !ignored.contains(X), "{ignored}");
            // By itself it leaves nothing to use.
            let refused = of(&[foreign]).err().unwrap();
            assert!(refused.contains("no key that can be used: key \"k\""), "{refused}");
        }
        assert_eq!(of(&[good(), good()]).unwrap().usable.len(), 2, "one name, two keys");
    }

    #[test]
    fn a_key_that_is_not_public_is_never_passed_over() {
        for (mut key, named) in [
            (json!({"kty": "oct", "kid": "k", "k": "AA"}), "key \"k\" "),
            (json!({"kty": "oct"}), "key number 2, without a kid, "),
            (json!({"kty": "oct", "use": "enc", "kid": "k"}), "key \"k\" "),
            (json!({"kty": "EC", "crv": "P-256", "kid": "k", "d": "AA"}), "key \"k\" "),
            (json!({"kty": "RSA", "kid": "k", "qi": "AA"}), "key \"k\" "),
            (json!({"kty": "AKP", "kid": "k", "priv": "AA"}), "key \"k\" "),
            (json!({"kid": "k", "d": 7}), "key \"k\" "),
        ] {
            for usage in ["sig", "enc"] {
                key["use"] = json!(usage);
                let refused = of(&[good(), key.clone()]).err().unwrap();
                assert!(refused.starts_with(named) && refused.contains("not public"), "{refused}");
            }
        }
    }

    #[test]
    fn keys_for_encryption_are_passed_over_and_no_news() {
        let mut enc = json!({"kty": "EC", "crv": "P-256", "kid": "k", "use": "enc"});
        let sorted = of(&[enc.clone(), good()]).unwrap();
        assert_eq!((sorted.usable.len(), sorted.ignored()), (1, None));
        assert!(of(&[enc.take()]).is_err_and(|said| said.contains("no key")));
    }

    #[test]
    fn a_set_is_bounded_and_so_is_what_is_said_of_it() {
        let foreign = json!({"kty": "EC", "kid": "\u{202e}".repeat(200)});
        let sorted = of(&[vec![foreign; 500], vec![good(); KEYS_MAX]].concat()).unwrap();
        let ignored = sorted.ignored().unwrap();
        assert!(ignored.ends_with("; and 492 more") && ignored.is_ascii(), "{ignored}");
        assert!(ignored.len() < 2_000, "{ignored}");
        let refused = of(&vec![good(); KEYS_MAX + 1]).err().unwrap();
        assert!(refused.contains("17 keys; at most 16"), "{refused}");
        for none in ["{}", "[]", "7", r#"{"keys":{}}"#] {
            assert!(sort(none).is_err_and(|said| said.contains("no JWK set")), "{none}");
        }
    }
}
