//! TLS to the database, `sslmode=verify-full`, with a real certificate on a server of the test's
//! own: the right name from the right authority, or no word is said.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flashdeal::adapters::postgres::connect::parse_url;
use flashdeal::adapters::postgres::embedded::{EmbeddedOptions, EmbeddedServer};
use nix::unistd::{Gid, Uid, chown};
use sqlx::{ConnectOptions, Executor};

use crate::support::Service;
use crate::support::data_dir::DataDir;
use crate::support::openssl::openssl;
use crate::support::postgres::TestDatabase;
use crate::support::process::run;
use crate::support::service::{scratch, secret_file};

/// An authority in `place/name.pem` with its key.
fn authority(place: &Path, name: &str) {
    let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
    let usage = "keyUsage=critical,keyCertSign";
    let fresh = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject];
    let files = ["-keyout", &key, "-out", &pem, "-addext", usage];
    openssl(place, &[&fresh[..], &files].concat());
}

/// A server's certificate for `localhost` in `place/server.pem`, from the authority `good`.
fn certificate(place: &Path) {
    let fresh = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"];
    openssl(place, &[&fresh[..], &["-keyout", "server.key", "-out", "server.csr"]].concat());
    let names = "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n";
    std::fs::write(place.join("names"), names).expect("a file");
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "good.pem", "-CAkey", "good.key"];
    let rest = ["-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem"];
    openssl(place, &[&sign[..], &rest].concat());
}

/// A server on TCP that takes TLS only, its port and its files.
struct Server {
    server: EmbeddedServer,
    port: u16,
    place: PathBuf,
}

impl Server {
    async fn start(name: &str) -> Server {
        let place = scratch(name);
        authority(&place, "good");
        authority(&place, "evil");
        certificate(&place);
        let data_dir = DataDir::at(place.join("data"));
        std::fs::create_dir_all(&data_dir.path).expect("a directory");
        // The first start makes the cluster, whose account must own what it reads.
        let first = EmbeddedOptions::new(&data_dir.path).with_log_files(0);
        let first = EmbeddedServer::start(first).await;
        first.expect("a server").stop().await.expect("an orderly end");
        let cluster = data_dir.cluster();
        let owner = std::fs::metadata(&cluster).expect("a cluster");
        let admission = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        let read = |name: &str| std::fs::read_to_string(place.join(name)).expect("a file");
        for (name, text) in [
            ("server.pem", read("server.pem")),
            ("server.key", read("server.key")),
            ("hba.conf", admission.to_owned()),
        ] {
            let file = cluster.join(name);
            secret_file(&file, &text);
            let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
            chown(&file, Some(uid), Some(gid)).expect("an owner");
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let at = |name: &str| cluster.join(name).to_str().expect("UTF-8").to_owned();
        let options = EmbeddedOptions::new(&data_dir.path)
            .with_test_setting("listen_addresses", "127.0.0.1")
            .with_test_setting("port", &port.to_string())
            .with_test_setting("ssl", "on")
            .with_test_setting("ssl_cert_file", &at("server.pem"))
            .with_test_setting("ssl_key_file", &at("server.key"))
            .with_test_setting("hba_file", &at("hba.conf"));
        let server = EmbeddedServer::start(options).await.expect("a server with TLS");
        Server { server, port, place }
    }

    /// By the socket, to make what the tests need.
    async fn administer(&self, statement: &'static str) {
        let socket = self.server.connection().clone();
        let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
            .socket(&socket.socket_dir)
            .port(self.port)
            .username(&socket.user)
            .database(&socket.database);
        let mut session = options.connect().await.expect("a session");
        session.execute(sqlx::raw_sql(statement)).await.expect("a statement");
    }

    fn url(&self, host: &str, mode: &str, authority: &str) -> String {
        let (port, place) = (self.port, self.place.display());
        format!(
            "postgres://flashdeal:of-the-test@{host}:{port}/flashdeal?sslmode={mode}\
             &sslrootcert={place}/{authority}.pem"
        )
    }
}

#[tokio::test]
async fn the_service_speaks_to_the_server_that_it_can_verify_and_to_no_other() {
    let server = Server::start("privileges-tls").await;
    server.administer("ALTER ROLE flashdeal PASSWORD 'of-the-test'").await;
    let good = server.url("localhost", "verify-full", "good");
    let service = Service::start_on(TestDatabase { url: good.clone() }, |_| {}).await;
    let (user, sale) = (service.api.user("1.00").await, service.api.sale("1.00", 1).await);
    service.api.buy("k", &user, &sale).await.expect(201);
    let mut session = service.database.session().await;
    let (encrypted, plain): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE s.ssl), count(*) FILTER (WHERE NOT s.ssl)
         FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.client_addr IS NOT NULL",
    )
    .fetch_one(&mut session)
    .await
    .expect("sessions");
    assert!(encrypted >= 2 && plain == 0, "{encrypted} encrypted, {plain} not");
    service.finish().await;
    for (what, url) in [
        ("another authority", server.url("localhost", "verify-full", "evil")),
        ("another authority, any name", server.url("localhost", "verify-ca", "evil")),
        ("a name that the certificate has not", server.url("127.0.0.1", "verify-full", "good")),
        ("no TLS, on a server that insists", server.url("localhost", "disable", "good")),
    ] {
        let tried = parse_url(&url).expect("a URL").connect().await;
        assert!(tried.is_err(), "{what} was accepted");
        let environment = [("DATABASE_URL", &*url), ("FLASHDEAL_STARTUP_TIMEOUT", "1s")];
        let output = run(&["verify"], &environment).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(!said.contains("of-the-test"), "{what}: {said}");
    }
    let named = parse_url(&server.url("127.0.0.1", "verify-ca", "good")).expect("a URL");
    named.connect().await.expect("verify-ca asks for no name");
    server.server.stop().await.expect("an orderly end");
}
