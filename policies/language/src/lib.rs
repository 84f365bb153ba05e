//! The policy language as people write it, typed: one tenant's tools, rules and tests for one environment.
//!
//! Not here: what it compiles to (`policies/engine`) and what is merely unwise (`lint`). Invariant: every name in a
//! `PolicySet` is declared, and every test fits the type of what it tests.

mod calendar;
pub mod canonical;
mod check;
mod condition;
mod digest;
mod example;
mod host;
pub mod lint;
mod name;
mod path;
mod pattern;
mod rego_name;
mod tool;

use std::collections::BTreeMap;
use std::fmt::Display;

use aegis_domain::{Detector, Obligation, TenantId, ToolName, Ttl};

use aegis_document::{Diagnostics, Document, Location, Node, Problems};

pub use calendar::Calendar;
pub use condition::{Condition, Literal, MoneyBound, MoneyFact, Order, Subject, Test};
pub use example::{Example, ExpectedRules};
pub use host::host_candidates;
pub use name::{Label, Name, Text};
pub use path::{PathPattern, Segment};
pub use rego_name::{is_keyword, package_of};
pub use tool::{Match, Mode, Param, ParamKind, Presence, Rule, RuleEffect, Tool};

/// One tenant's policy for one environment, from one or several files.
#[derive(Clone, Debug)]
pub struct PolicySet {
    pub tenant: TenantId,
    pub env: Label,
    pub lists: BTreeMap<Name, Vec<Text>>,
    pub calendars: BTreeMap<Name, Calendar>,
    pub approvals: BTreeMap<Name, Approval>,
    pub obligations: BTreeMap<Name, Vec<Obligation>>,
    pub tools: BTreeMap<ToolName, Tool>,
    pub examples: Vec<Example>,
    /// The files the set was read from, in the order in which the digest counts them.
    pub sources: Vec<Source>,
    /// SHA-256 of the canonical JSON of the source, lower-case hex.
    pub digest: String,
}

/// One file of a set, so that the set can be read again elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Without its folder: where a policy lay does not matter.
    pub file: String,
    pub text: String,
}

/// A list in place or by name.
#[derive(Clone, Debug)]
pub enum ListRef {
    Inline(Vec<Text>),
    Named { name: Name, at: Location },
}

/// Whom to ask, and how long the answer may take.
#[derive(Clone, Debug)]
pub struct Approval {
    pub route: Text,
    pub quorum: u32,
    pub expires: Ttl,
    pub bind: Vec<Name>,
}

const LIST_MAX: usize = 100_000;
const TOOLS_MAX: usize = 200;

impl PolicySet {
    /// Reads files that together make one set; all must name the same tenant and environment.
    pub fn parse(documents: &[Document]) -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::default();
        let mut merged: Option<PolicySet> = None;
        for document in documents {
            match (document.decode(policy_set), merged.as_mut()) {
                (Err(diagnostics), _) => found.merge(diagnostics),
                (Ok(part), None) => merged = Some(part),
                (Ok(part), Some(set)) => set.join(part, document, &mut found),
            }
        }
        let Some(mut set) = merged else {
            if documents.is_empty() {
                found.report(&Location::start_of("policy"), "there is no policy file", None);
            }
            return Err(found.sorted());
        };
        (set.sources, set.digest) = digest::of(documents);
        check::names_and_types(&set, &mut found);
        found.or(set)
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Takes over the parts of another file of the same set.
    fn join(&mut self, part: PolicySet, document: &Document, found: &mut Diagnostics) {
        let at = Location::start_of(document.file());
        if (&self.tenant, &self.env) != (&part.tenant, &part.env) {
            found.report(&at, "the files of one set name the same tenant and environment", None);
        }
        join_map("list", &mut self.lists, part.lists, &at, found);
        join_map("calendar", &mut self.calendars, part.calendars, &at, found);
        join_map("approval", &mut self.approvals, part.approvals, &at, found);
        join_map("obligation", &mut self.obligations, part.obligations, &at, found);
        join_map("tool", &mut self.tools, part.tools, &at, found);
        self.examples.extend(part.examples);
    }

    /// The members of a list, wherever it stands.
    pub fn members<'s>(&'s self, list: &'s ListRef) -> &'s [Text] {
        match list {
            ListRef::Inline(members) => members,
            ListRef::Named { name, .. } => {
                self.lists.get(name).map(Vec::as_slice).unwrap_or_default()
            }
        }
    }
}

fn join_map<K: Ord + Display, V>(
    what: &str,
    into: &mut BTreeMap<K, V>,
    from: BTreeMap<K, V>,
    at: &Location,
    found: &mut Diagnostics,
) {
    for (name, value) in from {
        if into.contains_key(&name) {
            let message = format!("the {what} `{name}` is also in another file of this set");
            found.report(at, message, None);
        }
        into.insert(name, value);
    }
}

