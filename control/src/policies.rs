//! From policy files to a version in the region's ledger, and from the ledger to what a version was made of.
//!
//! Not here: what a policy means and when it is fit (`policies/engine`), and what the ledger takes (`ledger`). Invariant: a
//! version is proposed only after it compiled, passed its own tests and two engines agreed on it, and with the region's
//! signature.

use aegis_audit_chain::Hash;
use aegis_control_pull::{INPUTS, digest};
use aegis_document::{Diagnostics, Document, Location};
use aegis_ledger::{Action, LineKey, Outcome, Refusal, ReleaseAct, ReleaseRefusal};
use aegis_policy::activation::{Cleared, Gate, clear};
use aegis_policy::{Bundle, SIGNATURE_TYPE, Snapshot, SourceError};
use aegis_policy_language::PolicySet;
use aegis_policy_review::diff::{self, Change};
use aegis_raft_store::Wish;
use aegis_registry::{Actor, ClientId, Fingerprint};
use serde::Deserialize;

use crate::Control;
use crate::problem::Problem;
use aegis_control_commands::LedgerError;

/// How often others may be faster with the number that a version was compiled for.
const ATTEMPTS: u8 = 5;

/// Who numbers a command, where its sender does.
pub(crate) type Once = Option<(ClientId, Fingerprint)>;

/// One file of a policy, as it is sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyFile {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Control {
    /// Has the ledger do something about releases.
    pub(crate) async fn release(
        &self,
        by: &Actor,
        act: ReleaseAct,
        once: Once,
    ) -> Result<Outcome, Problem> {
        let action = Action::Release(act);
        let wish = Wish { by: by.clone(), action: action.clone(), once };
        let propose = async {
            match self.node.propose(wish).await.map_err(LedgerError::from)? {
                Ok(outcome) => Ok(outcome),
                Err(Refusal::Release(refusal)) => Err(Problem::Release(refusal)),
                Err(refusal) => Err(LedgerError::from(refusal).into()),
            }
        };
        self.on_record((by.clone(), action), propose).await
    }

    /// Makes a version of files. It is compiled for the number it will get; where another gets that number first, again.
    pub(crate) async fn push(
        &self,
        by: &Actor,
        line: &LineKey,
        files: Vec<PolicyFile>,
        once: Once,
    ) -> Result<u32, Problem> {
        let _turn = self.compiling.lock().await;
        for attempt in 0..ATTEMPTS {
            let number = self.next_version(line)?;
            let cleared = clear_files(files.clone(), line.clone(), number).await?;
            let (archive, source) = self.signed(&cleared)?;
            let bundle = Hash::of(&archive);
            self.release(by, ReleaseAct::Store { digest: bundle, content: archive }, None).await?;
            let act = ReleaseAct::Publish { line: line.clone(), number, bundle, source };
            match self.release(by, act, numbered(&once, attempt)).await {
                Ok(Outcome::Version(number)) => return Ok(number),
                Err(Problem::Release(ReleaseRefusal::Number { .. })) => {}
                Ok(
                    Outcome::Registry(_) | Outcome::Epoch(_) | Outcome::Voter(_) | Outcome::Done,
                ) => return Err(Problem::Ledger(LedgerError::Gone)),
                Err(problem) => return Err(problem),
            }
        }
        Err(Problem::Ledger(LedgerError::NoQuorum))
    }

    fn next_version(&self, line: &LineKey) -> Result<u32, Problem> {
        let ledger = self.node.ledger();
        let held = ledger.releases().line(line);
        if let Some(author) = held.and_then(|line| line.author()) {
            let author = author.region.clone();
            return Err(Problem::Release(ReleaseRefusal::Authored { author }));
        }
        let next = held.map_or(Some(1), aegis_ledger::Line::next);
        next.ok_or(Problem::Release(ReleaseRefusal::Full))
    }

    /// The archive with the region's signature in it, and the digest of what it was made of.
    fn signed(&self, cleared: &Cleared) -> Result<(Vec<u8>, Hash), Problem> {
        let bundle = cleared.snapshot().bundle().clone();
        let jwt = self.region_key.sign(SIGNATURE_TYPE, bundle.signing_payload().as_bytes());
        let source = digest(cleared.snapshot().source_digest()).ok_or(Problem::Compiler)?;
        Ok((bundle.signed(jwt).archive()?.bytes, source))
    }

    /// The bundle of a version, for as long as its content is held.
    pub(crate) fn bundle(&self, line: &LineKey, number: u32) -> Result<Vec<u8>, Problem> {
        let ledger = self.node.ledger();
        let version = ledger.releases().line(line).and_then(|line| line.version(number));
        let version = version.ok_or(Problem::Release(ReleaseRefusal::VersionUnknown))?;
        let content = ledger.releases().content(version.bundle);
        Ok(content.ok_or(Problem::Release(ReleaseRefusal::ContentGone))?.bytes.to_vec())
    }

    /// What changes from one version to another.
    pub(crate) async fn changes(
        &self,
        line: &LineKey,
        (from, to): (u32, u32),
    ) -> Result<Vec<Change>, Problem> {
        let (old, new) = (self.bundle(line, from)?, self.bundle(line, to)?);
        let compared = tokio::task::spawn_blocking(move || {
            let (_, old) = opened(&old)?;
            let (_, new) = opened(&new)?;
            Ok(diff::between(&old, &new))
        });
        compared.await.map_err(|_| Problem::Compiler)?
    }
}

