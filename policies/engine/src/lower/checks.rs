//! The checks of a tool: `match`, `allow`, the typed `params` and the presence of facts, each with its reason.
//!
//! Not here: the rules people wrote. Invariant: a check denies unless its lines hold, so whatever is missing,
//! mistyped or unforeseen denies.

use aegis_domain::{McpCall, RuleId};

use super::conditions::{Lines, Lowering, param_reference, presence};
use aegis_document::Location;
use aegis_policy_language::canonical;
use aegis_policy_language::{
    Mode, Name, Param, ParamKind, PathPattern, Presence, Segment, Text, UnknownParams,
};

/// Lines that must hold, and the reason when they do not.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) reason: String,
    pub(super) lines: Lines,
    pub(super) at: Location,
}

/// What undeclared parameters are reported as, denied or stripped.
pub(super) const UNKNOWN_PARAM: &str = "schema.unknown-param";
/// The MCP call that the gateway read off the body; absent in other requests.
const MCP: &str = "input.request.mcp";

impl Lowering<'_> {
    pub(super) fn checks(&mut self) -> Vec<Check> {
        let at = self.tool.at.clone();
        let mut checks = match &self.tool.matching.mcp {
            Some(call) => self.mcp(call),
            None => vec![self.method(), self.path(), self.no_mcp()],
        };
        checks.extend(self.host());
        checks.extend(self.region());
        checks.extend(self.tool.allow.scopes.iter().map(|id| scope(id, &at)));
        checks.extend(self.groups());
        let object = vec!["is_object(input.params)".to_owned()];
        checks.push(Check { reason: "schema.params".to_owned(), lines: object, at });
        let tool = self.tool;
        checks.extend(tool.params.iter().map(|(name, param)| self.param(name, param)));
        if tool.unknown_params == UnknownParams::Deny {
            let unknown = self.unknown_params();
            checks.push(self.check(UNKNOWN_PARAM, vec![format!("not {unknown}")]));
        }
        checks.extend(self.facts());
        checks
    }

    fn check(&self, reason: &str, lines: Lines) -> Check {
        Check { reason: reason.to_owned(), lines, at: self.tool.at.clone() }
    }

    fn method(&mut self) -> Check {
        let methods = &self.tool.matching.methods;
        let members: Vec<Text> = methods.iter().filter_map(|m| m.as_str().parse().ok()).collect();
        let set = self.sets.reference(&members);
        self.check("request.method", vec![format!("{set}[input.request.method]")])
    }

    fn path(&mut self) -> Check {
        let bodies: Vec<Lines> = self.tool.matching.paths.iter().map(path_lines).collect();
        let lines = match bodies.as_slice() {
            [only] => only.clone(),
            _ => vec![self.name(&self.tool.at.clone(), bodies)],
        };
        self.check("request.path", lines)
    }

    /// A request to a server's endpoint may look like any other: what it calls there is for the server's tools to say.
    fn no_mcp(&mut self) -> Check {
        let called = vec![format!("is_object({MCP})")];
        let called = self.name(&self.tool.at.clone(), vec![called]);
        self.check("request.mcp", vec![format!("not {called}")])
    }

    fn mcp(&self, call: &McpCall) -> Vec<Check> {
        let (server, tool) =
            (canonical::string(call.server.as_str()), canonical::string(call.tool.as_str()));
        vec![
            self.check("request.mcp-server", vec![format!("{MCP}.server == {server}")]),
            self.check("request.mcp-tool", vec![format!("{MCP}.tool == {tool}")]),
        ]
    }

    fn host(&mut self) -> Option<Check> {
        if self.set.members(&self.tool.matching.hosts).is_empty() {
            return None;
        }
        let tool = canonical::string(self.name.as_str());
        let lines = vec![
            "is_array(input.request.host_candidates)".to_owned(),
            "some h in input.request.host_candidates".to_owned(),
            format!("data.aegis_data.hosts[{tool}][h]"),
        ];
        let name = self.name(&self.tool.at.clone(), vec![lines]);
        Some(self.check("request.host", vec![name]))
    }

    fn region(&mut self) -> Option<Check> {
        let regions = self.tool.allow.regions.as_ref()?;
        let members: Vec<Text> = regions.iter().filter_map(|r| r.as_str().parse().ok()).collect();
        let set = self.sets.reference(&members);
        Some(self.check("request.region", vec![format!("{set}[input.request.region]")]))
    }

    fn groups(&mut self) -> Option<Check> {
        let groups = self.tool.allow.groups.as_ref()?;
        let lines = vec![
            "is_array(input.agent.groups)".to_owned(),
            "some g in input.agent.groups".to_owned(),
            format!("{}[g]", self.sets.reference(self.set.members(groups))),
        ];
        let name = self.name(&self.tool.at.clone(), vec![lines]);
        Some(self.check("agent.group", vec![name]))
    }

    fn param(&mut self, name: &Name, param: &Param) -> Check {
        let mut lines = self.typed(&param_reference(name), param);
        if param.required == Presence::Optional {
            let key = canonical::string(name.as_str());
            let present = vec![
                "is_object(input.params)".to_owned(),
                format!("{key} in object.keys(input.params)"),
            ];
            let present = self.name(&param.at, vec![present]);
            lines = vec![self.name(&param.at, vec![lines, vec![format!("not {present}")]])];
        }
        Check { reason: format!("schema.{name}"), lines, at: param.at.clone() }
    }

    fn typed(&mut self, value: &str, param: &Param) -> Lines {
        let mut lines = vec![format!("{}({value})", guard(param.kind))];
        if param.kind == ParamKind::Integer {
            lines.push(format!("{value} == floor({value})"));
        }
        lines.extend(param.min.iter().map(|min| format!("{value} >= {}", canonical::number(min))));
        lines.extend(param.max.iter().map(|max| format!("{value} <= {}", canonical::number(max))));
        lines.extend(param.max_length.map(|max| format!("count({value}) <= {max}")));
        if let Some(list) = &param.one_of {
            lines.push(format!("{}[{value}]", self.sets.reference(self.set.members(list))));
        }
        let pattern = param.pattern.as_ref();
        lines.extend(pattern.map(|pattern| format!("regex.match(`{pattern}`, {value})")));
        lines
    }

    /// The name that is true when there is a parameter nobody declared.
    pub(super) fn unknown_params(&mut self) -> String {
        let at = self.tool.at.clone();
        let lines = vec![
            "is_object(input.params)".to_owned(),
            "some k, _ in input.params".to_owned(),
            "not_declared(k)".to_owned(),
        ];
        self.name(&at, vec![lines])
    }

    /// The set of declared parameters, for `declared(k)`.
    pub(super) fn declared_params(&mut self) -> String {
        let names = self.tool.params.keys();
        let members: Vec<Text> = names.filter_map(|name| name.as_str().parse().ok()).collect();
        self.sets.reference(&members)
    }

    /// Facts the host must supply are no optional parameters: without them the tool's rules cannot be trusted.
    fn facts(&self) -> Option<Check> {
        let enforced = self.tool.rules.iter().filter(|rule| rule.mode == Mode::Enforce);
        let excepted = self.set.exceptions_of(self.tool).map(|exception| &exception.when);
        let lines = presence(enforced.map(|rule| &rule.when).chain(excepted));
        (!lines.is_empty()).then(|| self.check("facts.missing", lines))
    }
}

