//! Tokens that attack the reader instead of the key: headers that ask it to trust or to fetch
//! something, numbers beyond every clock, and JSON that says two things. Each is a 401 on every
//! operation that asks for a token, never a 500.

use flashdeal::adapters::token::Caller;
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, get_current_timestamp};
use serde_json::{Value, json};

use super::tokens::{claims, hs256, refused, with};
use crate::contract::operations;
use crate::support::Service;
use crate::support::api::new_key;
use crate::support::service::{SECRET, token};

/// A well-signed token whose header is changed.
fn headed(change: impl FnOnce(&mut Header)) -> String {
    let mut header = Header::new(Algorithm::HS256);
    change(&mut header);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header, &claims(), &key).expect("a token")
}

/// Any bytes as claims, well signed: what no library would write.
fn claimed(text: &str) -> String {
    struct Raw<'a>(&'a str);
    impl serde::Serialize for Raw<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let raw: Vec<(String, Value)> = self
                .0
                .split(';')
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.into(), serde_json::from_str(value).expect("JSON")))
                .collect();
            serializer.collect_map(raw)
        }
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &Raw(text), &key).expect("a token")
}

#[tokio::test]
async fn a_token_whose_header_asks_for_trust_is_refused_or_ignored() {
    let service = Service::start_jwt().await;
    let api = &service.api;
    let own = EncodingKey::from_secret(b"a key of the attacker, long enough for HS256");
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&own, Algorithm::HS256).expect("a key");
    for (what, header) in [
        ("its own key", Header { jwk: Some(jwk), ..Header::new(Algorithm::HS256) }),
        (
            "a key to fetch",
            Header { jku: Some("http://127.0.0.1:1/".into()), ..Header::new(Algorithm::HS256) },
        ),
        (
            "a certificate to fetch",
            Header { x5u: Some("file:///etc/passwd".into()), ..Header::new(Algorithm::HS256) },
        ),
        (
            "a path for a key",
            Header { kid: Some("../../../dev/null".into()), ..Header::new(Algorithm::HS256) },
        ),
        ("SQL for a key", Header { kid: Some("' OR 1=1".into()), ..Header::new(Algorithm::HS256) }),
    ] {
        let forged = jsonwebtoken::encode(&header, &claims(), &own).expect("a token");
        refused(&api.with_token(&forged).get("/api/users").await, what);
    }
    let critical = headed(|header| header.crit = Some(vec!["x".to_owned()]));
    refused(&api.with_token(&critical).get("/api/users").await, "a critical extension");
    // A good signature is not spoilt by what is only a hint.
    let hinted = headed(|header| header.kid = Some("any".to_owned()));
    api.with_token(&hinted).get("/api/users").await.expect(200);
    service.finish().await;
}

#[tokio::test]
async fn numbers_beyond_every_clock_and_claims_that_say_two_things_are_refused() {
    let service = Service::start_jwt().await;
    let api = &service.api;
    let now = get_current_timestamp();
    for exp in [json!(1.8e19), json!(u64::MAX), json!(1e308), json!([now]), json!({}), json!(true)]
    {
        let reply = api.with_token(&hs256(&with("exp", exp.clone()))).get("/api/users").await;
        // Far in the future is a valid time.
        if [json!(u64::MAX), json!(1.8e19)].contains(&exp) {
            assert_ne!(reply.status.as_u16(), 500, "{reply:?}");
        } else {
            refused(&reply, &format!("exp {exp}"));
        }
    }
    for nbf in [json!(u64::MAX), json!("tomorrow"), json!(now + 3600)] {
        let reply = api.with_token(&hs256(&with("nbf", nbf.clone()))).get("/api/users").await;
        refused(&reply, &format!("nbf {nbf}"));
    }
    let good = format!(r#"iss="flashdeal";aud="flashdeal";exp={}"#, now + 600);
    for twice in [
        format!(r#"{good};role="buyer";role="admin""#),
        format!(r#"{good};role="admin";exp=1"#),
        format!(r#"{good};role="admin";iss="x""#),
        format!(r#"{good};role="admin\u0000""#),
        format!(r#"{good};Role="admin""#),
        r#"role="admin""#.to_owned(),
    ] {
        refused(&api.with_token(&claimed(&twice)).get("/api/users").await, &twice);
    }
    api.with_token(&claimed(&format!(r#"{good};role="admin""#)))
        .get("/api/users")
        .await
        .expect(200);
    service.finish().await;
}

/// The one answer, on every operation that asks for a token, before anything else is read.
#[tokio::test]
async fn a_bad_token_is_the_same_401_on_every_operation() {
    let service = Service::start_jwt().await;
    let expired = hs256(&with("exp", json!(0)));
    let user = flashdeal::domain::id::UserId::parse("0190a000-0000-7000-8000-000000000001");
    let buyer = token(Caller::Buyer(user.expect("an id")));
    let swapped = format!("{}x", &buyer[..buyer.len() - 1]);
    let mut asked = 0;
    for operation in operations().iter().filter(|each| each.value["security"].is_null()) {
        let path = operation.template.replace(['{', '}'], "");
        let method: Method = operation.method.parse().expect("a method");
        for bad in [&expired, &swapped, &"a.b.c".to_owned()] {
            let api = service.api.with_token(bad);
            let reply = match method {
                Method::GET => api.get(&path).await,
                _ => {
                    let (key, body) = (new_key(), json!([]));
                    let sent = api.try_write(method.clone(), &path, Some(&key), &body);
                    sent.await.expect("an answer")
                }
            };
            refused(&reply, &format!("{} {path}", operation.method));
            asked += 1;
        }
    }
    assert!(asked >= 39, "{asked}: thirteen operations ask for a token");
    service.finish().await;
}
