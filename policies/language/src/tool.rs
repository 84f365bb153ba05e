//! One tool: which requests are calls of it, who may make them, what they may hold, and the rules beside that.
//!
//! Not here: how a call finds its tool (`snapshot::resolve`). Invariant: a rule has what its effect needs (an
//! approval, an obligation) and nothing that its effect would ignore.

use std::collections::BTreeMap;

use aegis_domain::{CallKind, Effect, McpCall, Method, Region, RuleId};
use serde_json::Number;

use crate::condition::{Condition, condition, number};
use crate::exception::{Exception, exception};
use crate::name::{Name, Text};
use crate::path::PathPattern;
use crate::reference::{self, Place, Reference};
use crate::{ListRef, text_list};
use aegis_document::{Location, Mapping, Node, Problems};

#[derive(Clone, Debug)]
pub struct Tool {
    pub at: Location,
    pub class: CallKind,
    pub matching: Match,
    pub allow: Allow,
    pub params: BTreeMap<Name, Param>,
    pub rules: Vec<Rule>,
    pub exceptions: Vec<Exception>,
    pub unknown_params: UnknownParams,
    /// Lists that other parts of the set hold, until they have been put in their places.
    pub(crate) references: Vec<Reference>,
}

impl Tool {
    /// The named lists whose members stand in the tool, and where.
    pub fn named_lists(&self) -> impl Iterator<Item = (Place, &Name)> {
        self.references.iter().map(|reference| (reference.place, &reference.name))
    }
}

/// What becomes of a call with parameters that the tool does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownParams {
    Deny,
    /// They are taken out of body and query before the call leaves, which makes its effect `sanitize`.
    Strip,
}

/// The method of a tunnel (RFC 9110 §9.3.6), and what stands for its path.
const CONNECT: &str = "CONNECT";
const WHOLE_TUNNEL: &str = "/";

/// Which requests are calls of the tool: HTTP requests, MCP calls of one tool of one server, or tunnels that are not
/// opened.
#[derive(Clone, Debug)]
pub struct Match {
    /// For MCP also an empty list in place: any host, since the server's name says which one it is.
    pub hosts: ListRef,
    /// Empty for MCP, as are the paths.
    pub methods: Vec<Method>,
    pub paths: Vec<PathPattern>,
    pub mcp: Option<McpCall>,
}

impl Match {
    /// Whether the tool grants tunnels that nobody looks into.
    pub fn passes_through(&self) -> bool {
        self.methods.iter().any(|method| method.as_str() == CONNECT)
    }
}

/// Who may call: every scope, one of the groups, from one of the regions.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    pub scopes: Vec<RuleId>,
    pub groups: Option<ListRef>,
    pub regions: Option<Vec<Region>>,
}

#[derive(Clone, Debug)]
pub struct Param {
    pub at: Location,
    pub kind: ParamKind,
    pub required: Presence,
    pub min: Option<Number>,
    pub max: Option<Number>,
    pub one_of: Option<ListRef>,
    pub pattern: Option<String>,
    pub max_length: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub at: Location,
    pub id: RuleId,
    pub effect: RuleEffect,
    pub when: Condition,
    pub mode: Mode,
}

impl Rule {
    /// What a person wrote beside the rule, if it denies.
    pub fn reason(&self) -> Option<&Text> {
        match &self.effect {
            RuleEffect::Deny { reason } => reason.as_ref(),
            RuleEffect::ApprovalNeeded { .. } | RuleEffect::Sanitize { .. } => None,
        }
    }

    /// How strong the rule is when it fires.
    pub fn level(&self) -> Effect {
        match &self.effect {
            RuleEffect::Deny { .. } => Effect::Deny,
            RuleEffect::ApprovalNeeded { .. } => Effect::ApprovalNeeded,
            RuleEffect::Sanitize { .. } => Effect::Sanitize,
        }
    }
}

#[derive(Clone, Debug)]
pub enum RuleEffect {
    Deny { reason: Option<Text> },
    ApprovalNeeded { approval: Name },
    Sanitize { obligation: Name },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    /// Evaluated and reported, without effect.
    Shadow,
}

const RULES_MAX: usize = 500;

