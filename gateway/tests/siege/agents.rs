//! Agents that call through every gateway all the time, and what they heard.
//!
//! Not here: calls that need a person (`overrides`), and whether the answers were right (`judgement`). Invariant: a call has a
//! connection, a token and a trace of its own, and an agent sends the next only after the last was answered or given up.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use aegis_domain::{AgentId, DecisionId, Jti, TenantId, Timestamp, Ttl};
use aegis_identity::{Claims, SigningKey, mint};
use aegis_testkit::Building;
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::town::{PATIENCE, Town};

const AGENTS_OF_EACH: usize = 2;
const PAUSE: Duration = Duration::from_millis(60);

/// One call, to be sent.
pub(crate) struct Call<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
    pub(crate) trace: &'a str,
    pub(crate) approval: Option<&'a str>,
    pub(crate) body: Value,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) decision: Option<DecisionId>,
    pub(crate) body: Value,
}

impl Call<'_> {
    pub(crate) fn send(&self) -> io::Result<Heard> {
        let mut stream = TcpStream::connect_timeout(&self.to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = self.body.to_string();
        let approval =
            self.approval.map_or(String::new(), |id| format!("aegis-approval-id: {id}\r\n"));
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             traceparent: 00-{}-00f067aa0ba902b7-01\r\n{approval}content-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.path,
            self.to,
            self.token,
            self.trace,
            body.len(),
        );
        stream.write_all(request.as_bytes())?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        read(&bytes).ok_or_else(|| io::Error::other("no whole answer"))
    }
}

fn read(bytes: &[u8]) -> Option<Heard> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = lines.filter_map(|line| line.split_once(": "));
    let named = headers.find(|(name, _)| name.eq_ignore_ascii_case("aegis-decision-id"));
    let decision = named.and_then(|(_, id)| DecisionId::parse(id).ok());
    Some(Heard { status, decision, body: serde_json::from_str(body).unwrap_or(Value::Null) })
}

/// A trace that no other call has.
pub(crate) fn fresh_trace() -> String {
    static LAST: AtomicU64 = AtomicU64::new(1);
    format!("{:032x}", LAST.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap())
}

/// Mints tokens of the issuer that the town's configuration names.
#[derive(Clone)]
pub(crate) struct Minter {
    issuer: SigningKey,
    claims: Claims,
}

impl Minter {
    pub(crate) fn of(house: &Building) -> Self {
        Self { issuer: house.issuer().clone(), claims: house.agent("bot").identity().clone() }
    }

    /// The same for another agent.
    pub(crate) fn named(mut self, tenant: &str, agent: &str) -> Self {
        self.claims.tenant = TenantId::parse(tenant).unwrap();
        self.claims.agent = AgentId::parse(agent).unwrap();
        self
    }

    pub(crate) fn token(&self) -> String {
        let jti = Jti::parse(&fresh_trace()).unwrap();
        let (now, expires_at) = (now(), now().plus(Ttl::from_s(300)));
        let claims = Claims { jti, expires_at, issued_at: Some(now), ..self.claims.clone() };
        mint(&self.issuer, &claims).unwrap()
    }
}

/// One call as its agent saw it.
pub(crate) struct Called {
    pub(crate) at: Duration,
    pub(crate) heard: io::Result<Heard>,
}

/// What one agent saw at one gateway, in order.
pub(crate) struct Diary {
    pub(crate) gateway: usize,
    pub(crate) calls: Vec<Called>,
    /// The longest time without an answer, but for when the gateway was away.
    pub(crate) gap: Duration,
}

pub(crate) struct Agents(Vec<JoinHandle<Diary>>);

pub(crate) fn start(stage: &Arc<Stage>, town: &Town) -> Agents {
    let mut threads = Vec::new();
    for (gateway, house) in town.gateways.iter().enumerate() {
        for number in 0..AGENTS_OF_EACH {
            let (stage, minter) = (Arc::clone(stage), Minter::of(house));
            let (agent, to) = ((gateway, number), house.at(house.port()));
            stage.was_answered(agent, 0);
            threads.push(std::thread::spawn(move || call(&stage, (agent, to), &minter)));
        }
    }
    Agents(threads)
}

fn call(stage: &Stage, (agent, to): ((usize, usize), SocketAddr), minter: &Minter) -> Diary {
    let mut diary = Diary { gateway: agent.0, calls: Vec::new(), gap: Duration::ZERO };
    let mut last = stage.elapsed();
    while !stage.is_over() {
        if stage.is_away(diary.gateway) {
            std::thread::sleep(PAUSE);
            last = stage.elapsed();
            continue;
        }
        let (token, trace) = (minter.token(), fresh_trace());
        let body = json!({ "text": "harmless" });
        let call =
            Call { to, path: "/plain/x", token: &token, trace: &trace, approval: None, body };
        let (begun, sent) = (stage.instant(), Instant::now());
        let heard = call.send();
        let at = stage.elapsed();
        if heard.is_ok() {
            stage.was_answered(agent, begun);
            diary.gap = diary.gap.max(at.saturating_sub(last));
            last = at;
        }
        diary.calls.push(Called { at, heard });
        std::thread::sleep(PAUSE.saturating_sub(sent.elapsed() / 4));
    }
    diary
}

impl Agents {
    /// Call after the stage has ended.
    pub(crate) fn join(self) -> Vec<Diary> {
        self.0.into_iter().map(|it| it.join().unwrap()).collect()
    }
}
