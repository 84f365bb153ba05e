//! The region's registry of agents as people write it: kept by this process (`control`), or followed (`registry`).
//!
//! Not here: serving and following it (`gateway::region`). Invariant: no secret is sent in the clear to another machine,
//! and what is served in the clear is served to this machine only.

use std::net::SocketAddr;
use std::path::PathBuf;

use aegis_document::{Mapping, Node, Problems};
use aegis_domain::{Secret, TenantId, VoterUrls};
use aegis_identity::{SubjectProfile, SubjectRule};

use crate::read_people::{PeopleIssuer, people};
use crate::read_pull::{SharedReleases, releases};
use crate::read_tool::{Folder, secret};

/// Where the registry of a region's agents is, besides those that the configuration names.
#[derive(Debug)]
pub enum RegionRegistry {
    /// Here: this process serves the control API.
    Kept(Box<ControlApi>),
    /// Elsewhere: this process follows another that does.
    Followed(Box<FollowedRegistry>),
}

impl RegionRegistry {
    /// What the tokens of the region's token service name as their issuer.
    pub fn issuer(&self) -> &str {
        match self {
            RegionRegistry::Kept(control) => &control.url,
            RegionRegistry::Followed(followed) => &followed.issuer,
        }
    }
}

/// How the control API is served.
#[derive(Debug)]
pub struct ControlApi {
    pub address: SocketAddr,
    /// The base URL it is reached at, which is also the issuer of its tokens.
    pub url: String,
    pub tls: Option<ControlTls>,
    /// Where this very voter is reached, which `url` need not lead to: it may stand for all of them.
    pub own_url: Option<String>,
    /// The gateways its tokens are for, if they are not this one alone.
    pub audiences: Option<Vec<String>>,
    /// Foreign issuers whose tokens are taken in exchange.
    pub exchange: Vec<ExchangeIssuer>,
    /// Where other voters of the region's ledger reach this one; without it, it is alone.
    pub cluster: Option<ClusterDoor>,
    /// Whose people may command the region, beside those with a session.
    pub people: Option<PeopleIssuer>,
    pub releases: SharedReleases,
}

/// Where a voter listens, and where the others look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDoor {
    pub listen: SocketAddr,
    pub address: String,
    /// Where gateways reach this voter's control API.
    pub url: Option<String>,
    /// Who signs the certificates of the voters' control APIs, in the place of the public authorities.
    pub ca_file: Option<PathBuf>,
}

/// What the control API proves itself with.
#[derive(Debug)]
pub struct ControlTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A foreign issuer, and which agents its subjects are.
#[derive(Debug)]
pub struct ExchangeIssuer {
    pub profile: SubjectProfile,
    pub issuer: String,
    pub audiences: Vec<String>,
    pub keys: ExchangeKeys,
    pub rules: Vec<SubjectRule>,
}

/// Where a foreign issuer publishes its keys.
#[derive(Debug)]
pub enum ExchangeKeys {
    Url { url: String, ca_file: Option<PathBuf> },
    File(PathBuf),
}

/// Which registry is followed, and by what right.
#[derive(Debug)]
pub struct FollowedRegistry {
    /// The region's voters, as this process reaches them.
    pub voters: VoterUrls,
    pub issuer: String,
    pub token: Secret<String>,
    pub ca_file: Option<PathBuf>,
    /// The key set of the region, which signs what is followed.
    pub region_keys: PathBuf,
}