pub(crate) fn tool(node: &Node, problems: &mut Problems, default: UnknownParams) -> Option<Tool> {
    let mut map = node.mapping(problems)?;
    let classes = [("read", CallKind::Read), ("write", CallKind::Write)];
    let class = map.required("class", problems, |class, p| class.choice(p, &classes));
    let mut references = Vec::new();
    let matching = map.required("match", problems, |n, p| matching(n, p, &mut references));
    let allow = map.required("allow", problems, |n, p| allow(n, p, &mut references));
    let params = map.optional("params", problems, |n, p| n.map(p, Node::parsed, param));
    let rules = map.optional("rules", problems, |n, p| n.list(p, rule));
    let exceptions = map.optional("exceptions", problems, |n, p| n.list(p, exception));
    let unknown = map.get("unknown_params").map(|node| (node, unknown_params(node, problems)));
    map.finish(problems);
    let is_mcp = matching.as_ref().is_some_and(|matching| matching.mcp.is_some());
    let unknown_params = match unknown {
        Some((node, Some(UnknownParams::Strip))) if is_mcp => {
            problems.report(node.position(), "nothing can be stripped from an MCP call");
            UnknownParams::Deny
        }
        Some((_, said)) => said.unwrap_or(default),
        None if is_mcp => UnknownParams::Deny,
        None => default,
    };
    if rules.as_ref().is_some_and(|rules| rules.len() > RULES_MAX) {
        problems.report(node.position(), format!("a tool has at most {RULES_MAX} rules"));
    }
    Some(Tool {
        at: problems.locate(node.position()),
        class: class?,
        matching: matching?,
        allow: allow?,
        params: params.unwrap_or_default(),
        rules: rules.unwrap_or_default(),
        exceptions: exceptions.unwrap_or_default(),
        unknown_params,
        references,
    })
}

pub(crate) fn unknown_params(node: &Node, problems: &mut Problems) -> Option<UnknownParams> {
    node.choice(problems, &[("deny", UnknownParams::Deny), ("strip", UnknownParams::Strip)])
}

fn matching(
    node: &Node,
    problems: &mut Problems,
    references: &mut Vec<Reference>,
) -> Option<Match> {
    let mut map = node.mapping(problems)?;
    if let Some(call) = map.get("mcp") {
        let call = mcp(call, problems);
        let hosts = map.optional("hosts", problems, text_list);
        let hosts = hosts.unwrap_or_else(|| ListRef::Inline(Vec::new()));
        says_nothing_beside("mcp", &mut map, problems);
        map.finish(problems);
        return Some(Match { hosts, methods: Vec::new(), paths: Vec::new(), mcp: Some(call?) });
    }
    let hosts = map.required("hosts", problems, text_list);
    if let Some(said) = map.get("passthrough") {
        if said.boolean(problems) == Some(false) {
            problems.report(said.position(), "`passthrough` is `true`, or is not said");
        }
        says_nothing_beside("passthrough", &mut map, problems);
        map.finish(problems);
        let methods = Method::parse(CONNECT).into_iter().collect();
        let paths = WHOLE_TUNNEL.parse().into_iter().collect();
        return Some(Match { hosts: hosts?, methods, paths, mcp: None });
    }
    let methods = map.required("methods", problems, |n, p| {
        reference::list(n, p, (Place::Methods, references), method)
    });
    let paths = map.required("paths", problems, |n, p| {
        reference::list(n, p, (Place::Paths, references), Node::parsed)
    });
    map.finish(problems);
    Some(Match { hosts: hosts?, methods: methods?, paths: paths?, mcp: None })
}

fn says_nothing_beside(key: &str, map: &mut Mapping<'_>, problems: &mut Problems) {
    for name in ["methods", "paths"] {
        if let Some(other) = map.get(name) {
            problems.report(other.position(), format!("`{name}` says nothing beside `{key}`"));
        }
    }
}

pub(crate) fn mcp(node: &Node, problems: &mut Problems) -> Option<McpCall> {
    let mut map = node.mapping(problems)?;
    let server = map.required("server", problems, Node::parsed);
    let tool = map.required("tool", problems, Node::parsed);
    map.finish(problems);
    Some(McpCall { server: server?, tool: tool? })
}

pub(crate) fn filled_list<T>(
    node: &Node,
    problems: &mut Problems,
    decode: impl FnMut(&Node, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    let items = node.list(problems, decode)?;
    if items.is_empty() {
        problems.report(node.position(), "an empty list matches nothing");
        return None;
    }
    Some(items)
}

pub(crate) fn method(node: &Node, problems: &mut Problems) -> Option<Method> {
    read_by(method_of, node, problems)
}

pub(crate) fn method_of(text: &str) -> Result<Method, &'static str> {
    if text == CONNECT {
        return Err("tunnels that are not opened are granted by `passthrough: true`");
    }
    Method::parse(text).ok_or("a method is 1 to 32 of `A-Z 0-9 -`")
}