fn policy_set(node: &Node, problems: &mut Problems) -> Option<PolicySet> {
    let mut map = node.mapping(problems)?;
    map.required("apiVersion", problems, |v, p| v.choice(p, &[("aegis.dev/v1", ())]));
    map.required("kind", problems, |kind, p| kind.choice(p, &[("PolicySet", ())]));
    let metadata = map.required("metadata", problems, metadata);
    map.optional("defaults", problems, defaults);
    let lists = map.optional("lists", problems, |n, p| n.map(p, Node::parsed, list));
    let calendars =
        map.optional("calendars", problems, |n, p| n.map(p, Node::parsed, calendar::calendar));
    let approvals = map.optional("approvals", problems, |n, p| n.map(p, Node::parsed, approval));
    let obligations =
        map.optional("obligations", problems, |n, p| n.map(p, Node::parsed, obligation));
    let tools = map.required("tools", problems, |n, p| n.map(p, Node::parsed, tool::tool));
    let examples = map.optional("tests", problems, |n, p| n.list(p, example::examples));
    if tools.as_ref().is_some_and(|tools| tools.len() > TOOLS_MAX) {
        problems.report(node.position(), format!("more than {TOOLS_MAX} tools"));
    }
    map.finish(problems);
    let (tenant, env) = metadata?;
    Some(PolicySet {
        tenant,
        env,
        lists: lists.unwrap_or_default(),
        calendars: calendars.unwrap_or_default(),
        approvals: approvals.unwrap_or_default(),
        obligations: obligations.unwrap_or_default(),
        tools: tools?,
        examples: examples.unwrap_or_default().into_iter().flatten().collect(),
        sources: Vec::new(),
        digest: String::new(),
    })
}

fn metadata(node: &Node, problems: &mut Problems) -> Option<(TenantId, Label)> {
    let mut map = node.mapping(problems)?;
    map.optional("name", problems, Node::parsed::<Label>);
    let tenant = map.required("tenant", problems, Node::parsed);
    let env = map.required("env", problems, Node::parsed);
    map.optional("owners", problems, |owners, p| owners.list(p, Node::parsed::<Text>));
    map.finish(problems);
    tenant.zip(env)
}

/// Each default has one legal value; a file may still spell it out.
fn defaults(node: &Node, problems: &mut Problems) -> Option<()> {
    let mut map = node.mapping(problems)?;
    for name in ["effect", "on_error", "unknown_params"] {
        map.optional(name, problems, |value, p| value.choice(p, &[("deny", ())]));
    }
    map.finish(problems);
    Some(())
}

fn list(node: &Node, problems: &mut Problems) -> Option<Vec<Text>> {
    let members = node.list(problems, Node::parsed)?;
    if members.len() > LIST_MAX {
        problems.report(node.position(), format!("a list has at most {LIST_MAX} members"));
        return None;
    }
    Some(members)
}

/// Reads `[a, b]` or `$name`.
fn text_list(node: &Node, problems: &mut Problems) -> Option<ListRef> {
    if let Some(name) = node.as_text().and_then(|text| text.strip_prefix('$')) {
        let at = problems.locate(node.position());
        return match name.parse() {
            Ok(name) => Some(ListRef::Named { name, at }),
            Err(error) => {
                problems.report(node.position(), format!("after `$`: {error}"));
                None
            }
        };
    }
    let members = list(node, problems)?;
    if members.is_empty() {
        problems.report(node.position(), "an empty list matches nothing");
        return None;
    }
    Some(ListRef::Inline(members))
}

fn approval(node: &Node, problems: &mut Problems) -> Option<Approval> {
    let mut map = node.mapping(problems)?;
    let route = map.required("route", problems, Node::parsed);
    let quorum = map.optional("quorum", problems, |n, p| n.integer(p, 1..=10));
    let expires = map.required("expires", problems, Node::duration);
    let bind = map.optional("bind", problems, |n, p| n.list(p, Node::parsed));
    map.finish(problems);
    if expires.is_some_and(|expires| expires.ms() == 0) {
        problems.report(node.position(), "the approval expires at once");
    }
    let (quorum, bind) = (quorum.unwrap_or(1), bind.unwrap_or_default());
    Some(Approval { route: route?, quorum, expires: expires?, bind })
}

fn obligation(node: &Node, problems: &mut Problems) -> Option<Vec<Obligation>> {
    let mut map = node.mapping(problems)?;
    let mut obligations = Vec::new();
    if let Some((detectors, fields)) = map.optional("redact", problems, redact) {
        obligations.extend(detectors.map(|detectors| Obligation::Redact { detectors }));
        obligations.extend(fields.map(|fields| Obligation::RedactFields { fields }));
    }
    let keep = map.optional("keep_fields", problems, fields);
    obligations.extend(keep.map(|fields| Obligation::KeepFields { fields }));
    let strip = map.optional("strip_attachments", problems, Node::boolean);
    obligations.extend((strip == Some(true)).then_some(Obligation::StripAttachments));
    map.finish(problems);
    if obligations.is_empty() {
        problems.report(node.position(), "the obligation asks for nothing");
    }
    Some(obligations)
}

type Redaction = (Option<Vec<Detector>>, Option<Vec<String>>);

fn redact(node: &Node, problems: &mut Problems) -> Option<Redaction> {
    let mut map = node.mapping(problems)?;
    let detectors = map.optional("detectors", problems, condition::detectors);
    let fields = map.optional("fields", problems, fields);
    map.finish(problems);
    Some((detectors, fields))
}

/// Names of body fields; these may be any text, since they never reach Rego.
fn fields(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    let fields: Vec<Text> = node.list(problems, Node::parsed)?;
    if fields.is_empty() {
        problems.report(node.position(), "the list of fields is empty");
        return None;
    }
    Some(fields.iter().map(|field| field.as_str().to_owned()).collect())
}
