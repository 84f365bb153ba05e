//! Where the audit log is shipped to and who witnesses it, as people write it in `aegis.yaml`.
//!
//! Not here: shipping it (`audit/ship`), asking witnesses (`audit/witness`). Invariant: a secret is taken from the environment, or from a file that nobody else
//! can read; nothing is sent in the clear to another machine; a promise is asked only of a store that can give it.

use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use aegis_audit_chain::cosignature::Witness;
use aegis_decide::BacklogRule;
use aegis_document::{Mapping, Node, Problems};
use aegis_domain::Secret;

use crate::read::positive;
use crate::read_region::is_here;
use crate::read_tool::{Folder, secret};

/// All that is said of the audit log.
#[derive(Debug, Default)]
pub(super) struct Audit {
    pub(super) shipping: Option<AuditShipping>,
    pub(super) witnesses: Vec<OutsideWitness>,
    pub(super) witness_quorum: Option<NonZeroUsize>,
    pub(super) anchor_lag_max: Option<Duration>,
}

/// A witness that is not one of the region's voters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideWitness {
    pub key: Witness,
    /// Its submission prefix (<https://c2sp.org/tlog-witness>).
    pub url: String,
    /// Who signs its certificate, in the place of the public authorities.
    pub ca_file: Option<PathBuf>,
}

/// Where sealed segments of the audit log go, and what happens while they cannot.
#[derive(Debug)]
pub struct AuditShipping {
    pub to: ShipTo,
    /// What the store must promise before anything is sent; `None` asks for nothing.
    pub retention: Option<ShipRetention>,
    /// More than this waiting for the store is too much.
    pub spool_bytes_max: u64,
    pub when_full: BacklogRule,
    /// How old a file of the journal must be, confirmed in the store, before it is deleted here.
    pub keep: Duration,
}

