//! Who called, when proxies stand in between.
//!
//! A forwarding header is a claim. It counts only when the peer is a trusted proxy, and it is read
//! from the right: each trusted hop vouches for the one before it, and the first address that no
//! trusted proxy vouches for is the client (RFC 7239, section 8.1 says why the left is worthless).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Networks whose word counts.
#[derive(Debug)]
pub(super) struct TrustedProxies(pub(super) Vec<IpNet>);

impl TrustedProxies {
    /// Whether this address is a proxy's.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        // A listener for both families shows IPv4 peers as mapped addresses.
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The client behind `peer`; `None` when a trusted proxy names nobody we can read.
pub(super) fn client_address(
    headers: &HeaderMap,
    peer: IpAddr,
    trusted: &TrustedProxies,
) -> Option<IpAddr> {
    if !trusted.trusts(peer) {
        return Some(peer);
    }
    match (headers.contains_key(FORWARDED), headers.contains_key(X_FORWARDED_FOR)) {
        (true, false) => behind(peer, forwarded(headers), trusted),
        (false, _) => behind(peer, x_forwarded(headers), trusted),
        (true, true) => {
            // A proxy that writes one of them passes the other on as the client sent it, and nobody
            // can see which. Where they agree it does not matter; else only the peer is certain.
            let claims = [forwarded(headers), x_forwarded(headers)];
            let [one, other] = claims.map(|hops| behind(peer, hops, trusted));
            if one == other { one } else { Some(peer) }
        }
    }
}

/// The first from the right that no trusted proxy vouches for.
fn behind(peer: IpAddr, hops: Vec<Option<IpAddr>>, trusted: &TrustedProxies) -> Option<IpAddr> {
    let mut nearest = Some(peer);
    for hop in hops.into_iter().rev() {
        nearest = hop;
        if hop.is_none_or(|address| !trusted.trusts(address)) {
            break;
        }
    }
    nearest
}

fn x_forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let hops = headers.get_all(X_FORWARDED_FOR).iter().flat_map(|line| {
        // What a client has put in front may be no text at all.
        line.as_bytes().split(|byte| *byte == b',').map(str::from_utf8)
    });
    hops.map(|hop| hop.ok().and_then(|hop| address(hop.trim()))).collect()
}

fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|hop| {
            let pairs = hop.split(';').filter_map(|pair| pair.trim().split_once('='));
            let mut own = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
            own.next().and_then(|(_, value)| address(value.trim().trim_matches('"')))
        })
        .collect()
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, name: &'static str, value: &str) -> Option<String> {
        let trusted = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        client_address(&headers, peer.parse().unwrap(), &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn only_trusted_hops_are_believed() {
        let xff = "x-forwarded-for";
        assert_eq!(client("203.0.113.9", xff, "1.2.3.4").as_deref(), Some("203.0.113.9"));
        assert_eq!(client("10.0.0.1", xff, "1.2.3.4").as_deref(), Some("1.2.3.4"));
        assert_eq!(
            client("10.0.0.1", xff, "6.6.6.6, 1.2.3.4, 10.0.0.7").as_deref(),
            Some("1.2.3.4")
        );
        assert_eq!(client("10.0.0.1", xff, "nonsense"), None);
        let forwarded = "for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https";
        assert_eq!(client("10.0.0.1", "forwarded", forwarded).as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn what_a_client_slips_past_its_proxy_counts_for_nothing() {
        let trusted = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let client = |forwarded: &str, listed: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED, forwarded.parse().unwrap());
            headers.insert(X_FORWARDED_FOR, HeaderValue::from_bytes(listed).unwrap());
            client_address(&headers, peer, &trusted)
        };
        assert_eq!(client("for=1.2.3.4", b"9.9.9.9, 1.2.3.4"), "1.2.3.4".parse().ok());
        for slipped in ["for=6.6.6.6", "for=unknown", "for=6.6.6.6;for=1.2.3.4"] {
            assert_eq!(client(slipped, b"1.2.3.4"), Some(peer), "{slipped}");
        }
        let mut headers = HeaderMap::new();
        let listed = HeaderValue::from_bytes(b"\xff, 1.2.3.4").unwrap();
        headers.insert(X_FORWARDED_FOR, listed);
        assert_eq!(client_address(&headers, peer, &trusted), "1.2.3.4".parse().ok());
    }
}
