//! A tenant's tool as people write it in `aegis.yaml`.
//!
//! Not here: what the policy says about the tool. Invariant: a credential is taken from a file or the environment,
//! never from the configuration text.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use aegis_decide::{OutageRule, Price, TokenPrice};
use aegis_document::{Mapping, Node, Problems};
use aegis_domain::{CallKind, Host, Region, Scheme, Secret, ToolName};
use ipnet::IpNet;

use crate::client_certificate::client_certificate;
use crate::read::{positive, usd};
use crate::{
    BodyMode, ClientCertificate, Credential, EncodedSlashes, Protocol, Speaks, ToolBinding,
    Upstream,
};
use crate::{read_modes, read_spending};

/// The folder that relative paths start from.
pub(super) struct Folder(pub(super) PathBuf);

/// Why a name is no tool's.
pub(super) const NO_ROUTE: &str = "a tool's name begins with a letter or a digit";

/// A route is one path segment, and those that begin with `.` or `-` are ours.
pub(super) fn is_route(name: &ToolName) -> bool {
    !name.as_str().starts_with(['.', '-'])
}

pub(super) fn name(node: &Node, problems: &mut Problems) -> Option<ToolName> {
    let name = node.parsed::<ToolName>(problems)?;
    if !is_route(&name) {
        problems.report(node.position(), NO_ROUTE);
        return None;
    }
    Some(name)
}