fn scope(id: &RuleId, at: &Location) -> Check {
    let scope = id.as_str().strip_prefix("scope.").unwrap_or_default();
    let lines = vec![
        "is_array(input.agent.scopes)".to_owned(),
        format!("{} in input.agent.scopes", canonical::string(scope)),
    ];
    Check { reason: id.to_string(), lines, at: at.clone() }
}

/// A path without braces is compared as it stands; one with braces by its segments, which the host has split.
fn path_lines(path: &PathPattern) -> Lines {
    if let Some(literal) = path.literal() {
        let literal = canonical::string(literal);
        return if path.is_open() {
            vec![
                "is_string(input.request.path)".to_owned(),
                format!("startswith(input.request.path, {literal})"),
            ]
        } else {
            vec![format!("input.request.path == {literal}")]
        };
    }
    let count = path.segments().len();
    let length = if path.is_open() { format!("> {count}") } else { format!("== {count}") };
    let mut lines = vec![
        "is_array(input.request.segments)".to_owned(),
        format!("count(input.request.segments) {length}"),
    ];
    for (index, segment) in path.segments().iter().enumerate() {
        let value = format!("input.request.segments[{index}]");
        match segment {
            Segment::Literal(text) => {
                lines.push(format!("{value} == {}", canonical::string(text.as_str())));
            }
            Segment::Empty => lines.push(format!("{value} == \"\"")),
            Segment::Param(_) => {
                lines.push(format!("is_string({value})"));
                lines.push(format!("count({value}) > 0"));
            }
        }
    }
    lines
}

/// The built-in that holds exactly for values of a kind.
fn guard(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::String => "is_string",
        ParamKind::Integer | ParamKind::Number => "is_number",
        ParamKind::Boolean => "is_boolean",
        ParamKind::Array => "is_array",
        ParamKind::Object => "is_object",
    }
}
