//! Answered orders by outcome, as a running service counts them: read from its `/metrics`.
//!
//! The counters are the process's, not a sale's: since its start, all sales together. Whoever shows
//! them says so.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::adapters::http::HttpClient;
use crate::ports::signals;

/// For the whole of it.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Orders by outcome; the error is a sentence.
pub(super) async fn outcomes(url: &str) -> Result<BTreeMap<String, u64>, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("{url}: accepted is http://HOST:PORT/metrics"));
    }
    let page = timeout(WAIT_MAX, fetch(&uri)).await;
    let page = page.map_err(|_elapsed| format!("{url} did not answer within {WAIT_MAX:?}"))?;
    let page = page.map_err(|reason| format!("{url}: {reason}"))?;
    match parse(&page) {
        found if found.is_empty() => Err(format!("{url} has no {}", signals::ORDERS)),
        found => Ok(found),
    }
}

async fn fetch(uri: &Uri) -> Result<String, String> {
    let host = uri.host().ok_or("it has no host")?;
    let port = uri.port_u16().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut addresses = lookup_host((bare, port)).await.map_err(|error| error.to_string())?;
    let address = addresses.next().ok_or("its host has no address")?;
    let mut client = HttpClient::connect(address).await.map_err(|error| error.to_string())?;
    let path = uri.path_and_query().map_or("/metrics", |path| path.as_str());
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = path.parse().map_err(|_| "its path is none")?;
    let reply = client.send(request).await.map_err(|error| error.to_string())?;
    match reply.status {
        StatusCode::OK => Ok(String::from_utf8_lossy(&reply.body).into_owned()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
            "it answered {}; FLASHDEAL_OPS_LISTEN opens an address without tokens",
            reply.status
        )),
        status => Err(format!("it answered {status}")),
    }
}

/// Sums the counter over everything but its outcome.
fn parse(page: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(signals::ORDERS) else { continue };
        let Some((labels, value)) = rest.strip_prefix('{').and_then(|rest| rest.rsplit_once("} "))
        else {
            continue;
        };
        let outcome = labels.split(',').find_map(|label| label.strip_prefix("outcome=\""));
        let (Some(outcome), Ok(value)) = (outcome, value.trim().parse::<u64>()) else { continue };
        *found.entry(outcome.trim_end_matches('"').to_owned()).or_default() += value;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_summed_by_outcome() {
        let page = "# TYPE orders_total counter\n\
                    orders_total{engine=\"a\",outcome=\"confirmed\"} 3\n\
                    orders_total{outcome=\"confirmed\",engine=\"b\"} 4\n\
                    orders_total{engine=\"a\",outcome=\"out_of_stock\"} 5\n\
                    orders_total_of_others{outcome=\"confirmed\"} 100\n\
                    order_queue_depth 7\n";
        let found = parse(page);
        let expected = [("confirmed".to_owned(), 7), ("out_of_stock".to_owned(), 5)];
        assert_eq!(found, BTreeMap::from(expected));
    }
}
