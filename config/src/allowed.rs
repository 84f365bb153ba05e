//! What a gateway lets the definitions of its region do: the networks they may reach, and the credentials it lends them.
//!
//! Not here: what a definition says (`read_definition`), and which are in force (`corridor`). Invariant: a credential of the
//! gateway's goes with a tool only to a host and for a tenant that stand beside it here, so that whoever defines tools cannot
//! have it sent to a place of his own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use aegis_document::{Node, Position, Problems};
use aegis_domain::{Host, Region, Scheme, TenantId};
use ipnet::IpNet;

use crate::read_tool::{self, Folder, network};
use crate::{Credential, CredentialName, RegionRegistry, ToolBinding, ToolDefinition, Upstream};

/// The bounds of what a region may define for this gateway.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Beside the public ones.
    addresses: Vec<IpNet>,
    credentials: BTreeMap<CredentialName, Lent>,
}

/// A credential of this gateway, and for what it may be used.
#[derive(Debug)]
struct Lent {
    credential: Arc<Credential>,
    hosts: BTreeSet<Host>,
    tenants: BTreeSet<TenantId>,
}

/// Why a gateway may not do what a definition says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    #[error("the network {0} is not within `definitions.addresses`")]
    Network(IpNet),
    #[error("the address {0} is not within `definitions.addresses`")]
    Address(IpAddr),
    #[error(
        "http:// goes only to an address that the definition names and `definitions.addresses` allows"
    )]
    Clear,
    #[error(
        "this gateway's own file gives the tool a price, a budget or a credential, and the definition none: give it one, or take the tool out of the file"
    )]
    Entrusted,
    #[error("`credentials` has no `{0}`")]
    CredentialUnknown(CredentialName),
    #[error("the credential `{0}` is not for the tenant")]
    CredentialTenant(CredentialName),
    #[error("the credential `{0}` is not for {1}")]
    CredentialHost(CredentialName, Host),
}

impl Allowed {
    /// The tool as calls made from `region` use it, with the credential that it names.
    pub fn bind(
        &self,
        (tenant, region): (&TenantId, &Region),
        ToolDefinition { binding, credential }: ToolDefinition,
    ) -> Result<ToolBinding, NotAllowed> {
        // In a region where it has none, calls are refused for that.
        let Some(upstream) = binding.upstream(region) else { return Ok(binding) };
        let is_inside = |net: &IpNet| self.addresses.iter().any(|allowed| allowed.contains(net));
        if let Some(net) = binding.addresses.iter().find(|net| !is_inside(net)) {
            return Err(NotAllowed::Network(*net));
        }
        let is_named = |address: &IpAddr| is_inside(&IpNet::from(*address));
        if let Some(address) = binding.resolve.iter().find(|address| !is_named(address)) {
            return Err(NotAllowed::Address(*address));
        }
        if upstream.scheme == Scheme::Http {
            // Whoever answers a resolver's question would read what goes there.
            let literal = upstream.host.as_str().parse::<IpAddr>();
            let is_fixed = literal.map_or(!binding.resolve.is_empty(), |it| is_named(&it));
            if !is_fixed {
                return Err(NotAllowed::Clear);
            }
        }
        let credential = credential.map(|name| self.lend(name, tenant, upstream)).transpose()?;
        Ok(ToolBinding { credential, ..binding })
    }

    fn lend(
        &self,
        name: CredentialName,
        tenant: &TenantId,
        upstream: &Upstream,
    ) -> Result<Arc<Credential>, NotAllowed> {
        let Some(lent) = self.credentials.get(&name) else {
            return Err(NotAllowed::CredentialUnknown(name));
        };
        if !lent.tenants.contains(tenant) {
            return Err(NotAllowed::CredentialTenant(name));
        }
        if !lent.hosts.contains(&upstream.host) {
            return Err(NotAllowed::CredentialHost(name, upstream.host.clone()));
        }
        Ok(Arc::clone(&lent.credential))
    }
}

/// Whose word counts on tools and limits.
#[derive(Debug)]
pub(super) enum From {
    File,
    Region { addresses: Vec<IpNet>, position: Position },
}