pub(super) fn control(
    node: &Node,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<RegionRegistry> {
    let mut map = node.mapping(problems)?;
    let address = map.required("address", problems, Node::parsed::<SocketAddr>);
    let tls = map.optional("tls", problems, |node, problems| tls(node, problems, folder));
    let url = map.optional("url", problems, base_url);
    let audiences = map.optional("audiences", problems, |n, p| n.list(p, Node::text));
    let exchange = map.optional("exchange", problems, |node, problems| {
        node.list(problems, |node, problems| exchange(node, problems, folder))
    });
    let cluster = map.optional("cluster", problems, |n, p| cluster(n, p, folder));
    let people = map.optional("people", problems, |node, problems| people(node, problems, folder));
    let releases = map.optional("releases", problems, |n, p| releases(n, p, folder));
    let releases = releases.unwrap_or_default();
    let position = map.position();
    map.finish(problems);
    let address = address?;
    let named = (!address.ip().is_unspecified()).then(|| own_url(address, &tls));
    let own_url = cluster.as_ref().and_then(|door| door.url.clone()).or_else(|| named.clone());
    let url = url.or(named);
    let Some(url) = url else {
        problems.report(position, "`url` must say how agents reach an address of all interfaces");
        return None;
    };
    if tls.is_none() && !address.ip().is_loopback() && !url.starts_with("https://") {
        let help = "give `tls: { certificate, key }`, or, where a proxy before it ends TLS, the `url` with https://";
        problems.report_with_help(position, "keys and codes would be sent in the clear", help);
        return None;
    }
    let exchange = exchange.unwrap_or_default();
    let control =
        ControlApi { address, url, tls, own_url, audiences, exchange, cluster, people, releases };
    Some(RegionRegistry::Kept(Box::new(control)))
}

fn own_url(address: SocketAddr, tls: &Option<ControlTls>) -> String {
    let scheme = if tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}

fn tls(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<ControlTls> {
    let mut map = node.mapping(problems)?;
    let certificate = map.required("certificate", problems, |n, p| folder.path(n, p));
    let key = map.required("key", problems, |n, p| folder.path(n, p));
    map.finish(problems);
    Some(ControlTls { certificate: certificate?, key: key? })
}

/// `{ listen: 0.0.0.0:7400, address: voter-1.example.com:7400 }`
fn cluster(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<ClusterDoor> {
    let mut map = node.mapping(problems)?;
    let listen = map.required("listen", problems, Node::parsed::<SocketAddr>);
    let address = map.required("address", problems, voter_address);
    let url = map.optional("url", problems, base_url);
    let ca_file = map.optional("ca_file", problems, |n, p| folder.path(n, p));
    map.finish(problems);
    Some(ClusterDoor { listen: listen?, address: address?, url, ca_file })
}

/// A host or an address, and a port that others can dial.
fn voter_address(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text(problems)?;
    let is_everywhere =
        text.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified());
    let is_dialled = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_text = host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        !host.is_empty() && is_text && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if is_everywhere || !is_dialled {
        let message =
            "expected where other voters reach this one, such as `voter-1.example.com:7400`";
        problems.report(node.position(), message);
        return None;
    }
    Some(text)
}

/// A base URL, to which paths are added as they are.
pub(super) fn base_url(node: &Node, problems: &mut Problems) -> Option<String> {
    let url = node.text(problems)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_base = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.ends_with('/') && !rest.contains(['?', '#', ' ', '@'])
    });
    if !is_base {
        let message = "expected a URL without a final slash, such as `https://control.example.com`";
        problems.report(node.position(), message);
        return None;
    }
    Some(url)
}

/// One base URL, or those of several voters.
fn base_urls(node: &Node, problems: &mut Problems) -> Option<Vec<String>> {
    if node.as_text().is_some() {
        return base_url(node, problems).map(|url| vec![url]);
    }
    node.list(problems, base_url)
}

