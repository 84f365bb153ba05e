//! What must hold before a version may decide calls: it compiles to what was promised, passes its own tests, and two
//! engines read it alike.
//!
//! Not here: reading files, checking signatures, the thread this runs on, what is live (the gateway). Invariant: only
//! this gate makes a `Cleared`, and a `Cleared` is the only thing a store takes.

use std::error::Error;
use std::sync::Arc;

use aegis_document::{Diagnostics, Location};
use aegis_domain::{Effect, TenantId, ToolName};
use aegis_policy_language::{Example, ExpectedRules, ParamKind, PolicySet, Presence, Tool};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::cases::{self, CaseResult};
use crate::hostile::Hostile;
use crate::rego::{Interpreter, LoadError};
use crate::snapshot::{CompileContext, Snapshot, SourceError};

/// How often a document is tried: an engine has its time by the clock, so a busy machine may take an answer away. Engines
/// that read a version differently do so every time.
const ATTEMPTS: u8 = 3;

/// What a version is held against.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    pub tenant: &'a TenantId,
    /// The number this version has.
    pub version: u64,
    /// How many generated documents both engines must agree on.
    pub inputs: usize,
    /// What the bundle must hash to (`Bundle::digest`), where that was announced.
    pub bundle_sha256: Option<&'a str>,
}

/// A version that passed the gate.
#[derive(Clone, Debug)]
pub struct Cleared {
    snapshot: Arc<Snapshot>,
    cases: usize,
    inputs: usize,
}

/// Why a version stays outside.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("it does not compile\n{0}")]
    Invalid(Diagnostics),
    #[error("it is for tenant `{0}`")]
    Tenant(TenantId),
    #[error("it is version {0}")]
    Version(u64),
    #[error("its bundle is not the one that was announced")]
    Digest,
    #[error("its signature does not hold by the keys that are known here")]
    Signature(#[source] Box<dyn Error + Send + Sync>),
    #[error("its bundle cannot be compiled again")]
    Source(#[source] SourceError),
    #[error("{} of its own tests failed\n{}", .0.len(), listed(.0))]
    Cases(Vec<CaseResult>),
    #[error("the reference engine does not read it")]
    Unreadable(#[source] LoadError),
    #[error("two engines disagree on tool `{tool}`")]
    Disagreement {
        tool: String,
        /// The document they disagree on, generated from the policy's own tests.
        document: Box<Value>,
    },
}

impl Refusal {
    /// A word for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Invalid(_) => "invalid",
            Refusal::Tenant(_) => "tenant",
            Refusal::Version(_) | Refusal::Digest | Refusal::Source(_) => "bundle",
            Refusal::Signature(_) => "signature",
            Refusal::Cases(_) => "tests",
            Refusal::Unreadable(_) | Refusal::Disagreement { .. } => "engines",
        }
    }

    /// What is wrong and where: the place of each mistake and each failed test, or else the start of `file`.
    pub fn into_diagnostics(self, file: &str) -> Diagnostics {
        let message = self.to_string();
        let mut found = Diagnostics::default();
        match self {
            Refusal::Invalid(mistakes) => return mistakes,
            Refusal::Cases(failed) => {
                for case in failed {
                    let failure = case.failure.unwrap_or_default();
                    found.report(&case.at, format!("test `{}`: {failure}", case.name), None);
                }
            }
            Refusal::Disagreement { document, .. } => {
                let help = format!("keep this version back and report the document: {document}");
                found.report(&Location::start_of(file), message, Some(help));
            }
            Refusal::Tenant(_)
            | Refusal::Version(_)
            | Refusal::Digest
            | Refusal::Signature(_)
            | Refusal::Source(_)
            | Refusal::Unreadable(_) => found.report(&Location::start_of(file), message, None),
        }
        found
    }
}

