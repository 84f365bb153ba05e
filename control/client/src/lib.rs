//! Calls of the control API and of the token endpoint, for `aegisctl` and for tests.
//!
//! Not here: what is shown of the answers (`cli`). Invariant: a private key never leaves the process, and no answer makes
//! the client go to another server.

mod proofs;

use std::io::Read as _;
use std::time::Duration;

use aegis_domain::Secret;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub use proofs::{client_assertion, dpop_proof, enrolment_proof};

const TIMEOUT: Duration = Duration::from_secs(30);
/// What is longer than an answer takes longer: a ledger of 2 GiB over 5 Mbit/s.
const STREAM: Duration = Duration::from_secs(60 * 60);
/// A host that is gone says nothing at all.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 16 * 1_024 * 1_024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the certificate to trust is no PEM")]
    Certificate,
    #[error("{url} cannot be reached")]
    Unreachable { url: String, source: Box<ureq::Error> },
    #[error("{url} answers with something that is not JSON")]
    NotJson { url: String },
    #[error("{detail} ({kind}, status {status})")]
    Refused {
        status: u16,
        kind: String,
        detail: String,
        /// The whole problem.
        problem: Box<Value>,
    },
    #[error("the server wants a nonce in the DPoP proof")]
    NonceWanted { nonce: String },
    #[error("the server calls itself {issuer}; name it so")]
    Issuer { issuer: String },
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The version of what was answered with.
    pub etag: Option<String>,
    /// What the next DPoP proof must carry.
    pub nonce: Option<String>,
    /// Whether it holds all that was acknowledged before it was asked for (`agreed`), where that is said.
    pub read: Option<String>,
    pub body: Value,
}

/// A control API, and perhaps the right to command it.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<Secret<String>>,
    timeout: Duration,
}

/// What may go beside a command.
#[derive(Clone, Debug, Default)]
pub struct Conditions<'a> {
    /// `If-Match`
    pub version: Option<&'a str>,
    /// `Idempotency-Key`
    pub once: Option<&'a str>,
}

impl Client {
    /// `ca`, in PEM, replaces the public authorities.
    pub fn new(
        url: &str,
        token: Option<Secret<String>>,
        ca: Option<&str>,
    ) -> Result<Self, ClientError> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = ca {
            let root =
                Certificate::from_pem(pem.as_bytes()).map_err(|_| ClientError::Certificate)?;
            tls = tls.root_certs(RootCerts::from([root]));
        }
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls.build())
            .build();
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.into(), url, token, timeout: TIMEOUT })
    }

    /// The same control API as another voter serves it, with the same token.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), ..self.clone() }
    }

    /// Waits so long for an answer, to the end of it.
    pub fn within(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    pub fn get(&self, path: &str) -> Result<Answer, ClientError> {
        let url = format!("{}{path}", self.url);
        self.send(&url, self.request("GET", &url, &Conditions::default()).body(Vec::new()))
    }

    /// What is answered as it comes, for what is longer than an answer. Whoever reads it knows how it must end.
    pub fn stream(&self, path: &str) -> Result<impl std::io::Read + use<>, ClientError> {
        let url = format!("{}{path}", self.url);
        let unreachable =
            |source| ClientError::Unreachable { url: url.clone(), source: Box::new(source) };
        let request = self.request("GET", &url, &Conditions::default()).body(Vec::new());
        let request = request.map_err(|error| unreachable(error.into()))?;
        let request = self.agent.configure_request(request);
        let request = request
            .timeout_recv_response(Some(self.timeout))
            .timeout_recv_body(Some(STREAM))
            .build();
        let answer = self.agent.run(request).map_err(unreachable)?;
        if answer.status().is_success() {
            return Ok(answer.into_body().into_reader());
        }
        match read(&url, answer) {
            Err(refused) => Err(refused),
            Ok(_) => Err(ClientError::NotJson { url }),
        }
    }

    pub fn post(
        &self,
        path: &str,
        body: &Value,
        conditions: &Conditions<'_>,
    ) -> Result<Answer, ClientError> {
        self.command("POST", path, body, conditions)
    }

    pub fn patch(
        &self,
        path: &str,
        body: &Value,
        conditions: &Conditions<'_>,
    ) -> Result<Answer, ClientError> {
        self.command("PATCH", path, body, conditions)
    }

    pub fn put(
        &self,
        path: &str,
        body: &Value,
        conditions: &Conditions<'_>,
    ) -> Result<Answer, ClientError> {
        self.command("PUT", path, body, conditions)
    }

    pub fn delete(&self, path: &str, conditions: &Conditions<'_>) -> Result<Answer, ClientError> {
        let url = format!("{}{path}", self.url);
        self.send(&url, self.request("DELETE", &url, conditions).body(Vec::new()))
    }

    fn command(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        conditions: &Conditions<'_>,
    ) -> Result<Answer, ClientError> {
        let url = format!("{}{path}", self.url);
        let request =
            self.request(method, &url, conditions).header("content-type", "application/json");
        self.send(&url, request.body(body.to_string().into_bytes()))
    }

    /// Asks for a token with a DPoP proof, and once more where the server wants its nonce in it (RFC 9449 §8). `prove`
    /// makes a proof with the nonce it is given. A request that lacks the nonce uses up nothing, so the form may be sent
    /// again as it is.
    pub fn token_proved<E: From<ClientError>>(
        &self,
        form: &[(&str, &str)],
        prove: impl Fn(Option<&str>) -> Result<String, E>,
    ) -> Result<Answer, E> {
        match self.token(form, Some(&prove(None)?)) {
            Err(ClientError::NonceWanted { nonce }) => {
                Ok(self.token(form, Some(&prove(Some(&nonce))?))?)
            }
            answer => Ok(answer?),
        }
    }

    /// Asks for a token, once; `proof` is the `DPoP` header.
    pub fn token(&self, form: &[(&str, &str)], proof: Option<&str>) -> Result<Answer, ClientError> {
        let url = self.token_endpoint();
        let mut request = Request::builder().method("POST").uri(&url);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        let pairs =
            form.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        self.send(&url, request.body(body.into_bytes()))
    }

    pub fn token_endpoint(&self) -> String {
        format!("{}/oauth2/token", self.url)
    }

    /// What the server calls itself, which must be what it was called (RFC 8414 §3.3).
    pub fn issuer(&self) -> Result<String, ClientError> {
        let metadata = self.get("/.well-known/oauth-authorization-server")?.body;
        let issuer = metadata.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if issuer == self.url {
            Ok(issuer.to_owned())
        } else {
            Err(ClientError::Issuer { issuer: issuer.to_owned() })
        }
    }

    fn request(
        &self,
        method: &str,
        url: &str,
        conditions: &Conditions<'_>,
    ) -> ureq::http::request::Builder {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.expose().trim()));
        }
        if let Some(version) = conditions.version {
            request = request.header("if-match", version);
        }
        if let Some(once) = conditions.once {
            request = request.header("idempotency-key", once);
        }
        request
    }

    fn send(
        &self,
        url: &str,
        request: ureq::http::Result<Request<Vec<u8>>>,
    ) -> Result<Answer, ClientError> {
        let unreachable =
            |source| ClientError::Unreachable { url: url.to_owned(), source: Box::new(source) };
        let request = request.map_err(|error| unreachable(error.into()))?;
        read(url, self.run(request).map_err(unreachable)?)
    }

    fn run(&self, request: Request<Vec<u8>>) -> Result<Response<ureq::Body>, ureq::Error> {
        let request = self.agent.configure_request(request);
        self.agent.run(request.timeout_global(Some(self.timeout)).build())
    }
}