pub(super) fn tool(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<ToolBinding> {
    let mut map = node.mapping(problems)?;
    let own = own(&mut map, problems, folder);
    Some(own.of(whole(map, problems)?))
}

/// How calls to origins go that no tool is for: everything of a tool but where it goes.
pub(super) fn direct(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<ToolBinding> {
    let mut map = node.mapping(problems)?;
    let own = own(&mut map, problems, folder);
    Some(own.of(binding(map, problems)))
}

/// What a tool takes from the machine's disk or environment.
struct Own {
    ca_file: Option<PathBuf>,
    client_certificate: Option<Arc<ClientCertificate>>,
    credential: Option<Arc<Credential>>,
}

impl Own {
    fn of(self, binding: ToolBinding) -> ToolBinding {
        let Self { ca_file, client_certificate, credential } = self;
        ToolBinding { ca_file, client_certificate, credential, ..binding }
    }
}

fn own(map: &mut Mapping<'_>, problems: &mut Problems, folder: &Folder) -> Own {
    let ca_file = map.optional("ca_file", problems, |n, p| folder.path(n, p));
    let client_certificate = map.optional("client_certificate", problems, |n, p| {
        client_certificate(n, p, folder).map(Arc::new)
    });
    let credential =
        map.optional("credential", problems, |n, p| credential(n, p, folder).map(Arc::new));
    Own { ca_file, client_certificate, credential }
}

/// All of a tool that can be told in words alone.
pub(super) fn whole(mut map: Mapping<'_>, problems: &mut Problems) -> Option<ToolBinding> {
    let upstreams = upstreams(&mut map, problems);
    let binding = binding(map, problems);
    Some(ToolBinding { upstreams: upstreams?, ..binding })
}

fn binding(mut map: Mapping<'_>, problems: &mut Problems) -> ToolBinding {
    let addresses = map.optional("addresses", problems, |n, p| n.list(p, network));
    let resolve = map.optional("resolve", problems, |n, p| n.list(p, Node::parsed::<IpAddr>));
    let protocols =
        [("http1", Protocol::Http1), ("http2", Protocol::Http2), ("auto", Protocol::Auto)];
    let protocol = map.optional("protocol", problems, |n, p| n.choice(p, &protocols));
    let price = map.optional("price", problems, price);
    let limits = read_spending::call_limits(&mut map, problems);
    let kinds = [("read", CallKind::Read), ("write", CallKind::Write)];
    let kind = map.optional("kind", problems, |n, p| n.choice(p, &kinds));
    let kinds = [("inspect", BodyMode::Inspect), ("stream", BodyMode::Stream)];
    let body = map.optional("body", problems, |n, p| n.choice(p, &kinds));
    let languages = [("http", Speaks::Http), ("mcp", Speaks::Mcp)];
    let speaks = map.optional("speaks", problems, |n, p| n.choice(p, &languages));
    if speaks == Some(Speaks::Mcp) && body == Some(BodyMode::Stream) {
        problems.report(map.position(), "messages of MCP are read, so `body` may not be `stream`");
    }
    let modes = map.optional("modes", problems, read_modes::modes);
    let body_bytes_max = map.optional("body_bytes_max", problems, |n, p| {
        n.integer::<usize>(p, 0..=256 * 1_024 * 1_024)
    });
    let slashes = [("refuse", EncodedSlashes::Refuse), ("allow", EncodedSlashes::Allow)];
    let slashes = map.optional("encoded_slashes", problems, |n, p| n.choice(p, &slashes));
    let rules = [("deny", OutageRule::DenyAll), ("allow_free_reads", OutageRule::AllowFreeReads)];
    let outage = map.optional("on_state_outage", problems, |n, p| n.choice(p, &rules));
    let connect = map.optional("connect_timeout", problems, positive);
    let read = map.optional("read_timeout", problems, positive);
    if matches!((&price, body), (Some(Price::PerToken(_)), Some(BodyMode::Stream))) {
        problems.report(map.position(), "a body that streams by unread cannot be priced by token");
    }
    map.finish(problems);
    let usual = ToolBinding::default();
    ToolBinding {
        addresses: addresses.unwrap_or_default(),
        resolve: resolve.unwrap_or_default(),
        protocol: protocol.unwrap_or(usual.protocol),
        price: price.unwrap_or(usual.price),
        limits,
        kind,
        body: body.unwrap_or(usual.body),
        speaks: speaks.unwrap_or(usual.speaks),
        modes: modes.unwrap_or(usual.modes),
        body_bytes_max,
        encoded_slashes: slashes.unwrap_or(usual.encoded_slashes),
        connect_timeout: connect.unwrap_or(usual.connect_timeout),
        read_timeout: read.unwrap_or(usual.read_timeout),
        outage: outage.unwrap_or(usual.outage),
        ..usual
    }
}

/// `upstream: URL`, or `upstreams: { region: URL }` where each region has its own endpoint.
fn upstreams(
    map: &mut Mapping<'_>,
    problems: &mut Problems,
) -> Option<BTreeMap<Option<Region>, Upstream>> {
    let single = map.optional("upstream", problems, Node::parsed::<Upstream>);
    let several = map.optional("upstreams", problems, |node, problems| {
        node.map(problems, Node::parsed::<Region>, Node::parsed::<Upstream>)
    });
    let mut all: BTreeMap<Option<Region>, Upstream> =
        several.into_iter().flatten().map(|(region, upstream)| (Some(region), upstream)).collect();
    all.extend(single.map(|upstream| (None, upstream)));
    if all.is_empty() {
        problems.report(map.position(), "`upstream` or `upstreams` must say where calls go");
        return None;
    }
    Some(all)
}

/// Why a text is not an upstream.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    #[error("expected https://host[:port][/base/path] or http://..")]
    Form,
    #[error("the host may hold only a-z 0-9 . - _ :")]
    Host,
}

impl std::str::FromStr for Upstream {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let uri: http::Uri = text.parse().map_err(|_| UpstreamError::Form)?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("https") => (Scheme::Https, 443),
            Some("http") => (Scheme::Http, 80),
            _ => return Err(UpstreamError::Form),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(UpstreamError::Form)?;
        let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        let has_bad_port = !after_host.is_empty() && authority.port_u16().is_none();
        if uri.query().is_some() || has_bad_port {
            return Err(UpstreamError::Form);
        }
        let host = authority.host().trim_matches(['[', ']']);
        let host = Host::parse(host).map_err(|_| UpstreamError::Host)?;
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { scheme, host, port: authority.port_u16().unwrap_or(default_port), base_path })
    }
}

