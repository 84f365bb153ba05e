//! The region's registry as an administrator and its agents use it: register, enrol, get a token, take back.
//!
//! Not here: what the control API does (`control`). Invariant: every agent has a key of its own, and a refusal that a test
//! did not expect fails it.

use aegis_control_client::{
    Answer, Client, ClientError, Conditions, client_assertion, dpop_proof, encoded, enrolment_proof,
};
use aegis_domain::{Jti, Secret};
use aegis_identity::{CLIENT_ASSERTION_TYPE, SigningKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::agent::now;
use crate::building::{hex, random};
use crate::{Building, Plan};

/// The tenant all of them belong to.
const TENANT: &str = "acme";

/// The control API of a building that keeps the registry.
pub struct Region {
    /// What the token service calls itself, on whichever voter it is asked.
    url: String,
    admin: Client,
    anyone: Client,
}

/// An agent of the registry that has enrolled.
pub struct Enrolled {
    pub id: String,
    pub key: SigningKey,
}

impl Plan {
    /// Keeps the region's registry and serves its API.
    pub fn keeping_the_registry(self) -> Self {
        let address = self.at(&self.ports.control);
        self.with("/control", json!({ "address": address }))
    }

    /// Serves the API over TLS; whoever is not on this machine takes it no other way.
    pub fn with_control_over_tls(self, url: &str) -> Self {
        let tls = json!({ "certificate": "gateway.pem", "key": "gateway.key" });
        self.with("/control/tls", tls).with("/control/url", json!(url))
    }

    pub(crate) fn control_url(&self) -> String {
        let is_tls = self.setting("/control/tls/certificate").is_some();
        let scheme = if is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.at(&self.ports.control))
    }

    /// Where agents call without TLS.
    pub fn plain_port(&self) -> u16 {
        self.ports.plain.number()
    }

    /// Where the control API is served, if it is.
    pub fn control_port(&self) -> u16 {
        self.ports.control.number()
    }

    /// Follows the registry that another building keeps.
    pub async fn following(self, other: &Building) -> Self {
        let token = other.data().join("control/follower.token");
        self.file("region.jwks.json", &other.published_keys().await.to_jwks_json());
        self.with(
            "/registry",
            json!({
                "url": other.control_url(),
                "token": { "file": token },
                "region_keys": "region.jwks.json",
            }),
        )
    }
}

impl Plan {
    /// Follows what voters keep together, by these of their addresses.
    pub async fn following_any(self, voter: &Building, urls: &[String]) -> Self {
        let issuer = voter.region().url.clone();
        self.following(voter)
            .await
            .with("/registry/url", json!(urls))
            .with("/registry/issuer", json!(issuer))
    }

    /// Pays where another building does, so that a call of one is the same call at the other.
    pub fn paying_at(self, other: &Building) -> Self {
        self.file("other-ca.pem", other.authority().pem());
        let mut binding = other.plan().binding("pay");
        binding["ca_file"] = json!("other-ca.pem");
        self.with("/tenants/acme/tools/pay", binding)
    }
}

impl Building {
    pub fn control_url(&self) -> String {
        self.plan().control_url()
    }

    /// The region whose registry this building keeps.
    pub fn region(&self) -> Region {
        let token = std::fs::read_to_string(self.data().join("control/admin.token")).unwrap();
        let address = self.control_url();
        let ca = address.starts_with("https").then(|| self.authority().pem());
        let admin = Client::new(&address, Some(Secret::new(token)), ca).unwrap();
        let anyone = Client::new(&address, None, ca).unwrap();
        let url = self.plan().setting("/control/url").map_or(address, str::to_owned);
        Region { url, admin, anyone }
    }
}

impl Region {
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A command of an administrator.
    pub fn post(&self, path: &str, body: Value) -> Value {
        self.try_post(path, body).unwrap()
    }

    /// One that may be refused.
    pub fn try_post(&self, path: &str, body: Value) -> Result<Value, ClientError> {
        self.admin.post(path, &body, &Conditions::default()).map(|answer| answer.body)
    }

    /// A command on what is there or not, whatever was seen of it.
    pub fn put(&self, path: &str, body: Value) -> Value {
        self.try_put(path, body).unwrap()
    }

    /// One that may be refused.
    pub fn try_put(&self, path: &str, body: Value) -> Result<Value, ClientError> {
        self.admin.put(path, &body, &Conditions::default()).map(|answer| answer.body)
    }

    /// A command on what still is as it was seen.
    pub fn put_at(&self, path: &str, seen: &str, body: Value) -> Value {
        let conditions = Conditions { version: Some(seen), once: None };
        self.admin.put(path, &body, &conditions).unwrap().body
    }

    pub fn post_at(&self, path: &str, seen: &str, body: Value) -> Value {
        let conditions = Conditions { version: Some(seen), once: None };
        self.admin.post(path, &body, &conditions).unwrap().body
    }

    pub fn delete(&self, path: &str) -> Value {
        self.admin.delete(path, &Conditions::default()).unwrap().body
    }

