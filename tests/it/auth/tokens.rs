//! Tokens that must not open the door: each is a 401 with `WWW-Authenticate`, on every way in.

use bytes::Bytes;
use flashdeal::adapters::token::Caller;
use flashdeal::domain::id::UserId;
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, get_current_timestamp};
use serde_json::{Value, json};

use crate::support::Service;
use crate::support::api::{Api, Reply, new_key};
use crate::support::service::{SECRET, scratch, token};

/// A user who need not exist: what is tried is the token.
const USER: &str = "0190a000-0000-7000-8000-000000000001";

/// The claims of a good admin token.
pub(super) fn claims() -> Value {
    json!({
        "role": "admin", "iss": "flashdeal", "aud": "flashdeal",
        "exp": get_current_timestamp() + 600,
    })
}

/// The good claims with one changed; `null` takes it away.
pub(super) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().map(|members| members.remove(name))),
        value => claims[name] = value,
    }
    claims
}

fn signed(algorithm: Algorithm, claims: &Value, secret: &[u8]) -> String {
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("a token")
}

pub(super) fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, claims, SECRET.as_bytes())
}

/// Another header in front of a good token's claims, with this signature.
fn reheaded(header: &str, signature: &str) -> String {
    let good = hs256(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    format!("{header}.{}.{signature}", parts[1])
}

async fn ask(api: &Api, lines: &[&str]) -> Reply {
    let mut builder = api.request(Method::GET, "/api/users");
    for line in lines {
        builder = builder.header("authorization", *line);
    }
    api.send(builder.body(Bytes::new()).expect("a request")).await.expect("an answer")
}

pub(super) fn refused(reply: &Reply, what: &str) {
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "unauthenticated"), "{what}");
    let challenge = reply.header("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer"), "{what}: {challenge}");
    // The answer never shows what was sent.
    assert!(!reply.text("detail").contains("eyJ"), "{what}");
}

/// Bad claims under a good signature.
fn bad_claims() -> Vec<(&'static str, Value)> {
    let now = get_current_timestamp();
    vec![
        ("expired beyond the leeway", with("exp", json!(now - 32))),
        ("expired long ago", with("exp", json!(0))),
        ("no exp", with("exp", Value::Null)),
        ("exp as a string", with("exp", json!((now + 600).to_string()))),
        ("exp as a fraction", with("exp", json!("1e12"))),
        ("exp below zero", with("exp", json!(-1))),
        ("not yet valid", with("nbf", json!(now + 120))),
        ("not yet valid, beyond the leeway", with("nbf", json!(now + 45))),
        ("another issuer", with("iss", json!("flashdeal2"))),
        ("no issuer", with("iss", Value::Null)),
        ("issuers as a list", with("iss", json!(["flashdeal", "x"]))),
        ("another audience", with("aud", json!("shop"))),
        ("an empty audience", with("aud", json!([]))),
        ("no audience", with("aud", Value::Null)),
        ("no role", with("role", Value::Null)),
        ("an unknown role", with("role", json!("root"))),
        ("a role in capitals", with("role", json!("Admin"))),
        ("roles as a list", with("role", json!(["admin"]))),
        ("a buyer without sub", with("role", json!("buyer"))),
        ("a list for claims", json!(["admin"])),
    ]
}

#[tokio::test]
async fn a_token_with_a_wrong_claim_is_refused() {
    let service = Service::start_jwt().await;
    let api = &service.api;
    for (what, claims) in bad_claims() {
        let reply = api.with_token(&hs256(&claims)).get("/api/users").await;
        refused(&reply, what);
    }
    for sub in [json!("7"), json!(format!("{{{USER}}}")), json!(7), json!([USER])] {
        let mut claims = with("role", json!("buyer"));
        claims["sub"] = sub.clone();
        let reply = api.with_token(&hs256(&claims)).get("/api/orders").await;
        refused(&reply, &format!("a buyer with sub {sub}"));
    }
    let now = get_current_timestamp();
    for (what, claims) in [
        ("as it should be", claims()),
        ("exp with a fraction", with("exp", json!(now as f64 + 100.5))),
        ("within the leeway of exp", with("exp", json!(now - 22))),
        ("within the leeway of nbf", with("nbf", json!(now + 28))),
        ("one audience of several", with("aud", json!(["shop", "flashdeal"]))),
        ("a claim that nobody reads", with("scope", json!({ "a": [1] }))),
    ] {
        let reply = api.with_token(&hs256(&claims)).get("/api/users").await;
        assert_eq!(reply.status.as_u16(), 200, "{what}: {reply:?}");
    }
    service.finish().await;
}

