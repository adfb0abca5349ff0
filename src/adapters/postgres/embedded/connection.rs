//! How to reach an embedded server, in the forms that people and drivers take.
//!
//! The socket directory travels as the `host` parameter of the URL (a host part cannot hold a
//! path): libpq and sqlx both take it and prefer it over the host part.

use std::fmt::Write as _;
use std::path::PathBuf;

/// A unix socket, a user and a database. There is no password: see `socket`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The directory of the socket `.s.PGSQL.<port>`.
    pub socket_dir: PathBuf,
    /// Part of the socket's name; nothing listens on TCP.
    pub port: u16,
    /// The role to connect as.
    pub user: String,
    /// The database to connect to.
    pub database: String,
}

impl Connection {
    /// A shell line that opens `psql` on this server.
    #[must_use]
    pub fn psql_line(&self) -> String {
        let directory = shell_word(&self.socket_dir.to_string_lossy());
        format!("psql -h {directory} -p {} -U {} {}", self.port, self.user, self.database)
    }

    /// A URL for libpq and sqlx. `sslmode=disable` saves a round trip: the socket is private.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://{}@localhost:{}/{}?host={}&sslmode=disable",
            percent_encoded(&self.user),
            self.port,
            percent_encoded(&self.database),
            percent_encoded(&self.socket_dir.to_string_lossy()),
        )
    }
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The text as one word of a POSIX shell, quoted only when it has to be.
fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._+:@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(directory: &str) -> Connection {
        Connection {
            socket_dir: PathBuf::from(directory),
            port: 5432,
            user: "flashdeal".to_owned(),
            database: "flashdeal".to_owned(),
        }
    }

    #[test]
    fn url_carries_the_socket_directory_as_a_parameter() {
        assert_eq!(
            connection("/srv/my shop/socket").url(),
            "postgres://flashdeal@localhost:5432/flashdeal\
             ?host=%2Fsrv%2Fmy%20shop%2Fsocket&sslmode=disable"
        );
    }

    #[test]
    fn psql_line_quotes_only_what_a_shell_would_split() {
        assert_eq!(
            connection("/srv/shop/socket").psql_line(),
            "psql -h /srv/shop/socket -p 5432 -U flashdeal flashdeal"
        );
        assert_eq!(
            connection("/srv/it's mine").psql_line(),
            r"psql -h '/srv/it'\''s mine' -p 5432 -U flashdeal flashdeal"
        );
    }
}
