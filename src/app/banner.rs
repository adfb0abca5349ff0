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
    let mut text = format!(
        "\nFlashDeal {} is open\n  page        {base}/\n  Swagger UI  {base}/docs\n  metrics     {metrics}\n",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(line) = &running.psql_line {
        text.push_str(&format!("  database    {line}\n"));
        text.push_str(&format!(
            "\nBuy one (again with the same key: the same answer):\n\n  {}\n",
            curl(&base, settings)
        ));
    }
    text
}

fn curl(base: &str, settings: &Settings) -> String {
    let token = match settings.auth {
        AuthMode::Open => "",
        AuthMode::Jwt(_) => " -H \"Authorization: Bearer $(flashdeal token --service)\"",
    };
    format!(
        "curl -i {base}/api/orders -H 'Content-Type: application/json' \
         -H 'Idempotency-Key: my-first-click'{token} \
         -d '{{\"user_id\":\"{}\",\"sale_id\":\"{}\"}}'",
        demo::buyer(1),
        demo::sale(1)
    )
}
