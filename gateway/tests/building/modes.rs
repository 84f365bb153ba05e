//! How callers show who they are: tokens bound to keys, and what a tool or an agent asks for beside a token.
//!
//! Not here: what a proof is (`identity`). Invariant: a token that names a key is worth nothing without that key, whichever
//! door it is carried to, and a proof counts once.

use aegis_domain::Reason;
use aegis_identity::{CertificateThumbprint, Confirmation, JwkThumbprint};
use aegis_testkit::{Agent, Ask, Authority, Building, Plan};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::proxy::{codes, curl, says, trusting, url};
use crate::{GATEWAY, house};

/// The URL that the testkit's gateways are known by.
const AT: &str = "https://gw.building.test";

/// An agent's own key.
pub(crate) struct Holder(Ed25519KeyPair);

impl Holder {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn x(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key())
    }

    /// RFC 7638 §3.
    fn thumbprint(&self) -> JwkThumbprint {
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x());
        JwkThumbprint::from_bytes(Sha256::digest(jwk).into())
    }

    /// A proof for one request (RFC 9449 §4.2).
    fn proof(&self, (method, uri): (&str, &str), token: &str, jti: &str) -> String {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": self.x() });
        let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk });
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let claims = json!({
            "jti": jti, "htm": method, "htu": uri, "iat": now.as_secs(),
            "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(token)),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn bound<'h>(house: &'h Building, holder: &Holder) -> Agent<'h> {
    let key = Confirmation::Key(holder.thumbprint());
    house.agent("bot").claims(|claims| claims.confirmation = Some(key))
}

fn with_proof<'h>(ask: Ask<'h>, token: &str, proof: &str) -> Ask<'h> {
    let ask = ask.without("authorization").header("authorization", &format!("DPoP {token}"));
    ask.header("dpop", proof)
}

#[tokio::test]
async fn a_bound_token_counts_with_a_proof_for_this_request_and_once() {
    let house = house().await;
    let holder = Holder::new(1);
    let bot = bound(&house, &holder);
    let token = bot.token();
    let at = format!("{AT}/open/v1/things");
    let get = || bot.get("/open/v1/things?page=2");
    let proof = holder.proof(("GET", &at), &token, "one");
    with_proof(get(), &token, &proof).send().await.is_ok();
    let seen = house.upstream().last().everything();
    assert!(!seen.contains(&token) && !seen.contains(&proof), "neither travels on");
    let refused = [
        (with_proof(get(), &token, &proof), Reason::TokenReplayed),
        (get(), Reason::ProofMissing),
        (
            get().without("authorization").header("authorization", &format!("DPoP {token}")),
            Reason::ProofMissing,
        ),
        (
            with_proof(get(), &token, &holder.proof(("POST", &at), &token, "2")),
            Reason::ProofInvalid,
        ),
        (with_proof(get(), &token, &holder.proof(("GET", AT), &token, "3")), Reason::ProofInvalid),
        (
            with_proof(get(), &token, &Holder::new(2).proof(("GET", &at), &token, "4")),
            Reason::ProofInvalid,
        ),
        (
            with_proof(get(), &token, &holder.proof(("GET", &at), "other", "5")),
            Reason::ProofInvalid,
        ),
        (with_proof(get(), &token, "nonsense"), Reason::ProofInvalid),
    ];
    for (ask, reason) in refused {
        let reply = ask.send().await;
        reply.is_denied(reason);
        assert_eq!(reply.status.as_u16(), 401, "{reason:?}");
        let challenge = reply.header("www-authenticate").unwrap_or_default().to_owned();
        assert!(challenge.starts_with("DPoP realm=\"aegis\", error="), "{reason:?}: {challenge}");
    }
    with_proof(get(), &token, &holder.proof(("GET", &at), &token, "6")).send().await.is_ok();
    assert_eq!(house.upstream().count(), 2);
}

