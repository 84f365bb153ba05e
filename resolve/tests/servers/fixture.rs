//! A name server on loopback, over UDP and TCP, that does what a script says and counts what it was asked.
//!
//! Not here: what it proves. Invariant: the n-th A question for a name gets the name's n-th reply, the last one from
//! then on; AAAA questions follow the A questions asked so far.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aegis_domain::{Host, Reason};
use aegis_resolve::{Limits, Resolver};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

#[derive(Clone)]
pub(crate) enum Reply {
    Addresses(Vec<IpAddr>, u32),
    Alias(&'static str),
    /// NXDOMAIN with an SOA whose minimum is this.
    None(u32),
    ServerFailure,
    Silence,
    /// The reply behind it, after a while.
    Late(Duration, Box<Reply>),
    /// Truncated over UDP, whole over TCP.
    TooLong(Box<Reply>),
}

pub(crate) fn addresses(texts: &[&str], ttl: u32) -> Reply {
    Reply::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect(), ttl)
}

#[derive(Default)]
struct Seen {
    /// A questions by name.
    asked: BTreeMap<String, usize>,
    under_way: usize,
    under_way_max: usize,
}

pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    script: BTreeMap<String, Vec<Reply>>,
    seen: Mutex<Seen>,
}

impl NameServer {
    pub(crate) async fn start<const N: usize>(script: [(&str, Vec<Reply>); N]) -> Arc<Self> {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (Arc::new(udp), tcp);
            }
        };
        let script = script.into_iter().map(|(name, replies)| (name.to_owned(), replies)).collect();
        let address = udp.local_addr().unwrap();
        let server = Arc::new(Self { address, script, seen: Mutex::default() });
        tokio::spawn(Arc::clone(&server).datagrams(udp));
        let on_tcp = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(Arc::clone(&on_tcp).stream(stream));
            }
        });
        server
    }

    /// A resolver that asks this server only, with short times so that tests need not wait.
    pub(crate) fn resolver(&self, change: impl FnOnce(&mut Limits)) -> Resolver {
        let mut limits = Limits { deadline: Duration::from_secs(3), ..Limits::default() };
        change(&mut limits);
        Resolver::asking(vec![self.address], limits)
    }

    /// How often the A records of a name were asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.seen.lock().asked.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn names_asked(&self) -> Vec<String> {
        self.seen.lock().asked.keys().cloned().collect()
    }

    pub(crate) fn under_way_max(&self) -> usize {
        self.seen.lock().under_way_max
    }

    async fn datagrams(self: Arc<Self>, udp: Arc<UdpSocket>) {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            tokio::spawn(Arc::clone(&self).datagram(Arc::clone(&udp), query, from));
        }
    }

    async fn datagram(self: Arc<Self>, udp: Arc<UdpSocket>, query: Message, from: SocketAddr) {
        if let Some(answer) = self.answer(query, false).await {
            udp.send_to(&answer, from).await.unwrap();
        }
    }

    async fn stream(self: Arc<Self>, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut buffer = vec![0; length.into()];
            stream.read_exact(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer).unwrap();
            if let Some(answer) = self.answer(query, true).await {
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        }
    }

    async fn answer(&self, query: Message, is_tcp: bool) -> Option<Vec<u8>> {
        let question = query.queries.first().unwrap();
        let name = question.name().to_string().trim_end_matches('.').to_owned();
        let kind = question.query_type();
        let mut reply = {
            let mut seen = self.seen.lock();
            seen.under_way += 1;
            seen.under_way_max = seen.under_way_max.max(seen.under_way);
            let nth = seen.asked.entry(name.clone()).or_default();
            let at = if kind == RecordType::A { *nth } else { nth.saturating_sub(1) };
            *nth += usize::from(kind == RecordType::A);
            let replies = self.script.get(&name).cloned().unwrap_or_else(|| vec![Reply::None(0)]);
            replies.get(at).or(replies.last()).cloned().unwrap()
        };
        if let Reply::Late(wait, later) = reply {
            tokio::time::sleep(wait).await;
            reply = *later;
        }
        self.seen.lock().under_way -= 1;
        let own = question.name().clone();
        let mut message = query.into_response();
        if let Reply::TooLong(whole) = reply {
            message.metadata.truncation = !is_tcp;
            reply = if is_tcp { *whole } else { Reply::Addresses(Vec::new(), 0) };
        }
        fill(&mut message, own, kind, reply)?;
        Some(message.to_vec().unwrap())
    }
}

fn fill(message: &mut Message, own: Name, kind: RecordType, reply: Reply) -> Option<()> {
    match reply {
        Reply::Silence => return None,
        Reply::ServerFailure => message.metadata.response_code = ResponseCode::ServFail,
        Reply::Alias(target) => {
            let target = CNAME(target.parse::<Name>().unwrap());
            message.add_answer(Record::from_rdata(own, 60, RData::CNAME(target)));
        }
        Reply::None(minimum) => {
            message.metadata.response_code = ResponseCode::NXDomain;
            let soa = SOA::new(own.clone(), own.clone(), 1, 60, 60, 60, minimum);
            message.add_authority(Record::from_rdata(own, minimum, RData::SOA(soa)));
        }
        Reply::Addresses(addresses, ttl) => {
            for address in addresses {
                let data = match address {
                    IpAddr::V4(v4) if kind == RecordType::A => RData::A(v4.into()),
                    IpAddr::V6(v6) if kind == RecordType::AAAA => RData::AAAA(v6.into()),
                    IpAddr::V4(_) | IpAddr::V6(_) => continue,
                };
                message.add_answer(Record::from_rdata(own.clone(), ttl, data));
            }
        }
        Reply::Late(..) | Reply::TooLong(_) => unreachable!("a reply is wrapped once"),
    }
    Some(())
}

/// Resolves, and fails the test rather than hang.
pub(crate) async fn resolve(resolver: &Resolver, name: &str) -> Result<Vec<String>, Reason> {
    let host = Host::parse(name).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), resolver.resolve(&host)).await;
    let texts = |found: Vec<IpAddr>| found.iter().map(IpAddr::to_string).collect();
    answer.expect("the resolver hangs").map(texts)
}
