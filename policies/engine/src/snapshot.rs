//! One immutable, hashed policy version: compiled once, shared, evaluated from any thread.
//!
//! Not here: which version a call is judged by (the caller holds it), signing and shipping the bundle.
//! Invariant: equal sources and versions give equal bundle bytes, and what runs is what the bundle holds.

mod content;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{
    Effect, EgressCall, Host, Obligation, PolicyRef, RuleId, TenantId, ToolName, Ttl,
};
use serde_json::{Value, json};

use crate::bundle::{Bundle, BundleFile, Manifest};
use crate::degraded;
use crate::evaluation::{EngineError, PolicyInput, PolicyOutcome, ToolInfo};
use crate::lower::{Module, lower, obligations};
use crate::projection::Projection;
use crate::rego::{CompileError, Data, Input, Plan, Program, RawDecision, TooLarge, UnknownPath};
use aegis_document::{Diagnostics, Document, Location};
use aegis_policy_language::{Approval, Mode, PolicySet, Rule, RuleEffect, Tool};

pub use content::SourceError;

use resolve::Matcher;

/// What a compilation needs beside the source.
#[derive(Clone, Copy, Debug)]
pub struct CompileContext {
    /// The number that Raft gave this version.
    pub version: u64,
}

/// The name of this compiler in revisions: it changes whenever equal sources give other bytes.
const COMPILER: &str = "v2";

/// One compiled policy version.
#[derive(Debug)]
pub struct Snapshot {
    policy_ref: PolicyRef,
    bundle: Bundle,
    tools: BTreeMap<ToolName, CompiledTool>,
    degradable: BTreeSet<ToolName>,
    obligations: BTreeMap<String, Vec<Obligation>>,
    approvals: BTreeMap<String, Approval>,
    data: Data,
}

#[derive(Debug)]
struct CompiledTool {
    info: ToolInfo,
    matcher: Matcher,
    program: Program,
    /// The bundle file that holds its module.
    file: String,
    projection: Projection,
    plan: Plan,
    /// What people wrote beside deny rules.
    reasons: BTreeMap<RuleId, String>,
}

impl Snapshot {
    /// Compiles the files of one set, reporting every error of all of them together.
    pub fn compile(documents: &[Document], ctx: CompileContext) -> Result<Self, Diagnostics> {
        Self::of(&PolicySet::parse(documents)?, ctx)
    }

    /// Compiles a set that was parsed before, so that its tests can be run as well.
    pub fn of(set: &PolicySet, ctx: CompileContext) -> Result<Self, Diagnostics> {
        let lowered = lower(set)?;
        let mut found = Diagnostics::default();
        let mut tools = BTreeMap::new();
        for (name, tool) in &set.tools {
            let Some(module) = lowered.tools.get(name) else { continue };
            match ready(set, (name, tool), module) {
                Ok(ready) => {
                    tools.insert(name.clone(), ready);
                }
                Err(error) => found.report(&tool.at, error.to_string(), None),
            }
        }
        let revision = format!(
            "{}/{}@{}+{}.{COMPILER}",
            set.tenant,
            set.env,
            ctx.version,
            set.digest.get(..12).unwrap_or_default()
        );
        let degradable = degraded::tools(set, &lowered);
        let manifest = Manifest {
            revision: revision.clone(),
            tenant: set.tenant.clone(),
            env: set.env.to_string(),
            version: ctx.version,
            source_digest: set.digest.clone(),
            compiler: COMPILER.to_owned(),
            projection: lowered.projection(),
        };
        let bundle = match content::bundle(set, &lowered, &manifest) {
            Ok(bundle) => bundle,
            Err(error) => {
                found.report(&Location::start_of("policy"), error.to_string(), None);
                return Err(found.sorted());
            }
        };
        let bundle_sha256 = bundle.digest().to_owned();
        let approvals = set.approvals.iter();
        found.or(Self {
            policy_ref: PolicyRef { revision, version: ctx.version, bundle_sha256 },
            bundle,
            tools,
            degradable,
            obligations: obligations(set),
            approvals: approvals.map(|(name, asked)| (name.to_string(), asked.clone())).collect(),
            data: Data::new(&lowered.data),
        })
    }

    /// Compiles a version from nothing but its bundle, and hands out the set that was in it, with its tests. What runs
    /// is what this compiler makes of the source; a bundle whose modules are anything else is refused, so a module that
    /// somebody wrote into it by hand is never evaluated, whoever signed it.
    pub fn from_bundle(bundle: Bundle) -> Result<(PolicySet, Self), SourceError> {
        let Manifest { compiler, version, .. } = bundle.manifest();
        if compiler != COMPILER {
            let theirs = compiler.clone();
            return Err(SourceError::OtherCompiler { theirs, ours: COMPILER });
        }
        let ctx = CompileContext { version: *version };
        let set = PolicySet::parse(&content::documents(&bundle)?)?;
        let snapshot = Self::of(&set, ctx)?;
        content::same(&bundle, &snapshot.bundle)?;
        Ok((set, Self { bundle, ..snapshot }))
    }

