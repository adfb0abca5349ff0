//! What a signed token's claims lack, in words for the one who signs (RFC 7519, section 4.1).
//!
//! The library says that something did not fit; whoever must mend it needs to know which claim, and
//! what fits. Nothing of the token is told back.

use serde_json::Value;

/// One claim that is read here.
struct Claim {
    name: &'static str,
    /// What is said when it is not there; a claim without it may be left out.
    missing: Option<&'static str>,
    fits: fn(&Value) -> bool,
    /// What is said when it does not fit.
    unfit: &'static str,
}

const CLAIMS: [Claim; 6] = [
    Claim {
        name: "exp",
        missing: Some("the token lacks exp, when it ends: a number of seconds since 1970"),
        fits: is_time,
        unfit: "the token's exp must be a number of seconds since 1970, neither text nor negative",
    },
    Claim {
        name: "nbf",
        missing: None,
        fits: is_time,
        unfit: "the token's nbf must be a number of seconds since 1970, neither text nor negative",
    },
    Claim {
        name: "iss",
        missing: Some("the token lacks iss, the name of its issuer"),
        fits: Value::is_string,
        unfit: "the token's iss must be one string",
    },
    Claim {
        name: "aud",
        missing: Some("the token lacks aud, the name of whom it is for"),
        fits: is_audience,
        unfit: "the token's aud must be a string or a list of strings",
    },
    Claim {
        name: "role",
        missing: Some("the token lacks role: accepted are buyer, service and admin"),
        fits: Value::is_string,
        unfit: "the token's role must be one string: accepted are buyer, service and admin",
    },
    Claim {
        name: "sub",
        missing: None,
        fits: |value| value.is_string() || value.is_null(),
        unfit: "the token's sub must be a string",
    },
];

/// The first claim that is missing or does not fit.
pub(super) fn fault(claims: &Value) -> Option<&'static str> {
    let Some(given) = claims.as_object() else {
        return Some("the token's claims are no JSON object");
    };
    CLAIMS.iter().find_map(|claim| match given.get(claim.name) {
        None => claim.missing,
        Some(value) => (!(claim.fits)(value)).then_some(claim.unfit),
    })
}

/// A NumericDate, as far as the library can count: below 2^64.
fn is_time(value: &Value) -> bool {
    let counted = |seconds: f64| (0.0..u64::MAX as f64).contains(&seconds);
    value.is_u64() || value.as_f64().is_some_and(counted)
}

fn is_audience(value: &Value) -> bool {
    let texts = |list: &Vec<Value>| list.iter().all(Value::is_string);
    value.is_string() || value.as_array().is_some_and(texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_claim_is_named_when_it_is_missing_and_when_it_does_not_fit() {
        let good = json!({ "exp": 1.5, "iss": "i", "aud": ["a"], "role": "buyer", "sub": null });
        assert_eq!(fault(&good), None);
        assert_eq!(fault(&json!([])), Some("the token's claims are no JSON object"));
        for claim in &CLAIMS {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(claim.name);
            assert_eq!(fault(&claims), claim.missing, "{}", claim.name);
            for unfit in [json!(true), json!({}), json!([7]), json!(-1)] {
                claims[claim.name] = unfit.clone();
                assert_eq!(fault(&claims), Some(claim.unfit), "{} {unfit}", claim.name);
            }
            for said in claim.missing.iter().chain([&claim.unfit]) {
                assert!(said.split([' ', ',', ':']).any(|word| word == claim.name), "{said}");
            }
        }
        for unfit in [json!("1795000000"), json!(null), json!(1e30), json!(-0.5)] {
            let mut claims = good.clone();
            claims["exp"] = unfit;
            assert!(fault(&claims).is_some_and(|said| said.contains("exp must be a number")));
        }
    }
}