    /// What is answered, byte for byte.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut self.admin.stream(path).unwrap(), &mut bytes).unwrap();
        bytes
    }

    /// Sets the limit of a budget, in micro-dollars.
    pub fn limit(&self, budget: &str, limit_microusd: u64) {
        let path = format!("/v1/tenants/{TENANT}/budgets/{}", encoded(budget));
        let terms = json!({ "limit_microusd": limit_microusd });
        self.admin.put(&path, &terms, &Conditions::default()).unwrap();
    }

    /// What a budget has spent and holds, in micro-dollars.
    pub fn spend(&self, budget: &str) -> (u64, u64) {
        let path = format!("/v1/tenants/{TENANT}/spend?names={}", encoded(budget));
        let told = self.get(&path)["spend"][0].clone();
        let amount = |name: &str| told[name].as_u64().unwrap();
        (amount("spent_microusd"), amount("held_microusd"))
    }

    /// Corrects what a budget has spent.
    pub fn adjust(&self, budget: &str, change_microusd: i64) {
        let path = format!("/v1/tenants/{TENANT}/adjustments");
        let wish = json!({
            "budget": budget, "change_microusd": change_microusd, "reason": "a test says so",
        });
        let name = fresh();
        let once = Conditions { once: Some(name.as_str()), ..Conditions::default() };
        self.admin.post(&path, &wish, &once).unwrap();
    }

    pub fn patch(&self, path: &str, body: Value) -> Value {
        self.admin.patch(path, &body, &Conditions::default()).unwrap().body
    }

    pub fn get(&self, path: &str) -> Value {
        self.admin.get(path).unwrap().body
    }

    /// Takes something back: `{ "token": { "tenant": .., "jti": .. } }`, `{ "tenant": { "id": .. } }` and so on.
    pub fn revoke(&self, what: Value) {
        self.post("/v1/revocations", what);
    }

    /// Registers an agent and enrols a key for it.
    pub fn agent(&self, id: &str, more: Value) -> Enrolled {
        let mut wanted = json!({
            "tenant": TENANT, "id": id, "org": TENANT, "groups": ["staff"],
            "scopes": ["pay:write", "care:write"],
        });
        wanted.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let made = self.post("/v1/agents", wanted);
        let key = SigningKey::from_seed(random());
        self.enrol(made["enrolment"]["code"].as_str().unwrap(), &key);
        Enrolled { id: id.to_owned(), key }
    }

    /// Spends a code on a key.
    pub fn enrol(&self, code: &str, key: &SigningKey) {
        let proof = enrolment_proof(key, &self.url, code, now());
        let body = json!({ "code": code, "jwk": key.public_jwk(), "proof": proof });
        self.anyone.post("/v1/enrol", &body, &Conditions::default()).unwrap();
    }

    /// An access token, bound to the agent's key where it is so asked.
    pub fn token(&self, agent: &Enrolled, is_bound: bool) -> String {
        let answer = self.try_token(agent, is_bound).unwrap();
        answer.body["access_token"].as_str().unwrap().to_owned()
    }

    pub fn try_token(&self, agent: &Enrolled, is_bound: bool) -> Result<Answer, ClientError> {
        let Enrolled { id, key } = agent;
        let client = format!("{TENANT}/{id}");
        let assertion = client_assertion(key, &client, &self.url, &fresh(), now());
        self.by_assertion(&assertion, is_bound.then_some(agent))
    }

    /// The same with an assertion that may have been used before.
    pub fn by_assertion(
        &self,
        assertion: &str,
        bound_to: Option<&Enrolled>,
    ) -> Result<Answer, ClientError> {
        let endpoint = self.anyone.token_endpoint();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", CLIENT_ASSERTION_TYPE),
            ("client_assertion", assertion),
        ];
        match bound_to {
            None => self.anyone.token(&form, None),
            Some(agent) => self.anyone.token_proved(&form, |nonce| {
                Ok(dpop_proof(&agent.key, &endpoint, nonce, &fresh(), now()))
            }),
        }
    }

    /// An assertion of an agent for this token service.
    pub fn assertion(&self, agent: &Enrolled) -> String {
        client_assertion(&agent.key, &format!("{TENANT}/{}", agent.id), &self.url, &fresh(), now())
    }
}

impl Enrolled {
    /// A proof for one call with a token (RFC 9449 §4.2).
    pub fn proof(&self, (method, uri): (&str, &str), token: &str, nonce: Option<&str>) -> String {
        let mut jwk = self.key.public_jwk();
        let is_public = |name: &String| ["kty", "crv", "x"].contains(&name.as_str());
        jwk.as_object_mut().unwrap().retain(|name, _| is_public(name));
        let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk });
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let mut claims = json!({
            "jti": fresh().as_str(), "htm": method, "htu": uri, "iat": now().unix_s(),
            "ath": URL_SAFE_NO_PAD.encode(digest),
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign_message(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn fresh() -> Jti {
    Jti::parse(&hex(&random::<16>())).unwrap()
}