    /// The set that a bundle says it was compiled from, to be looked at; nothing is compiled, so nothing is proved.
    pub fn source_of(bundle: &Bundle) -> Result<PolicySet, SourceError> {
        Ok(PolicySet::parse(&content::documents(bundle)?)?)
    }

    pub fn policy_ref(&self) -> &PolicyRef {
        &self.policy_ref
    }

    pub fn tenant(&self) -> &TenantId {
        &self.bundle.manifest().tenant
    }

    /// SHA-256 of the canonical JSON of the source, lower-case hex.
    pub fn source_digest(&self) -> &str {
        &self.bundle.manifest().source_digest
    }

    /// The version as it travels; unsigned, unless it came in a signed bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The files of the OPA bundle, sorted by name.
    pub fn bundle_files(&self) -> &[BundleFile] {
        self.bundle.files()
    }

    pub fn tools(&self) -> impl Iterator<Item = &ToolInfo> {
        self.tools.values().map(|tool| &tool.info)
    }

    pub fn tool(&self, name: &ToolName) -> Option<&ToolInfo> {
        self.tools.get(name).map(|tool| &tool.info)
    }

    /// Whether a read through this tool may go on while the hot state is silent.
    pub fn may_degrade(&self, tool: &ToolName) -> bool {
        self.degradable.contains(tool)
    }

    /// Whom an approval that an outcome names asks, how many of them, and what their answer is bound to.
    pub fn approval(&self, name: &str) -> Option<&Approval> {
        self.approvals.get(name)
    }

    /// The tool a call is for, among those that belong to its route. When none matches, the one that comes
    /// closest, so that the refusal names what is wrong; `None` only when the route has no tool at all.
    pub fn resolve(&self, call: &EgressCall) -> Option<&ToolName> {
        let route = |name: &&ToolName| resolve::belongs(name, &call.route);
        self.closest(call, self.tools.keys().filter(route))
    }

    /// The tool whose match holds, among all tools: for calls that come without a route.
    pub fn resolve_any(&self, call: &EgressCall) -> Option<&ToolName> {
        self.closest(call, self.tools.keys())
    }

    /// Whether a tunnel to a host is passed through unopened, if its CONNECT is allowed.
    pub fn passes_through(&self, host: &Host) -> bool {
        self.tools.values().any(|tool| tool.matcher.passes_through(host))
    }

