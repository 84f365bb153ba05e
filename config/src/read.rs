//! `aegis.yaml` as people write it, read whole: every mistake is reported with its line, all at once.
//!
//! Not here: the meaning of the values (`config`) and tool definitions (`read_tool`).
//! Invariant: a `Config` comes out only when nothing was reported.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::Origin;
use aegis_document::{Diagnostics, Document, Node, Position, Problems};
use aegis_domain::{AgentId, MicroUsd, OrgId, Region, TeamId, TenantId, ToolName};
use aegis_state::BudgetError;
use sha2::{Digest as _, Sha256};

use aegis_identity::Modes;

use crate::lent::Shelves;
use crate::read_tool::{self, Folder};
use crate::{
    Agent, AgentCertificate, CallLimits, Config, HEADERS_CEILING, IdentityConfig, IssuerConfig,
    Limits, Listen, PolicySource, SpendLimit, Standing, StateHome, Tenant, TlsListen, ToolBinding,
    Unusable,
};
use crate::{
    allowed, read_audit, read_modes, read_policy, read_pull, read_region, read_spending, read_state,
};

pub(super) fn load(path: &Path) -> Result<Config, Diagnostics> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let mut problems = Problems::new(&name);
        let help = "write one with `aegisctl init`, or name another with --config";
        problems.report_with_help(Position::START, format!("cannot be read: {error}"), help);
        problems.into_diagnostics()
    })?;
    let folder = Folder(path.parent().unwrap_or(Path::new(".")).to_path_buf());
    let sha256 = Sha256::digest(text.as_bytes()).into();
    let document = Document::parse(&name, &text)?;
    document.decode(|root, problems| {
        Some(Config { file: path.to_path_buf(), sha256, ..config(root, problems, &folder)? })
    })
}

/// Where the text came from is filled in by the caller.
fn config(root: &Node, problems: &mut Problems, folder: &Folder) -> Option<Config> {
    let mut map = root.mapping(problems)?;
    let region = map.required("region", problems, Node::parsed::<Region>);
    let domain = map.required("domain", problems, domain);
    let data_dir = map.required("data_dir", problems, |node, problems| folder.path(node, problems));
    let listen = map.required("listen", problems, |node, problems| listen(node, problems, folder));
    let limits = map.optional("limits", problems, limits).unwrap_or_default();
    let state = map.optional("state", problems, |n, p| read_state::state(n, p, folder));
    let audit = map.optional("audit", problems, |n, p| read_audit::audit(n, p, folder));
    let audit = audit.unwrap_or_default();
    let identity =
        map.required("identity", problems, |node, problems| identity(node, problems, folder));
    let control = map.optional("control", problems, |n, p| read_region::control(n, p, folder));
    let registry = map.optional("registry", problems, |n, p| read_region::registry(n, p, folder));
    let registry = read_region::one_of(control, registry, (root, problems));
    let lent = Shelves::read(&mut map, problems, folder);
    let definitions = map.optional("definitions", problems, allowed::definitions);
    let definitions = allowed::allowed(definitions, lent, registry.as_ref(), problems);
    let place = (domain.as_deref(), region.as_ref().map(Region::as_str));
    let name = map.optional("name", problems, |n, p| gateway_name(n, place, p));
    let policy_export =
        map.optional("policy_export", problems, |n, p| read_pull::policy_export(n, p, folder));
    if registry.is_none() && identity.as_ref().is_some_and(|it| it.issuers.is_empty()) {
        let help = "name an issuer below `identity`, or keep a registry of agents with `control`";
        problems.report_with_help(root.position(), "nobody's tokens are trusted", help);
    }
    let regions = map.optional("regions", problems, |node, problems| {
        node.map(problems, Node::parsed::<Region>, Node::text)
    });
    let tenants = map.required("tenants", problems, |node, problems| {
        node.map(problems, Node::parsed::<TenantId>, |node, problems| {
            Some((node.position(), tenant(node, problems, folder)?))
        })
    });
    map.finish(problems);
    let mut complete = BTreeMap::new();
    for (id, (position, raw)) in tenants? {
        if matches!(raw.policy, PolicySource::Release(_)) && registry.is_none() {
            let help = "keep the region's ledger with `control`, or follow it with `registry`";
            problems.report_with_help(position, "nobody releases policies here", help);
        }
        match named(id.clone(), raw) {
            Ok(tenant) => drop(complete.insert(id, Arc::new(tenant))),
            Err(error) => problems.report(position, error.to_string()),
        }
    }
    let owners = complete.values().map(Arc::as_ref);
    let certificates = read_modes::certificates(owners, root, problems);
    Some(Config {
        certificates,
        region: region?,
        domain: domain?,
        data_dir: data_dir?,
        listen: listen?,
        limits,
        state: state.unwrap_or(StateHome::Embedded),
        shipping: audit.shipping,
        witnesses: audit.witnesses,
        witness_quorum: audit.witness_quorum,
        anchor_lag_max: audit.anchor_lag_max,
        identity: identity?,
        registry,
        definitions: definitions.map(Arc::new),
        name,
        policy_export,
        regions: regions.unwrap_or_default(),
        tenants: complete,
        file: PathBuf::new(),
        sha256: [0; 32],
    })
}