#[tokio::test]
async fn a_tool_or_an_agent_may_ask_for_more_than_a_bearer_token() {
    let plan = Plan::new().await.with("/tenants/acme/tools/open/modes", json!(["proof", "mtls"]));
    let plan = plan.with("/tenants/acme/agents/second-bot/modes", json!(["once", "proof"]));
    let house = plan.start(GATEWAY).await;
    house.agent("bot").get("/open/x").send().await.is_denied(Reason::TokenMode);
    house.agent("bot").get("/open-h1/x").send().await.is_ok();
    let second = house.agent("second-bot");
    second.get("/open-h1/x").send().await.is_denied(Reason::TokenMode);
    let once = second.claims(|claims| claims.token_use = aegis_domain::TokenUse::Once);
    once.get("/open-h1/x").send().await.is_ok();
    let holder = Holder::new(3);
    let bot = bound(&house, &holder);
    let proof = holder.proof(("GET", &format!("{AT}/open/x")), &bot.token(), "one");
    with_proof(bot.get("/open/x"), &bot.token(), &proof).send().await.is_ok();
}

#[tokio::test]
async fn a_policy_sees_how_the_caller_showed_who_it_is() {
    let rule =
        "{ id: forbidden-text, effect: deny, when: { not: { agent: mode, in: [proof, mtls] } } }";
    let old = "{ id: forbidden-text, effect: deny, when: { param: text, eq: forbidden }, reason: \"this text is forbidden\" }";
    let house = Plan::new().await.policy("acme", old, rule).start(GATEWAY).await;
    house.agent("bot").get("/open/x").send().await.is_denied(Reason::PolicyDenied);
    let holder = Holder::new(4);
    let bot = bound(&house, &holder);
    let proof = holder.proof(("GET", &format!("{AT}/open/x")), &bot.token(), "one");
    with_proof(bot.get("/open/x"), &bot.token(), &proof).send().await.is_ok();
}

#[tokio::test]
async fn each_call_in_a_tunnel_brings_its_own_proof_under_our_name() {
    let house = trusting(house().await);
    let holder = Holder::new(5);
    let bot = bound(&house, &holder);
    let token = bot.token();
    let target = url(&house, "/v1/things");
    let tunnelled = |proof: Option<&str>| {
        let mut client = curl(&house, &bot);
        // The proxy's address without its token: that one is said under a scheme of its own.
        client.env("HTTPS_PROXY", format!("http://127.0.0.1:{}", house.port()));
        client.args(["--proxy-header", &format!("Proxy-Authorization: DPoP {token}")]);
        if let Some(proof) = proof {
            client.args(["-H", &format!("Aegis-DPoP: {proof}")]);
        }
        client.args(["-H", "DPoP: the upstream's own"]).arg(&target);
        client
    };
    let proof = holder.proof(("GET", &target), &token, "one");
    let said = says(&mut tunnelled(Some(&proof))).await;
    assert!(codes(&said).starts_with("200 200"), "{said:?}");
    let last = house.upstream().last();
    assert_eq!(last.header("dpop").as_deref(), Some("the upstream's own"));
    assert!(!last.everything().contains(&proof));
    let said = says(&mut tunnelled(Some(&proof))).await;
    assert!(codes(&said).starts_with("401 200") && said.0.contains("TokenReplayed"), "{said:?}");
    let said = says(&mut tunnelled(None)).await;
    assert!(codes(&said).starts_with("401 200") && said.0.contains("ProofMissing"), "{said:?}");
    assert_eq!(house.upstream().count(), 1);
}

/// A certificate for an agent, signed by the authority whose file the gateway names as `client_ca`.
fn certificate(plan: &Plan, name: &str) -> String {
    let (certificate, key) = plan.authority().pair(&[name]);
    plan.file(&format!("{name}.crt"), &certificate);
    plan.file(&format!("{name}.key"), &key);
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    URL_SAFE_NO_PAD.encode(Sha256::digest(&der))
}

/// A house whose `second-bot` is known by its certificate.
async fn house_with_certificates() -> Building {
    let plan = Plan::new().await;
    let sha256 = certificate(&plan, "second-bot");
    certificate(&plan, "stranger");
    let (foreign, key) = Authority::default().pair(&["second-bot"]);
    plan.file("foreign.crt", &foreign);
    plan.file("foreign.key", &key);
    let known = json!({ "sha256": sha256, "scopes": ["pay:write"] });
    let plan = plan.with("/listen/tls/client_ca", json!("ca.pem"));
    let plan = plan.with("/tenants/acme/agents/second-bot/certificate", known);
    trusting(plan.start(GATEWAY).await)
}

