//! The policy language as people write it, typed: one tenant's tools, rules and tests for one environment.
//!
//! Not here: what it compiles to (`policies/engine`) and what is merely unwise (`policies/review`). Invariant: every name in a
//! `PolicySet` is declared, and every test fits the type of what it tests.

mod calendar;
pub mod canonical;
mod check;
mod condition;
mod digest;
mod example;
mod exception;
mod host;
mod limits;
mod name;
mod path;
mod pattern;
mod place;
mod plain;
mod reference;
mod rego_name;
mod schema;
mod tool;

use std::collections::BTreeMap;
use std::fmt::Display;

use aegis_domain::{Detector, Obligation, TenantId, ToolName, Ttl};

use aegis_document::{Diagnostics, Document, Location, Node, Problems};

pub use calendar::Calendar;
pub use condition::{Condition, ContextFact, Literal, MoneyBound, MoneyFact, Order, Subject, Test};
pub use example::{DescribedCall, Example, ExpectedRules, Scenario};
pub use exception::Exception;
pub use host::host_candidates;
pub use name::{Label, Name, Text};
pub use path::{PathPattern, Segment};
pub use place::Declared;
pub use plain::{PlainPattern, Run, plain_pattern};
pub use reference::Place;
pub use rego_name::{is_keyword, package_of};
pub use schema::{schema, schema_text};
pub use tool::{Match, Mode, Param, ParamKind, Presence, Rule, RuleEffect, Tool, UnknownParams};

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
    /// Those for rules of any tool; `exceptions_of` has all that concern one.
    pub exceptions: Vec<Exception>,
    pub examples: Vec<Example>,
    /// The files the set was read from, in the order in which the digest counts them.
    pub sources: Vec<Source>,
    /// Where the declarations stand.
    pub places: BTreeMap<(Declared, Name), Location>,
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
    pub at: Location,
    pub route: Text,
    pub quorum: u32,
    pub expires: Ttl,
    pub bind: Vec<Name>,
}

const LIST_MAX: usize = 100_000;

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
        set.places = documents.iter().flat_map(place::places).collect();
        if !limits::are_kept(&set, &mut found) {
            return Err(found.sorted());
        }
        reference::fill_in(&mut set, &mut found);
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
        self.exceptions.extend(part.exceptions);
        self.examples.extend(part.examples);
    }

    /// The exceptions that lift rules of the tool: its own, and those of the set that name one of its rules.
    pub fn exceptions_of<'s>(&'s self, tool: &'s Tool) -> impl Iterator<Item = &'s Exception> {
        let concerns = |exception: &&Exception| {
            tool.rules.iter().any(|rule| exception.rules.contains(&rule.id))
        };
        tool.exceptions.iter().chain(self.exceptions.iter().filter(concerns))
    }

    /// Every exception, wherever it stands.
    pub fn all_exceptions(&self) -> impl Iterator<Item = &Exception> {
        self.exceptions.iter().chain(self.tools.values().flat_map(|tool| &tool.exceptions))
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
    let unknown_params = map.optional("defaults", problems, defaults);
    let unknown_params = unknown_params.unwrap_or(UnknownParams::Deny);
    let lists = map.optional("lists", problems, |n, p| n.map(p, Node::parsed, list));
    let calendars =
        map.optional("calendars", problems, |n, p| n.map(p, Node::parsed, calendar::calendar));
    let approvals = map.optional("approvals", problems, |n, p| n.map(p, Node::parsed, approval));
    let obligations =
        map.optional("obligations", problems, |n, p| n.map(p, Node::parsed, obligation));
    let tools = map.required("tools", problems, |n, p| {
        n.map(p, Node::parsed, |tool, p| tool::tool(tool, p, unknown_params))
    });
    let exceptions = map.optional("exceptions", problems, |n, p| n.list(p, exception::exception));
    let examples = map.optional("tests", problems, |n, p| n.list(p, example::examples));
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
        exceptions: exceptions.unwrap_or_default(),
        examples: examples.unwrap_or_default().into_iter().flatten().collect(),
        sources: Vec::new(),
        places: BTreeMap::new(),
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

/// All but one have one legal value; a file may still spell it out.
fn defaults(node: &Node, problems: &mut Problems) -> Option<UnknownParams> {
    let mut map = node.mapping(problems)?;
    for name in ["effect", "on_error"] {
        map.optional(name, problems, |value, p| value.choice(p, &[("deny", ())]));
    }
    let unknown_params = map.optional("unknown_params", problems, tool::unknown_params);
    map.finish(problems);
    unknown_params
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
    if node.as_text().is_some_and(|text| text.starts_with('$')) {
        return reference::name(node, problems).map(|(name, at)| ListRef::Named { name, at });
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
    let at = problems.locate(node.position());
    Some(Approval { at, route: route?, quorum, expires: expires?, bind })
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
    let detectors = map.get("detectors").map(|n| condition::detectors(n, problems));
    let fields = map.get("fields").map(|n| fields(n, problems));
    map.optional("in", problems, |n, p| tool::filled_list(n, p, whole_body));
    map.finish(problems);
    if detectors.is_none() && fields.is_none() {
        problems.report(node.position(), "name `detectors` or `fields` to blank");
    }
    Some((detectors.flatten(), fields.flatten()))
}

/// What the detectors look at is all that leaves, body and query; a part of it cannot be left out.
fn whole_body(node: &Node, problems: &mut Problems) -> Option<()> {
    if node.as_text() == Some("body") {
        return Some(());
    }
    let help = "to blank a field whatever it holds, name it under `fields`";
    problems.report_with_help(node.position(), "redaction covers the whole `body`", help);
    None
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
