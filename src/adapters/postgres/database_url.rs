//! A `DATABASE_URL` that names several servers, in the words of libpq.
//!
//! The PostgreSQL manual (libpq, "Specifying Multiple Hosts") allows a list of hosts with a port
//! each, `postgres://u@h1:p1,h2:p2/db`, or the same as parameters, `?host=h1,h2&port=p1,p2`, and
//! `target_session_attrs` says which of them is wanted. sqlx knows one host; so the list is taken
//! apart here, and each server gets a URL of its own, which [`parse_url`] reads.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::connect::parse_url;

/// Servers in one URL. More would make one look at all of them too long.
const SERVERS_MAX: usize = 16;
/// A comma, and how it is written where a library has encoded it.
const COMMAS: [&str; 3] = [",", "%2C", "%2c"];

/// Which server will do (`target_session_attrs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The first that answers.
    Any,
    /// The first whose transactions may write by default.
    ReadWrite,
    /// The first that is no standby.
    Primary,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        match text {
            "any" => Ok(Wanted::Any),
            "read-write" => Ok(Wanted::ReadWrite),
            "primary" => Ok(Wanted::Primary),
            "read-only" | "standby" | "prefer-standby" => Err(format!(
                "its target_session_attrs={text} asks for a server that cannot write, and \
                 FlashDeal writes; accepted are read-write, primary and any"
            )),
            _ => Err("its target_session_attrs is none of read-write, primary and any".to_owned()),
        }
    }
}

/// What a URL says.
#[derive(Debug, Clone)]
pub(super) struct DatabaseUrl {
    /// The servers, in the order of the URL.
    pub(super) servers: Vec<PgConnectOptions>,
    /// Which of them will do.
    pub(super) wanted: Wanted,
    /// How long each may take to answer (`connect_timeout`), if it was said.
    pub(super) patience: Option<Duration>,
}

impl DatabaseUrl {
    /// Takes a URL apart. Where there are several servers and nothing was said, one that can write
    /// is wanted: libpq's own default, `any`, would settle for a standby.
    ///
    /// # Errors
    /// A sentence without the URL itself, which may hold a password.
    pub(super) fn parse(url: &str) -> Result<DatabaseUrl, String> {
        let Some(parts) = Parts::of(url) else {
            return Err("must begin with postgres:// or postgresql://".to_owned());
        };
        let (mut hosts, mut ports) = parts.authority()?;
        let (mut wanted, mut patience, mut kept) = (None, None, Vec::new());
        for pair in parts.query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("target_session_attrs", value) => wanted = Some(value.parse()?),
                ("connect_timeout", value) => patience = seconds(value)?,
                ("host", value) => hosts = elements(value),
                ("port", value) => ports = elements(value),
                ("hostaddr", value) if elements(value).len() > 1 => {
                    return Err("its hostaddr is a list; name the addresses as host".to_owned());
                }
                _ => kept.push(pair),
            }
        }
        let count = hosts.len();
        if count > SERVERS_MAX {
            return Err(format!("names {count} hosts; at most {SERVERS_MAX} are looked at"));
        }
        if count > 1 && hosts.iter().any(String::is_empty) {
            return Err("one of its hosts is empty".to_owned());
        }
        if ports.len() > 1 && ports.len() != count {
            let said = ports.len();
            return Err(format!(
                "its {said} ports do not fit its {count} hosts: one port for all, or one for each"
            ));
        }
        let servers = (0..count).map(|at| {
            let port = if ports.len() > 1 { ports.get(at) } else { ports.first() };
            parse_url(&parts.one(&hosts[at], port.map_or("", String::as_str), &kept))
        });
        let otherwise = if count > 1 { Wanted::ReadWrite } else { Wanted::Any };
        Ok(DatabaseUrl {
            servers: servers.collect::<Result<_, _>>()?,
            wanted: wanted.unwrap_or(otherwise),
            patience,
        })
    }
}

fn elements(list: &str) -> Vec<String> {
    let plain = COMMAS.iter().fold(list.to_owned(), |text, comma| text.replace(comma, ","));
    plain.split(',').map(str::to_owned).collect()
}

/// Zero is for ever in libpq; here it leaves the house's limit.
fn seconds(value: &str) -> Result<Option<Duration>, String> {
    match value.parse() {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) => Err("its connect_timeout is no number of seconds".to_owned()),
    }
}