/// curl at the TLS listener, with a certificate and without a token.
fn shown(house: &Building, name: &str) -> Command {
    let mut client = Command::new("curl");
    client.args(["--silent", "--show-error", "--max-time", "20", "--cacert", "ca.pem"]);
    client.args(["--write-out", "\n%{http_code} %{http_connect} %{http_version}"]);
    client.args(["--cert", &format!("{name}.crt"), "--key", &format!("{name}.key")]);
    client.current_dir(house.data());
    client
}

#[tokio::test]
async fn an_agent_may_be_known_by_its_certificate_alone() {
    let house = house_with_certificates().await;
    let route = format!("https://localhost:{}/pay/out", house.tls_port());
    let pay = |name| {
        let mut client = shown(&house, name);
        client.args(["--json", r#"{"amount":5}"#]).arg(&route);
        client
    };
    let said = says(&mut pay("second-bot")).await;
    assert!(codes(&said).starts_with("200"), "{said:?}");
    let decision = house.journal().decisions().pop().unwrap();
    assert_eq!(decision.agent.unwrap().as_str(), "second-bot");
    let said = says(&mut pay("stranger")).await;
    assert!(codes(&said).starts_with("403") && said.0.contains("AgentUnknown"), "{said:?}");
    let said = says(&mut pay("foreign")).await;
    assert!(codes(&said).starts_with("000"), "who was signed by nobody we know: {said:?}");
    assert_eq!(house.upstream().count(), 1);
}

#[tokio::test]
async fn a_certificate_shown_to_the_proxy_counts_for_everything_in_the_tunnel() {
    let house = house_with_certificates().await;
    let through = |name, path: &str| {
        let mut client = shown(&house, name);
        // Shown to the proxy, and not to the upstream.
        client.args([
            "--proxy-cert",
            &format!("{name}.crt"),
            "--proxy-key",
            &format!("{name}.key"),
        ]);
        client.args(["--proxy-cacert", "ca.pem", "--cacert", "authority.crt"]);
        client.args(["--proxy", &format!("https://localhost:{}", house.tls_port())]);
        client.arg(url(&house, path));
        client
    };
    let said = says(&mut through("second-bot", "/v1/[1-3]")).await;
    // One tunnel, so curl tells of one CONNECT.
    assert_eq!(said.0.matches("\n200 200").count(), 1, "{said:?}");
    assert_eq!(said.0.matches("\n200 000").count(), 2, "{said:?}");
    assert_eq!(house.upstream().count(), 3);
    let agents = house.journal().decisions().into_iter().filter_map(|one| one.agent);
    assert!(agents.map(|agent| agent.as_str().to_owned()).all(|agent| agent == "second-bot"));
    let said = says(&mut through("stranger", "/v1/x")).await;
    assert!(codes(&said).starts_with("000 403"), "{said:?}");
    assert_eq!(house.upstream().count(), 3);
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_is_worthless_without_it() {
    let house = house_with_certificates().await;
    let pem = std::fs::read(house.data().join("second-bot.crt")).unwrap();
    let der = CertificateDer::from_pem_slice(&pem).unwrap();
    let key = CertificateThumbprint::from_bytes(Sha256::digest(&der).into());
    let bound = Confirmation::Certificate(key);
    let bot = house.agent("bot").claims(|claims| claims.confirmation = Some(bound));
    bot.get("/open/x").send().await.is_denied(Reason::CertificateMismatch);
    let get = |name| {
        let mut client = shown(&house, name);
        client.args(["-H", &format!("Authorization: Bearer {}", bot.token())]);
        client.arg(format!("https://localhost:{}/open/x", house.tls_port()));
        client
    };
    let said = says(&mut get("second-bot")).await;
    assert!(codes(&said).starts_with("200"), "{said:?}");
    let said = says(&mut get("stranger")).await;
    assert!(codes(&said).starts_with("401"), "{said:?}");
}