/// What this gateway is called among those of its region, and as the writer of its audit log.
fn gateway_name(
    node: &Node,
    (domain, region): (Option<&str>, Option<&str>),
    problems: &mut Problems,
) -> Option<String> {
    let name = node.text(problems)?;
    // What is missing is reported where it should stand.
    let (domain, region) = (domain.unwrap_or("d"), region.unwrap_or("r"));
    if !(1..=63).contains(&name.len()) {
        problems.report(node.position(), "a gateway's name is 1 to 63 of a-z 0-9 . -");
        return None;
    }
    // Its registry has the longest origin that is made of it.
    match Origin::registry(domain, region, &name, u64::MAX) {
        Ok(_) => Some(name),
        Err(why) => {
            let help = "1 to 63 of a-z 0-9 . -, not only dots, and neither `registry` nor `registry.` and more";
            let message = format!("no writer of an audit log can have this name: {why}");
            problems.report_with_help(node.position(), message, help);
            None
        }
    }
}

/// Audit origins are built from it, so it is a lower-case DNS name.
fn domain(node: &Node, problems: &mut Problems) -> Option<String> {
    let host = node.parsed::<aegis_domain::Host>(problems)?;
    Some(host.as_str().to_owned())
}

fn listen(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Listen> {
    let mut map = node.mapping(problems)?;
    let plain = map.optional("plain", problems, Node::parsed::<SocketAddr>);
    let tls = map.optional("tls", problems, |node, problems| {
        let mut map = node.mapping(problems)?;
        let address = map.required("address", problems, Node::parsed::<SocketAddr>);
        let certificate = map.required("certificate", problems, |n, p| folder.path(n, p));
        let key = map.required("key", problems, |n, p| folder.path(n, p));
        let client_ca = map.optional("client_ca", problems, |n, p| folder.path(n, p));
        map.finish(problems);
        Some(TlsListen { address: address?, certificate: certificate?, key: key?, client_ca })
    });
    let metrics = map.required("metrics", problems, Node::parsed::<SocketAddr>);
    if map.get("plain").is_none() && map.get("tls").is_none() {
        problems.report(map.position(), "one of `plain` and `tls` must say where agents call");
    }
    map.finish(problems);
    Some(Listen { plain, tls, metrics: metrics? })
}

fn limits(node: &Node, problems: &mut Problems) -> Option<Limits> {
    const BODY_CEILING: usize = 256 * 1_024 * 1_024;
    const ALL_BODIES_CEILING: usize = 64 * 1_024 * 1_024 * 1_024;
    let mut limits = Limits::default();
    let mut map = node.mapping(problems)?;
    let mut span = |name, problems: &mut Problems, default: Duration| {
        map.optional(name, problems, positive).unwrap_or(default)
    };
    limits.head_deadline = span("head_deadline", problems, limits.head_deadline);
    limits.body_deadline = span("body_deadline", problems, limits.body_deadline);
    limits.record_deadline = span("record_deadline", problems, limits.record_deadline);
    limits.idle = span("idle", problems, limits.idle);
    limits.drain = span("drain", problems, limits.drain);
    limits.grace = span("grace", problems, limits.grace);
    let mut count = |name, problems: &mut Problems, bounds, default: usize| {
        let read = map.optional(name, problems, |n, p| n.integer::<usize>(p, bounds));
        read.unwrap_or(default)
    };
    limits.head.bytes_max =
        count("head_bytes_max", problems, 1_024..=1_048_576, limits.head.bytes_max);
    limits.head.headers_max =
        count("headers_max", problems, 8..=HEADERS_CEILING, limits.head.headers_max);
    limits.body_bytes_max =
        count("body_bytes_max", problems, 0..=BODY_CEILING, limits.body_bytes_max);
    limits.bodies_bytes_max =
        count("bodies_bytes_max", problems, 1_024..=ALL_BODIES_CEILING, limits.bodies_bytes_max);
    limits.connections_max =
        count("connections_max", problems, 1..=1_000_000, limits.connections_max);
    limits.policies_kept = count("policies_kept", problems, 0..=50, limits.policies_kept);
    limits.policies_compared =
        count("policies_compared", problems, 0..=100_000, limits.policies_compared);
    if limits.bodies_bytes_max < limits.body_bytes_max {
        problems.report(map.position(), "`bodies_bytes_max` is less than one body may have");
    }
    map.finish(problems);
    Some(limits)
}

/// A length of time that is not none at all.
pub(super) fn positive(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let ttl = node.duration(problems)?;
    if ttl.ms() == 0 {
        problems.report(node.position(), "expected more than no time at all");
        return None;
    }
    Some(Duration::from_millis(ttl.ms()))
}

/// Who may write must be known not to have been taken back a while ago.
const REVOCATION_LAG_MAX: Duration = Duration::from_secs(5 * 60);

fn identity(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<IdentityConfig> {
    let mut map = node.mapping(problems)?;
    let audience = map.required("audience", problems, Node::text);
    let urls = map.optional("urls", problems, |n, p| n.list(p, Node::text));
    let demands_nonces = map.optional("demand_nonces", problems, Node::boolean).unwrap_or(false);
    let issuers = map.optional("issuers", problems, |node, problems| {
        node.list(problems, |node, problems| {
            let mut map = node.mapping(problems)?;
            let issuer = map.required("issuer", problems, Node::text);
            let jwks = map.required("jwks", problems, |n, p| folder.path(n, p));
            let tenants = map
                .optional("tenants", problems, |n, p| n.list(p, Node::parsed::<TenantId>))
                .map(BTreeSet::from_iter);
            let position = map.position();
            map.finish(problems);
            Some((position, IssuerConfig { issuer: issuer?, jwks: jwks?, tenants }))
        })
    });
    let revocation_lag_max = map.optional("revocation_lag_max", problems, revocation_lag);
    map.finish(problems);
    let issuers = issuers.unwrap_or_default();
    let is_shared = issuers.len() > 1;
    for (position, _) in issuers.iter().filter(|(_, one)| is_shared && one.tenants.is_none()) {
        let help = "with several issuers each says for whom it may speak: `tenants: [acme]`";
        problems.report_with_help(*position, "`tenants` is missing", help);
    }
    let issuers = issuers.into_iter().map(|(_, issuer)| issuer).collect();
    let audience = audience?;
    let urls = urls.unwrap_or_else(|| vec![audience.clone()]);
    let revocation_lag_max = revocation_lag_max.unwrap_or(REVOCATION_LAG_MAX);
    Some(IdentityConfig { audience, urls, demands_nonces, issuers, revocation_lag_max })
}

/// A question to the region waits for 20 s, and after a day nothing that it said is believed.
fn revocation_lag(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let lag = positive(node, problems)?;
    if !(Duration::from_secs(60)..=Duration::from_secs(24 * 60 * 60)).contains(&lag) {
        problems.report(node.position(), "expected one minute to 24 hours");
        return None;
    }
    Some(lag)
}

/// A tenant before it has its name, which is the key it stands under.
struct RawTenant {
    org: OrgId,
    region: Region,
    policy: PolicySource,
    modes: Option<Modes>,
    limits: CallLimits,
    teams: BTreeMap<TeamId, Vec<SpendLimit>>,
    agents: BTreeMap<AgentId, RawAgent>,
    tools: BTreeMap<ToolName, Arc<ToolBinding>>,
    direct: Option<ToolBinding>,
}

struct RawAgent {
    groups: BTreeSet<String>,
    attributes: BTreeMap<String, serde_json::Value>,
    parent: Option<AgentId>,
    standing: Standing,
    modes: Option<Modes>,
    certificate: Option<AgentCertificate>,
    team: Option<TeamId>,
    limits: CallLimits,
}

fn named(id: TenantId, raw: RawTenant) -> Result<Tenant, BudgetError> {
    let RawTenant { org, region, policy, modes, limits, teams, agents, tools, direct } = raw;
    let modes = modes.unwrap_or(Modes::ANY);
    let direct = Arc::new(direct.unwrap_or_default());
    let none = BTreeMap::new();
    let mut tenant = Tenant {
        id,
        org,
        region,
        policy,
        modes,
        limits,
        teams,
        agents: none,
        tools,
        direct,
        unusable: Unusable::default(),
    };
    for (name, raw) in agents {
        let agent = Agent {
            budgets: tenant.budgets_of(&name, raw.team.as_ref(), &raw.limits.spend)?,
            groups: raw.groups,
            attributes: raw.attributes,
            parent: raw.parent,
            team: raw.team,
            standing: raw.standing,
            modes: raw.modes,
            certificate: raw.certificate,
            rates: raw.limits.rates,
            in_flight: raw.limits.in_flight,
        };
        tenant.agents.insert(name, agent);
    }
    Ok(tenant)
}

fn tenant(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<RawTenant> {
    let mut map = node.mapping(problems)?;
    let org = map.required("org", problems, Node::parsed::<OrgId>);
    let region = map.required("region", problems, Node::parsed::<Region>);
    let policy = map.required("policy", problems, |n, p| read_policy::policy(n, p, folder));
    let modes = map.optional("modes", problems, read_modes::modes);
    let limits = read_spending::call_limits(&mut map, problems);
    let teams = match map.get("teams") {
        Some(node) => node.map(problems, Node::parsed::<TeamId>, read_spending::team),
        None => Some(BTreeMap::new()),
    };
    let agents = map.required("agents", problems, |node, problems| {
        node.map(problems, Node::parsed::<AgentId>, |node, problems| {
            agent(node, problems, teams.as_ref())
        })
    });
    let direct = map
        .optional("direct", problems, |node, problems| read_tool::direct(node, problems, folder));
    let tools = map.required("tools", problems, |node, problems| {
        node.map(problems, read_tool::name, |node, problems| {
            read_tool::tool(node, problems, folder).map(Arc::new)
        })
    });
    map.finish(problems);
    Some(RawTenant {
        org: org?,
        region: region?,
        policy: policy?,
        modes,
        limits,
        teams: teams?,
        agents: agents?,
        tools: tools?,
        direct,
    })
}

/// Dollars in quotes, because YAML would make a float of them: `"12.50"`.
pub(super) fn usd(node: &Node, problems: &mut Problems) -> Option<MicroUsd> {
    let text = node.text(problems)?;
    match MicroUsd::parse_usd(&text) {
        Ok(amount) => Some(amount),
        Err(error) => {
            problems.report(node.position(), error.to_string());
            None
        }
    }
}

fn agent(
    node: &Node,
    problems: &mut Problems,
    teams: Option<&BTreeMap<TeamId, Vec<SpendLimit>>>,
) -> Option<RawAgent> {
    let mut map = node.mapping(problems)?;
    let groups = map.optional("groups", problems, |n, p| n.list(p, Node::text));
    let attributes = map.optional("attributes", problems, |node, problems| {
        node.map(problems, attribute, Node::json)
    });
    let parent = map.optional("parent", problems, Node::parsed::<AgentId>);
    let disabled = map.optional("disabled", problems, Node::boolean).unwrap_or(false);
    let modes = map.optional("modes", problems, read_modes::modes);
    let certificate = map.optional("certificate", problems, read_modes::certificate);
    let team = map.optional("team", problems, |node, problems| {
        let team = node.parsed::<TeamId>(problems)?;
        // Teams that could not be read are a mistake already.
        if teams.is_some_and(|teams| !teams.contains_key(&team)) {
            problems.report(node.position(), format!("the tenant's `teams` hold no `{team}`"));
        }
        Some(team)
    });
    let limits = read_spending::call_limits(&mut map, problems);
    map.finish(problems);
    Some(RawAgent {
        groups: groups.into_iter().flatten().collect(),
        attributes: attributes.unwrap_or_default(),
        parent,
        standing: if disabled { Standing::Disabled } else { Standing::Active },
        modes,
        certificate,
        team,
        limits,
    })
}

/// `mode` is told by the gateway: how the caller showed who it is.
fn attribute(node: &Node, problems: &mut Problems) -> Option<String> {
    let name = node.text(problems)?;
    if name == "mode" {
        problems.report(node.position(), "`mode` is an attribute that the gateway sets itself");
        return None;
    }
    Some(name)
}

/// A path relative to the folder of the file that names it.
impl Folder {
    pub(super) fn path(&self, node: &Node, problems: &mut Problems) -> Option<PathBuf> {
        node.text(problems).map(|text| self.0.join(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_stand_in_an_audit_origin_is_refused_where_it_stands() {
        let read = |text: &str, domain: &str| {
            let document = Document::parse("aegis.yaml", text).unwrap();
            let place = (Some(domain), Some("eu-west-1"));
            let name = document.decode(|root, problems| {
                let mut map = root.mapping(problems)?;
                map.required("name", problems, |n, p| gateway_name(n, place, p))
            });
            name.map_err(|mistakes| mistakes.to_string())
        };
        assert_eq!(read("name: gw-1.eu", "audit.example.com").as_deref(), Ok("gw-1.eu"));
        for bad in ["registry", "registry.gw-1", "..", "GW", "a/b", "''", &"g".repeat(64)] {
            let told = read(&format!("name: {bad}"), "audit.example.com").unwrap_err();
            assert!(told.contains("aegis.yaml:1:7"), "{bad}: {told}");
        }
        // 255 bytes are all that an origin has.
        let told = read(&format!("name: {}", "g".repeat(63)), &"d".repeat(200)).unwrap_err();
        assert!(told.contains("longer than 255 bytes"), "{told}");
    }
}
