//! A token issuer of the load test's own: signs agents' tokens and publishes its key.
//!
//! Not here: how the gateway checks them. Written again here, because a load test that shares the gateway's code would
//! not notice when that code leaves the standard. Invariant: a token lives ten minutes, the gateway's limit is fifteen.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

const LIFE_S: u64 = 600;
const KEY_ID: &str = "loadtest-1";
/// What tokens and the gateway's configuration agree on.
pub(crate) const ISSUER: &str = "https://loadtest.localhost";
pub(crate) const AUDIENCE: &str = "https://gateway.localhost";
pub(crate) const ORG: &str = "acme";
pub(crate) const TENANT: &str = "load";
const SCOPE: &str = "payments:read payments:write";

/// Signs tokens with an Ed25519 key that lives as long as the run.
pub(crate) struct Issuer {
    key: Ed25519KeyPair,
    random: SystemRandom,
}

impl Issuer {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let failed = || anyhow!("no signing key can be made");
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| failed())?;
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| failed())?;
        Ok(Self { key, random })
    }

    /// The public key as a JWK set (RFC 8037 §2).
    pub(crate) fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID, "x": x,
        });
        json!({ "keys": [key] })
    }

    /// A reusable access token for one agent (RFC 9068).
    pub(crate) fn token(&self, agent: &str) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut jti = [0; 16];
        self.random.fill(&mut jti).map_err(|_| anyhow!("no randomness"))?;
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": KEY_ID });
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "org": ORG, "tenant": TENANT, "sub": agent, "client_id": agent,
            "scope": SCOPE, "iat": now, "exp": now.saturating_add(LIFE_S),
            "jti": URL_SAFE_NO_PAD.encode(jti), "use": "bound",
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ED25519, UnparsedPublicKey};

    #[test]
    fn a_token_verifies_under_the_published_key() {
        let issuer = Issuer::new().unwrap();
        let token = issuer.token("agent-1").unwrap();
        let jwks = issuer.jwks();
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let key = decode(jwks["keys"][0]["x"].as_str().unwrap());

        let (signed, signature) = token.rsplit_once('.').unwrap();
        let checked =
            UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &decode(signature));
        assert!(checked.is_ok());
        let claims: Value =
            serde_json::from_slice(&decode(signed.split_once('.').unwrap().1)).unwrap();
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert!(claims["sub"] == "agent-1" && life <= 15 * 60, "{claims}");
    }
}