/// Who signs tokens learns which claim does not fit, and what would.
#[tokio::test]
async fn a_claim_that_does_not_fit_is_named_with_what_is_accepted() {
    let service = Service::start_jwt().await;
    let time = "must be a number of seconds since 1970";
    let mut table = vec![("aud", json!(7), "must be a string or a list of strings")];
    for name in ["exp", "nbf"] {
        for value in [json!("1795000000"), json!(null), json!(true), json!(-1), json!(1e30)] {
            table.push((name, value, time));
        }
    }
    for value in [json!(["flashdeal"]), json!(null), json!(7)] {
        table.push(("iss", value, "must be one string"));
    }
    table.push(("role", json!(["admin"]), "accepted are buyer, service and admin"));
    table.push(("sub", json!(7), "must be a string"));
    let mut told = Vec::new();
    for (name, value, said) in table {
        let mut claims = claims();
        claims[name] = value.clone();
        told.push((format!("the token's {name} "), said, format!("{name} {value}"), claims));
    }
    for (name, said) in [
        ("exp", "a number of seconds since 1970"),
        ("iss", "issuer"),
        ("aud", "whom it is for"),
        ("role", "accepted are buyer, service and admin"),
    ] {
        let what = format!("no {name}");
        told.push((format!("the token lacks {name}"), said, what, with(name, Value::Null)));
    }
    for (start, said, what, claims) in told {
        let reply = service.api.with_token(&hs256(&claims)).get("/api/users").await;
        refused(&reply, &what);
        let detail = reply.text("detail");
        assert!(detail.contains(&start) && detail.contains(said), "{what}: {detail}");
        assert!(!detail.contains("1795"), "nothing of the token is told back: {detail}");
    }
    service.finish().await;
}

#[tokio::test]
async fn a_token_with_a_wrong_signature_is_refused() {
    let service = Service::start_jwt().await;
    let api = &service.api;
    let good = hs256(&claims());
    let signature = good.rsplit('.').next().expect("a signature").to_owned();
    let stump = good.trim_end_matches(&signature).to_owned();
    // {"alg":"none"}, {"alg":"None","typ":"JWT"}, {"typ":"JWT"}: base64url
    let (none, none_title, no_alg) =
        ("eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIiwidHlwIjoiSldUIn0", "eyJ0eXAiOiJKV1QifQ");
    let admin_claims = with("role", json!("admin"));
    let table = [
        ("alg none, no signature", reheaded(none, "")),
        ("alg none, a signature", reheaded(none, &signature)),
        ("alg None", reheaded(none_title, "")),
        ("no alg", reheaded(no_alg, &signature)),
        ("no signature", stump.clone()),
        ("half a signature", format!("{stump}{}", &signature[..20])),
        ("another key", signed(Algorithm::HS256, &claims(), &[b'x'; 40])),
        ("an empty key", signed(Algorithm::HS256, &claims(), b"")),
        ("HS384", signed(Algorithm::HS384, &claims(), SECRET.as_bytes())),
        ("HS512", signed(Algorithm::HS512, &claims(), SECRET.as_bytes())),
        ("two parts", stump.trim_end_matches('.').to_owned()),
        ("four parts", format!("{good}.x")),
        ("no token", String::new()),
        ("dots", "..".to_owned()),
        ("no base64", "a.b.c".to_owned()),
        ("oversized", format!("{good}{}", "A".repeat(9_000))),
    ];
    for (what, token) in table {
        refused(&api.with_token(&token).get("/api/users").await, what);
    }
    // Another's claims under a good signature: the second half of one token, the first of another.
    let buyer = token(Caller::Buyer(UserId::parse(USER).expect("an id")));
    let grafted = reheaded(
        buyer.split('.').next().expect("a header"),
        buyer.rsplit('.').next().expect("a signature"),
    );
    refused(&api.with_token(&grafted).get("/api/users").await, "grafted");
    let mut long = admin_claims;
    long["note"] = json!("x".repeat(9_000));
    refused(&api.with_token(&hs256(&long)).get("/api/users").await, "well signed, too long");
    service.finish().await;
}

