//! `aegisctl cluster`, as far as it asks a voter: who votes, who is invited, made one, taken out; and a backup.
//!
//! Not here: what is done on a machine whose gateway does not run (`machine`). Invariant: an invitation is written to a file of
//! mode 0600 or to stdout, never both.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use aegis_control_client::Conditions;
use aegis_domain::{Region, Timestamp};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::backup::{Copied, Trust, copy_checked};
use crate::machine::{Machine, MachineCommand};
use crate::region::{Access, RegionError};
use crate::{Told, files};

const COLUMNS: [&str; 6] = ["id", "role", "address", "reads", "held", "clock_ahead_ms"];

/// Look after the voters that keep the region's ledger.
#[derive(Debug, Args)]
#[command(after_help = "\
Every voter's aegis.yaml says where it is reached:
  control: { address: .., cluster: { listen: 0.0.0.0:7400, address: voter-1.example.com:7400 } }

Examples:
  aegisctl cluster init                                     # on the first machine, before its gateway starts again
  aegisctl cluster invite --address voter-2.example.com:7400 --out invitation.json
  aegisctl cluster join --invite invitation.json            # on the second machine, before its gateway starts
  aegisctl cluster promote 2
  aegisctl cluster members")]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

impl ClusterArgs {
    /// `machine` reads this machine's region and data directory, where a command is about those.
    pub fn run<E: From<RegionError>>(
        &self,
        data: &Path,
        machine: impl FnOnce() -> Result<(Region, PathBuf), E>,
        now: Timestamp,
    ) -> Result<Told, E> {
        match &self.command {
            ClusterCommand::Machine(command) => {
                let (region, data) = machine()?;
                Ok(Machine::of(region, data, now).run(command)?)
            }
            ClusterCommand::Voters(command) => Ok(command.run(data)?),
        }
    }
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    #[command(flatten)]
    Machine(MachineCommand),
    #[command(flatten)]
    Voters(VotersCommand),
}

#[derive(Debug, Subcommand)]
enum VotersCommand {
    /// Show one voter's view: who leads, who votes, how far its ledger is, when it last heard a quorum.
    #[command(long_about = None)]
    Status(PlainArgs),
    /// List who votes, learns or is invited, and how far each is; any voter will do.
    #[command(long_about = None)]
    Members(PlainArgs),
    Invite(InviteArgs),
    /// Let a machine that joined learn what the others know, and vote; may be asked again until it is done.
    #[command(long_about = None)]
    Promote(NodeArgs),
    /// Take a voter out for good: its id is never given out again.
    #[command(long_about = None)]
    Remove(NodeArgs),
    HandOver(HandOverArgs),
    /// End a change of the voters whose leader did not live to finish it.
    #[command(long_about = None)]
    Finish(PlainArgs),
    /// Let commands of a newer version be used, once every voter runs it; there is no way back.
    #[command(long_about = None)]
    Raise(PlainArgs),
    Backup(BackupArgs),
}

#[derive(Debug, Args)]
struct PlainArgs {
    #[command(flatten)]
    access: Access,
}

/// Give out an id, and what a new machine joins with.
#[derive(Debug, Args)]
#[command(after_help = "\
Whoever has the invitation is that voter, and can make others: send it as you would a private key. It is shown once.

Example:
  aegisctl cluster invite --address voter-2.example.com:7400 --out invitation.json")]
struct InviteArgs {
    /// Where the others will reach it.
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// Write the invitation to this file, which must not be there; to stdout unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// The voter's id.
    node: u64,
    #[command(flatten)]
    access: Access,
}

/// Have another voter lead; returns when it does. A leader that is stopped does this by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl cluster hand-over
  aegisctl cluster hand-over --to 2")]
struct HandOverArgs {
    /// The voter that is to lead; whichever holds most of the log unless given.
    #[arg(long, value_name = "ID")]
    to: Option<u64>,
    #[command(flatten)]
    access: Access,
}

/// Write down what the voters have agreed on.
#[derive(Debug, Args)]
#[command(after_help = "\
The file holds agents, revocations, releases and approvals, but no private key. It is checked as it is written, and the
region's key has signed what it is: `aegisctl cluster restore` takes no other.

Example:
  aegisctl cluster backup /backup/aegis-$(date +%F).ledger")]
struct BackupArgs {
    /// The file to write, which must not be there.
    file: PathBuf,
    #[command(flatten)]
    access: Access,
}

impl VotersCommand {
    fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let none = Conditions::default();
        let act = |access: &Access, path: &str| -> Result<Value, RegionError> {
            Ok(access.admin(data)?.post(path, &json!({}), &none)?.body)
        };
        match self {
            VotersCommand::Status(args) => {
                Ok(Told::thing(&args.access.admin(data)?.get("/v1/cluster")?.body))
            }
            VotersCommand::Members(args) => {
                members(&args.access.admin(data)?.get("/v1/cluster/members")?.body)
            }
            VotersCommand::Invite(args) => args.run(data),
            VotersCommand::Promote(NodeArgs { node, access }) => {
                members(&act(access, &format!("/v1/cluster/members/{node}/promote"))?)
            }
            VotersCommand::Remove(NodeArgs { node, access }) => {
                let path = format!("/v1/cluster/members/{node}");
                members(&access.admin(data)?.delete(&path, &none)?.body)
            }
            VotersCommand::HandOver(HandOverArgs { to, access }) => {
                let wish = to.map_or_else(|| json!({}), |to| json!({ "to": to }));
                let client = access.admin(data)?;
                Ok(Told::thing(&client.post("/v1/cluster/hand-over", &wish, &none)?.body))
            }
            VotersCommand::Finish(args) => {
                Ok(Told::thing(&act(&args.access, "/v1/cluster/finish")?))
            }
            VotersCommand::Raise(args) => Ok(Told::thing(&act(&args.access, "/v1/cluster/raise")?)),
            VotersCommand::Backup(args) => args.run(data),
        }
    }
}

fn members(body: &Value) -> Result<Told, RegionError> {
    let listed = body.get("members").and_then(Value::as_array);
    Ok(Told::list(listed.ok_or(RegionError::Answer { what: "members" })?, &COLUMNS))
}

impl InviteArgs {
    fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let wish = json!({ "address": self.address });
        let client = self.access.admin(data)?;
        let body = client.post("/v1/cluster/members", &wish, &Conditions::default())?.body;
        let part = |name: &'static str| body.get(name).ok_or(RegionError::Answer { what: name });
        let (id, invitation) = (part("id")?, part("invitation")?);
        let text = invitation.to_string();
        let told = match &self.out {
            None => Told::text(invitation.clone(), &text),
            Some(path) => {
                files::new_secret(path, &text)?;
                Told::thing(&json!({ "id": id, "invitation": path }))
            }
        };
        Ok(told.saying(format!(
            "next, on the new machine: aegisctl cluster join --invite FILE, and start its gateway;\n\
             then here: aegisctl cluster promote {id}"
        )))
    }
}

impl BackupArgs {
    fn run(&self, data: &Path) -> Result<Told, RegionError> {
        let from = self.access.admin(data)?.stream("/v1/cluster/backup")?;
        let manifest =
            copy_checked(BufReader::new(from), &self.file, (Copied::Whole, Trust::Anybody))?;
        let value = serde_json::to_value(&manifest);
        Ok(Told::thing(&value.map_err(|_| RegionError::Answer { what: "its manifest" })?))
    }
}
