//! One call, seven rooms: the order in which they are walked, written once for every door.
//!
//! Not here: sockets (the gateway's doors) and the rooms themselves. Invariant: every call that gets an answer from us, allowed or
//! refused, has a record; a call is let through only with a `Permit`.

use std::sync::Arc;

use aegis_audit_disclosures::Disclosures;
use aegis_audit_ship::{Journal, SHIP_EVERY, Shipper};
use aegis_audit_witness::{Anchors, QuorumStanding, Witnesses};
use aegis_config::Config;
use aegis_decide::{BacklogRule, NO_APPROVALS};
use aegis_domain::{CallKind, Decision, Facts, Fault, HotAnswer, HotRefusal, Reason, Ttl, Verdict};
use aegis_identity::{Nonces, SigningKey};
use aegis_policy_store::{Did, Policies};
use aegis_state::HotState;
use aegis_telemetry::Metrics;
use async_trait::async_trait;
use tokio::runtime::Handle;

use crate::allowance::Allowance;
use crate::approvals::Approvals;
use crate::clock;
use crate::context::{Arrival, Asked, CallContext, Identified, Read, Received};
use crate::drain::Drain;
use crate::refusal::{Entry, Refusal};
use crate::rooms::{approve, gather, identify, judge, prepare, read, seal, settle};
use crate::roster::Roster;
use crate::shadow::{Job, Shadow};
use crate::tenants::Tenants;
use crate::via::Via;
use crate::warnings::Warnings;

/// When a backlog may be less: a round of the shipper later.
const NEXT_SHIPMENT: Ttl = Ttl::from_s(SHIP_EVERY.as_secs());

/// Where a door keeps the body until `read` asks for it.
#[async_trait]
pub trait BodySource: Send {
    /// The whole body, or why it cannot be had within these bounds.
    async fn read_whole(
        &mut self,
        bytes_max: usize,
        deadline: std::time::Duration,
    ) -> Result<Received, Reason>;
}

/// The rooms, and everything they need that outlives a call.
pub struct Corridor {
    pub config: Config,
    /// Whom it can know.
    pub roster: Arc<Roster>,
    /// Whose calls it takes.
    pub tenants: Arc<Tenants>,
    /// Makes proofs name something that nobody could know before.
    pub nonces: Option<Nonces>,
    /// Where it is written which token service this gateway believes.
    pub metadata: Option<Arc<str>>,
    pub policies: Policies,
    /// Where calls wait for a candidate's opinion.
    pub shadow: Shadow,
    /// Whom calls that wait for a person ask; `None` where nobody can be asked.
    pub approvals: Option<Arc<dyn Approvals>>,
    pub state: Arc<dyn HotState>,
    pub journal: Arc<Journal>,
    /// Carries the journal into its bucket, where there is one.
    pub shipper: Option<Shipper>,
    /// Shows the journal's heads to the region's voters, where there are any.
    pub anchors: Option<Anchors>,
    /// Shows them to outside witnesses, and keeps what all of them said.
    pub witnesses: Option<Witnesses>,
    /// Opens the digests of records, for those who may look.
    pub disclosures: Disclosures,
    /// Signs attestations.
    pub region_key: SigningKey,
    /// What attestations name as their issuer.
    pub issuer: String,
    /// What we call ourselves to those who pass calls on.
    pub via: Via,
    pub drain: Arc<Drain>,
    pub metrics: Metrics,
    pub warnings: Warnings,
    /// Settles calls, whatever becomes of the threads that move bytes.
    pub control: Handle,
}

impl std::fmt::Debug for Corridor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "corridor of {}", self.config.region)
    }
}

/// What the corridor gives the door.
#[derive(Debug)]
pub enum Admission {
    /// `ctx.permit` and `ctx.outgoing` are set.
    LetThrough,
    Refused(Box<Refusal>),
}

