//! A connection to an upstream as Pingora gets it: every HTTP/1 answer passes the gate before a byte of it is read.
//!
//! Not here: what an answer must be (`gate`), and dialling (`dialler`). Invariant: what Pingora reads is the answer to a
//! call that was announced, in exactly one framing; after anything else the connection has ended, so no pool keeps it.

use std::fmt::Debug;
use std::future::Future as _;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aegis_gate::{
    Asked, BodyGate, Limits, Progress, Refusal, ResponseBody, ResponseGate, ResponseHead,
    ResponseReading,
};
use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use pingora_core::protocols::l4::stream::Stream as Socket;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep};

const READ_BYTES: usize = 16 * 1_024;
/// What a head gets from its first byte to its last, as a request's does.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A connection, in clear or encrypted, that ends in a socket of ours.
pub(super) trait Carrier:
    AsyncRead + AsyncWrite + Unpin + Debug + Send + Sync + 'static
{
    fn socket(&self) -> &Socket;
}

impl Carrier for Socket {
    fn socket(&self) -> &Socket {
        self
    }
}

impl Carrier for tokio_rustls::client::TlsStream<Socket> {
    fn socket(&self) -> &Socket {
        self.get_ref().0
    }
}

/// What the next call on a connection asks for. Pingora hands this out with the connection's digest.
#[derive(Default)]
struct Announced(Mutex<Option<Asked>>);

/// Says what is about to be asked on a connection; false if it is none of ours and its answers pass no gate.
pub fn announce(connection: Option<&Digest>, asked: Asked) -> bool {
    let digest = connection.and_then(|digest| digest.proxy_digest.as_ref());
    let announced = digest.and_then(|digest| digest.user_data.as_ref()?.downcast_ref());
    let Some(Announced(next)) = announced else { return false };
    *next.lock() = Some(asked);
    true
}

/// One connection and where its answers stand.
pub(super) struct Answers<C> {
    inner: C,
    announced: Arc<ProxyDigest>,
    state: State,
    /// Read, and not handed out yet.
    rest: BytesMut,
    /// Bytes at the start of `rest` that have passed the gate.
    passed: usize,
    /// Runs while a head has begun and not ended.
    timer: Option<Pin<Box<Sleep>>>,
}

enum State {
    /// Nothing is asked, so nothing can be an answer.
    Idle,
    Head(Box<ResponseGate>),
    Body {
        head: ResponseHead,
        gate: BodyGate,
    },
    /// Only the connection's end ends this: a tunnel, or an answer that says nothing of its length.
    Open,
    /// What comes is read no more.
    Spent,
}

impl<C> Debug for Answers<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl<C: Carrier> Answers<C> {
    pub(super) fn new(inner: C, head: Box<ResponseHeader>) -> Self {
        let announced = ProxyDigest::new(head, Some(Box::new(Announced::default())));
        Self {
            inner,
            announced: Arc::new(announced),
            state: State::Idle,
            rest: BytesMut::new(),
            passed: 0,
            timer: None,
        }
    }

    fn take_announced(&self) -> Option<Asked> {
        let data = self.announced.user_data.as_ref()?;
        data.downcast_ref::<Announced>()?.0.lock().take()
    }

    /// Before the first byte of a call goes out: what is there already answers no call of ours.
    fn begin(&mut self, cx: &mut Context<'_>) -> Result<()> {
        let Some(asked) = self.take_announced() else { return Ok(()) };
        let is_quiet = match self.poll_fill(cx) {
            // An upstream that has hung up is found out when its answer is read, and may be called anew.
            Poll::Pending | Poll::Ready(Ok(0)) => self.rest.is_empty(),
            Poll::Ready(Ok(_)) => false,
            Poll::Ready(Err(error)) => return Err(self.spend(error)),
        };
        if !is_quiet || !matches!(self.state, State::Idle) {
            return Err(self.spend(Error::from(ErrorKind::InvalidData)));
        }
        self.state = State::Head(Box::new(ResponseGate::new(asked, Limits::RESPONSE)));
        Ok(())
    }

    /// Nothing more is handed out, not even what has passed: an answer is whole or it is none.
    fn spend(&mut self, error: Error) -> Error {
        (self.state, self.passed, self.timer) = (State::Spent, 0, None);
        self.rest.clear();
        error
    }

