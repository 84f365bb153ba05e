//! What a region's voters say of audit logs: which ones they witness, their newest heads, and the trust file of it all.
//!
//! Not here: the voters (`control`), and verifying a log under what they said (`audit/verify`). Invariant: what is written is text that
//! others' verifiers read (C2SP notes and policies), and a line stands in it only if it holds.

use std::path::{Path, PathBuf};

use aegis_audit_chain::cosignature::Witness;
use aegis_audit_chain::note::{Verifier, split};
use aegis_audit_chain::submission::{Answer, Submission};
use aegis_audit_chain::{Head, Origin};
use aegis_audit_trust::{Revoked, Trust};
use aegis_audit_witness::{Channel as _, Http};
use aegis_control_client::Conditions;
use aegis_domain::Region;
use clap::Args;
use serde_json::{Value, json};

use crate::region::{Access, RegionError};
use crate::{FilesError, Told, files, pages};

const COLUMNS: [&str; 6] = ["origin", "size", "anchored_at", "evidence", "doubts", "key"];
/// A line for each log and witness.
const TRUST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Where `add-checkpoint` is below a voter's URL.
const PREFIX: &str = "/v1/audit/witness";

/// List the audit logs that the region's voters witness.
#[derive(Debug, Args)]
#[command(after_help = "\
`evidence` counts heads that contradict one the voters had anchored before: two of one size under one key, or two of different sizes
with a proof that the larger one's first records are others. The notes and the proof are in the JSON, and whoever has the log's key can
check them without asking anybody: whoever signs with that key has two histories.

`doubts` counts heads that the log's key signed and that came with a proof that shows nothing. That is a fork, or a mistake of whoever
brought them, and convicts nobody: hold the log itself against such a head, with `audit verify --heads` and a trust file that asks
for no witnesses. A doubt goes once the very head is anchored.

`-o json` also shows the voters' keys.

Examples:
  aegisctl audit logs
  aegisctl -o json audit logs | jq '.logs[] | select(.evidence != [])'")]
pub struct LogsArgs {
    #[command(flatten)]
    access: Access,
}

/// Print the newest head of every log, with the cosignatures of all voters that can be reached.
#[derive(Debug, Args)]
#[command(after_help = "\
Keep the output where the log's operator cannot change it: a log that is cut back or gone is found by `audit verify --heads`.

Examples:
  aegisctl audit heads > heads.txt
  aegisctl audit verify --from s3://audit/eu-west-1 --trust region.txt --heads heads.txt

Voters that witness another region's logs say of these alone:
  aegisctl audit heads --logs-of eu-west-1 --control https://control.us-east-1.example.com > heads.txt")]
pub struct HeadsArgs {
    /// Only of the logs of this region's gateways, which need not be the voters' own.
    #[arg(long, value_name = "REGION", value_parser = Region::parse)]
    logs_of: Option<Region>,
    #[command(flatten)]
    access: Access,
}

/// Have the voters witness logs of another region's gateways.
#[derive(Debug, Args)]
#[command(after_help = "\
The voters take heads of these logs from then on, as witnesses whose word does not hang on the region they speak of. The other
region's gateways show them, where `audit.witnesses` names the voters. A log that is witnessed already is not changed by it. Said
again after gateways were added, it takes the new ones.

Examples, at the voters of us-east-1 for the gateways of eu-west-1:
  aegisctl audit witness --trust eu-west-1.txt        # as `aegisctl audit trust --out eu-west-1.txt` wrote it there
  aegisctl audit witness 'audit.example.com/eu-west-1/registry/gw-1+2f1c9a7e+AX3...'")]