impl Corridor {
    /// Walks a call from identify to seal.
    pub async fn admit(
        &self,
        ctx: &mut CallContext,
        arrival: &Arrival,
        body: &mut dyn BodySource,
    ) -> Admission {
        if let Some(told) = &arrival.presented.told {
            ctx.tried = told.scheme;
        }
        let decision = match self.decide(ctx, arrival, body).await {
            Ok(decision) => decision,
            Err(reason) => self.refusal_decision(ctx, reason),
        };
        let sealed = seal::seal(self, ctx, decision, arrival).await;
        if let Some(job) = ctx.shadow.take() {
            self.shadow.ask(self, *job);
        }
        match sealed {
            Ok(()) if ctx.permit.is_some() => Admission::LetThrough,
            Ok(()) => {
                self.let_go(ctx).await;
                Admission::Refused(Box::new(self.refusal(ctx)))
            }
            Err(reason) => {
                self.let_go(ctx).await;
                ctx.decision = Some(aegis_decide::refuse(ctx.id, reason));
                Admission::Refused(Box::new(self.refusal(ctx)))
            }
        }
    }

    /// Answers a call whose head was refused before it could be read, and records that.
    pub async fn refuse_unread(&self, reason: Reason, asked: Asked) -> Refusal {
        let now = clock::now();
        let (Ok(id), Ok(trace)) = (clock::decision_id(now), clock::trace(None)) else {
            return Refusal::nameless();
        };
        let mut ctx = CallContext::new(id, trace, now);
        ctx.asked = asked;
        let decision = aegis_decide::refuse(id, reason);
        if let Err(reason) = seal::seal_unread(self, &mut ctx, decision).await {
            ctx.decision = Some(aegis_decide::refuse(id, reason));
        }
        self.refusal(&ctx)
    }

    async fn decide(
        &self,
        ctx: &mut CallContext,
        arrival: &Arrival,
        body: &mut dyn BodySource,
    ) -> Result<Decision, Reason> {
        let identified = identify::identify(arrival, self, (ctx.id, ctx.arrived))?;
        let identified = ctx.identified.insert(identified).clone();
        if identified.tenant.region != self.config.region {
            return Err(Reason::WrongRegion);
        }
        let read = read::read(self, &identified, arrival, body, &mut ctx.clock).await?;
        let known = self.roster.read().admit(read.call.kind);
        if let Err(reason) = known.and_then(|()| self.has_room(read.call.kind)) {
            ctx.read = Some(read);
            return Err(reason);
        }
        let facts = gather::gather(self, ctx, &identified, &read, arrival).await;
        let decision =
            judge::judge(ctx, (&identified, &read, &facts), &self.config.region, &NO_APPROVALS);
        let is_failed = decision.verdict == Verdict::Deny(Reason::PolicyEngine);
        if is_failed {
            self.engine_failed(&identified);
        }
        let effect = (!is_failed).then(|| decision.verdict.effect());
        identified.judges.decided(Did { effect, us: ctx.clock.decision_us() });
        let known = (&identified, &read, &facts);
        let decision = approve::approve(self, ctx, known, arrival, decision).await;
        ctx.shadow = Job::of(ctx, &identified, &read, &facts, &decision).map(Box::new);
        ctx.facts = Some(facts);
        let decision = self.prepare(ctx, &read, arrival, decision);
        ctx.read = Some(read);
        Ok(decision)
    }

