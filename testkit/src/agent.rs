//! An agent and what it sends: `house.agent("bot").post("/open/x").json(&value).send().await`.
//!
//! Not here: connections (`line`) and what comes back (`reply`). Invariant: unless a test says otherwise a call has a
//! fresh, valid token and a trace of its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_domain::{AgentId, Jti, OrgId, TenantId, Timestamp, TokenUse, Ttl};
use aegis_identity::Claims;
use bytes::Bytes;
use futures::Stream;
use futures::StreamExt as _;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::building::{hex, random};
use crate::line::{Body, Origin};
use crate::plan::{AUDIENCE, ISSUER};
use crate::{Answering, Building, Line, Reply, Wire};

/// An agent with claims of its own.
#[derive(Clone)]
pub struct Agent<'b> {
    building: &'b Building,
    claims: Claims,
}

/// A call that is being put together.
#[must_use]
pub struct Ask<'b> {
    building: &'b Building,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Option<Body>,
    wire: Wire,
    source: IpAddr,
}

impl<'b> Agent<'b> {
    pub(crate) fn new(building: &'b Building, name: &str) -> Self {
        let now = now();
        let scopes = ["care:write", "pay:write"].map(str::to_owned);
        let claims = Claims {
            issuer: ISSUER.to_owned(),
            org: OrgId::parse("acme").unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            agent: AgentId::parse(name).unwrap(),
            parent_agent: None,
            acts_for: Vec::new(),
            confirmation: None,
            scopes: BTreeSet::from(scopes),
            audience: vec![AUDIENCE.to_owned()],
            expires_at: now.plus(Ttl::from_s(300)),
            not_before: None,
            issued_at: Some(now),
            jti: fresh_jti(),
            token_use: TokenUse::Bound,
        };
        Self { building, claims }
    }

    pub(crate) fn building(&self) -> &'b Building {
        self.building
    }

    /// The same agent with other claims.
    pub fn claims(mut self, change: impl FnOnce(&mut Claims)) -> Self {
        change(&mut self.claims);
        self
    }

    /// The same agent of another tenant.
    pub fn of(self, tenant: &str) -> Self {
        self.claims(|claims| claims.tenant = TenantId::parse(tenant).unwrap())
    }

    /// What the agent's token says.
    pub fn identity(&self) -> &Claims {
        &self.claims
    }

    /// The token all calls of this agent carry.
    pub fn token(&self) -> String {
        aegis_identity::mint(self.building.issuer(), &self.claims).unwrap()
    }

    pub fn get(&self, target: &str) -> Ask<'b> {
        self.ask(Method::GET, target)
    }

    pub fn post(&self, target: &str) -> Ask<'b> {
        self.ask(Method::POST, target)
    }

    pub fn ask(&self, method: Method, target: &str) -> Ask<'b> {
        let ask = Ask {
            building: self.building,
            method,
            target: target.to_owned(),
            headers: HeaderMap::new(),
            body: None,
            wire: Wire::Http1,
            source: self.building.outside(),
        };
        let trace = format!("00-{}-{}-01", hex(&random::<16>()), hex(&random::<8>()));
        ask.bearer(&self.token()).header("traceparent", &trace)
    }
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers.append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Another token than the agent's own.
    pub fn bearer(mut self, token: &str) -> Self {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        self.headers.insert(AUTHORIZATION, value);
        self
    }

    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// A body whose length is told beforehand.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Some(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
        self.of_type(content_type)
    }

    /// A body that comes in pieces, its length untold.
    pub fn pieces<S>(mut self, content_type: &str, pieces: S) -> Self
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let frames = pieces.map(|piece| Ok(Frame::data(piece)));
        self.body = Some(StreamBody::new(frames).boxed_unsync());
        self.of_type(content_type)
    }

    fn of_type(mut self, content_type: &str) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        self
    }

    pub fn over(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// From another address of this machine, such as 127.0.0.2.
    pub fn from(mut self, source: &str) -> Self {
        self.source = source.parse().unwrap();
        self
    }

    /// The trace id the call goes out with.
    pub fn trace_id(&self) -> String {
        let parent = self.headers.get("traceparent").unwrap().to_str().unwrap();
        parent.split('-').nth(1).unwrap().to_owned()
    }

    /// Sends the call on a connection of its own and takes the whole answer.
    pub async fn send(self) -> Reply {
        self.begin().await.whole().await
    }

    /// Sends the call on an open connection and takes the whole answer.
    pub async fn send_on(self, line: &mut Line) -> Reply {
        self.begin_on(line).await.unwrap().whole().await
    }

    /// Sends the call on a connection of its own; what follows the head is taken piece by piece.
    pub async fn begin(self) -> Answering {
        self.try_begin().await.unwrap()
    }

    /// The same, for a gateway that may be gone.
    pub async fn try_begin(self) -> std::io::Result<Answering> {
        let mut line = Line::open_from(self.building, self.wire, self.source).await?;
        let mut answering = self.begin_on(&mut line).await.map_err(std::io::Error::other)?;
        answering.keep(line);
        Ok(answering)
    }

    /// Sends the call on an open connection; what follows the head is taken piece by piece.
    pub async fn begin_on(self, line: &mut Line) -> Result<Answering, hyper::Error> {
        let building = self.building;
        let request = self.request(&line.origin, line.is_http2());
        let response = line.send(request).await?;
        Ok(Answering::new(building.journal(), response))
    }

    fn request(self, origin: &Origin, is_http2: bool) -> Request<Body> {
        let body = self.body.unwrap_or_else(|| {
            http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
        });
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.headers_mut() = self.headers;
        let uri = if is_http2 {
            format!("{}://{}{}", origin.scheme, origin.authority, self.target)
        } else {
            request.headers_mut().insert(HOST, origin.authority.parse().unwrap());
            self.target
        };
        *request.uri_mut() = uri.parse().unwrap();
        request
    }
}

pub(crate) fn fresh_jti() -> Jti {
    Jti::parse(&hex(&random::<16>())).unwrap()
}

/// What the time is now.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap())
}
