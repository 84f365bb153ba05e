//! What operators ask about policies: which versions decide, reading the files again, and bundles for stock OPA.
//!
//! Not here: statuses and sockets (`ops`). Invariant: what is served as a bundle is the live version, signed with the
//! region's key; a candidate is not served.

use std::sync::Arc;

use aegis_domain::TenantId;
use aegis_policy::activation::Cleared;
use aegis_policy::{Archive, Snapshot};
use aegis_policy_rollout::Progress;
use http::HeaderValue;
use serde_json::{Map, Value, json};

use crate::wire::Gateway;
use aegis_policy_store::{Candidate, Form, Store};

/// A live version as one file.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) bytes: Vec<u8>,
    pub(super) etag: HeaderValue,
}

/// Every tenant's versions.
pub(super) fn list(gateway: &Gateway) -> Value {
    let tenants = gateway.corridor.policies.iter();
    json!({ "policies": tenants.map(|(tenant, store)| described(tenant, &store)).collect::<Vec<_>>() })
}

fn described(tenant: &TenantId, store: &Store) -> Value {
    let (policy, shelf) = (store.current(), store.shelf());
    json!({
        "tenant": tenant.as_str(),
        "live": version(&policy.live),
        "held": shelf.versions().map(version).collect::<Vec<_>>(),
        "candidate": policy.candidate.as_deref().map(candidate),
        "refused": shelf.refused,
    })
}

fn version(cleared: &Cleared) -> Map<String, Value> {
    let snapshot = cleared.snapshot();
    let policy = snapshot.policy_ref();
    let members = [
        ("version", json!(policy.version)),
        ("revision", json!(policy.revision)),
        ("source_sha256", json!(snapshot.source_digest())),
        ("bundle_sha256", json!(policy.bundle_sha256)),
        ("tests", json!(cleared.cases())),
        ("compared", json!(cleared.inputs())),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn candidate(candidate: &Candidate) -> Map<String, Value> {
    let state = match candidate.progress() {
        Progress::Running { .. } => "running",
        Progress::Held { .. } => "held",
        Progress::Complete => "complete",
        Progress::RolledBack { .. } => "rolled_back",
        Progress::Aborted => "aborted",
    };
    let mut told = version(&candidate.version);
    told.insert("agents".to_owned(), candidate.agents.to_string().into());
    told.insert("sample".to_owned(), candidate.sample.to_string().into());
    told.insert("state".to_owned(), state.into());
    told
}

/// Reads the files again; `Err` when some version was refused, with the same account of what happened.
pub(super) async fn reload(gateway: &Arc<Gateway>) -> Result<Value, Value> {
    let Some(tenants) = gateway.reloading.run(gateway).await else {
        return Err(json!({ "refused": "the configuration cannot be read; the log says why" }));
    };
    let is_refused = tenants.values().any(|tenant| tenant.mistakes.is_some());
    let told = tenants.iter().map(|(tenant, reload)| {
        json!({
            "tenant": tenant.as_str(),
            "result": reload.result,
            "live": reload.live,
            "mistakes": reload.mistakes,
        })
    });
    let told = json!({ "policies": told.collect::<Vec<_>>() });
    if is_refused { Err(told) } else { Ok(told) }
}

/// The bundle at `/bundles/<tenant>/<env>.tar.gz`, or at `/bundles/<tenant>/<env>.es256.tar.gz`.
pub(super) fn bundle(gateway: &Gateway, path: &str) -> Option<Served> {
    let (tenant, file) = path.strip_prefix("/bundles/")?.split_once('/')?;
    let policy = gateway.corridor.policies.of(&TenantId::parse(tenant).ok()?)?.current();
    let snapshot = policy.live.snapshot();
    let env = &snapshot.bundle().manifest().env;
    let form = match file.strip_suffix(".tar.gz")?.strip_prefix(env.as_str())? {
        "" => Form::EdDsa,
        ".es256" => Form::Es256,
        _ => return None,
    };
    let archive = policy.served(form, || signed(gateway, snapshot, form))?;
    let etag = HeaderValue::from_str(&format!("\"{}\"", archive.sha256)).ok()?;
    Some(Served { bytes: archive.bytes.clone(), etag })
}

fn signed(gateway: &Gateway, snapshot: &Snapshot, form: Form) -> Option<Archive> {
    let bundle = snapshot.bundle().clone();
    let payload = bundle.signing_payload();
    let (typ, payload) = (aegis_policy::SIGNATURE_TYPE, payload.as_bytes());
    let jwt = match form {
        Form::EdDsa => gateway.corridor.region_key.sign(typ, payload),
        Form::Es256 => gateway.bundle_key.sign(typ, payload).ok()?,
    };
    let archive = bundle.signed(jwt).archive();
    let archive = archive.inspect_err(|error| {
        tracing::error!(%error, "a bundle cannot be packed");
    });
    archive.ok()
}

/// Whether a client has this already (RFC 9110 §13.1.2: a list, compared weakly, or `*`).
pub(super) fn is_current(if_none_match: Option<&HeaderValue>, etag: &HeaderValue) -> bool {
    let Some(known) = if_none_match.and_then(|value| value.to_str().ok()) else { return false };
    let mut tags = known.split(',').map(str::trim);
    tags.any(|tag| {
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_the_bundle_is_known_by_any_form_of_its_tag() {
        let etag = HeaderValue::from_static("\"ab\"");
        let has = |text: &'static str| is_current(Some(&HeaderValue::from_static(text)), &etag);
        assert!(has("\"ab\"") && has("W/\"ab\"") && has("\"x\", \"ab\"") && has("*"));
        assert!(!has("\"a\"") && !has("ab") && !has(""));
        assert!(!is_current(None, &etag));
    }
}