pub struct WitnessArgs {
    /// A log, by its verifier key. May be repeated.
    #[arg(value_name = "VKEY", required_unless_present = "trust", value_parser = log)]
    logs: Vec<Verifier>,
    /// The logs that this trust file believes.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// The region whose voters are believed, and who besides.
#[derive(Debug, Args)]
pub struct LedgerTrustArgs {
    /// A witness outside the region, by its verifier key; one of them must have seen a head besides most voters. May be repeated.
    #[arg(long, value_name = "VKEY", value_parser = witness)]
    witness: Vec<Witness>,
    /// Believe only the logs of this region's gateways, which need not be the voters' own.
    #[arg(long, value_name = "REGION", value_parser = Region::parse)]
    logs_of: Option<Region>,
    /// The trust file whose place this one takes: streams that it revokes stay revoked.
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    renew: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

fn witness(vkey: &str) -> Result<Witness, String> {
    Witness::parse(vkey).map_err(|_| "expected name+hash+base64 of type 0x04".to_owned())
}

fn log(vkey: &str) -> Result<Verifier, String> {
    Verifier::parse(vkey).map_err(|_| "expected name+hash+base64 of type 0x01".to_owned())
}

fn read_trust(path: &Path) -> Result<Trust, RegionError> {
    let text = aegis_audit_plain::read_text(path, TRUST_BYTES_MAX)
        .map_err(|source| FilesError::File { path: path.to_owned(), source })?;
    Trust::parse(&text).map_err(|source| RegionError::Trust { path: path.to_owned(), source })
}

impl WitnessArgs {
    pub fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let mut logs = self.logs.clone();
        if let Some(path) = &self.trust {
            let trust = read_trust(path)?;
            logs.extend(trust.registries().map(|(_, key)| key.clone()));
        }
        let client = self.access.admin(data)?;
        for key in &logs {
            let wish = json!({ "key": key.to_string() });
            client.put("/v1/audit/logs", &wish, &Conditions::default())?;
        }
        let rows = logs.iter().map(|key| vec![key.name().into(), key.to_string().into()]);
        let rows: Vec<Vec<Value>> = rows.collect();
        let value = json!({ "logs": logs.iter().map(ToString::to_string).collect::<Vec<_>>() });
        Ok(Told { value, columns: vec!["origin", "key"], rows, ..Told::default() })
    }
}

impl LogsArgs {
    pub fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let region = Witnessed::ask(&self.access, data)?;
        let row = |log: &Value| {
            let cell = |column: &&str| match (*column, log.get(*column)) {
                ("evidence" | "doubts", Some(Value::Array(found))) => found.len().into(),
                (_, value) => value.cloned().unwrap_or_default(),
            };
            COLUMNS.iter().map(cell).collect()
        };
        let rows = region.logs.iter().map(row).collect();
        let having = |what: &str| {
            let has = |log: &&Value| log.get(what).is_some_and(|found| *found != json!([]));
            region.logs.iter().filter(has).count()
        };
        let (contradicted, doubted) = (having("evidence"), having("doubts"));
        let value = json!({ "logs": region.logs, "witnesses": region.witnesses });
        let mut told = Told { value, columns: COLUMNS.to_vec(), rows, ..Told::default() };
        if contradicted > 0 {
            let words = "of them show different people different records";
            told = told.saying(format!("{contradicted} {words}"));
        }
        if doubted > 0 {
            let words = "of them signed a head that nobody proved to extend what the voters saw: a fork, or a mistake of its bringer";
            told = told.saying(format!("{doubted} {words}"));
        }
        Ok(told)
    }
}

impl HeadsArgs {
    pub fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let region = Witnessed::ask(&self.access, data)?.of(self.logs_of.as_ref());
        let voters = region.voters();
        let mut others = self.others(&voters)?;
        let (mut notes, mut missing) = (String::new(), 0_usize);
        for log in &region.logs {
            let Some(note) = log.get("head").and_then(Value::as_str) else { continue };
            let (_, head) = opened(log, note)?;
            let mut note = note.to_owned();
            for (key, voter) in &mut others {
                let line = cosigned(voter, &note, &head, key);
                missing = missing.saturating_add(usize::from(line.is_none()));
                note.push_str(&line.unwrap_or_default());
            }
            notes.push_str(&note);
        }
        let told = Told::text(json!({ "heads": notes }), &notes);
        Ok(match missing {
            0 => told,
            count => told.saying(format!(
                "{count} cosignatures are missing, because a voter did not answer in time"
            )),
        })
    }

    /// The voters beside the one that is asked, who need no token to be shown what they have seen.
    fn others(&self, voters: &[Voter]) -> Result<Vec<(Witness, Http)>, RegionError> {
        let ca = self.access.authority()?;
        let url = |voter: &Voter| Some((voter.key.clone(), voter.url.clone()?));
        let reached = voters.iter().filter_map(url);
        Ok(reached
            .map(|(key, url)| (key, Http::new(&format!("{url}{PREFIX}"), ca.clone())))
            .collect())
    }
}

impl LedgerTrustArgs {
    /// The policy that believes the region's logs where most of its voters have seen them.
    fn policy(&self, data: &Path) -> Result<(Trust, String), RegionError> {
        let region = Witnessed::ask(&self.access, data)?.of(self.logs_of.as_ref());
        let mut lines = Vec::new();
        for log in &region.logs {
            let key = log.get("key").and_then(Value::as_str);
            lines.push(format!("log {}", key.ok_or(RegionError::Answer { what: "key" })?));
        }
        let voters = region.voters();
        let names: Vec<String> = voters.iter().map(|voter| format!("voter-{}", voter.id)).collect();
        for (voter, name) in voters.iter().zip(&names) {
            let url = voter.url.as_ref().map(|url| format!(" {url}{PREFIX}")).unwrap_or_default();
            lines.push(format!("witness {name} {}{url}", voter.key));
        }
        let most = (names.len() / 2).saturating_add(1);
        lines.push(format!("group voters {most} {}", names.join(" ")));
        let outside: Vec<String> =
            (1..=self.witness.len()).map(|number| format!("outside-{number}")).collect();
        for (key, name) in self.witness.iter().zip(&outside) {
            lines.push(format!("witness {name} {key}"));
        }
        if outside.is_empty() {
            lines.push("quorum voters".to_owned());
        } else {
            lines.push(format!("group outside any {}", outside.join(" ")));
            lines.push("group voters-and-outside all voters outside".to_owned());
            lines.push("quorum voters-and-outside".to_owned());
        }
        let policy = lines.join("\n") + "\n";
        let trust = Trust::parse(&policy)
            .map_err(|_| RegionError::Answer { what: "a log and a voter to trust" })?;
        Ok((trust, policy))
    }