fn read(url: &str, answer: Response<ureq::Body>) -> Result<Answer, ClientError> {
    let status = answer.status().as_u16();
    let header =
        |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (etag, nonce, read) = (header("etag"), header("dpop-nonce"), header("aegis-read"));
    let mut bytes = Vec::new();
    let mut body = answer.into_body().into_reader().take(ANSWER_BYTES_MAX);
    let not_json = || ClientError::NotJson { url: url.to_owned() };
    body.read_to_end(&mut bytes).map_err(|_| not_json())?;
    let body: Value = serde_json::from_slice(&bytes).map_err(|_| not_json())?;
    if (200..300).contains(&status) {
        return Ok(Answer { status, etag, nonce, read, body });
    }
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = text("type").and_then(|kind| kind.rsplit('/').next().map(str::to_owned));
    let kind = kind.or_else(|| text("error")).unwrap_or_default();
    if let (Some(nonce), "use_dpop_nonce") = (nonce, kind.as_str()) {
        return Err(ClientError::NonceWanted { nonce });
    }
    let detail = text("detail").or_else(|| text("error_description")).unwrap_or_default();
    Err(ClientError::Refused { status, kind, detail, problem: Box::new(body) })
}

/// One segment of a path, or one value of a form: all but RFC 3986's unreserved characters is escaped.
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// A server whose answer begins at once and takes three times `within` to come.
    fn slow(within: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n").unwrap();
            for piece in [b"ab", b"cd", b"ef"] {
                std::thread::sleep(within);
                socket.write_all(piece).ok();
            }
            // The other side closes first, so that nothing is reset.
            socket.read_to_end(&mut Vec::new()).ok();
        });
        url
    }

    #[test]
    fn a_stream_may_take_longer_than_an_answer() {
        let within = Duration::from_millis(400);
        let client = Client::new(&slow(within), None, None).unwrap().within(within);
        let mut whole = String::new();
        client.stream("/backup").unwrap().read_to_string(&mut whole).unwrap();
        assert_eq!(whole, "abcdef");
        let client = Client::new(&slow(within), None, None).unwrap().within(within);
        client.get("/backup").unwrap_err();
    }
}