    fn closest<'s>(
        &'s self,
        call: &EgressCall,
        names: impl Iterator<Item = &'s ToolName>,
    ) -> Option<&'s ToolName> {
        let ranked = names.filter_map(|name| {
            let tool = self.tools.get(name)?;
            Some((tool.matcher.closeness(call), std::cmp::Reverse(name)))
        });
        ranked.max().map(|(_, name)| name.0)
    }

    /// The values of the `{name}` segments of the path, raw as they stand there, if the tool's match has it.
    pub fn path_params(&self, tool: &ToolName, path: &str) -> Vec<(String, String)> {
        let Some(tool) = self.tools.get(tool) else { return Vec::new() };
        let found = tool.matcher.path_params(path).into_iter();
        found.map(|(name, value)| (name.to_string(), value.to_owned())).collect()
    }

    /// What the tool's program reads of an input; `None` for a tool the policy does not have.
    pub fn projection(&self, tool: &ToolName) -> Option<&Projection> {
        self.tools.get(tool).map(|tool| &tool.projection)
    }

    /// Asks the policy about one call. An error means deny.
    pub fn evaluate(&self, input: &PolicyInput<'_>) -> Result<PolicyOutcome, EngineError> {
        match self.tools.get(input.tool).filter(|_| input.agent.tenant == *self.tenant()) {
            Some(tool) => self.decided(tool, tool.plan.input(input)),
            None => denied_by_host("egress.default-deny"),
        }
    }

    /// What the policy sees of a call, and all it sees: the input document that a record keeps, so that the decision
    /// can be reached again. Of a call that is denied unseen it is the tenant and the tool.
    pub fn projected_input(&self, input: &PolicyInput<'_>) -> Value {
        let seen = self.tools.get(input.tool).and_then(|tool| tool.plan.input(input).ok());
        match seen {
            Some(seen) => seen.to_json(),
            None => json!({ "tenant": input.agent.tenant.as_str(), "tool": input.tool.as_str() }),
        }
    }

    /// Asks the policy about a recorded input. What this version reads and the record does not hold counts as missing:
    /// `Projection::lacks` tells beforehand.
    pub fn evaluate_projected(
        &self,
        tool: &ToolName,
        input: &Value,
    ) -> Result<PolicyOutcome, EngineError> {
        let tenant = input.get("tenant").and_then(Value::as_str);
        match self.tools.get(tool).filter(|_| tenant == Some(self.tenant().as_str())) {
            Some(tool) => self.decided(tool, tool.plan.recorded(input)),
            None => denied_by_host("egress.default-deny"),
        }
    }

    fn decided(
        &self,
        tool: &CompiledTool,
        input: Result<Input, TooLarge>,
    ) -> Result<PolicyOutcome, EngineError> {
        match input {
            Ok(input) => self.outcome(tool, tool.program.decide(&self.data, input)?),
            Err(TooLarge) => denied_by_host("schema.too-large"),
        }
    }

    /// What the tool's program is told of a recorded input; `None` for what is denied before any program runs.
    pub(crate) fn told(&self, tool: &ToolName, input: &Value) -> Option<Input> {
        let tenant = input.get("tenant").and_then(Value::as_str);
        let tool = self.tools.get(tool).filter(|_| tenant == Some(self.tenant().as_str()))?;
        tool.plan.recorded(input).ok()
    }

    /// The outcome that a decision of the tool's program stands for.
    pub(crate) fn outcome_of(
        &self,
        tool: &ToolName,
        raw: RawDecision,
    ) -> Result<PolicyOutcome, EngineError> {
        self.outcome(self.tools.get(tool).ok_or(EngineError::Undefined)?, raw)
    }

    /// What the program of the document's tool says to it; `Interpreter::decide` says the same more slowly.
    pub fn decide(&self, document: &Value) -> Result<RawDecision, EngineError> {
        let member = |name: &str| document.get(name).and_then(Value::as_str);
        let known = member("tool").and_then(|tool| ToolName::parse(tool).ok());
        let tool = known.and_then(|tool| self.tools.get(&tool));
        match tool.filter(|_| member("tenant") == Some(self.tenant().as_str())) {
            Some(tool) => tool.program.decide(&self.data, Input::from_json(document)),
            None => RawDecision::default_deny(),
        }
    }

    /// Each tool and the file that holds its module.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&ToolName, &BundleFile)> {
        self.tools.iter().filter_map(|(name, tool)| {
            let file = self.bundle_files().iter().find(|file| file.name == tool.file)?;
            Some((name, file))
        })
    }

    fn outcome(&self, tool: &CompiledTool, raw: RawDecision) -> Result<PolicyOutcome, EngineError> {
        let mut obligations = Vec::new();
        for name in &raw.obligations {
            obligations
                .extend_from_slice(self.obligations.get(name).ok_or(EngineError::Malformed)?);
        }
        let ttls =
            raw.approvals.iter().map(|name| self.approval(name).map(|approval| approval.expires));
        let ttls: Vec<Ttl> = ttls.collect::<Option<_>>().ok_or(EngineError::Malformed)?;
        let detail = match raw.effect {
            Effect::Deny => raw.rules.iter().find_map(|id| tool.reasons.get(id)).cloned(),
            Effect::Allow | Effect::Sanitize | Effect::ApprovalNeeded => None,
        };
        Ok(PolicyOutcome {
            effect: raw.effect,
            rules: raw.rules,
            detail,
            obligations,
            approval_routes: raw.approvals,
            approval_ttl: ttls.into_iter().min(),
            would: raw.would,
            exceptions: raw.exceptions,
        })
    }
}

/// A denial before any program runs: what stock OPA's dispatcher says to an unknown tool or tenant, and what becomes of
/// a call that is too large to be looked at.
fn denied_by_host(rule: &str) -> Result<PolicyOutcome, EngineError> {
    let rule = RuleId::parse(rule).map_err(|_| EngineError::Malformed)?;
    Ok(PolicyOutcome {
        effect: Effect::Deny,
        rules: vec![rule],
        detail: None,
        obligations: Vec::new(),
        approval_routes: Vec::new(),
        approval_ttl: None,
        would: Vec::new(),
        exceptions: Vec::new(),
    })
}

/// Why a tool's module does not run.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error(transparent)]
    Refused(#[from] CompileError),
    #[error(transparent)]
    UnknownPath(#[from] UnknownPath),
}

fn ready(
    set: &PolicySet,
    (name, tool): (&ToolName, &Tool),
    module: &Module,
) -> Result<CompiledTool, NotReady> {
    let approvals: BTreeSet<String> = tool.rules.iter().filter_map(approval_of).collect();
    let reasons = tool.rules.iter();
    let reasons = reasons.filter_map(|rule| Some((rule.id.clone(), rule.reason()?.to_string())));
    Ok(CompiledTool {
        info: ToolInfo {
            name: name.clone(),
            kind: tool.class,
            approvals: approvals.into_iter().collect(),
        },
        matcher: Matcher::new(set, &tool.matching),
        file: module.path.clone(),
        program: Program::compile(module)?,
        plan: Plan::new(&module.reads, set)?,
        projection: module.reads.clone(),
        reasons: reasons.collect(),
    })
}

fn approval_of(rule: &Rule) -> Option<String> {
    match (&rule.effect, rule.mode) {
        (RuleEffect::ApprovalNeeded { approval }, Mode::Enforce) => Some(approval.to_string()),
        (RuleEffect::ApprovalNeeded { .. }, Mode::Shadow)
        | (RuleEffect::Deny { .. } | RuleEffect::Sanitize { .. }, _) => None,
    }
}