/// The pieces of a URL, as they are written.
struct Parts<'a> {
    scheme: &'a str,
    /// With its `@`; empty when nobody is named.
    user: &'a str,
    hosts: &'a str,
    /// With its `/`.
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Parts<'a>> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = base.split_once("://")?;
        if !matches!(scheme, "postgres" | "postgresql") {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Some(Parts { scheme, user, hosts, path, query })
    }

    /// The hosts and the ports before the path; an IPv6 address stands in brackets.
    fn authority(&self) -> Result<(Vec<String>, Vec<String>), String> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for element in self.hosts.split(',') {
            let (host, rest) = match element.strip_prefix('[') {
                Some(inner) => inner.split_once(']').ok_or("has a [ without its ]")?,
                None => element.split_at(element.find(':').unwrap_or(element.len())),
            };
            hosts.push(host.to_owned());
            ports.push(rest.strip_prefix(':').unwrap_or(rest).to_owned());
        }
        // One port for all would be another meaning: here each host has its own, said or not.
        if hosts.len() == 1 && ports[0].is_empty() {
            ports.clear();
        }
        Ok((hosts, ports))
    }

    /// The URL of one server. Host and port go into parameters, where a socket's directory and an
    /// IPv6 address need no quoting.
    fn one(&self, host: &str, port: &str, kept: &[&str]) -> String {
        let mut parameters = kept.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>();
        let said = |name, value: &str| (!value.is_empty()).then(|| format!("{name}={value}"));
        parameters.extend(said("host", host));
        parameters.extend(said("port", port));
        let (scheme, user, path) = (self.scheme, self.user, self.path);
        let nowhere = if user.is_empty() { "" } else { "localhost" };
        format!("{scheme}://{user}{nowhere}{path}?{}", parameters.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::postgres::servers::name;

    /// Where each server of a URL is: `host:port`, or `directory:port`.
    fn places(url: &str) -> Vec<String> {
        let url = DatabaseUrl::parse(url).unwrap_or_else(|reason| panic!("{url}: {reason}"));
        url.servers.iter().map(name).collect()
    }

    fn refusal(url: &str) -> String {
        DatabaseUrl::parse(url).expect_err(url)
    }

    #[test]
    fn hosts_are_read_as_libpq_writes_them() {
        for (url, expected) in [
            ("postgres://u@h1:6001,h2:6002/d", ["h1:6001", "h2:6002"]),
            ("postgres://u:p%40ss@h1:6001,h2:6002/d", ["h1:6001", "h2:6002"]),
            ("postgresql://h1:6001,h2:6002", ["h1:6001", "h2:6002"]),
            ("postgres://u@h1,h2:6002/d?sslmode=disable", ["h1:5432", "h2:6002"]),
            ("postgres://u@[::1]:6001,[fe80::2]/d", ["::1:6001", "fe80::2:5432"]),
            ("postgres://u@/d?host=h1,h2&port=6001,6002", ["h1:6001", "h2:6002"]),
            ("postgres://u@/d?host=h1%2Ch2&port=6001%2c6002", ["h1:6001", "h2:6002"]),
            ("postgres://u@x:1/d?host=h1,h2&port=6001", ["h1:6001", "h2:6001"]),
            ("postgres://u@/d?host=h1,h2&port=,6002", ["h1:5432", "h2:6002"]),
            ("postgres://u@/d?host=/run/a,/run/b&port=6001,6002", ["/run/a:6001", "/run/b:6002"]),
            ("postgres://u@/d?host=/run/a,h2", ["/run/a:5432", "h2:5432"]),
            ("postgres://u@%2Frun%2Fa:6001,h2/d", ["/run/a:6001", "h2:5432"]),
        ] {
            assert_eq!(places(url), expected, "{url}");
        }
        assert_eq!(places("postgres://u@[::1]:6001/d"), ["::1:6001"]);
        assert_eq!(places("postgres://u@h1/d?port=6001"), ["h1:6001"]);
    }

    #[test]
    fn everything_else_holds_for_each_server() {
        let url = "postgres://me:p%40ss@h1,h2/shop?application_name=till&sslmode=require";
        for server in DatabaseUrl::parse(url).expect("a URL").servers {
            assert_eq!(server.get_username(), "me");
            assert_eq!(server.get_database(), Some("shop"));
            assert_eq!(server.get_application_name(), Some("till"));
        }
    }

    #[test]
    fn a_server_that_can_write_is_wanted_where_there_are_several() {
        for (url, wanted) in [
            ("postgres://u@h1/d", Wanted::Any),
            ("postgres://u@h1,h2/d", Wanted::ReadWrite),
            ("postgres://u@h1/d?target_session_attrs=read-write", Wanted::ReadWrite),
            ("postgres://u@h1,h2/d?target_session_attrs=primary", Wanted::Primary),
            ("postgres://u@h1,h2/d?target_session_attrs=any", Wanted::Any),
        ] {
            assert_eq!(DatabaseUrl::parse(url).expect(url).wanted, wanted, "{url}");
        }
        let patience = |url| DatabaseUrl::parse(url).expect(url).patience;
        assert_eq!(patience("postgres://u@h/d?connect_timeout=3"), Some(Duration::from_secs(3)));
        assert_eq!(patience("postgres://u@h/d?connect_timeout=0"), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_sentence() {
        for (url, part) in [
            ("mysql://u@h1,h2/d", "must begin with"),
            ("postgres://u:hunter2@h1,,h2/d", "one of its hosts is empty"),
            ("postgres://u:hunter2@/d?host=h1,h2,h3&port=1,2", "2 ports do not fit its 3 hosts"),
            ("postgres://u:hunter2@h1,h2/d?port=1,2,3", "3 ports do not fit its 2 hosts"),
            ("postgres://u:hunter2@h1,h2/d?hostaddr=10.0.0.1,10.0.0.2", "hostaddr"),
            ("postgres://u:hunter2@[::1,h2/d", "without its ]"),
            ("postgres://u:hunter2@h1,h2/d?target_session_attrs=standby", "FlashDeal writes"),
            ("postgres://u:hunter2@h1,h2/d?target_session_attrs=hunter2", "none of read-write"),
            ("postgres://u:hunter2@h1,h2/d?connect_timeout=hunter2", "no number of seconds"),
            ("postgres://u:hunter2@h1,h2/d?load_balance_hosts=random", "load_balance_hosts"),
            ("postgres://u:hunter2@h1:hunter2,h2/d", ""),
        ] {
            let reason = refusal(url);
            assert!(reason.contains(part) && !reason.contains("hunter2"), "{url}: {reason}");
        }
        let many = vec!["h"; SERVERS_MAX + 1].join(",");
        assert!(refusal(&format!("postgres://u@{many}/d")).contains("17 hosts"));
    }
}