/// A store for objects.
#[derive(Debug)]
pub enum ShipTo {
    Folder(PathBuf),
    /// `s3://`, `gs://` or `az://bucket/prefix`, and what its client is told besides.
    Bucket {
        url: String,
        options: Vec<(&'static str, Secret<String>)>,
    },
}

/// How long each object must be kept, and against whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShipRetention {
    pub mode: RetentionMode,
    pub days: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionMode {
    /// Whoever has the right may shorten it.
    Governance,
    /// Nobody may.
    Compliance,
}

const SPOOL_BYTES: u64 = 4 * 1_024 * 1_024 * 1_024;
const SPOOL_BYTES_BOUNDS: std::ops::RangeInclusive<u64> = 1_048_576..=1_024 * SPOOL_BYTES;
/// As long as an attestation is worth showing: until then its record is found without asking the store.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// As S3 bounds it.
const DAYS_MAX: u32 = 36_500;

/// A kind of store, by the scheme of its URL.
struct Kind {
    scheme: &'static str,
    region: Option<&'static str>,
    endpoint: &'static str,
    allow_http: &'static str,
    /// What its client calls each part of a credential.
    credentials: &'static [(&'static str, Part, &'static str)],
}

#[derive(Clone, Copy)]
enum Part {
    Open,
    Secret,
}

const KINDS: [Kind; 3] = [
    Kind {
        scheme: "s3://",
        region: Some("aws_region"),
        endpoint: "aws_endpoint",
        allow_http: "aws_allow_http",
        credentials: &[
            ("access_key_id", Part::Open, "aws_access_key_id"),
            ("secret_access_key", Part::Secret, "aws_secret_access_key"),
            ("session_token", Part::Secret, "aws_session_token"),
        ],
    },
    Kind {
        scheme: "gs://",
        region: None,
        endpoint: "google_base_url",
        allow_http: "google_allow_http",
        credentials: &[("service_account_key", Part::Secret, "google_service_account_key")],
    },
    Kind {
        scheme: "az://",
        region: None,
        endpoint: "azure_storage_endpoint",
        allow_http: "azure_allow_http",
        credentials: &[
            ("account", Part::Open, "azure_storage_account_name"),
            ("account_key", Part::Secret, "azure_storage_account_key"),
            ("sas_key", Part::Secret, "azure_storage_sas_key"),
        ],
    },
];

/// `audit: { ship: { to: s3://acme-audit/gw-1, .. }, witnesses: [ .. ], anchor_lag_max: 30s }`.
pub(super) fn audit(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Audit> {
    let mut map = node.mapping(problems)?;
    let shipping = map.optional("ship", problems, |node, problems| ship(node, problems, folder));
    let witnesses = map.optional("witnesses", problems, |node, problems| {
        node.list(problems, |node, problems| witness(node, problems, folder))
    });
    let witnesses = witnesses.unwrap_or_default();
    let witness_quorum =
        map.optional("witness_quorum", problems, |n, p| n.integer(p, 1..=witnesses.len()));
    let anchor_lag_max = map.optional("anchor_lag_max", problems, positive);
    map.finish(problems);
    let witness_quorum = witness_quorum.and_then(NonZeroUsize::new);
    Some(Audit { shipping, witnesses, witness_quorum, anchor_lag_max })
}

/// `{ vkey: witness.example/w1+1a2b3c4d+.., url: https://witness.example }`
fn witness(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<OutsideWitness> {
    let mut map = node.mapping(problems)?;
    let key = map.required("vkey", problems, |node, problems| {
        let key = Witness::parse(&node.text(problems)?);
        let help = "name+hash+base64 of an Ed25519 key of type 0x04 (c2sp.org/tlog-cosignature)";
        let wrong =
            |_| problems.report_with_help(node.position(), "no witness' verifier key", help);
        key.map_err(wrong).ok()
    });
    let url = map.required("url", problems, |node, problems| {
        let url = node.text(problems)?;
        let is_safe = url.starts_with("https://") || url.starts_with("http://") && is_here(&url);
        if !is_safe {
            let message = "expected a URL with https://, or an address of this machine";
            problems.report(node.position(), message);
        }
        is_safe.then_some(url)
    });
    let ca_file = map.optional("ca_file", problems, |node, problems| folder.path(node, problems));
    map.finish(problems);
    Some(OutsideWitness { key: key?, url: url?, ca_file })
}

fn ship(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<AuditShipping> {
    let mut map = node.mapping(problems)?;
    let to = store(&mut map, "to", problems, folder);
    let is_folder = matches!(&to, Some(ShipTo::Folder(_)));
    let retention =
        map.optional("retention", problems, |node, problems| retention(node, problems, is_folder));
    let spool =
        map.optional("spool_bytes_max", problems, |n, p| n.integer::<u64>(p, SPOOL_BYTES_BOUNDS));
    let rules = [("stop_writes", BacklogRule::StopWrites), ("stop_all", BacklogRule::StopAll)];
    let when_full = map.optional("when_full", problems, |n, p| n.choice(p, &rules));
    let keep = map.optional("keep", problems, positive);
    map.finish(problems);
    Some(AuditShipping {
        to: to?,
        retention,
        spool_bytes_max: spool.unwrap_or(SPOOL_BYTES),
        when_full: when_full.unwrap_or(BacklogRule::StopWrites),
        keep: keep.unwrap_or(KEEP),
    })
}

/// A store by one member's text, and what else its client is told by the members beside it.
pub(super) fn store(
    map: &mut Mapping<'_>,
    member: &'static str,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<ShipTo> {
    let to = map.required(member, problems, |node, problems| Some((node.text(problems)?, node)));
    let (text, node) = to?;
    match KINDS.iter().find(|kind| text.starts_with(kind.scheme)) {
        Some(kind) => bucket(map, (text, kind), (node, problems), folder),
        None if text.contains("://") => {
            let message = "expected a folder, or s3://, gs:// or az://bucket/prefix";
            problems.report(node.position(), message);
            None
        }
        None => folder.path(node, problems).map(ShipTo::Folder),
    }
}

fn bucket(
    map: &mut Mapping<'_>,
    (url, kind): (String, &'static Kind),
    (node, problems): (&Node, &mut Problems),
    folder: &Folder,
) -> Option<ShipTo> {
    let name = url.strip_prefix(kind.scheme).unwrap_or_default();
    if name.is_empty() || name.starts_with('/') || name.contains(['@', '?', '#', ':', ' ', '%']) {
        let message = format!("expected {}bucket/prefix", kind.scheme);
        problems.report(node.position(), message);
    }
    let mut options = Vec::new();
    if let Some(key) = kind.region {
        let region = map.optional("region", problems, Node::text);
        options.extend(region.map(|text| (key, Secret::new(text))));
    }
    let endpoint = map.optional("endpoint", problems, endpoint);
    if endpoint.as_ref().is_some_and(|url| url.starts_with("http://")) {
        options.push((kind.allow_http, Secret::new("true".to_owned())));
    }
    options.extend(endpoint.map(|url| (kind.endpoint, Secret::new(url))));
    let given = map.optional("credentials", problems, |node, problems| {
        credentials(node, problems, (kind, folder))
    });
    options.extend(given.into_iter().flatten());
    Some(ShipTo::Bucket { url, options })
}

/// Another server than the cloud's own.
fn endpoint(node: &Node, problems: &mut Problems) -> Option<String> {
    let url = node.text(problems)?;
    let is_safe = url.starts_with("https://") || url.starts_with("http://") && is_here(&url);
    if !is_safe {
        let help = "name it with https://, or by an address such as http://127.0.0.1:9000";
        let message = "records would be sent in the clear";
        problems.report_with_help(node.position(), message, help);
        return None;
    }
    Some(url)
}

/// Without any, the client finds its own: in the environment, or where the machine is given them.
fn credentials(
    node: &Node,
    problems: &mut Problems,
    (kind, folder): (&'static Kind, &Folder),
) -> Option<Vec<(&'static str, Secret<String>)>> {
    let mut map = node.mapping(problems)?;
    let mut found = Vec::new();
    for (name, part, key) in kind.credentials {
        let value = map.optional(name, problems, |node, problems| match part {
            Part::Open => node.text(problems).map(Secret::new),
            Part::Secret => closed_secret(node, problems, folder),
        });
        found.extend(value.map(|value| (*key, value)));
    }
    map.finish(problems);
    Some(found)
}

/// `{ env: .. }`, or `{ file: .. }` that only its owner can read.
fn closed_secret(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Secret<String>> {
    const OTHERS: u32 = 0o077;
    let mut map = node.mapping(problems)?;
    let found = secret(&mut map, "a credential", problems, folder);
    if let Some(file) = map.get("file").filter(|_| found.is_some()) {
        let path = folder.path(file, problems)?;
        let mode = std::fs::metadata(path).map(|meta| meta.permissions().mode());
        if mode.is_ok_and(|mode| mode & OTHERS != 0) {
            let message = "the secret's file can be read by others";
            problems.report_with_help(file.position(), message, "run `chmod 600` on it");
        }
    }
    map.finish(problems);
    found
}

fn retention(node: &Node, problems: &mut Problems, is_folder: bool) -> Option<ShipRetention> {
    let modes =
        [("governance", RetentionMode::Governance), ("compliance", RetentionMode::Compliance)];
    let mut map = node.mapping(problems)?;
    let mode = map.required("mode", problems, |n, p| n.choice(p, &modes));
    let days = map.required("days", problems, |n, p| n.integer::<u32>(p, 1..=DAYS_MAX));
    map.finish(problems);
    if is_folder {
        let help = "ship to a bucket, or leave `retention` out";
        let message = "a folder cannot be asked how long it keeps objects";
        problems.report_with_help(node.position(), message, help);
        return None;
    }
    Some(ShipRetention { mode: mode?, days: days? })
}

#[cfg(test)]
mod tests {
    use aegis_document::Document;

    use super::*;

    fn read_from(text: &str) -> Result<AuditShipping, String> {
        Ok(read_whole(text)?.shipping.unwrap())
    }

    fn read_whole(text: &str) -> Result<Audit, String> {
        let document = Document::parse("aegis.yaml", text).unwrap();
        let folder = Folder(PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let read = document.decode(|root, problems| audit(root, problems, &folder));
        read.map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn a_folder_is_all_that_must_be_said() {
        let shipping = read_from("ship: { to: bucket }").unwrap();
        assert!(matches!(shipping.to, ShipTo::Folder(path) if path.ends_with("config/bucket")));
        assert_eq!((shipping.spool_bytes_max, shipping.retention), (4 << 30, None));
        assert_eq!((shipping.when_full, shipping.keep), (BacklogRule::StopWrites, KEEP));
    }

    #[test]
    fn a_bucket_reads_as_it_is_documented() {
        let shipping = read_from(
            "ship:\n  to: s3://acme-audit/gw-1\n  region: eu-west-1\n  endpoint: http://127.0.0.1:9000\n  \
             credentials: { access_key_id: AK, secret_access_key: { env: CARGO_PKG_NAME } }\n  \
             retention: { mode: compliance, days: 365 }\n  spool_bytes_max: 1048576\n  \
             when_full: stop_all\n  keep: 7d\n",
        )
        .unwrap();
        let compliance = ShipRetention { mode: RetentionMode::Compliance, days: 365 };
        assert_eq!(shipping.retention, Some(compliance));
        assert_eq!((shipping.when_full, shipping.spool_bytes_max), (BacklogRule::StopAll, 1 << 20));
        let ShipTo::Bucket { url, options } = shipping.to else { panic!("not a bucket") };
        assert_eq!(url, "s3://acme-audit/gw-1");
        assert!(!format!("{options:?}").contains("aegis-config"), "a secret shows");
        let told: Vec<_> =
            options.iter().map(|(key, value)| (*key, value.expose().as_str())).collect();
        let wanted = [
            ("aws_region", "eu-west-1"),
            ("aws_allow_http", "true"),
            ("aws_endpoint", "http://127.0.0.1:9000"),
            ("aws_access_key_id", "AK"),
            ("aws_secret_access_key", "aegis-config"),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn witnesses_read_as_they_are_documented() {
        let key = {
            use aegis_audit_chain::cosignature::Cosigner;
            use aegis_audit_chain::note::SecretKey;
            let cosigner = Cosigner::new("witness.example/w1", SecretKey::from_seed(&[1; 32]));
            cosigner.unwrap().witness().clone()
        };
        let text = format!(
            "anchor_lag_max: 30s\nwitness_quorum: 2\nwitnesses:\n  - {{ vkey: {key}, url: 'https://w.example', ca_file: ca.pem }}\n  \
             - {{ vkey: {key}, url: 'http://127.0.0.1:1' }}\n"
        );
        let audit = read_whole(&text).unwrap();
        assert!(audit.shipping.is_none());
        assert_eq!(audit.anchor_lag_max, Some(Duration::from_secs(30)));
        assert_eq!(audit.witness_quorum, NonZeroUsize::new(2));
        let [outside, here] = audit.witnesses.try_into().unwrap();
        assert_eq!((outside.key, outside.url.as_str()), (key, "https://w.example"));
        assert!(outside.ca_file.is_some() && here.ca_file.is_none());
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        for (text, told) in [
            ("ship: {}", "1:7"),
            ("ship: { to: 'ftp://a/b' }", "1:13"),
            ("ship: { to: 's3:///gw' }", "1:13"),
            ("ship: { to: 's3://user:pass@b' }", "1:13"),
            ("ship: { to: bucket, region: here }", "1:21"),
            ("ship: { to: 'gs://b', region: here }", "1:23"),
            ("ship: { to: 's3://b', endpoint: 'http://s3.internal' }", "1:33"),
            ("ship: { to: 's3://b', credentials: { secret_access_key: plain } }", "1:57"),
            (
                "ship: { to: 's3://b', credentials: { secret_access_key: { file: Cargo.toml } } }",
                "1:65",
            ),
            ("ship: { to: 's3://b', credentials: { account: a } }", "1:38"),
            ("ship: { to: 's3://b', retention: { mode: compliance } }", "1:34"),
            ("ship: { to: 's3://b', retention: { mode: strict, days: 1 } }", "1:42"),
            ("ship: { to: 's3://b', retention: { mode: governance, days: 0 } }", "1:60"),
            ("ship: { to: bucket, retention: { mode: compliance, days: 1 } }", "1:32"),
            ("ship: { to: bucket, spool_bytes_max: 1 }", "1:38"),
            ("ship: { to: bucket, when_full: stop }", "1:32"),
            ("ship: { to: bucket, keep: 0s }", "1:27"),
            ("ship: { to: bucket, spool: 1 }", "1:21"),
            ("anchor_lag_max: 0s", "1:17"),
            ("witness_quorum: 1", "1:17"),
            ("witnesses: [{ vkey: w+1, url: 'https://w' }]", "1:21"),
            ("witnesses: [{ url: 'https://w' }]", "1:13"),
            ("witnesses: [{ url: 'http://w.example' }]", "1:20"),
        ] {
            let mistakes = read_from(text).unwrap_err();
            assert!(mistakes.contains(&format!("aegis.yaml:{told}")), "{text}\n{mistakes}");
        }
    }
}
