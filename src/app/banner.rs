//! What a person sees at start: where things are, and one line that buys.

use super::config::Settings;
use super::demo;
use super::serve::Running;
use crate::adapters::http::AuthMode;

/// The text for standard output.
pub fn text(running: &Running, settings: &Settings) -> String {
    let base = format!("http://{}", running.address);
    let metrics = match running.ops_address {
        Some(ops) => format!("http://{ops}/metrics"),
        None => format!("{base}/metrics"),
    };
    let signer = Signer::of(settings);
    let mut text = format!(
        "\nFlashDeal {} is open\n  page        {base}/\n  Swagger UI  {base}/docs\n  metrics     {metrics}\n",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(line) = &running.psql_line {
        text.push_str(&format!("  database    {line}\n"));
        text.push_str(&format!(
            "\nBuy one (again with the same key: the same answer{}):\n\n  {}\n",
            if signer == Signer::Elsewhere { FROM_ELSEWHERE } else { "" },
            curl(&base, signer)
        ));
    }
    text
}

/// Who makes the token that an order needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signer {
    /// None is needed.
    Nobody,
    /// `flashdeal token`, with the shared secret.
    Ourselves,
    /// The holder of a private key; only its public half is here.
    Elsewhere,
}

/// Where a token comes from that we cannot sign.
const FROM_ELSEWHERE: &str = "; $TOKEN comes from whoever signs for FLASHDEAL_JWKS_FILE";

impl Signer {
    fn of(settings: &Settings) -> Signer {
        match (&settings.auth, &settings.jwt_secret) {
            (AuthMode::Open, _) => Signer::Nobody,
            (AuthMode::Jwt(_), Some(_)) => Signer::Ourselves,
            (AuthMode::Jwt(_), None) => Signer::Elsewhere,
        }
    }
}

fn curl(base: &str, signer: Signer) -> String {
    let token = match signer {
        Signer::Nobody => "",
        Signer::Ourselves => " -H \"Authorization: Bearer $(flashdeal token --service)\"",
        Signer::Elsewhere => " -H \"Authorization: Bearer $TOKEN\"",
    };
    format!(
        "curl -i {base}/api/orders -H 'Content-Type: application/json' \
         -H 'Idempotency-Key: my-first-click'{token} \
         -d '{{\"user_id\":\"{}\",\"sale_id\":\"{}\"}}'",
        demo::buyer(1),
        demo::sale(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::cli::RawSettings;

    #[test]
    fn the_line_that_buys_asks_for_a_token_where_one_is_needed() {
        let secret = Some("9f86d081884c7d659a2feaa0c55ad015".to_owned());
        for (auth, jwt_secret, line) in [
            ("open", None, None),
            ("jwt", secret, Some("-H \"Authorization: Bearer $(flashdeal token --service)\"")),
        ] {
            let auth = Some(auth.to_owned());
            let raw = RawSettings { auth, jwt_secret, ..RawSettings::default() };
            let settings = Settings::read(&raw).expect("good settings");
            let said = curl("http://here", Signer::of(&settings));
            assert_eq!(said.contains("Authorization"), line.is_some(), "{said}");
            assert!(line.is_none_or(|line| said.contains(line)), "{said}");
        }
    }
}
