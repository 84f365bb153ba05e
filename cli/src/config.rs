//! The few lines of `aegis.yaml` that `aegisctl` needs.
//!
//! Not here: checking the whole file; that is `aegis-gateway check`. Invariant: keys unknown here are left alone, keys
//! known here are read with the gateway's own rules and paths are relative to the file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aegis_document::{Document, Mapping, Node, Problems};
use aegis_domain::{OrgId, Region, TenantId};

use crate::failure::Failure;
use crate::home;

#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) region: Region,
    pub(crate) data_dir: PathBuf,
    /// What is listened for, and where.
    pub(crate) listen: BTreeMap<&'static str, SocketAddr>,
    pub(crate) audience: String,
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) tenants: BTreeMap<TenantId, Tenant>,
}

#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) name: String,
    pub(crate) jwks: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) org: OrgId,
    /// The files of the enforced policy, then those of the candidate where there is one.
    pub(crate) policies: Vec<PathBuf>,
}

impl Config {
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let text = home::read("the configuration", path)?;
        let name = path.display().to_string();
        let folder = path.parent().unwrap_or(Path::new("."));
        Document::parse(&name, &text)
            .and_then(|document| document.decode(|root, problems| config(root, problems, folder)))
            .map_err(|found| Failure::invalid("the configuration", found))
    }
}

fn config(root: &Node, problems: &mut Problems, folder: &Path) -> Option<Config> {
    let mut map = root.mapping(problems)?;
    let region = map.required("region", problems, Node::parsed);
    let data_dir =
        map.required("data_dir", problems, |node, problems| path(node, problems, folder));
    let listen = map.required("listen", problems, listen);
    let control = map.optional("control", problems, |node, problems| {
        node.mapping(problems)?.required("address", problems, Node::parsed::<SocketAddr>)
    });
    let identity = map.required("identity", problems, |node, problems| {
        let mut map = node.mapping(problems)?;
        let audience = map.required("audience", problems, Node::text);
        let issuers = map.optional("issuers", problems, |node, problems| {
            node.list(problems, |node, problems| issuer(node, problems, folder))
        });
        Some((audience?, issuers.unwrap_or_default()))
    });
    let tenants = map.required("tenants", problems, |node, problems| {
        node.map(problems, Node::parsed::<TenantId>, |node, problems| {
            tenant(node, problems, folder)
        })
    });
    let (audience, issuers) = identity?;
    Some(Config {
        region: region?,
        data_dir: data_dir?,
        listen: listen?.into_iter().chain(control.map(|control| ("control", control))).collect(),
        audience,
        issuers,
        tenants: tenants?,
    })
}

fn listen(node: &Node, problems: &mut Problems) -> Option<BTreeMap<&'static str, SocketAddr>> {
    let mut map = node.mapping(problems)?;
    let address = |name, map: &mut Mapping<'_>, problems: &mut Problems| {
        Some((name, map.optional(name, problems, Node::parsed::<SocketAddr>)?))
    };
    let plain = address("plain", &mut map, problems);
    let metrics = address("metrics", &mut map, problems);
    let tls = map.optional("tls", problems, |node, problems| {
        let mut map = node.mapping(problems)?;
        Some(("tls", map.required("address", problems, Node::parsed::<SocketAddr>)?))
    });
    Some([plain, tls, metrics].into_iter().flatten().collect())
}

fn issuer(node: &Node, problems: &mut Problems, folder: &Path) -> Option<Issuer> {
    let mut map = node.mapping(problems)?;
    let name = map.required("issuer", problems, Node::text);
    let jwks = map.required("jwks", problems, |node, problems| path(node, problems, folder));
    Some(Issuer { name: name?, jwks: jwks? })
}

fn tenant(node: &Node, problems: &mut Problems, folder: &Path) -> Option<Tenant> {
    let mut map = node.mapping(problems)?;
    let org = map.required("org", problems, Node::parsed::<OrgId>);
    let policies = map.required("policy", problems, |node, problems| {
        let mut map = node.mapping(problems)?;
        if map.get("release").is_some() {
            return Some(Vec::new());
        }
        let enforce = map.required("enforce", problems, |n, p| paths(n, p, folder));
        let candidate = map.optional("candidate", problems, |node, problems| {
            node.mapping(problems)?.required("files", problems, |n, p| paths(n, p, folder))
        });
        Some(enforce?.into_iter().chain(candidate.into_iter().flatten()).collect())
    });
    Some(Tenant { org: org?, policies: policies? })
}

/// One path, or a list of them.
fn paths(node: &Node, problems: &mut Problems, folder: &Path) -> Option<Vec<PathBuf>> {
    if node.as_text().is_some() {
        return path(node, problems, folder).map(|path| vec![path]);
    }
    node.list(problems, |node, problems| path(node, problems, folder))
}

fn path(node: &Node, problems: &mut Problems, folder: &Path) -> Option<PathBuf> {
    node.text(problems).map(|text| folder.join(text))
}