/// A network, or one address as a network of its own.
pub(super) fn network(node: &Node, problems: &mut Problems) -> Option<IpNet> {
    let text = node.text(problems)?;
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    if net.is_none() {
        problems.report(node.position(), "expected an address or a network such as 10.1.0.0/16");
    }
    net
}

fn credential(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Credential> {
    credential_in(node.mapping(problems)?, problems, folder)
}

/// What is left of a mapping that is a credential's.
pub(super) fn credential_in(
    mut map: Mapping<'_>,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<Credential> {
    let position = map.position();
    let header = map
        .optional("header", problems, Node::parsed::<http::HeaderName>)
        .unwrap_or(http::header::AUTHORIZATION);
    let prefix = map.optional("prefix", problems, Node::text).unwrap_or_default();
    let secret = secret(&mut map, "a credential", problems, folder);
    map.finish(problems);
    let whole = format!("{prefix}{}", secret?.expose());
    let Ok(mut value) = http::HeaderValue::from_str(&whole) else {
        problems.report(position, "the credential is not a header value");
        return None;
    };
    value.set_sensitive(true);
    Some(Credential { header, value: Secret::new(value) })
}

/// A secret from `file` or `env`.
pub(super) fn secret(
    map: &mut Mapping<'_>,
    what: &str,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<Secret<String>> {
    match (map.get("file"), map.get("env")) {
        (Some(node), None) => secret_file(node, problems, folder),
        (None, Some(node)) => secret_env(node, problems),
        _ => {
            problems.report(map.position(), format!("{what} comes from either `file` or `env`"));
            None
        }
    }
}

fn secret_file(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Secret<String>> {
    let path = folder.path(node, problems)?;
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(Secret::new(text.trim_end().to_owned())),
        Err(error) => {
            problems.report(node.position(), format!("the secret's file cannot be read: {error}"));
            None
        }
    }
}

fn secret_env(node: &Node, problems: &mut Problems) -> Option<Secret<String>> {
    let name = node.text(problems)?;
    match std::env::var(&name) {
        Ok(text) => Some(Secret::new(text)),
        Err(_) => {
            problems.report(node.position(), "the environment variable is not set");
            None
        }
    }
}

fn price(node: &Node, problems: &mut Problems) -> Option<Price> {
    let mut map = node.mapping(problems)?;
    let per_call = map.optional("per_call_usd", problems, usd);
    let input = map.optional("input_per_million_usd", problems, usd);
    let output = map.optional("output_per_million_usd", problems, usd);
    let ceiling =
        map.optional("output_tokens_max", problems, |n, p| n.integer::<u64>(p, 1..=10_000_000));
    let price = match (per_call, input, output, ceiling) {
        (Some(amount), None, None, None) => Some(Price::PerCall(amount)),
        (None, Some(input_per_million), Some(output_per_million), output_tokens_max) => {
            Some(Price::PerToken(TokenPrice {
                input_per_million,
                output_per_million,
                output_tokens_max,
            }))
        }
        _ => {
            problems.report_with_help(
                map.position(),
                "a price is either per call or per token",
                "give `per_call_usd`, or `input_per_million_usd`, `output_per_million_usd` and, if the model has one, `output_tokens_max`",
            );
            None
        }
    };
    map.finish(problems);
    price
}

#[cfg(test)]
mod tests {
    use crate::*;

    #[test]
    fn an_upstream_is_a_plain_url() {
        let upstream: Upstream = "https://api.example.com/base/".parse().unwrap();
        assert_eq!((upstream.port, upstream.base_path.as_str()), (443, "/base"));
        for bad in [
            "api.example.com",
            "ftp://a",
            "https://u:p@a",
            "https://a?x=1",
            "https://",
            "https://a:99999",
        ] {
            assert!(bad.parse::<Upstream>().is_err(), "{bad}");
        }
    }
}