fn read_by<T>(
    read: fn(&str) -> Result<T, &'static str>,
    node: &Node,
    problems: &mut Problems,
) -> Option<T> {
    match read(&node.text(problems)?) {
        Ok(value) => Some(value),
        Err(error) => {
            problems.report(node.position(), error);
            None
        }
    }
}

fn allow(node: &Node, problems: &mut Problems, references: &mut Vec<Reference>) -> Option<Allow> {
    let mut map = node.mapping(problems)?;
    let scopes = map.optional("scopes", problems, |n, p| {
        reference::list(n, p, (Place::Scopes, references), scope)
    });
    let groups = map.optional("groups", problems, text_list);
    let regions = map.optional("regions", problems, |n, p| {
        reference::list(n, p, (Place::Regions, references), Node::parsed)
    });
    map.finish(problems);
    Some(Allow { scopes: scopes.unwrap_or_default(), groups, regions })
}

fn scope(node: &Node, problems: &mut Problems) -> Option<RuleId> {
    read_by(scope_of, node, problems)
}

/// A scope is held as the id of the check that asks for it: `scope.<scope>`.
pub(crate) fn scope_of(text: &str) -> Result<RuleId, &'static str> {
    let allowed = "a scope is 1 to 122 of `A-Z a-z 0-9 . _ - : / @`";
    RuleId::parse(&format!("scope.{text}")).map_err(|_| allowed)
}

fn param(node: &Node, problems: &mut Problems) -> Option<Param> {
    let kinds = [
        ("string", ParamKind::String),
        ("integer", ParamKind::Integer),
        ("number", ParamKind::Number),
        ("boolean", ParamKind::Boolean),
        ("array", ParamKind::Array),
        ("object", ParamKind::Object),
    ];
    let mut map = node.mapping(problems)?;
    let kind = map.required("type", problems, |kind, p| kind.choice(p, &kinds));
    // Says what the amounts are counted in; nothing depends on it.
    map.optional("unit", problems, |unit, p| unit.choice(p, &[("minor", ()), ("micro_usd", ())]));
    let required = map.optional("required", problems, Node::boolean);
    let min = map.optional("min", problems, number);
    let max = map.optional("max", problems, number);
    let one_of = map.optional("in", problems, text_list);
    let pattern = map.optional("pattern", problems, Node::text);
    let max_length = map.optional("max_length", problems, |n, p| n.integer(p, 0..=65_536));
    map.finish(problems);
    let required = if required == Some(true) { Presence::Required } else { Presence::Optional };
    let at = problems.locate(node.position());
    let pattern = pattern.and_then(|text| match crate::pattern::portable(&text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            problems.report(at.position, format!("`pattern`: {error}"));
            None
        }
    });
    Some(Param { at, kind: kind?, required, min, max, one_of, pattern, max_length })
}

fn rule(node: &Node, problems: &mut Problems) -> Option<Rule> {
    let effects = [Effect::Deny, Effect::ApprovalNeeded, Effect::Sanitize];
    let effects = effects.map(|effect| (effect.as_str(), effect));
    let modes = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];
    let mut map = node.mapping(problems)?;
    let id = map.required("id", problems, Node::parsed);
    let kind = map.required("effect", problems, |n, p| n.choice(p, &effects));
    let when = map.required("when", problems, condition);
    let mode = map.optional("mode", problems, |n, p| n.choice(p, &modes));
    let effect = kind.and_then(|kind| match kind {
        Effect::Allow => None,
        Effect::Deny => {
            Some(RuleEffect::Deny { reason: map.optional("reason", problems, Node::parsed) })
        }
        Effect::ApprovalNeeded => {
            let approval = map.required("approval", problems, Node::parsed)?;
            Some(RuleEffect::ApprovalNeeded { approval })
        }
        Effect::Sanitize => {
            let obligation = map.required("obligation", problems, Node::parsed)?;
            Some(RuleEffect::Sanitize { obligation })
        }
    });
    if kind.is_some() {
        map.finish(problems);
    }
    let at = problems.locate(node.position());
    Some(Rule { at, id: id?, effect: effect?, when: when?, mode: mode.unwrap_or(Mode::Enforce) })
}