/// `definitions: { from: region, addresses: [10.1.0.0/16] }`
pub(super) fn definitions(node: &Node, problems: &mut Problems) -> Option<From> {
    let mut map = node.mapping(problems)?;
    let sources = [("file", false), ("region", true)];
    let is_regional = map.required("from", problems, |n, p| n.choice(p, &sources));
    let addresses = map.optional("addresses", problems, |n, p| n.list(p, network));
    let position = map.position();
    map.finish(problems);
    match (is_regional?, addresses) {
        (true, addresses) => {
            Some(From::Region { addresses: addresses.unwrap_or_default(), position })
        }
        (false, None) => Some(From::File),
        (false, Some(_)) => {
            problems.report(position, "`addresses` are for definitions `from: region`");
            None
        }
    }
}

/// `stripe-live: { file: stripe.key, prefix: "Bearer ", hosts: [api.stripe.com], tenants: [acme] }`
pub(super) fn credentials(
    node: &Node,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<Credentials> {
    let name = |node: &Node, problems: &mut Problems| node.parsed::<CredentialName>(problems);
    node.map(problems, name, |node, problems| {
        let mut map = node.mapping(problems)?;
        let hosts = map.required("hosts", problems, |n, p| n.list(p, Node::parsed::<Host>));
        let tenants = map.required("tenants", problems, |n, p| n.list(p, Node::parsed::<TenantId>));
        let credential = read_tool::credential_in(map, problems, folder);
        let (hosts, tenants) = (BTreeSet::from_iter(hosts?), BTreeSet::from_iter(tenants?));
        Some(Lent { credential: Arc::new(credential?), hosts, tenants })
    })
    .map(Credentials)
}

/// What this gateway has to lend, and to whom.
pub(super) struct Credentials(BTreeMap<CredentialName, Lent>);

/// Both as one, where there is a region to define anything.
pub(super) fn allowed(
    from: Option<From>,
    credentials: Option<Credentials>,
    registry: Option<&RegionRegistry>,
    problems: &mut Problems,
) -> Option<Allowed> {
    match from? {
        From::File => None,
        From::Region { addresses, position } => {
            if registry.is_none() {
                let help = "keep the region's ledger with `control`, or follow it with `registry`";
                problems.report_with_help(position, "no region defines anything here", help);
            }
            let credentials = credentials.map(|Credentials(all)| all).unwrap_or_default();
            Some(Allowed { addresses, credentials })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use aegis_document::Document;
    use aegis_domain::ToolName;

    use super::*;

    fn allow(text: &str) -> Result<Allowed, String> {
        let document = Document::parse("aegis.yaml", text).unwrap();
        let read = document.decode(|root, problems| {
            let mut map = root.mapping(problems)?;
            let folder = Folder(PathBuf::from("/nowhere"));
            let lent = map.optional("credentials", problems, |n, p| credentials(n, p, &folder));
            let from = map.optional("definitions", problems, definitions);
            let there = map
                .optional("registry", problems, |n, p| crate::read_region::registry(n, p, &folder));
            map.finish(problems);
            allowed(from, lent, there.as_ref(), problems)
        });
        read.map_err(|mistakes| mistakes.to_string())
    }

    const REGION: &str =
        "registry: { url: 'http://127.0.0.1:1', token: { env: PATH }, region_keys: k }\n";

    fn bound(text: &str, tenant: &str) -> Result<ToolBinding, NotAllowed> {
        let allowed = format!(
            "{REGION}definitions: {{ from: region, addresses: [10.1.0.0/16, 'fd00:1::/32'] }}\n\
             credentials:\n  stripe:\n    env: PATH\n    hosts: [api.stripe.com]\n    tenants: [acme]\n"
        );
        let name = ToolName::parse("pay").unwrap();
        let definition = ToolDefinition::read(&name, "pay.yaml", text).unwrap();
        let (tenant, region) =
            (TenantId::parse(tenant).unwrap(), Region::parse("eu-west-1").unwrap());
        allow(&allowed).unwrap().bind((&tenant, &region), definition)
    }

    #[test]
    fn a_credential_goes_to_a_host_and_for_a_tenant_that_stand_beside_it_and_nowhere_else() {
        let to = |host: &str| format!("upstream: https://{host}/v1\ncredential: stripe\n");
        assert!(bound(&to("api.stripe.com"), "acme").unwrap().credential.is_some());
        assert!(bound(&to("api.stripe.com:8443"), "acme").unwrap().credential.is_some());
        let told = |text: &str, tenant: &str| bound(text, tenant).unwrap_err().to_string();
        assert!(told(&to("api.stripe.com"), "umbrella").contains("not for the tenant"));
        for host in ["stripe.com", "api.stripe.com.evil.example", "x.api.stripe.com"] {
            assert!(told(&to(host), "acme").contains(&format!("not for {host}")));
        }
        let unknown = "upstream: https://api.stripe.com\ncredential: other\n";
        assert!(told(unknown, "acme").contains("no `other`"));
        // Another region's upstream is another's to judge.
        let upstreams = "upstreams: { us-east-1: https://evil.example, \
                         eu-west-1: https://api.stripe.com }\ncredential: stripe\n";
        assert!(bound(upstreams, "acme").unwrap().credential.is_some());
        let elsewhere = upstreams.replace("us-east-1", "x").replace("eu-west-1", "us-east-1");
        assert!(bound(&elsewhere, "acme").unwrap().credential.is_none());
    }

    #[test]
    fn a_definition_reaches_no_network_that_the_gateway_does_not_name() {
        for (text, is_allowed) in [
            ("upstream: https://a.example\n", true),
            ("upstream: https://a.example\naddresses: [10.1.2.0/24]\n", true),
            ("upstream: https://a.example\naddresses: [10.0.0.0/8]\n", false),
            ("upstream: https://a.example\naddresses: [10.1.0.0/15]\n", false),
            ("upstream: https://a.example\naddresses: [10.1.0.0/16, 169.254.169.254]\n", false),
            ("upstream: https://a.example\nresolve: [10.1.2.3, 'fd00:1::9']\n", true),
            ("upstream: https://a.example\nresolve: [8.8.8.8]\n", false),
            ("upstream: https://a.example\nresolve: ['::ffff:10.1.2.3']\n", false),
            ("upstream: http://a.example\n", false),
            ("upstream: http://a.example\naddresses: [10.1.0.0/16]\n", false),
            ("upstream: http://a.example\nresolve: [10.1.2.3]\n", true),
            ("upstream: http://10.1.2.3\n", true),
            ("upstream: http://10.2.2.3\nresolve: [10.1.2.3]\n", false),
            ("upstream: http://8.8.8.8\n", false),
        ] {
            assert_eq!(bound(text, "acme").is_ok(), is_allowed, "{text}");
        }
    }

    #[test]
    fn what_is_allowed_is_said_beside_a_region_and_every_mistake_has_its_place() {
        assert!(allow("definitions: { from: region }\n").unwrap_err().contains("1:14"));
        for (text, told) in [
            ("definitions: {}", "2:14"),
            ("definitions: { from: voter }", "2:22"),
            ("definitions: { from: file, addresses: [10.0.0.0/8] }", "2:14"),
            ("definitions: { from: region, addresses: [ten] }", "2:42"),
            ("credentials: { X: { env: PATH, hosts: [a], tenants: [b] } }", "2:16"),
            ("credentials: { x: { env: PATH, hosts: [a] } }", "2:19"),
            ("credentials: { x: { env: PATH, tenants: [a] } }", "2:19"),
            ("credentials: { x: { hosts: [a], tenants: [a] } }", "2:19"),
            ("credentials: { x: { file: none, hosts: [a], tenants: [a] } }", "2:27"),
        ] {
            let mistakes = allow(&format!("{REGION}{text}\n")).unwrap_err();
            assert!(mistakes.contains(&format!("aegis.yaml:{told}")), "{text}\n{mistakes}");
        }
    }
}
