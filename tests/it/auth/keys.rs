//! Public keys come and go without a restart: two at once while tokens of both are about, then one;
//! a file that went wrong changes nothing. Files that others can read or change are refused.

use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::tokens::{PUBLIC, claims, eddsa, refused};
use crate::support::Service;
use crate::support::api::Api;
use crate::support::data_dir::{DataDir, until};
use crate::support::openssl::rsa_key;
use crate::support::process::{ServeProcess, run};
use crate::support::service::{SECRET, scratch, secret_file};

/// An RSA key and its public half.
struct Rsa {
    key: EncodingKey,
    id: &'static str,
}

impl Rsa {
    fn make(place: &Path, id: &'static str) -> Rsa {
        Rsa { key: EncodingKey::from_rsa_der(&rsa_key(place, "2048")), id }
    }

    fn public(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::RS256).expect("a key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        (jwk["kid"], jwk["use"]) = (json!(self.id), json!("sig"));
        jwk
    }

    fn token(&self, kid: Option<&str>) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, &claims(), &self.key).expect("a token")
    }
}

fn ed25519() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": PUBLIC })
}

/// The key of RFC 7515, appendix A.3; nobody here can use it.
fn ec() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": "ec",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

/// Of a kind that came later.
fn newest() -> Value {
    json!({ "kty": "AKP", "alg": "ML-DSA-44", "kid": "akp", "pub": "AAAA" })
}

/// Puts keys in place as a deployment does: a new file, renamed.
fn publish(file: &Path, keys: &[Value]) {
    let fresh = file.with_extension("new");
    std::fs::write(&fresh, json!({ "keys": keys }).to_string()).expect("a file");
    std::fs::rename(&fresh, file).expect("a rename");
}

async fn service_on(file: &Path) -> Service {
    let file: PathBuf = file.to_owned();
    Service::start_with(move |raw| {
        raw.auth = Some("jwt".to_owned());
        raw.jwks_file = Some(file);
        raw.jwt_secret = Some(SECRET.to_owned());
    })
    .await
}

fn signed_with(secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &key).expect("a token")
}

async fn admits(api: &Api, token: &str) -> bool {
    let reply = api.with_token(token).get("/api/users").await;
    if reply.status != 200 {
        refused(&reply, "a key that is not there");
    }
    reply.status == 200
}

#[tokio::test]
async fn keys_rotate_without_a_restart() {
    let place = scratch("auth_rotation");
    let file = place.join("jwks.json");
    let (old, new) = (Rsa::make(&place, "old"), Rsa::make(&place, "new"));
    publish(&file, &[old.public()]);
    let service = service_on(&file).await;
    let api = &service.api;
    assert!(admits(api, &old.token(Some("old"))).await);
    assert!(admits(api, &old.token(None)).await);
    assert!(!admits(api, &new.token(Some("new"))).await);
    // Both, one of another kind, and two that nobody here can use: each opens under its own name.
    publish(&file, &[ec(), new.public(), old.public(), newest(), ed25519()]);
    until("the new key is accepted", async || admits(api, &new.token(Some("new"))).await).await;
    assert!(admits(api, &old.token(Some("old"))).await);
    assert!(admits(api, &eddsa(&claims(), Some("ed"))).await);
    assert!(admits(api, &new.token(None)).await, "without a name each key is tried");
    assert!(!admits(api, &new.token(Some("old"))).await);
    assert!(!admits(api, &old.token(Some("ed"))).await);
    // The shared secret stands beside them.
    service.admin().get("/api/users").await.expect(200);
    // The old one is taken away.
    publish(&file, &[new.public()]);
    until("the old key is refused", async || !admits(api, &old.token(Some("old"))).await).await;
    assert!(admits(api, &new.token(Some("new"))).await);
    assert!(!admits(api, &eddsa(&claims(), Some("ed"))).await);
    service.finish().await;
}

