//! A small HTTP/1.1 client: one connection, one request at a time. For benchmarks, rehearsals and
//! tests, which need thousands of them and no cleverness.
//!
//! The connection is driven by whoever waits for an answer, not by a task of its own. Between two
//! tasks a request that is sent just when the connection ends may be dropped by neither, and its
//! caller would wait for ever (hyper issue 4122).

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest body of an answer, in bytes: many times a page of metrics, and no danger to memory.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An open connection. Nothing happens on it unless a request is under way.
pub struct HttpClient {
    sender: SendRequest<Full<Bytes>>,
    /// None once it has ended.
    connection: Option<Connection<TokioIo<TcpStream>, Full<Bytes>>>,
    host: HeaderValue,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// The body was longer than any that is wanted.
    #[error("the answer has more than {BODY_BYTES_MAX} bytes")]
    TooLong,
}

impl HttpClient {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::Connect`]
    pub async fn connect(address: SocketAddr) -> Result<HttpClient, ClientError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let host = HeaderValue::from_str(&address.to_string()).map_err(io::Error::other)?;
        Ok(HttpClient { sender, connection: Some(connection), host })
    }

    /// Sends a request and waits for the whole answer. A client whose caller stopped waiting is not
    /// used again.
    ///
    /// # Errors
    /// [`ClientError::Http`]: nothing is known of the outcome, unless the connection
    /// [was closed](hyper::Error::is_closed) before anything was sent. [`ClientError::TooLong`]:
    /// the client is not used again either.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<HttpReply, ClientError> {
        let mut request = request.map(Full::new);
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        let sender = &mut self.sender;
        let mut answer = pin!(async {
            sender.ready().await?;
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body =
                Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(unread)?.to_bytes();
            Ok(HttpReply { status: parts.status, headers: parts.headers, body })
        });
        if let Some(connection) = &mut self.connection {
            tokio::select! {
                biased;
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "the client's connection ended");
                    }
                }
                answer = &mut answer => return answer,
            }
        }
        // What it still holds is told so.
        self.connection = None;
        answer.await
    }
}

/// Why a limited body was not read to its end.
fn unread(error: Box<dyn Error + Send + Sync>) -> ClientError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => ClientError::Http(*error),
        Err(_too_long) => ClientError::TooLong,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;

    use super::*;

    /// Answers one request and closes the connection.
    async fn answer_once(listener: TcpListener) -> io::Result<()> {
        let (mut stream, _) = listener.accept().await?;
        let mut request = [0; 1_024];
        assert_ne!(stream.read(&mut request).await?, 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await
    }

    #[tokio::test]
    async fn a_connection_has_no_task_of_its_own_and_its_end_is_told_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = HttpClient::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = tokio::spawn(answer_once(listener));
        let request = || Request::post("/").body(Bytes::from_static(b"{}")).unwrap();
        assert_eq!(client.send(request()).await.unwrap().body, "ok");
        server.await.unwrap().unwrap();
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
        for _ in 0..2 {
            let told = client.send(request()).await.unwrap_err();
            assert!(matches!(told, ClientError::Http(error) if error.is_closed()));
        }
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_not_collected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = HttpClient::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            assert_ne!(stream.read(&mut [0; 1_024]).await?, 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            while stream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
            io::Result::Ok(())
        });
        let told = client.send(Request::new(Bytes::new())).await.unwrap_err();
        assert_eq!(told.to_string(), "the answer has more than 8388608 bytes");
        drop(client);
        server.await.unwrap().unwrap();
    }
}
