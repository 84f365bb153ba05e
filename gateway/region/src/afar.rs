//! Approvals in the ledger of a region that this gateway only follows: asked over the control API, of one voter after another.
//!
//! Not here: the ledger of this very process (`approvals`), and what a voter answers (`control`). Invariant: what is sent again
//! is sent under the name of the one call it is for, so that no retry uses a second grant; and nothing but a voter's word that
//! the grant was used for this call lets it through.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_config::FollowedRegistry;
use aegis_control_client::{Answer, Client, ClientError, Conditions};
use aegis_corridor::approvals::{Approvals, ApprovalsError, Claim, Question};
use aegis_corridor::clock;
use aegis_domain::{DecisionId, RuleId, TenantId, VoterUrls};
use anyhow::Context as _;
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// An election and a commit after it, of voters of which one is gone.
const WITHIN: Duration = Duration::from_secs(10);
/// Longer than a voter takes to say that it has no quorum.
const ATTEMPT: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(100);
/// Each takes a thread while it waits.
const AT_ONCE_MAX: usize = 64;

/// The region's ledger, as those use it who follow it.
#[derive(Debug)]
pub(crate) struct Afar {
    voters: Arc<Voters>,
    room: Arc<Semaphore>,
    runtime: Handle,
}

#[derive(Debug)]
struct Voters {
    urls: VoterUrls,
    client: Client,
}

impl Afar {
    pub(crate) fn open(registry: &FollowedRegistry, runtime: &Handle) -> anyhow::Result<Self> {
        let ca = registry.ca_file.as_deref().map(crate::read).transpose()?;
        let urls = registry.voters.clone();
        let first = urls.iter().next().unwrap_or_default();
        let client = Client::new(first, Some(registry.token.clone()), ca.as_deref())
            .context("the region cannot be asked for approvals")?;
        let room = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Ok(Self { voters: Arc::new(Voters { urls, client }), room, runtime: runtime.clone() })
    }

    /// What the first voter says that says anything, away from the threads that move bytes.
    async fn told<F>(&self, request: F) -> Result<Value, ApprovalsError>
    where
        F: Fn(&Client) -> Result<Answer, ClientError> + Send + 'static,
    {
        let begun = Instant::now();
        let room = tokio::time::timeout(WITHIN, Arc::clone(&self.room).acquire_owned()).await;
        let Ok(Ok(permit)) = room else { return Err(ApprovalsError::Unreachable) };
        let voters = Arc::clone(&self.voters);
        let told = self.runtime.spawn_blocking(move || {
            let told = voters.told(begun, &request);
            drop(permit);
            told
        });
        told.await.unwrap_or(Err(ApprovalsError::Unreachable))
    }
}

impl Voters {
    fn told(
        &self,
        begun: Instant,
        request: &dyn Fn(&Client) -> Result<Answer, ClientError>,
    ) -> Result<Value, ApprovalsError> {
        let left = || WITHIN.saturating_sub(begun.elapsed());
        loop {
            let round = self.urls.ask(|url| {
                let client = self.client.at(url).within(left().min(ATTEMPT));
                heard(request(&client))
            });
            match round {
                Ok(answer) => return answer,
                Err(error) if left() <= PAUSE || is_hopeless(&error) => {
                    tracing::error!(%error, "no voter answers for an approval");
                    return Err(ApprovalsError::Unreachable);
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// What an answer says of the ledger; an error where it says nothing, and the next voter is to be asked.
fn heard(
    answer: Result<Answer, ClientError>,
) -> Result<Result<Value, ApprovalsError>, ClientError> {
    match answer {
        Ok(answer) => Ok(Ok(answer.body)),
        // What the ledger refuses once, it refuses at every voter.
        Err(ClientError::Refused { status: 400 | 404 | 409 | 422 | 507, kind, .. }) => {
            tracing::warn!(kind, "an approval was refused by the ledger");
            Ok(Err(ApprovalsError::Refused))
        }
        Err(error) => Err(error),
    }
}

/// The token does not count at the last voter either; no election changes that.
fn is_hopeless(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { status: 401 | 403, .. })
}

fn path(tenant: &TenantId, id: DecisionId, verb: &str) -> String {
    format!("/v1/approvals/{tenant}/{id}{verb}")
}

#[async_trait]
impl Approvals for Afar {
    async fn ask(&self, question: Question) -> Result<(), ApprovalsError> {
        let Question { tenant, agent, tool, request } = question;
        let (path, once) = (path(&tenant, request.id, ""), format!("ask-{}", request.id));
        let ttl_s = request.expires_at.since(clock::now()).s_ceil();
        let wish = json!({
            "params_hash": request.params_hash.to_string(),
            "rules": request.rules,
            "agent": agent,
            "tool": tool,
            "routes": request.routes,
            "ttl_s": ttl_s,
        });
        let asked = self.told(move |client| {
            client.put(&path, &wish, &Conditions { once: Some(&once), ..Conditions::default() })
        });
        asked.await.map(drop)
    }

    async fn granted(&self, claim: &Claim) -> Result<BTreeSet<RuleId>, ApprovalsError> {
        let path = path(&claim.tenant, claim.id, "/grant");
        let path = format!("{path}?params_hash={}", claim.call);
        let told = self.told(move |client| client.get(&path)).await?;
        let rules = told.get("rules").cloned().unwrap_or_default();
        serde_json::from_value(rules).map_err(|error| {
            tracing::error!(%error, "a voter's answer about an approval cannot be read");
            ApprovalsError::Unreachable
        })
    }

    async fn consume(&self, claim: &Claim, rules: BTreeSet<RuleId>) -> Result<(), ApprovalsError> {
        let path = path(&claim.tenant, claim.id, "/consume");
        let once = format!("consume-{}", claim.by);
        let wish = json!({ "params_hash": claim.call.to_string(), "rules": rules });
        let used = self.told(move |client| {
            client.post(&path, &wish, &Conditions { once: Some(&once), ..Conditions::default() })
        });
        used.await.map(drop)
    }
}