    /// Lets the new bytes at the end of `rest` through the gate.
    fn pass(&mut self) -> std::result::Result<(), Refusal> {
        loop {
            let new = self.rest.get(self.passed..).unwrap_or_default();
            match &mut self.state {
                State::Spent => return Ok(()),
                State::Idle if new.is_empty() => return Ok(()),
                State::Idle => {
                    // Nobody asked for this.
                    self.state = State::Spent;
                    return Ok(());
                }
                State::Open => {
                    self.passed = self.rest.len();
                    return Ok(());
                }
                State::Head(gate) => match gate.read(new)? {
                    ResponseReading::Partial => return Ok(()),
                    ResponseReading::Interim { bytes, .. } => {
                        self.passed = self.passed.saturating_add(bytes);
                    }
                    ResponseReading::Final(head) => {
                        self.passed = self.passed.saturating_add(head.bytes);
                        self.state = match head.body {
                            ResponseBody::Framed(framing) => {
                                State::Body { head, gate: BodyGate::new(framing) }
                            }
                            ResponseBody::UntilClose | ResponseBody::Tunnel => State::Open,
                        };
                    }
                },
                State::Body { head, gate } => {
                    let taken = match gate.push(new)? {
                        Progress::More => new.len(),
                        Progress::Ends { at } => at,
                    };
                    let behind = new.len().saturating_sub(taken);
                    let is_fit = head.leaves_reusable(gate, behind);
                    match (gate.has_ended(), is_fit) {
                        (false, _) => {}
                        (true, true) => self.state = State::Idle,
                        (true, false) => self.state = State::Spent,
                    }
                    self.passed = self.passed.saturating_add(taken);
                    return Ok(());
                }
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        let mut piece = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
        self.rest.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// The connection's end, which only sometimes is an answer's.
    fn ended(&mut self) -> Result<()> {
        let is_cut = match &self.state {
            State::Idle | State::Open | State::Spent => false,
            // Nothing of an answer: Pingora may call again where that is safe.
            State::Head(_) => !self.rest.is_empty(),
            State::Body { .. } => true,
        };
        if is_cut { Err(self.spend(Error::from(ErrorKind::UnexpectedEof))) } else { Ok(()) }
    }

    /// Ready when a head has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !matches!(self.state, State::Head(_)) || self.rest.is_empty() {
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(HEAD_TIME)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(self.spend(Error::from(ErrorKind::TimedOut))))
    }
}

impl<C: Carrier> AsyncRead for Answers<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        loop {
            if let Err(refusal) = this.pass() {
                return Poll::Ready(Err(this.spend(Error::new(ErrorKind::InvalidData, refusal))));
            }
            if this.passed > 0 {
                this.timer = None;
                let count = this.passed.min(buf.remaining());
                buf.put_slice(this.rest.get(..count).unwrap_or_default());
                this.rest.advance(count);
                this.passed = this.passed.saturating_sub(count);
                return Poll::Ready(Ok(()));
            }
            if matches!(this.state, State::Spent) {
                return Poll::Ready(Ok(()));
            }
            match this.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(this.ended()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return this.poll_late(cx),
            }
        }
    }
}

impl<C: Carrier> AsyncWrite for Answers<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.begin(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.begin(cx)?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl<C: Carrier> Shutdown for Answers<C> {
    async fn shutdown(&mut self) {
        // The upstream may be gone, and then there is nobody to say goodbye to.
        drop(self.inner.shutdown().await);
    }
}

impl<C: Carrier> UniqueID for Answers<C> {
    fn id(&self) -> UniqueIDType {
        self.inner.socket().id()
    }
}

impl<C: Carrier> Ssl for Answers<C> {}

impl<C: Carrier> GetTimingDigest for Answers<C> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.socket().get_timing_digest()
    }
}

impl<C: Carrier> GetSocketDigest for Answers<C> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.socket().get_socket_digest()
    }
}

impl<C: Carrier> GetProxyDigest for Answers<C> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.announced))
    }
}

impl<C: Carrier> Peek for Answers<C> {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// Our side of a connection, and the upstream's.
    async fn connection() -> (Answers<Socket>, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let head = ResponseHeader::build(200, Some(0)).unwrap();
        (Answers::new(Socket::from(ours.unwrap()), Box::new(head)), theirs.unwrap().0)
    }

    fn announced(answers: &Answers<Socket>, asked: Asked) {
        let digest = Digest { proxy_digest: answers.get_proxy_digest(), ..Digest::default() };
        assert!(announce(Some(&digest), asked));
    }

    async fn asks(answers: &mut Answers<Socket>, asked: Asked) -> Result<()> {
        announced(answers, asked);
        answers.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        answers.flush().await
    }

    async fn reads(answers: &mut Answers<Socket>, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        answers.read_exact(&mut bytes).await.map(|_| bytes)
    }

    #[tokio::test]
    async fn a_connection_serves_call_after_call() {
        let (mut ours, mut theirs) = connection().await;
        for _ in 0..3 {
            asks(&mut ours, Asked::Plain).await.unwrap();
            theirs.write_all(OK).await.unwrap();
            assert_eq!(reads(&mut ours, OK.len()).await.unwrap(), OK);
        }
    }

    #[tokio::test]
    async fn what_is_there_before_a_call_answers_nothing() {
        let (mut ours, mut theirs) = connection().await;
        theirs.write_all(OK).await.unwrap();
        // Nobody has asked, and the bytes are there; until they are seen, this is what a pool's look does.
        let mut look = [0];
        assert_eq!(ours.read(&mut look).await.unwrap(), 0);
        asks(&mut ours, Asked::Plain).await.unwrap_err();
        assert_eq!(ours.read(&mut look).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_comes_behind_an_answer_is_never_handed_out() {
        for (asked, said) in [(Asked::Plain, OK.len()), (Asked::Head, OK.len() - 2)] {
            let (mut ours, mut theirs) = connection().await;
            asks(&mut ours, asked).await.unwrap();
            theirs.write_all(&[OK, b"more"].concat()).await.unwrap();
            let mut heard = Vec::new();
            ours.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, OK[..said]);
            asks(&mut ours, Asked::Plain).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_disputed_answer_ends_the_connection_with_nothing_handed_out() {
        for said in [
            &b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ] {
            let (mut ours, mut theirs) = connection().await;
            asks(&mut ours, Asked::Plain).await.unwrap();
            theirs.write_all(said).await.unwrap();
            let refused = reads(&mut ours, 1).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidData);
            assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_is_told_from_none() {
        for said in [&OK[..0], &OK[..10], &OK[..OK.len() - 1]] {
            let (mut ours, mut theirs) = connection().await;
            asks(&mut ours, Asked::Plain).await.unwrap();
            let mut call = [0; 18];
            theirs.read_exact(&mut call).await.unwrap();
            theirs.write_all(said).await.unwrap();
            drop(theirs);
            let mut heard = Vec::new();
            let end = ours.read_to_end(&mut heard).await.map_err(|error| error.kind());
            let expected = if said.is_empty() { Ok(0) } else { Err(ErrorKind::UnexpectedEof) };
            assert_eq!(end, expected);
        }
    }
}