#[tokio::test]
async fn a_file_that_went_wrong_keeps_the_old_keys_until_it_is_right_again() {
    let place = scratch("auth_broken");
    let file = place.join("jwks.json");
    let (old, new) = (Rsa::make(&place, "old"), Rsa::make(&place, "new"));
    publish(&file, &[old.public()]);
    let service = service_on(&file).await;
    let api = &service.api;
    let look = std::time::Duration::from_millis(2_200);
    let wrong: [(&str, &dyn Fn()); 6] = [
        ("half a file", &|| std::fs::write(&file, r#"{"keys":[{"kty":"RSA","#).expect("a file")),
        ("no keys", &|| publish(&file, &[])),
        ("no key that can be used", &|| publish(&file, &[ec(), newest()])),
        ("a shared key", &|| publish(&file, &[new.public(), json!({"kty": "oct", "k": "AQAB"})])),
        ("a private key", &|| {
            let mut key = new.public();
            key["d"] = json!("AQAB");
            publish(&file, &[key]);
        }),
        ("no file", &|| std::fs::remove_file(&file).expect("a file")),
    ];
    for (what, spoil) in wrong {
        spoil();
        // Longer than a look may be old.
        tokio::time::sleep(look).await;
        assert!(admits(api, &old.token(Some("old"))).await, "{what}");
        assert!(!admits(api, &new.token(Some("new"))).await, "{what}");
    }
    publish(&file, &[new.public()]);
    until("the new key is accepted", async || admits(api, &new.token(Some("new"))).await).await;
    assert!(!admits(api, &old.token(Some("old"))).await);
    service.finish().await;
}

/// Two lines while tokens of both are about, then one; a weak line is no key.
#[tokio::test]
async fn shared_secrets_rotate_without_a_restart() {
    let place = scratch("auth_secrets");
    let file = place.join("secret");
    let (old, new) = (SECRET, "another secret of more than thirty-two bytes");
    let listed = |lines: &[&str]| {
        // As a deployment does: a new file, renamed.
        let fresh = file.with_extension("new");
        secret_file(&fresh, &(lines.join("\n") + "\n"));
        std::fs::rename(&fresh, &file).expect("a rename");
    };
    listed(&[old]);
    let path = file.clone();
    let service = Service::start_with(move |raw| {
        raw.auth = Some("jwt".to_owned());
        raw.jwt_secret_file = Some(path);
    })
    .await;
    let api = &service.api;
    let (of_old, of_new) = (signed_with(old), signed_with(new));
    assert!(admits(api, &of_old).await);
    assert!(!admits(api, &of_new).await);
    listed(&[new, old]);
    until("the new secret is accepted", async || admits(api, &of_new).await).await;
    assert!(admits(api, &of_old).await, "as long as it is listed");
    // Weak, empty, open to others, gone: nothing changes, an error is logged and counted.
    let refusals = async || {
        let page = api.with_token(&of_new).get("/metrics").await.expect(200);
        let page = String::from_utf8_lossy(&page.bytes).into_owned();
        let line = page.lines().find(|line| {
            line.starts_with("key_reloads_total")
                && line.contains("SECRET")
                && line.contains("refused")
        });
        let count = line.and_then(|line| line.rsplit(' ').next()).expect("a counter");
        count.parse::<u64>().expect("a number")
    };
    for (what, spoil) in [
        ("weak", &(|| listed(&["passwordpasswordpasswordpassword"])) as &dyn Fn()),
        ("short beside a good one", &|| listed(&[old, "short"])),
        ("open to others", &|| {
            let fresh = file.with_extension("new");
            secret_file(&fresh, old);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&fresh, mode).expect("a mode");
            std::fs::rename(&fresh, &file).expect("a rename");
        }),
        ("gone", &|| std::fs::remove_file(&file).expect("a file")),
    ] {
        let before = refusals().await;
        spoil();
        until(what, async || refusals().await > before).await;
        assert!(admits(api, &of_new).await && admits(api, &of_old).await, "{what}");
    }
    listed(&[new]);
    until("the old secret is refused", async || !admits(api, &of_old).await).await;
    assert!(admits(api, &of_new).await);
    service.finish().await;
}

/// Who starts with a provider's keys can buy, and is told which of them are of no use.
#[tokio::test]
async fn a_start_with_public_keys_only_says_who_signs_and_which_keys_are_left_out() {
    let data_dir = DataDir::fresh("auth_foreign");
    let file = scratch("auth_foreign_keys").join("jwks.json");
    publish(&file, &[ec(), ed25519(), newest()]);
    let environment = data_dir.environment(&[
        ("FLASHDEAL_AUTH", "jwt"),
        ("FLASHDEAL_JWKS_FILE", file.to_str().expect("UTF-8")),
        ("FLASHDEAL_LOG", "info"),
    ]);
    let (process, log) = ServeProcess::logged("auth_foreign_log", &environment).await;
    let banner = &process.banner;
    assert!(banner.contains("Bearer $TOKEN\"") && banner.contains("whoever signs"), "{banner}");
    assert!(!banner.contains("flashdeal token"), "it could not sign: {banner}");
    let (_, body) = banner.split_once("-d '").expect("a body");
    let body = body.split('\'').next().and_then(|body| serde_json::from_str(body).ok());
    let signed = process.api.with_token(&eddsa(&claims(), Some("ed")));
    signed.post("/api/orders", "my-first-click", &body.expect("JSON")).await.expect(201);
    let all = process.end_of_log(&log).await;
    let told = |line: &&Value| line.to_string().contains("left out");
    let told: Vec<&Value> = all.iter().filter(told).collect();
    let [line] = told.as_slice() else { panic!("one warning: {all:?}") };
    let said = line["message"].as_str().unwrap_or_default();
    assert_eq!(line["level"], "WARN");
    for part in [r#"key "ec" is of kty "EC""#, r#"key "akp" is of kty "AKP""#] {
        assert!(said.contains(part) && !said.contains("Some"), "{said}");
    }
}

/// What a start refuses, in one sentence that repeats nothing of the file.
#[tokio::test]
async fn key_files_that_admit_everyone_are_refused_at_the_start() {
    let place = scratch("auth_files");
    let mut short = json!({ "kty": "RSA", "e": "AQAB", "kid": "short" });
    let weak = EncodingKey::from_rsa_der(&rsa_key(&place, "1024"));
    let weak = Jwk::from_encoding_key(&weak, Algorithm::RS256).expect("a key");
    short["n"] = serde_json::to_value(weak).expect("JSON")["n"].clone();
    let mut private = ed25519();
    private["d"] = json!("planted-private-half");
    let mut other = ed25519();
    other["alg"] = json!("ES256");
    let jwks = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let many = vec![ed25519(); 17];
    let mode = |path: &Path, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, mode).expect("a mode");
    };
    for (name, text, bits, word) in [
        ("FLASHDEAL_JWT_SECRET_FILE", SECRET.to_owned(), 0o644, "chmod 0640"),
        ("FLASHDEAL_JWT_SECRET_FILE", SECRET.to_owned(), 0o602, "chmod 0600"),
        ("FLASHDEAL_JWT_SECRET_FILE", "planted ".repeat(9), 0o600, "repeats itself"),
        ("FLASHDEAL_JWT_SECRET_FILE", "planted".to_owned(), 0o600, "7 bytes"),
        ("FLASHDEAL_JWT_SECRET_FILE", SECRET.repeat(2_000), 0o600, "more than 65536 bytes"),
        ("FLASHDEAL_JWKS_FILE", jwks(&[ed25519()]), 0o666, "everyone"),
        ("FLASHDEAL_JWKS_FILE", jwks(&[private]), 0o644, "only public halves"),
        ("FLASHDEAL_JWKS_FILE", jwks(&[short]), 0o644, "2048 bits"),
        ("FLASHDEAL_JWKS_FILE", jwks(&[other]), 0o644, "another algorithm"),
        ("FLASHDEAL_JWKS_FILE", jwks(&many), 0o644, "at most 16"),
        ("FLASHDEAL_JWKS_FILE", jwks(&[json!({"kty": "oct", "k": "cGxhbnRlZA"})]), 0o644, "public"),
        ("FLASHDEAL_JWKS_FILE", jwks(&[ec()]), 0o644, "key \"ec\" is of kty \"EC\""),
        ("FLASHDEAL_JWKS_FILE", "planted".to_owned(), 0o644, "expected"),
    ] {
        let file = place.join("file");
        secret_file(&file, &text);
        mode(&file, bits);
        let path = file.to_str().expect("UTF-8");
        let environment = [("FLASHDEAL_AUTH", "jwt"), (name, path)];
        let output = run(&["serve", "--listen", "127.0.0.1:0"], &environment).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{word}: {said}");
        assert!(said.contains(name) && said.contains(word), "{word}: {said}");
        assert!(!said.contains("planted") && !said.contains(SECRET), "{said}");
    }
}