fn exchange(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<ExchangeIssuer> {
    let profiles = [
        ("jwt-svid", SubjectProfile::JwtSvid),
        ("kubernetes", SubjectProfile::Kubernetes),
        ("oidc", SubjectProfile::Oidc),
    ];
    let mut map = node.mapping(problems)?;
    let profile = map.required("profile", problems, |n, p| n.choice(p, &profiles));
    let issuer = map.required("issuer", problems, Node::text);
    let audiences = map.required("audiences", problems, |n, p| n.list(p, Node::text));
    let keys = exchange_keys(&mut map, problems, folder);
    let rules = map.required("rules", problems, |n, p| n.list(p, rule));
    map.finish(problems);
    Some(ExchangeIssuer {
        profile: profile?,
        issuer: issuer?,
        audiences: audiences?,
        keys: keys?,
        rules: rules?,
    })
}

pub(super) fn exchange_keys(
    map: &mut Mapping<'_>,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<ExchangeKeys> {
    let ca_file = map.optional("ca_file", problems, |n, p| folder.path(n, p));
    map.required("keys", problems, |node, problems| {
        let text = node.text(problems)?;
        if text.starts_with("https://") {
            return Some(ExchangeKeys::Url { url: text, ca_file });
        }
        if text.contains("://") {
            problems.report(node.position(), "keys are fetched over https, or read from a file");
            return None;
        }
        folder.path(node, problems).map(ExchangeKeys::File)
    })
}

/// `{ subject: "repo:acme/{repo}", agent: "ci.{repo}", tenant: acme }`
fn rule(node: &Node, problems: &mut Problems) -> Option<SubjectRule> {
    let mut map = node.mapping(problems)?;
    let subject = map.required("subject", problems, Node::text);
    let agent = map.required("agent", problems, Node::text);
    let tenant = map.required("tenant", problems, Node::parsed::<TenantId>);
    map.finish(problems);
    let rule = SubjectRule::parse(&subject?, &agent?, tenant?);
    rule.map_err(|error| problems.report(node.position(), error.to_string())).ok()
}

pub(super) fn registry(
    node: &Node,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<RegionRegistry> {
    let mut map = node.mapping(problems)?;
    let position = map.position();
    let urls = map.required("url", problems, base_urls);
    let issuer = map.optional("issuer", problems, Node::text);
    let token = map.required("token", problems, |node, problems| {
        let mut map = node.mapping(problems)?;
        let token = secret(&mut map, "a token", problems, folder);
        map.finish(problems);
        token
    });
    let ca_file = map.optional("ca_file", problems, |n, p| folder.path(n, p));
    let region_keys = map.required("region_keys", problems, |n, p| folder.path(n, p));
    map.finish(problems);
    let urls = urls?;
    if urls.iter().any(|url| !url.starts_with("https://") && !is_here(url)) {
        let help = "name it with https://, or by an address such as 127.0.0.1";
        problems.report_with_help(position, "the token would be sent in the clear", help);
        return None;
    }
    let Some((first, others)) = urls.split_first() else {
        problems.report(position, "`url` names no voter");
        return None;
    };
    if issuer.is_none() && !others.is_empty() {
        let help = "it is the `control.url` that all voters of the region have";
        problems.report_with_help(position, "of several voters the `issuer` must be named", help);
        return None;
    }
    let issuer = issuer.unwrap_or_else(|| first.clone());
    let (voters, token, region_keys) = (VoterUrls::new(first, others), token?, region_keys?);
    let followed = FollowedRegistry { voters, issuer, token, ca_file, region_keys };
    Some(RegionRegistry::Followed(Box::new(followed)))
}

/// Whether a URL leads to this machine, whatever resolvers say.
pub(super) fn is_here(url: &str) -> bool {
    let authority = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let address = authority.parse::<SocketAddr>().map(|address| address.ip());
    let ip = address.or_else(|_| authority.trim_matches(['[', ']']).parse());
    ip.is_ok_and(|ip| ip.is_loopback())
}

/// The one registry of the region, if there is any.
pub(super) fn one_of(
    control: Option<RegionRegistry>,
    registry: Option<RegionRegistry>,
    (root, problems): (&Node, &mut Problems),
) -> Option<RegionRegistry> {
    if control.is_some() && registry.is_some() {
        let help = "a region has one registry: this process keeps it, or follows the one that does";
        problems.report_with_help(
            root.position(),
            "`control` and `registry` exclude each other",
            help,
        );
    }
    control.or(registry)
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;

    use super::*;

    type Reader = fn(&Node, &mut Problems, &Folder) -> Option<RegionRegistry>;

    fn read_by(reader: Reader, text: &str) -> Result<RegionRegistry, String> {
        let document = Document::parse("aegis.yaml", text).unwrap();
        let folder = Folder(PathBuf::from("/nowhere"));
        let read = document.decode(|root, problems| reader(root, problems, &folder));
        read.map_err(|mistakes| mistakes.to_string())
    }

    fn kept(text: &str) -> Result<ControlApi, String> {
        match read_by(control, text)? {
            RegionRegistry::Kept(control) => Ok(*control),
            RegionRegistry::Followed(_) => unreachable!("it was not asked for"),
        }
    }

    #[test]
    fn an_address_of_this_machine_is_all_that_a_laptop_needs() {
        let control = kept("address: 127.0.0.1:8081").unwrap();
        assert_eq!(control.url, "http://127.0.0.1:8081");
        assert!(control.audiences.is_none() && control.exchange.is_empty());
        let control = kept("{ address: '10.0.0.1:8081', tls: { certificate: c, key: k } }");
        assert_eq!(control.unwrap().url, "https://10.0.0.1:8081");
        let proxied = kept("{ address: '0.0.0.0:8081', url: 'https://control.example.com' }");
        assert_eq!(proxied.unwrap().url, "https://control.example.com");
    }

    #[test]
    fn a_voter_says_where_it_listens_and_where_others_look_for_it() {
        let with =
            |cluster: &str| kept(&format!("{{ address: '127.0.0.1:1', cluster: {cluster} }}"));
        let control = with("{ listen: '0.0.0.0:7400', address: 'voter-1.example.com:7400' }");
        let door = control.unwrap().cluster.unwrap();
        assert_eq!(door.address, "voter-1.example.com:7400");
        assert!(with("{ listen: '[::]:7400', address: '[2001:db8::1]:7400' }").is_ok());
        for (cluster, told) in [
            ("{ listen: '0.0.0.0:7400' }", "1:36"),
            ("{ listen: '0.0.0.0:7400', address: '0.0.0.0:7400' }", "1:71"),
            ("{ listen: '0.0.0.0:7400', address: 'voter-1' }", "1:71"),
            ("{ listen: '0.0.0.0:7400', address: 'voter-1:0' }", "1:71"),
            ("{ listen: '0.0.0.0:7400', address: 'https://voter-1:7400' }", "1:71"),
        ] {
            let mistakes = with(cluster).unwrap_err();
            assert!(mistakes.contains(&format!("aegis.yaml:{told}")), "{cluster}\n{mistakes}");
        }
    }

    #[test]
    fn a_foreign_issuer_says_which_agents_its_subjects_are() {
        let text = "\
address: 127.0.0.1:8081
exchange:
- profile: oidc
  issuer: https://token.actions.example
  audiences: [aegis]
  keys: https://token.actions.example/jwks
  rules: [{ subject: 'repo:acme/{repo}:ref:refs/heads/main', agent: 'ci.{repo}', tenant: acme }]
";
        let control = kept(text).unwrap();
        let [issuer] = control.exchange.as_slice() else { panic!("one issuer") };
        assert!(matches!(&issuer.keys, ExchangeKeys::Url { ca_file: None, .. }));
        assert_eq!(issuer.rules.len(), 1);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        for (text, told) in [
            ("{}", "1:1"),
            ("{ address: '0.0.0.0:8081' }", "1:1"),
            ("{ address: '10.0.0.1:8081' }", "1:1"),
            ("{ address: '10.0.0.1:8081', url: 'http://control' }", "1:1"),
            ("{ address: '127.0.0.1:1', url: 'http://control/' }", "1:32"),
            ("{ address: '127.0.0.1:1', url: 'ftp://control' }", "1:32"),
            ("{ address: '127.0.0.1:1', tls: { key: k } }", "1:32"),
            ("{ address: '127.0.0.1:1', adress: x }", "1:27"),
        ] {
            let mistakes = kept(text).unwrap_err();
            assert!(mistakes.contains(&format!("aegis.yaml:{told}")), "{text}\n{mistakes}");
        }
        for (text, told) in [
            ("{ url: 'http://10.0.0.1:8081', token: { env: PATH }, region_keys: k }", "1:1"),
            ("{ url: 'http://localhost:8081', token: { env: PATH }, region_keys: k }", "1:1"),
            ("{ url: 'https://control', token: { file: none }, region_keys: k }", "1:42"),
            ("{ url: 'https://control', token: { env: PATH } }", "1:1"),
            ("{ url: [], token: { env: PATH }, region_keys: k }", "1:1"),
            ("{ url: ['https://a', b], issuer: i, token: { env: PATH }, region_keys: k }", "1:22"),
            (
                "{ url: ['https://a', 'http://b'], issuer: i, token: { env: PATH }, region_keys: k }",
                "1:1",
            ),
            ("{ url: ['https://a', 'https://b'], token: { env: PATH }, region_keys: k }", "1:1"),
        ] {
            let mistakes = read_by(registry, text).unwrap_err();
            assert!(mistakes.contains(&format!("aegis.yaml:{told}")), "{text}\n{mistakes}");
        }
    }

    #[test]
    fn what_is_followed_names_its_issuer_by_its_url_unless_told_otherwise() {
        let text = "{ url: 'http://127.0.0.1:8081', token: { env: PATH }, region_keys: keys.json }";
        assert_eq!(read_by(registry, text).unwrap().issuer(), "http://127.0.0.1:8081");
        let text = "{ url: 'https://control', issuer: 'https://region', token: { env: PATH }, region_keys: keys.json }";
        assert_eq!(read_by(registry, text).unwrap().issuer(), "https://region");
        let text = "{ url: ['https://a', 'https://b'], issuer: 'https://region', token: { env: PATH }, region_keys: k }";
        let RegionRegistry::Followed(followed) = read_by(registry, text).unwrap() else { panic!() };
        assert_eq!(followed.voters.iter().collect::<Vec<_>>(), ["https://a", "https://b"]);
    }
}
