//! One immutable, hashed policy version: compiled once, shared, evaluated from any thread.
//!
//! Not here: which version a call is judged by (the caller holds it), signing and shipping the bundle.
//! Invariant: equal sources and versions give equal bundle bytes, and what runs is what the bundle holds.

mod content;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{Effect, EgressCall, Obligation, PolicyRef, RuleId, TenantId, ToolName, Ttl};
use serde_json::Value;

use crate::bundle::{Bundle, BundleFile, Manifest};
use crate::degraded;
use crate::evaluation::{EngineError, PolicyInput, PolicyOutcome, ToolInfo};
use crate::lower::lower;
use crate::rego::{Data, Input, Needs, Program, RawDecision, Vocabulary};
use aegis_document::{Diagnostics, Document, Location};
use aegis_policy_language::{Condition, Mode, PolicySet, Rule, RuleEffect, Tool};

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
    approval_ttls: BTreeMap<String, Ttl>,
    data: Data,
    vocabulary: Vocabulary,
}

#[derive(Debug)]
struct CompiledTool {
    info: ToolInfo,
    matcher: Matcher,
    program: Program,
    /// The bundle file that holds its module.
    file: String,
    needs: Needs,
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
            match Program::compile(module) {
                Ok(program) => {
                    let file = module.path.clone();
                    tools.insert(name.clone(), compiled(set, (name, tool), (program, file)));
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
        };
        let bundle = match content::bundle(set, &lowered, &manifest) {
            Ok(bundle) => bundle,
            Err(error) => {
                found.report(&Location::start_of("policy"), error.to_string(), None);
                return Err(found.sorted());
            }
        };
        let bundle_sha256 = bundle.digest().to_owned();
        let obligations = set.obligations.iter();
        let approvals = set.approvals.iter();
        found.or(Self {
            policy_ref: PolicyRef { revision, version: ctx.version, bundle_sha256 },
            bundle,
            tools,
            degradable,
            obligations: obligations.map(|(n, parts)| (n.to_string(), parts.clone())).collect(),
            approval_ttls: approvals
                .map(|(n, approval)| (n.to_string(), approval.expires))
                .collect(),
            data: Data::new(&lowered.data),
            vocabulary: Vocabulary::new(),
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

    /// Asks the policy about one call. An error means deny.
    pub fn evaluate(&self, input: &PolicyInput<'_>) -> Result<PolicyOutcome, EngineError> {
        let tool = self.tools.get(input.tool).filter(|_| input.agent.tenant == *self.tenant());
        let Some(tool) = tool else { return default_deny() };
        let document = self.vocabulary.input(input, &tool.needs);
        self.outcome(tool, tool.program.decide(&self.data, document)?)
    }

    /// The document that `evaluate` puts before the program, and stock OPA before the dispatcher.
    pub fn input_document(&self, input: &PolicyInput<'_>) -> Result<Value, EngineError> {
        let unknown = Needs::default();
        let needs = self.tools.get(input.tool).map_or(&unknown, |tool| &tool.needs);
        self.vocabulary.input(input, needs).to_json()
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
        let ttls = raw.approvals.iter().map(|name| self.approval_ttls.get(name).copied());
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
        })
    }
}

fn default_deny() -> Result<PolicyOutcome, EngineError> {
    let RawDecision { effect, rules, obligations: _, approvals, would } =
        RawDecision::default_deny()?;
    Ok(PolicyOutcome {
        effect,
        rules,
        detail: None,
        obligations: Vec::new(),
        approval_routes: approvals,
        approval_ttl: None,
        would,
    })
}

fn compiled(
    set: &PolicySet,
    (name, tool): (&ToolName, &Tool),
    (program, file): (Program, String),
) -> CompiledTool {
    let approvals: BTreeSet<String> = tool.rules.iter().filter_map(approval_of).collect();
    let reasons = tool.rules.iter();
    let reasons = reasons.filter_map(|rule| Some((rule.id.clone(), rule.reason()?.to_string())));
    CompiledTool {
        info: ToolInfo {
            name: name.clone(),
            kind: tool.class,
            approvals: approvals.into_iter().collect(),
        },
        matcher: Matcher::new(set, &tool.matching),
        program,
        file,
        needs: needs(set, tool),
        reasons: reasons.collect(),
    }
}

fn approval_of(rule: &Rule) -> Option<String> {
    match (&rule.effect, rule.mode) {
        (RuleEffect::ApprovalNeeded { approval }, Mode::Enforce) => Some(approval.to_string()),
        (RuleEffect::ApprovalNeeded { .. }, Mode::Shadow)
        | (RuleEffect::Deny { .. } | RuleEffect::Sanitize { .. }, _) => None,
    }
}

fn needs(set: &PolicySet, tool: &Tool) -> Needs {
    let mut names = BTreeSet::new();
    for rule in &tool.rules {
        rule.when.walk(&mut |condition| {
            if let Condition::Calendar { name, .. } = condition {
                names.insert(name);
            }
        });
    }
    let calendars = names.into_iter().filter_map(|name| Some((name, set.calendars.get(name)?)));
    Needs {
        calendars: calendars.map(|(name, calendar)| (name.clone(), calendar.clone())).collect(),
        segments: tool.matching.paths.iter().any(|path| path.literal().is_none()),
    }
}
