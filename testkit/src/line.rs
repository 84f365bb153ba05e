//! One connection of an agent to the gateway, in each way there is to speak on it.
//!
//! Not here: what is said (`agent`). Invariant: a line is one connection; when it breaks it stays broken.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::authority::trusting;
use crate::{Agent, Building};

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How an agent speaks to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Http1,
    /// HTTP/2 without TLS, known beforehand (RFC 9113 §3.3).
    H2c,
    TlsHttp1,
    TlsHttp2,
}

impl Wire {
    pub const ALL: [Wire; 4] = [Wire::Http1, Wire::H2c, Wire::TlsHttp1, Wire::TlsHttp2];

    pub fn is_http2(self) -> bool {
        matches!(self, Wire::H2c | Wire::TlsHttp2)
    }
}

/// An open connection to the gateway.
pub struct Line {
    sender: Sender,
    /// What calls on it name as their scheme and host.
    pub(crate) origin: Origin,
}

#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) scheme: &'static str,
    /// Host and port.
    pub(crate) authority: String,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Line {
    /// Connects from this process's own address.
    pub async fn open(building: &Building, wire: Wire) -> std::io::Result<Self> {
        Self::open_from(building, wire, building.outside()).await
    }

    pub(crate) async fn open_from(
        building: &Building,
        wire: Wire,
        source: IpAddr,
    ) -> std::io::Result<Self> {
        let to = building.at(building.port());
        let origin = Origin { scheme: "http", authority: to.to_string() };
        match wire {
            Wire::Http1 => Self::http1(dial(to, source).await?, origin).await,
            Wire::H2c => Self::http2(dial(to, source).await?, origin).await,
            Wire::TlsHttp1 => Self::http1(tls(building, source, "http/1.1").await?, origin).await,
            Wire::TlsHttp2 => Self::http2(tls(building, source, "h2").await?, origin).await,
        }
    }

    /// Through a tunnel to `host:port`, which the gateway opens with a certificate of its region's authority.
    pub async fn inside(agent: &Agent<'_>, authority: &str, wire: Wire) -> std::io::Result<Self> {
        Self::inside_with(agent.building(), &agent.token(), authority, wire).await
    }

    /// The same with any token.
    pub async fn inside_with(
        building: &Building,
        token: &str,
        authority: &str,
        wire: Wire,
    ) -> std::io::Result<Self> {
        let mut stream = dial(building.at(building.port()), building.outside()).await?;
        let connect = format!(
            "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nproxy-authorization: Bearer {token}\r\n\r\n",
        );
        stream.write_all(connect.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        let protocol = if wire.is_http2() { "h2" } else { "http/1.1" };
        let connector = TlsConnector::from(trusting(&building.region_authority(), &[protocol]));
        let host = authority.rsplit_once(':').unwrap().0.to_owned();
        let stream = connector.connect(ServerName::try_from(host).unwrap(), stream).await?;
        let origin = Origin { scheme: "https", authority: authority.to_owned() };
        match wire {
            Wire::TlsHttp1 => Self::http1(stream, origin).await,
            Wire::TlsHttp2 => Self::http2(stream, origin).await,
            Wire::Http1 | Wire::H2c => unreachable!("tunnels hold TLS"),
        }
    }

    async fn http1<S>(stream: S, origin: Origin) -> std::io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(std::io::Error::other)?;
        // Its end is seen by whoever sends on it.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok(Self { sender: Sender::Http1(sender), origin })
    }

    async fn http2<S>(stream: S, origin: Origin) -> std::io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opened = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(std::io::Error::other)?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender: Sender::Http2(sender), origin })
    }

    /// Another call can be sent on a line of HTTP/2 while the first is under way.
    pub fn another(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => {
                let sender = Sender::Http2(sender.clone());
                Some(Self { sender, origin: self.origin.clone() })
            }
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Whether the gateway still has the connection open, as far as is known here.
    pub async fn is_open(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

pub(crate) async fn dial(to: SocketAddr, source: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) async fn tls(
    building: &Building,
    source: IpAddr,
    protocol: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let connector = TlsConnector::from(building.authority().client(&[protocol]));
    let stream = dial(building.at(building.tls_port()), source).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    Ok(stream)
}