    /// While too many records wait for the audit bucket, or one head too long for the voters or for a quorum of outside
    /// witnesses, only what the operator named goes on.
    fn has_room(&self, kind: CallKind) -> Result<(), Reason> {
        let by_voters = self.anchors.as_ref().map(Anchors::lag);
        let outside = self.witnesses.as_ref().and_then(Witnesses::quorum);
        let lag = by_voters.max(outside.as_ref().map(QuorumStanding::lag));
        if lag.zip(self.config.anchor_lag_max).is_some_and(|(lag, max)| lag > max) {
            BacklogRule::StopWrites.admit(kind)?;
        }
        match (&self.shipper, &self.config.shipping) {
            (Some(shipper), Some(config)) if shipper.is_full() => config.when_full.admit(kind),
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// The call is denied already; a candidate that fails decides no further ones.
    fn engine_failed(&self, Identified { tenant, judges, .. }: &Identified) {
        self.metrics.policy().engine_error(&tenant.id);
        judges.engine_failed(clock::now());
    }

    /// Builds what would be sent, so that the record can name it; a call that cannot be built is refused.
    fn prepare(
        &self,
        ctx: &mut CallContext,
        read: &Read,
        arrival: &Arrival,
        decision: Decision,
    ) -> Decision {
        if !decision.verdict.lets_through() {
            return decision;
        }
        match prepare::prepare(read, &decision, arrival, (&ctx.trace, &self.via)) {
            Ok(outgoing) => {
                ctx.outgoing = Some(outgoing);
                decision
            }
            Err(reason) => Decision { verdict: Verdict::Deny(reason), ..decision },
        }
    }

    /// A refusal before judging still names the policy it would have been judged under.
    fn refusal_decision(&self, ctx: &CallContext, reason: Reason) -> Decision {
        let judges = ctx.identified.as_ref().map(|identified| &identified.judges);
        let policy = judges.map(|judges| judges.enforced.policy_ref().clone());
        Decision { policy, ..aegis_decide::refuse(ctx.id, reason) }
    }

    /// A refused call gives its hold back, also one that it was never told of.
    async fn let_go(&self, ctx: &mut CallContext) {
        if let Some(Facts { hot: HotAnswer::Unanswered(_), .. }) = &ctx.facts {
            self.state.abandon(&ctx.id);
        }
        if let Some(hold) = ctx.hold.take() {
            settle::release(self, &hold).await;
        }
    }

    fn entry(&self, reason: Reason) -> Entry {
        let nonces = self.nonces.as_ref().filter(|_| reason == Reason::ProofNonce);
        let nonce = nonces.map(|nonces| nonces.issue(clock::now()));
        let is_stranger = reason.fault() == Fault::Identity;
        Entry { metadata: self.metadata.clone().filter(|_| is_stranger), nonce }
    }

    fn refusal(&self, ctx: &CallContext) -> Refusal {
        let decision = ctx
            .decision
            .clone()
            .unwrap_or_else(|| aegis_decide::refuse(ctx.id, Reason::Unavailable));
        let home = ctx.identified.as_ref().map(|identified| identified.tenant.region.clone());
        Refusal {
            allowance: ctx.allowance.clone().map(|allowance| given_back(allowance, ctx)),
            retry_after: match decision.verdict.reason() {
                Reason::AuditBacklog => Some(NEXT_SHIPMENT),
                _ => ctx.facts.as_ref().and_then(|facts| retry_after(facts.hot)),
            },
            home_url: home.and_then(|region| self.config.regions.get(&region).cloned()),
            attestation: ctx.sealed.as_ref().and_then(|sealed| sealed.attestation.clone()),
            trace_id: ctx.trace.trace_id_hex(),
            asked: ctx.asked,
            tried: ctx.tried,
            entry: self.entry(decision.verdict.reason()),
            decision,
        }
    }
}

/// What a refused call had been granted is left after all.
fn given_back(mut allowance: Allowance, ctx: &CallContext) -> Allowance {
    if let (Some(budget), Some(Facts { hot: HotAnswer::Granted(grant), .. })) =
        (&mut allowance.tightest, &ctx.facts)
    {
        budget.left = budget.left.saturating_add(grant.held);
    }
    allowance
}

fn retry_after(hot: HotAnswer) -> Option<Ttl> {
    match hot {
        HotAnswer::Refused(HotRefusal::Rate { retry_after, .. }) => Some(retry_after),
        HotAnswer::Refused(HotRefusal::Budget { resets_in, .. }) => Some(resets_in),
        HotAnswer::Refused(HotRefusal::Replayed) | HotAnswer::Granted(_) => None,
        // Nobody knows when a call ends.
        HotAnswer::Refused(HotRefusal::Busy { .. }) | HotAnswer::Unanswered(_) => {
            Some(Ttl::from_s(1))
        }
    }
}