fn listed(failed: &[CaseResult]) -> String {
    let lines = failed.iter().map(|case| {
        let failure = case.failure.as_deref().unwrap_or_default();
        format!("{}: {}: {failure}", case.at, case.name)
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Cleared {
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// How many of its own tests it passed.
    pub fn cases(&self) -> usize {
        self.cases
    }

    /// On how many documents, those of its tests included, the engines were compared.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// Takes a set through the gate; milliseconds to seconds, so never on the way of a call.
pub fn clear(set: &PolicySet, gate: &Gate<'_>) -> Result<Cleared, Refusal> {
    let snapshot = Snapshot::of(set, CompileContext { version: gate.version });
    judged(set, snapshot.map_err(Refusal::Invalid)?, gate)
}

/// Takes a bundle through the gate. Whose it is comes first: `check` answers for its signature, as in `Bundle::verify`.
pub fn clear_bundle<E: Error + Send + Sync + 'static>(
    bundle: Bundle,
    check: impl FnOnce(&str) -> Result<Vec<u8>, E>,
    gate: &Gate<'_>,
) -> Result<Cleared, Refusal> {
    bundle.verify(check).map_err(|error| Refusal::Signature(Box::new(error)))?;
    let (set, snapshot) = Snapshot::from_bundle(bundle).map_err(Refusal::Source)?;
    judged(&set, snapshot, gate)
}

fn judged(set: &PolicySet, snapshot: Snapshot, gate: &Gate<'_>) -> Result<Cleared, Refusal> {
    if set.tenant != *gate.tenant {
        return Err(Refusal::Tenant(set.tenant.clone()));
    }
    if snapshot.policy_ref().version != gate.version {
        return Err(Refusal::Version(snapshot.policy_ref().version));
    }
    let promised = gate.bundle_sha256.unwrap_or(&snapshot.policy_ref().bundle_sha256);
    if promised != snapshot.policy_ref().bundle_sha256 {
        return Err(Refusal::Digest);
    }
    let report = cases::run(&snapshot, set);
    let cases = report.cases.len();
    let failed: Vec<CaseResult> =
        report.cases.into_iter().filter(|case| case.failure.is_some()).collect();
    if !failed.is_empty() {
        return Err(Refusal::Cases(failed));
    }
    let inputs = compare(&snapshot, set, gate.inputs)?;
    Ok(Cleared { snapshot: Arc::new(snapshot), cases, inputs })
}

/// Asks both engines about the set's own tests and about what can be made of them.
fn compare(snapshot: &Snapshot, set: &PolicySet, generated: usize) -> Result<usize, Refusal> {
    let interpreter = Interpreter::new(snapshot).map_err(Refusal::Unreadable)?;
    let good = documents(snapshot, set);
    // Another set is another seed, and the same set the same one, so that a refusal can be looked into.
    let seed = set.digest.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let hostile = Hostile::new(good.clone(), seed.unwrap_or(0)).take(generated);
    let mut compared = 0_usize;
    for document in good.into_iter().chain(hostile) {
        // Two errors are alike: either is a denial.
        let agree = || snapshot.decide(&document).ok() == interpreter.decide(&document).ok();
        if !(0..ATTEMPTS).any(|_| agree()) {
            let tool = document.get("tool").and_then(Value::as_str).unwrap_or_default().to_owned();
            return Err(Refusal::Disagreement { tool, document: Box::new(document) });
        }
        compared = compared.saturating_add(1);
    }
    Ok(compared)
}

/// One document for every test, and one for every tool that has none.
fn documents(snapshot: &Snapshot, set: &PolicySet) -> Vec<Value> {
    let untested = set.tools.iter().filter(|(name, _)| {
        let mut examples = set.examples.iter();
        !examples.any(|example| example.tool == **name)
    });
    let made: Vec<Example> = untested.map(|(name, tool)| plain_call(set, name, tool)).collect();
    let examples = set.examples.iter().chain(&made);
    // An example that makes no call has failed as a test already.
    examples.filter_map(|example| cases::document(snapshot, set, example).ok()).collect()
}

/// A call by someone the tool lets in, with what it requires.
fn plain_call(set: &PolicySet, name: &ToolName, tool: &Tool) -> Example {
    let required = tool.params.iter().filter(|(_, param)| param.required == Presence::Required);
    let params = required.map(|(name, param)| {
        let first = param.one_of.as_ref().and_then(|list| set.members(list).first());
        let lowest = param.min.clone().map_or(json!(0), Value::Number);
        let value = match param.kind {
            ParamKind::String => first.map_or(json!("x"), |text| json!(text.as_str())),
            ParamKind::Integer | ParamKind::Number => lowest,
            ParamKind::Boolean => json!(true),
            ParamKind::Array => json!([]),
            ParamKind::Object => json!({}),
        };
        (name.to_string(), value)
    });
    let mut example = Example {
        at: tool.at.clone(),
        name: "plain call".to_owned(),
        tool: name.clone(),
        scenario: Default::default(),
        params: params.collect(),
        effect: Effect::Allow,
        rules: ExpectedRules::Any,
        would: None,
        exceptions: None,
    };
    let agent = example.scenario.agent.get_or_insert_default();
    let groups = tool.allow.groups.iter().flat_map(|groups| set.members(groups));
    agent.groups = groups.take(1).map(|group| group.to_string()).collect();
    agent.scopes = tool.allow.scopes.iter().map(ToString::to_string).collect();
    example
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;

    use super::*;

    const POLICY: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { name: t, tenant: acme, env: prod }
tools:
  pay:
    class: write
    match: { hosts: [a.test], methods: [POST], paths: [/x] }
    allow: { groups: [finance], scopes: [\"pay:write\"] }
    params: { n: { type: integer, required: true, min: 1 }, note: { type: string } }
    rules:
    - { id: large, effect: deny, when: { param: n, gt: 100 } }
  read:
    class: read
    match: { hosts: [a.test], methods: [GET], paths: [/y] }
    allow: { groups: [finance] }
    params: { id: { type: string, required: true } }
tests:
- name: pay
  tool: pay
  agent: { groups: [finance], scopes: [\"pay:write\"] }
  cases:
  - { params: { n: 5 }, expect: allow }
  - { params: { n: 500 }, expect: { deny: [large] } }
";

    fn set(text: &str) -> PolicySet {
        PolicySet::parse(&[Document::parse("t.yaml", text).unwrap()]).unwrap()
    }

    fn gate(tenant: &TenantId) -> Gate<'_> {
        Gate { tenant, version: 3, inputs: 50, bundle_sha256: None }
    }

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    #[test]
    fn a_version_that_keeps_its_promises_is_cleared() {
        let cleared = clear(&set(POLICY), &gate(&acme())).unwrap();
        assert_eq!(cleared.cases(), 2);
        assert_eq!(cleared.inputs(), 2 + 1 + 50, "its tests, the untested tool, the generated");
        assert_eq!(cleared.snapshot().policy_ref().version, 3);
        let digest = cleared.snapshot().policy_ref().bundle_sha256.clone();
        let tenant = acme();
        let promised = Gate { bundle_sha256: Some(&digest), ..gate(&tenant) };
        assert!(clear(&set(POLICY), &promised).is_ok());
    }

    #[test]
    fn a_version_that_fails_one_of_its_tests_is_refused_with_the_test() {
        let wrong =
            POLICY.replace("{ n: 500 }, expect: { deny: [large] }", "{ n: 500 }, expect: allow");
        let refusal = clear(&set(&wrong), &gate(&acme())).unwrap_err();
        assert_eq!(refusal.code(), "tests");
        let text = refusal.to_string();
        assert!(text.contains("1 of its own tests failed") && text.contains("t.yaml:23"), "{text}");
    }

    #[test]
    fn another_tenants_version_and_another_bundle_are_refused() {
        let other = TenantId::parse("other").unwrap();
        assert_eq!(clear(&set(POLICY), &gate(&other)).unwrap_err().code(), "tenant");
        let tenant = acme();
        let promised = Gate { bundle_sha256: Some("00"), ..gate(&tenant) };
        assert_eq!(clear(&set(POLICY), &promised).unwrap_err().code(), "bundle");
    }

    #[test]
    fn a_bundle_is_believed_only_when_its_signature_and_its_source_hold() {
        let set = set(POLICY);
        let compiled = Snapshot::of(&set, CompileContext { version: 3 }).unwrap();
        let payload = compiled.bundle().signing_payload().into_bytes();
        let good = |_: &str| Ok::<_, std::fmt::Error>(payload.clone());
        let forged = |_: &str| Err(std::fmt::Error);
        let signed = compiled.bundle().clone().signed("jwt".to_owned());
        let tenant = acme();
        let code = |refused: Result<Cleared, Refusal>| refused.unwrap_err().code();

        let cleared = clear_bundle(signed.clone(), good, &gate(&tenant)).unwrap();
        assert_eq!(cleared.snapshot().policy_ref(), compiled.policy_ref());
        assert_eq!(cleared.cases(), 2);
        assert_eq!(code(clear_bundle(signed.clone(), forged, &gate(&tenant))), "signature");
        let unsigned = compiled.bundle().clone();
        assert_eq!(code(clear_bundle(unsigned, good, &gate(&tenant))), "signature");
        let other = Gate { version: 4, ..gate(&tenant) };
        assert_eq!(code(clear_bundle(signed, good, &other)), "bundle");
    }

    #[test]
    fn a_tool_without_tests_is_asked_about_with_a_call_that_it_lets_in() {
        let set = set(POLICY);
        let snapshot = Snapshot::of(&set, CompileContext { version: 1 }).unwrap();
        let documents = documents(&snapshot, &set);
        let effects = documents.iter().map(|document| snapshot.decide(document).unwrap().effect);
        let expected = [Effect::Allow, Effect::Deny, Effect::Allow];
        assert_eq!(effects.collect::<Vec<_>>(), expected);
    }
}
