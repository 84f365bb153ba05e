//! What a gateway has of its own and lends to the definitions of its region by name: credentials, client certificates, and
//! authorities to believe.
//!
//! Not here: what else a definition may do (`allowed`). Invariant: what is lent goes only with tools of the tenants, and to the
//! hosts, that stand beside it, so that whoever defines tools cannot use it at a place of his own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aegis_document::{Mapping, Node, Problems};
use aegis_domain::{Host, TenantId};

use crate::client_certificate::client_certificate_in;
use crate::read_tool::{self, Folder};
use crate::{ClientCertificate, Credential};

/// What gateways call something of their own: 1 to 63 of a-z 0-9 - _.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LentName(Box<str>);

/// The text is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name of what gateways lend is 1 to {} of a-z 0-9 - _", LentName::BYTES_MAX)]
pub struct LentNameError;

/// What a definition asks gateways to lend it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Borrows {
    pub credential: Option<LentName>,
    pub client_certificate: Option<LentName>,
    /// Who signs its upstream's certificate, in place of the public authorities.
    pub authority: Option<LentName>,
}

/// One kind of what is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LentKind {
    Credential,
    ClientCertificate,
    Authority,
}

/// Why something is not lent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLent {
    #[error("`{}` has no `{name}`", kind.key())]
    Unknown { kind: LentKind, name: LentName },
    #[error("the {kind} `{name}` is not for the tenant")]
    Tenant { kind: LentKind, name: LentName },
    #[error("the {kind} `{name}` is not for {host}")]
    Host { kind: LentKind, name: LentName, host: Host },
}

/// One thing, and for what it may be used.
#[derive(Debug)]
struct Lent<T> {
    thing: T,
    hosts: BTreeSet<Host>,
    tenants: BTreeSet<TenantId>,
}

/// All things of one kind.
#[derive(Debug)]
struct Shelf<T>(BTreeMap<LentName, Lent<T>>);

/// Everything that a gateway lends.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    credentials: Shelf<Arc<Credential>>,
    client_certificates: Shelf<Arc<ClientCertificate>>,
    authorities: Shelf<PathBuf>,
}

/// What was asked for, and is lent.
#[derive(Debug)]
pub(super) struct Borrowed {
    pub(super) credential: Option<Arc<Credential>>,
    pub(super) client_certificate: Option<Arc<ClientCertificate>>,
    pub(super) ca_file: Option<PathBuf>,
}

impl Shelves {
    /// `credentials`, `client_certificates` and `authorities`
    pub(super) fn read(map: &mut Mapping<'_>, problems: &mut Problems, folder: &Folder) -> Self {
        let credentials = shelf(map, LentKind::Credential, problems, |map, problems| {
            read_tool::credential_in(map, problems, folder).map(Arc::new)
        });
        let client_certificates =
            shelf(map, LentKind::ClientCertificate, problems, |map, problems| {
                client_certificate_in(map, problems, folder).map(Arc::new)
            });
        let authorities = shelf(map, LentKind::Authority, problems, |mut map, problems| {
            let file = map.required("ca_file", problems, |n, p| folder.path(n, p));
            map.finish(problems);
            file
        });
        Self { credentials, client_certificates, authorities }
    }

    pub(super) fn lend(
        &self,
        Borrows { credential, client_certificate, authority }: Borrows,
        whom: (&TenantId, &Host),
    ) -> Result<Borrowed, NotLent> {
        Ok(Borrowed {
            credential: self.credentials.lend(LentKind::Credential, credential, whom)?,
            client_certificate: self.client_certificates.lend(
                LentKind::ClientCertificate,
                client_certificate,
                whom,
            )?,
            ca_file: self.authorities.lend(LentKind::Authority, authority, whom)?,
        })
    }

    /// Every way to an upstream that what is lent makes: whom to believe, and what to show.
    pub(super) fn ways(
        &self,
    ) -> impl Iterator<Item = (Option<&PathBuf>, Option<&Arc<ClientCertificate>>)> {
        let authorities = || self.authorities.things().map(Some).chain([None]);
        let shown = self.client_certificates.things().map(Some).chain([None]);
        shown.flat_map(move |shown| authorities().map(move |authority| (authority, shown)))
    }
}

impl<T: Clone> Shelf<T> {
    fn lend(
        &self,
        kind: LentKind,
        name: Option<LentName>,
        (tenant, host): (&TenantId, &Host),
    ) -> Result<Option<T>, NotLent> {
        let Some(name) = name else { return Ok(None) };
        match self.0.get(&name) {
            None => Err(NotLent::Unknown { kind, name }),
            Some(lent) if !lent.tenants.contains(tenant) => Err(NotLent::Tenant { kind, name }),
            Some(lent) if !lent.hosts.contains(host) => {
                Err(NotLent::Host { kind, name, host: host.clone() })
            }
            Some(lent) => Ok(Some(lent.thing.clone())),
        }
    }
}

impl<T> Shelf<T> {
    fn things(&self) -> impl Iterator<Item = &T> {
        self.0.values().map(|lent| &lent.thing)
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// `stripe-live: { file: stripe.key, prefix: "Bearer ", hosts: [api.stripe.com], tenants: [acme] }`
fn shelf<T>(
    map: &mut Mapping<'_>,
    kind: LentKind,
    problems: &mut Problems,
    thing: impl Fn(Mapping<'_>, &mut Problems) -> Option<T>,
) -> Shelf<T> {
    let name = |node: &Node, problems: &mut Problems| node.parsed::<LentName>(problems);
    let lent = |node: &Node, problems: &mut Problems| {
        let mut map = node.mapping(problems)?;
        let hosts = map.required("hosts", problems, |n, p| n.list(p, Node::parsed::<Host>));
        let tenants = map.required("tenants", problems, |n, p| n.list(p, Node::parsed::<TenantId>));
        let thing = thing(map, problems);
        let (hosts, tenants) = (BTreeSet::from_iter(hosts?), BTreeSet::from_iter(tenants?));
        Some(Lent { thing: thing?, hosts, tenants })
    };
    let all = map.optional(kind.key(), problems, |node, problems| node.map(problems, name, lent));
    all.map(Shelf).unwrap_or_default()
}

impl LentKind {
    /// What holds all of its kind in `aegis.yaml`.
    fn key(self) -> &'static str {
        match self {
            Self::Credential => "credentials",
            Self::ClientCertificate => "client_certificates",
            Self::Authority => "authorities",
        }
    }
}

impl fmt::Display for LentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Credential => "credential",
            Self::ClientCertificate => "client certificate",
            Self::Authority => "authority",
        })
    }
}

impl LentName {
    const BYTES_MAX: usize = 63;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for LentName {
    type Err = LentNameError;

    fn from_str(text: &str) -> Result<Self, LentNameError> {
        let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let is_name = (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain);
        if is_name { Ok(Self(text.into())) } else { Err(LentNameError) }
    }
}

impl fmt::Display for LentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
