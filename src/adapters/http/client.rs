//! A small HTTP/1.1 client: one connection, one request at a time. For benchmarks, rehearsals and
//! tests, which need thousands of them and no cleverness.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An open connection.
pub struct HttpClient {
    sender: SendRequest<Full<Bytes>>,
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
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the client's connection ended");
            }
        });
        let host = HeaderValue::from_str(&address.to_string()).map_err(io::Error::other)?;
        Ok(HttpClient { sender, host })
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Errors
    /// [`ClientError::Http`]: nothing is known of the outcome.
    pub async fn send(&mut self, request: Request<Bytes>) -> Result<HttpReply, ClientError> {
        let mut request = request.map(Full::new);
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(HttpReply { status: parts.status, headers: parts.headers, body })
    }
}
