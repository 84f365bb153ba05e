//! What a gateway lets the definitions of its region do: the networks they may reach, and what it lends them.
//!
//! Not here: what a definition says (`read_definition`), to whom what is lent (`lent`), and which are in force (`corridor`).
//! Invariant: a definition reaches no network, and has nothing of the gateway's, but what its own file names.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use aegis_document::{Node, Position, Problems};
use aegis_domain::{Region, Scheme, TenantId};
use ipnet::IpNet;

use crate::lent::{Borrowed, NotLent, Shelves};
use crate::read_tool::network;
use crate::{ClientCertificate, RegionRegistry, ToolBinding, ToolDefinition};

/// The bounds of what a region may define for this gateway.
#[derive(Debug, Default)]
pub struct Allowed {
    /// Beside the public ones.
    addresses: Vec<IpNet>,
    shelves: Shelves,
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
        "this gateway's own file gives the tool a price, a budget, a credential or a client certificate, and the definition none: give it one, or take the tool out of the file"
    )]
    Entrusted,
    #[error(transparent)]
    NotLent(#[from] NotLent),
}

impl Allowed {
    /// The tool as calls made from `region` use it, with what it borrows.
    pub fn bind(
        &self,
        (tenant, region): (&TenantId, &Region),
        ToolDefinition { binding, borrows }: ToolDefinition,
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
        let lent = self.shelves.lend(borrows, (tenant, &upstream.host))?;
        let Borrowed { credential, client_certificate, ca_file } = lent;
        Ok(ToolBinding { credential, client_certificate, ca_file, ..binding })
    }

    /// Whom upstreams of definitions may have to be signed by, and what they may be shown.
    pub fn ways(
        &self,
    ) -> impl Iterator<Item = (Option<&PathBuf>, Option<&Arc<ClientCertificate>>)> {
        self.shelves.ways()
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

/// Both as one, where there is a region to define anything.
pub(super) fn allowed(
    from: Option<From>,
    shelves: Shelves,
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
            Some(Allowed { addresses, shelves })
        }
    }
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;
    use aegis_domain::ToolName;

    use super::*;
    use crate::read_tool::Folder;

    fn allow(text: &str) -> Result<Allowed, String> {
        let document = Document::parse("aegis.yaml", text).unwrap();
        let read = document.decode(|root, problems| {
            let mut map = root.mapping(problems)?;
            let folder = Folder(PathBuf::from("/nowhere"));
            let lent = Shelves::read(&mut map, problems, &folder);
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
             credentials:\n  stripe:\n    env: PATH\n    hosts: [api.stripe.com]\n    tenants: [acme]\n\
             authorities: {{ inside: {{ ca_file: ca.pem, hosts: [crm.inside], tenants: [acme] }} }}\n"
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
    fn an_authority_is_believed_of_its_hosts_and_for_its_tenants_alone() {
        let to = |host: &str| format!("upstream: https://{host}\nauthority: inside\n");
        let file = bound(&to("crm.inside"), "acme").unwrap().ca_file.unwrap();
        assert_eq!(file, PathBuf::from("/nowhere/ca.pem"));
        for (host, tenant, told) in [
            ("api.stripe.com", "acme", "the authority `inside` is not for api.stripe.com"),
            ("crm.inside", "umbrella", "the authority `inside` is not for the tenant"),
        ] {
            assert_eq!(bound(&to(host), tenant).unwrap_err().to_string(), told);
        }
        let both = "upstream: https://api.stripe.com\ncredential: stripe\nauthority: inside\n";
        assert!(bound(both, "acme").is_err(), "the secret would go to whom the authority signs");
        let other = "upstream: https://crm.inside\nclient_certificate: inside\n";
        let told = bound(other, "acme").unwrap_err().to_string();
        assert_eq!(told, "`client_certificates` has no `inside`");
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
            ("authorities: { x: { ca_file: a, hosts: [a] } }", "2:19"),
            ("authorities: { x: { hosts: [a], tenants: [a] } }", "2:19"),
            ("authorities: { x: { ca_file: a, env: PATH, hosts: [a], tenants: [a] } }", "2:33"),
            ("client_certificates: { x: { chain: a, hosts: [a], tenants: [a] } }", "2:27"),
            ("client_certificates: { x: { chain: a, key: a, hosts: [a], tenants: [a] } }", "2:36"),
        ] {
            let mistakes = allow(&format!("{REGION}{text}\n")).unwrap_err();
            assert!(mistakes.contains(&format!("aegis.yaml:{told}")), "{text}\n{mistakes}");
        }
    }
}
