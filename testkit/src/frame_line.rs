//! A connection that speaks HTTP/2 frame by frame: what a test writes, and what the gateway says to it.
//!
//! Not here: the frames (`frames`). Invariant: everything the gateway sends is read at once, unless a test asks it not to
//! be, so that a flood is never held back by its own sender.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::authority::trusting;
use crate::frames::{ACK, DATA, GOAWAY, HEAD_BYTES, HEADERS, PREFACE, RST_STREAM, SETTINGS};
use crate::line::{dial, tls};
use crate::{Agent, Building, Wire, frames};

const PATIENCE: Duration = Duration::from_secs(60);

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One open connection.
pub struct FrameLine {
    write: WriteHalf<Box<dyn Io>>,
    heard: watch::Receiver<Heard>,
}

/// What the gateway has said on a connection so far.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The error code of the last GOAWAY.
    pub goaway: Option<u32>,
    /// The gateway has closed the connection.
    pub is_closed: bool,
    /// Heads of answers.
    pub heads: usize,
    /// Bytes of answers' bodies.
    pub body_bytes: usize,
    /// Acknowledged SETTINGS.
    pub settings_acks: usize,
    /// Streams the gateway gave up.
    pub resets: usize,
    pub frames: usize,
}

impl FrameLine {
    /// A connection over one of the two wires of HTTP/2, preface and first SETTINGS said.
    pub async fn open(building: &Building, wire: Wire) -> Self {
        let mut line = Self::silent(building, wire).await;
        line.begin(&[]).await;
        line
    }

    /// A connection on which nothing has been said; for TLS, the handshake is done.
    pub async fn silent(building: &Building, wire: Wire) -> Self {
        assert!(wire.is_http2());
        let (to, local) = (building.at(building.port()), building.outside());
        match wire {
            Wire::TlsHttp2 => Self::of(Box::new(tls(building, local, "h2").await.unwrap())),
            _ => Self::of(Box::new(dial(to, local).await.unwrap())),
        }
    }

    /// A connection in a tunnel of the forward proxy to this origin, preface and first SETTINGS said.
    pub async fn in_tunnel(
        building: &Building,
        agent: &Agent<'_>,
        (host, port): (&str, u16),
    ) -> Self {
        let mut stream = dial(building.at(building.port()), building.outside()).await.unwrap();
        connect(&mut stream, agent, (host, port)).await;
        let pem = std::fs::read_to_string(building.data().join("ca/authority.pem")).unwrap();
        let connector = TlsConnector::from(trusting(&pem, &["h2"]));
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let mut line = Self::of(Box::new(stream));
        line.begin(&[]).await;
        line
    }

    fn of(stream: Box<dyn Io>) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (tell, heard) = watch::channel(Heard::default());
        tokio::spawn(listen(read, tell));
        Self { write, heard }
    }

    /// Says the preface and these SETTINGS.
    pub async fn begin(&mut self, settings: &[(u16, u32)]) {
        self.send(&[PREFACE, &frames::settings(settings)].concat()).await;
    }

    /// Says this; false once the gateway has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        // A peer that takes nothing any more is as good as gone, and would stop the test here.
        let sent = timeout(PATIENCE, async {
            self.write.write_all(bytes).await?;
            self.write.flush().await
        });
        !self.heard.borrow().is_closed && matches!(sent.await, Ok(Ok(())))
    }

    /// What was heard so far.
    pub fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Waits until what was heard is as asked for; fails the test when it never is.
    pub async fn until(&mut self, mut is_so: impl FnMut(&Heard) -> bool) -> Heard {
        let waited = timeout(PATIENCE, self.heard.wait_for(|heard| is_so(heard))).await;
        let heard = waited.expect("the gateway does not say what it should");
        heard.expect("the connection ended before").clone()
    }

    /// Waits until the gateway closes the connection.
    pub async fn closed(&mut self) -> Heard {
        self.until(|heard| heard.is_closed).await
    }
}

/// Asks the proxy for a tunnel.
async fn connect(stream: &mut TcpStream, agent: &Agent<'_>, (host, port): (&str, u16)) {
    let token = agent.token();
    let head = format!(
        "CONNECT {host}:{port} HTTP/1.1\r\nhost: {host}:{port}\r\nproxy-authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

/// Reads frames until the connection ends.
async fn listen(mut read: impl AsyncRead + Unpin, tell: watch::Sender<Heard>) {
    let mut head = [0; HEAD_BYTES];
    while read.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if read.read_exact(&mut payload).await.is_err() {
            break;
        }
        tell.send_modify(|heard| {
            heard.frames += 1;
            match head[3] {
                DATA => heard.body_bytes += payload.len(),
                HEADERS => heard.heads += 1,
                RST_STREAM => heard.resets += 1,
                SETTINGS if head[4] & ACK != 0 => heard.settings_acks += 1,
                GOAWAY => {
                    heard.goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()))
                }
                _ => {}
            }
        });
    }
    tell.send_modify(|heard| heard.is_closed = true);
}
