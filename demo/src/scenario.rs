//! The demo scenario: one call for each verdict, through the front door, with what really left shown beside it.
//!
//! Not here: how it is printed (`report`). Invariant: every step says what it expects, and a surprise fails the run.

use aegis_domain::{AgentId, DecisionId, Jti, OrgId, TenantId, TokenUse, Ttl};
use aegis_identity::{Claims, SigningKey};
use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Agent, Ask, Reply};
use crate::report::Report;
use crate::setup::{self, AUDIENCE, ISSUER};
use crate::upstream::DemoUpstream;
use crate::{AfterScenario, DemoOptions, Source};

/// What a step of the scenario must end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Through,
    Refused(&'static str),
}

/// One call of the story.
pub(crate) struct Step {
    pub(crate) title: &'static str,
    agent: &'static str,
    method: Method,
    path: &'static str,
    body: Option<Value>,
    pub(crate) expect: Expect,
    /// Show what this host received.
    pub(crate) show: Option<&'static str>,
}

/// Mints what the demo's agents call with.
pub(crate) struct Minter {
    key: SigningKey,
    source: Source,
}

impl Minter {
    pub(crate) fn token(
        &self,
        agent: &str,
        token_use: TokenUse,
        life: Ttl,
    ) -> anyhow::Result<String> {
        let now = (self.source.now)();
        let random =
            (self.source.random)().context("the operating system gives no random bytes")?;
        let scopes: &[&str] = match agent {
            "finance-bot" => &["payments:write", "payments:read", "llm:call"],
            "clinic-bot" => &["ehr:read", "ehr:write"],
            _ => &["llm:call", "hooks:post"],
        };
        let claims = Claims {
            issuer: ISSUER.to_owned(),
            org: OrgId::parse("acme")?,
            tenant: TenantId::parse("demo")?,
            agent: AgentId::parse(agent)?,
            parent_agent: None,
            acts_for: Vec::new(),
            confirmation: None,
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            audience: vec![AUDIENCE.to_owned()],
            expires_at: now.plus(life),
            not_before: None,
            issued_at: Some(now),
            jti: Jti::parse(DecisionId::new(now.unix_ms(), random).as_str())?,
            token_use,
        };
        Ok(aegis_identity::mint(&self.key, &claims)?)
    }
}

/// Plays every step, verifies the chain, prints cost per agent. Blocks; it brings its own runtime.
pub fn play(options: &DemoOptions, upstream: &DemoUpstream) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for the demo scenario")?;
    runtime.block_on(play_all(options, upstream))
}

async fn play_all(options: &DemoOptions, upstream: &DemoUpstream) -> anyhow::Result<()> {
    let agent = Agent::new(options.ports.plain);
    agent.until_ready(options.ports.metrics).await?;
    let minter = Minter { key: setup::issuer_key(&options.data_dir)?, source: options.source };
    let mut report = Report::begin(options);
    for step in steps() {
        let token = minter.token(step.agent, TokenUse::Bound, Ttl::from_s(300))?;
        let reply = agent.send(&step.ask(token)).await?;
        report.step(&step, &reply, upstream);
        check(step.title, step.expect, &reply)?;
    }
    replay(&agent, &minter, &mut report, upstream).await?;
    report.evidence(options).await?;
    if options.after == AfterScenario::Stay {
        report.try_it(options, &minter)?;
    }
    Ok(())
}

impl Step {
    fn ask(&self, token: String) -> Ask {
        Ask { method: self.method.clone(), path: self.path, token, body: self.body.clone() }
    }
}

/// A token for one call, used twice.
async fn replay(
    agent: &Agent,
    minter: &Minter,
    report: &mut Report,
    upstream: &DemoUpstream,
) -> anyhow::Result<()> {
    let token = minter.token("finance-bot", TokenUse::Once, Ttl::from_s(60))?;
    let lookup = |title, expect| Step {
        title,
        agent: "finance-bot",
        method: Method::GET,
        path: "/payments/v1/payouts/po_10421042",
        body: None,
        expect,
        show: None,
    };
    let first = lookup("a token good for one call, used once", Expect::Through);
    let second = lookup("the same token again", Expect::Refused("TokenReplayed"));
    for step in [first, second] {
        let reply = agent.send(&step.ask(token.clone())).await?;
        report.step(&step, &reply, upstream);
        check(step.title, step.expect, &reply)?;
    }
    Ok(())
}

fn check(title: &str, expect: Expect, reply: &Reply) -> anyhow::Result<()> {
    let is_expected = match expect {
        Expect::Through => reply.status.is_success(),
        Expect::Refused(reason) => reply.reason().as_deref() == Some(reason),
    };
    if is_expected {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    Err(anyhow::anyhow!("{} {body}", reply.status))
        .with_context(|| format!("the scenario expected something else of \"{title}\""))
}

impl Reply {
    /// The reason code of a refusal.
    pub(crate) fn reason(&self) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        problem.get("reason")?.as_str().map(str::to_owned)
    }
}

fn payout(amount: u64) -> Option<Value> {
    Some(json!({ "amount": amount, "currency": "USD", "destination": "acct_1A2b3C4d5E" }))
}

fn question(max_tokens: u64, stream: bool) -> Option<Value> {
    let messages = json!([{ "role": "user", "content": "How are budgets kept?" }]);
    Some(
        json!({ "model": "vendor-large", "max_tokens": max_tokens, "stream": stream, "messages": messages }),
    )
}

fn steps() -> Vec<Step> {
    let post = |title, agent, path, body, expect, show| Step {
        title,
        agent,
        method: Method::POST,
        path,
        body,
        expect,
        show,
    };
    let note = json!({
        "text": "Patient SSN 123-45-6789, born 1984-03-12, date of birth 03/12/1984, mail ada@example.org: stable."
    });
    vec![
        post(
            "a payout of 42.00 USD",
            "finance-bot",
            "/payments/v1/payouts",
            payout(4_200),
            Expect::Through,
            Some("api.payments.test"),
        ),
        post(
            "a payout of 9,000.00 USD, over the ceiling",
            "finance-bot",
            "/payments/v1/payouts",
            payout(900_000),
            Expect::Refused("PolicyDenied"),
            None,
        ),
        post(
            "a webhook to a host that is not on the list",
            "research-bot",
            "/webhooks/events",
            Some(json!({ "event": "payout.paid" })),
            Expect::Refused("PolicyDenied"),
            None,
        ),
        post(
            "a note with a social security number, a birth date and a mail address",
            "clinic-bot",
            "/patients/v1/patients/471108/notes",
            Some(note),
            Expect::Through,
            Some("ehr.clinic.test"),
        ),
        post(
            "a payout of 2,000.00 USD, which a person must approve",
            "finance-bot",
            "/payments/v1/payouts",
            payout(200_000),
            Expect::Refused("ApprovalNeeded"),
            None,
        ),
        post(
            "a question to a model, answered as a stream",
            "research-bot",
            "/chat/v1/chat/completions",
            question(64, true),
            Expect::Through,
            None,
        ),
        post(
            "a question whose answer could cost more than the budget",
            "research-bot",
            "/chat/v1/chat/completions",
            question(8_000, false),
            Expect::Refused("OutOfBudget"),
            None,
        ),
    ]
}