#[tokio::test]
async fn a_token_counts_in_one_authorization_header_and_nowhere_else() {
    let service = Service::start_jwt().await;
    let (api, good) = (&service.api, hs256(&claims()));
    let bearer = format!("Bearer {good}");
    for (what, lines) in [
        ("none", vec![]),
        ("two lines", vec![bearer.as_str(), &bearer]),
        ("two lines, one bad", vec![bearer.as_str(), "Bearer x"]),
        ("no scheme", vec![good.as_str()]),
        ("Basic", vec!["Basic YWRtaW46YWRtaW4="]),
        ("another scheme", vec!["DPoP x"]),
        ("the scheme alone", vec!["Bearer"]),
        ("an empty line", vec![""]),
        ("two tokens", vec!["Bearer a.b.c, Bearer a.b.c"]),
    ] {
        refused(&ask(api, &lines).await, what);
    }
    for name in ["access_token", "token", "authorization"] {
        let reply = api.get(&format!("/api/users?{name}={good}")).await;
        refused(&reply, "a token in the query");
    }
    let body = json!({ "user_id": USER, "sale_id": USER, "access_token": good });
    let reply = api.post("/api/orders", &new_key(), &body).await;
    refused(&reply, "a token in the body");
    reply.refused(401, "unauthenticated", "no", "never");
    for line in [format!("bearer {good}"), format!("BEARER {good}")] {
        ask(api, &[&line]).await.expect(200);
    }
    service.finish().await;
}

/// The Ed25519 key of RFC 8032, section 7.1, test 1; as a JWK in RFC 8037, appendix A.
pub(super) const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const PRIVATE: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

pub(super) fn eddsa(claims: &Value, kid: Option<&str>) -> String {
    // PKCS #8 (RFC 8410, section 7): a constant head, then the 32 bytes.
    let der = format!("302e020100300506032b657004220420{PRIVATE}");
    let der: Vec<u8> = (0..der.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&der[at..at + 2], 16).expect("hexadecimal"))
        .collect();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&der)).expect("a token")
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": PUBLIC }] });
    let file = scratch("auth_public_key").join("jwks.json");
    std::fs::write(&file, jwks.to_string()).expect("a file");
    let service = Service::start_with(|raw| {
        raw.auth = Some("jwt".to_owned());
        raw.jwks_file = Some(file.clone());
    })
    .await;
    let api = &service.api;
    for kid in [Some("k1"), None] {
        let reply = api.with_token(&eddsa(&claims(), kid)).get("/api/users").await;
        assert_eq!(reply.status.as_u16(), 200, "{kid:?}: {reply:?}");
    }
    refused(&api.with_token(&eddsa(&claims(), Some("k2"))).get("/api/users").await, "another kid");
    let x: Vec<u8> = b"\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a\
        \x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a"
        .to_vec();
    for secret in [PUBLIC.as_bytes(), &x, jwks.to_string().as_bytes(), SECRET.as_bytes()] {
        let forged = signed(Algorithm::HS256, &claims(), secret);
        refused(&api.with_token(&forged).get("/api/users").await, "HS256 with the public key");
    }
    let stale = eddsa(&with("exp", json!(0)), Some("k1"));
    refused(&api.with_token(&stale).get("/api/users").await, "expired");
    service.finish().await;
}
