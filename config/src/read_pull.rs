//! Who else is given releases, as people write it: other regions and stores below `control.releases`, and `policy_export`.
//!
//! Not here: following and telling (`control`). Invariant: no token is sent in the clear to another machine, and a region has
//! one author.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use aegis_document::{Node, Problems};
use aegis_domain::{Region, Secret, TenantId};

use crate::read::positive;
use crate::read_audit::{ShipTo, store};
use crate::read_region::{base_url, is_here};
use crate::read_tool::{Folder, secret};

/// How releases are shared between regions.
#[derive(Debug, Default)]
pub struct SharedReleases {
    /// The region that authors, if it is another.
    pub pull: Option<Pull>,
    /// Other regions that may follow this one, each by its own token.
    pub give: BTreeMap<Region, Secret<String>>,
    /// Where what decides is written, for gateways that start with no voter reachable.
    pub export: Option<ExportTo>,
}

/// A store for exports.
#[derive(Debug)]
pub struct ExportTo {
    pub to: ShipTo,
    /// The least time between two of them.
    pub every: Duration,
}

/// Where an export is read.
#[derive(Debug)]
pub enum PolicyExport {
    File(PathBuf),
    Store(ShipTo),
}

/// A file, a bucket's URL, or `{ from: s3://.., .. }` with what its client is told besides.
pub(super) fn policy_export(
    node: &Node,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<PolicyExport> {
    if let Some(text) = node.as_text() {
        if text.contains("://") {
            let help = "give `{ from: .. }`, with `region`, `endpoint` and `credentials` beside it where they are needed";
            problems.report_with_help(node.position(), "a store is named by `from`", help);
            return None;
        }
        return folder.path(node, problems).map(PolicyExport::File);
    }
    let mut map = node.mapping(problems)?;
    let from = store(&mut map, "from", problems, folder);
    map.finish(problems);
    from.map(PolicyExport::Store)
}

/// `{ to: s3://acme-releases/eu-west-1, every: 30s }`
fn export(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<ExportTo> {
    let mut map = node.mapping(problems)?;
    let to = store(&mut map, "to", problems, folder);
    let every = map.optional("every", problems, positive);
    map.finish(problems);
    Some(ExportTo { to: to?, every: every.unwrap_or(EXPORT_EVERY) })
}

const EXPORT_EVERY: Duration = Duration::from_secs(10);

/// Where another region's releases are asked for, and whom to believe there.
#[derive(Debug)]
pub struct Pull {
    pub region: Region,
    pub url: String,
    pub token: Secret<String>,
    pub ca_file: Option<PathBuf>,
    /// The key set of that region.
    pub region_keys: PathBuf,
    /// Empty means every tenant that may be here.
    pub tenants: BTreeSet<TenantId>,
}

/// `{ pull: { region: eu-west-1, url: .., token: .., region_keys: .. }, give: { us-east-1: { file: .. } } }`
pub(super) fn releases(
    node: &Node,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<SharedReleases> {
    let mut map = node.mapping(problems)?;
    let pull = map.optional("pull", problems, |node, problems| pull(node, problems, folder));
    let give = map.optional("give", problems, |node, problems| {
        node.map(problems, Node::parsed::<Region>, |node, problems| token(node, problems, folder))
    });
    let export = map.optional("export", problems, |n, p| export(n, p, folder));
    map.finish(problems);
    Some(SharedReleases { pull, give: give.unwrap_or_default().into_iter().collect(), export })
}

fn token(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Secret<String>> {
    let mut map = node.mapping(problems)?;
    let token = secret(&mut map, "a token", problems, folder);
    map.finish(problems);
    // A request without a token must not be a region's.
    if token.as_ref().is_some_and(|token| token.expose().trim().len() < TOKEN_BYTES_MIN) {
        let message = format!("a region's token has at least {TOKEN_BYTES_MIN} characters");
        problems.report(node.position(), message);
        return None;
    }
    token
}

/// 128 bits in hexadecimal digits.
const TOKEN_BYTES_MIN: usize = 32;

fn pull(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Pull> {
    let mut map = node.mapping(problems)?;
    let position = map.position();
    let region = map.required("region", problems, Node::parsed::<Region>);
    let url = map.required("url", problems, base_url);
    let token = map.required("token", problems, |node, problems| token(node, problems, folder));
    let ca_file = map.optional("ca_file", problems, |n, p| folder.path(n, p));
    let region_keys = map.required("region_keys", problems, |n, p| folder.path(n, p));
    let tenants = map.optional("tenants", problems, |node, problems| {
        let tenants = node.list(problems, Node::parsed::<TenantId>)?;
        if tenants.is_empty() {
            problems.report(node.position(), "at least one tenant must be named");
        }
        Some(tenants)
    });
    map.finish(problems);
    let url = url?;
    if !url.starts_with("https://") && !is_here(&url) {
        let help = "name it with https://, or by an address such as 127.0.0.1";
        problems.report_with_help(position, "the token would be sent in the clear", help);
        return None;
    }
    let tenants = tenants.into_iter().flatten().collect();
    let (region, token, region_keys) = (region?, token?, region_keys?);
    Some(Pull { region, url, token, ca_file, region_keys, tenants })
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;

    use super::*;

    fn read(text: &str) -> Result<SharedReleases, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("t"), "0123456789abcdef0123456789abcdef\n").unwrap();
        std::fs::write(home.path().join("short"), "secret\n").unwrap();
        let document = Document::parse("aegis.yaml", text).unwrap();
        let folder = Folder(home.path().to_owned());
        let read = document.decode(|root, problems| releases(root, problems, &folder));
        read.map_err(|mistakes| mistakes.to_string())
    }

    const PULL: &str = "region: eu-west-1, token: { file: t }, region_keys: k";

    #[test]
    fn a_region_names_its_author_and_those_it_gives_to() {
        let text = format!(
            "{{ pull: {{ {PULL}, url: 'https://a.example', tenants: [acme] }}, give: {{ ap-south-1: {{ file: t }} }} }}"
        );
        let shared = read(&text).unwrap();
        assert_eq!(shared.pull.unwrap().tenants.len(), 1);
        assert_eq!(shared.give.len(), 1);
        assert!(read("{}").unwrap().pull.is_none());
    }

    #[test]
    fn a_token_is_long_and_never_sent_in_the_clear_to_another_machine() {
        let at = |url: &str| read(&format!("{{ pull: {{ {PULL}, url: '{url}' }} }}"));
        assert!(at("http://127.0.0.1:8081").is_ok());
        for (told, refused) in [
            ("in the clear", at("http://a.example").unwrap_err()),
            ("at least one tenant", {
                let text = format!("{{ pull: {{ {PULL}, url: 'https://a', tenants: [] }} }}");
                read(&text).unwrap_err()
            }),
            (
                "at least 32 characters",
                read("{ give: { eu-west-2: { file: short } } }").unwrap_err(),
            ),
            ("aegis.yaml:1:3", read("{ push: {} }").unwrap_err()),
        ] {
            assert!(refused.contains(told), "{refused}");
        }
    }
}