/// A bundle of the ledger, and the set it was made of.
pub(crate) fn opened(archive: &[u8]) -> Result<(Bundle, PolicySet), Problem> {
    let bundle = Bundle::open(archive)?;
    let set = Snapshot::source_of(&bundle).map_err(|error| match error {
        SourceError::Bundle(error) => Problem::Bundle(error),
        SourceError::Compile(found) => Problem::Unfit(found),
        SourceError::OtherCompiler { .. } | SourceError::NotItsSource { .. } => Problem::Compiler,
    })?;
    Ok((bundle, set))
}

/// Every attempt has a number of its own, and a request that is sent again makes the same attempts.
fn numbered(once: &Once, attempt: u8) -> Once {
    let (client, request) = once.as_ref()?;
    let client = match attempt {
        0 => client.clone(),
        again => ClientId::of(format!("{client} {again}").as_bytes()),
    };
    Some((client, request.clone()))
}

async fn clear_files(
    files: Vec<PolicyFile>,
    line: LineKey,
    number: u32,
) -> Result<Cleared, Problem> {
    let cleared = tokio::task::spawn_blocking(move || cleared(&files, &line, number)).await;
    cleared.map_err(|_| Problem::Compiler)?.map_err(Problem::Unfit)
}

fn cleared(files: &[PolicyFile], line: &LineKey, number: u32) -> Result<Cleared, Diagnostics> {
    let (mut documents, mut found) = (Vec::new(), Diagnostics::default());
    for PolicyFile { name, text } in files {
        match Document::parse(name, text) {
            Ok(document) => documents.push(document),
            Err(mistakes) => found.merge(mistakes),
        }
    }
    let set = found.or(()).and_then(|()| PolicySet::parse(&documents))?;
    let first = files.first().map_or("policy", |file| &file.name);
    if set.env.to_string() != line.environment.to_string() {
        let mut found = Diagnostics::default();
        let message = format!("it is for environment `{}`", set.env);
        found.report(&Location::start_of(first), message, None);
        return Err(found);
    }
    let (tenant, version) = (&line.tenant, number.into());
    let gate = Gate { tenant, version, inputs: INPUTS, bundle_sha256: None };
    clear(&set, &gate).map_err(|refusal| refusal.into_diagnostics(first))
}