    /// Writes it to a file that must not be there yet.
    pub fn run(&self, data: &Path, out: &Path) -> Result<Told, RegionError> {
        let before = self.renew.as_deref().map(read_trust).transpose()?;
        let (trust, mut policy) = self.policy(data)?;
        // Of a log that is not believed any more, no stream is.
        let is_known = |it: &&Revoked| trust.regions_of(&it.head().origin).next().is_some();
        let revoked = before.iter().flat_map(Trust::all_revoked);
        let (kept, strangers): (Vec<_>, Vec<_>) = revoked.partition(is_known);
        kept.iter().for_each(|revoked| policy.push_str(&format!("{revoked}\n")));
        files::write_new(out, policy.as_bytes())?;
        let logs = policy.lines().filter(|line| line.starts_with("log ")).count();
        let voters = policy.lines().filter(|line| line.starts_with("witness voter-")).count();
        let value = json!({ "out": out, "logs": logs, "voters": voters, "revoked": kept.len() });
        let told = Told::thing(&value);
        Ok(match strangers.len() {
            0 => told,
            count => told.saying(format!(
                "left out because the voters know no log of theirs, revoked streams: {count}"
            )),
        })
    }
}

struct Voter {
    id: u64,
    key: Witness,
    url: Option<String>,
}

/// What the ledger says.
struct Witnessed {
    logs: Vec<Value>,
    witnesses: Vec<Value>,
}

impl Witnessed {
    fn ask(access: &Access, data: &Path) -> Result<Self, RegionError> {
        let client = access.admin(data)?;
        let logs = pages::all(&client, "/v1/audit/logs", "logs")?;
        let body = client.get("/v1/audit/logs?limit=1")?.body;
        let witnesses = body.get("witnesses").and_then(Value::as_array).cloned();
        let witnesses = witnesses.ok_or(RegionError::Answer { what: "witnesses" })?;
        Ok(Self { logs, witnesses })
    }

    /// The logs of one region's gateways, or all of them.
    fn of(mut self, region: Option<&Region>) -> Self {
        let origin = |log: &Value| Origin::parse(log.get("origin")?.as_str()?).ok();
        let is_of = |log: &Value| {
            region.is_none_or(|region| {
                origin(log).is_some_and(|origin| origin.region() == region.as_str())
            })
        };
        self.logs.retain(is_of);
        self
    }

    /// Those who cosign now.
    fn voters(&self) -> Vec<Voter> {
        let cosigning =
            self.witnesses.iter().filter(|it| it.get("until").is_some_and(Value::is_null));
        let voter = |it: &Value| {
            let key = Witness::parse(it.get("key")?.as_str()?).ok()?;
            let url = it.get("url").and_then(Value::as_str).map(str::to_owned);
            Some(Voter { id: it.get("voter")?.as_u64()?, key, url })
        };
        cosigning.filter_map(voter).collect()
    }
}

/// A log's key, and the head that it signed.
fn opened(log: &Value, note: &str) -> Result<(Verifier, Head), RegionError> {
    let wrong = || RegionError::Answer { what: "a head that its log signed" };
    let key = log.get("key").and_then(Value::as_str).and_then(|key| Verifier::parse(key).ok());
    let key = key.ok_or_else(wrong)?;
    let head = Head::open(note, &key).map_err(|_| wrong())?;
    Ok((key, head))
}

/// The line of a voter under a head that the ledger has, unless it stands there already.
fn cosigned(voter: &mut Http, note: &str, head: &Head, key: &Witness) -> Option<String> {
    let (_, lines) = split(note).ok()?;
    let text = head.checkpoint();
    let is_by = |lines: &str| matches!(key.cosigned_at(&text, lines), Ok(Some(_)));
    if is_by(lines) {
        return Some(String::new());
    }
    let body = Submission { old: head.size, proof: Vec::new(), note }.to_string();
    match voter.add_checkpoint(&body) {
        Ok(Answer::Cosigned(lines)) if is_by(&lines) => Some(lines),
        Ok(_) | Err(_) => None,
    }
}
