//! The one name server of a test's network: it answers by a rule, and writes down what it was asked.
//!
//! Not here: the rules (each test). Invariant: the n-th A question for a name is told to the rule as such; AAAA questions
//! count with the A questions asked so far.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// The addresses of a name when it is asked for the n-th time; empty for a name that is not there.
pub(crate) type Rule = Box<dyn Fn(&str, usize) -> Vec<IpAddr> + Send + Sync>;

pub(crate) struct NameServer {
    rule: Rule,
    /// How often the A records of each name were asked for.
    asked: Mutex<BTreeMap<String, usize>>,
}

impl NameServer {
    /// Listens where the namespace's resolv.conf says.
    pub(crate) async fn start(rule: Rule) -> Arc<Self> {
        let udp = UdpSocket::bind("127.0.0.1:53").await.unwrap();
        let tcp = TcpListener::bind("127.0.0.1:53").await.unwrap();
        let server = Arc::new(Self { rule, asked: Mutex::default() });
        tokio::spawn(Arc::clone(&server).datagrams(udp));
        let on_tcp = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(Arc::clone(&on_tcp).stream(stream));
            }
        });
        server
    }

    /// Every name that was asked for, and how often.
    pub(crate) fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.lock().clone()
    }

    async fn datagrams(self: Arc<Self>, udp: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            udp.send_to(&self.answer(&buffer[..length]), from).await.unwrap();
        }
    }

    async fn stream(self: Arc<Self>, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut buffer = vec![0; length.into()];
            stream.read_exact(&mut buffer).await.unwrap();
            let answer = self.answer(&buffer);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }

    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries.first().unwrap();
        let own = question.name().clone();
        // Letters as they came: a name that is asked for in another case is another reading.
        let name = own.to_ascii().trim_end_matches('.').to_owned();
        let kind = question.query_type();
        let nth = {
            let mut asked = self.asked.lock();
            let nth = asked.entry(name.clone()).or_default();
            *nth += usize::from(kind == RecordType::A);
            (*nth).max(1)
        };
        let addresses = (self.rule)(&name, nth);
        let mut message = query.into_response();
        if addresses.is_empty() {
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        for address in addresses {
            let data = match address {
                IpAddr::V4(v4) if kind == RecordType::A => RData::A(v4.into()),
                IpAddr::V6(v6) if kind == RecordType::AAAA => RData::AAAA(v6.into()),
                IpAddr::V4(_) | IpAddr::V6(_) => continue,
            };
            message.add_answer(Record::from_rdata(own.clone(), 0, data));
        }
        message.to_vec().unwrap()
    }
}
