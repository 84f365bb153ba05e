//! `aegisctl cluster` on a machine whose gateway does not run: the files that its next start goes by.
//!
//! Not here: what a running voter is asked (`cluster`), and the ledger itself, which no command opens. Invariant: nothing is
//! done to the files of a gateway that runs, and nothing that is there is written over.

use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aegis_authority::{Invitation, Mandate, StoreError, VoterFiles, VoterName};
use aegis_domain::{Region, Timestamp};
use aegis_identity::KeySet;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::backup::{Copied, Trust, copy_checked};
use crate::files::{self, FilesError};
use crate::{RegionError, Told};

/// What came after is lost here, and not where it was taken to.
const GATEWAYS_AHEAD: &str = "\
gateways that hold policy releases which were made after that keep these, and take none from the region, until they are told to:
  aegisctl fleet status                                     # they are `ahead`
  aegisctl policy overtake --tenant TENANT --env ENV        # each such line then follows the region again";

/// Why a machine's files were not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("{} exists and is never overwritten", path.display())]
    Exists { path: PathBuf },
    #[error("this machine was a voter before: {} is there", path.display())]
    WasVoter { path: PathBuf },
    #[error("{what} is missing: {}", path.display())]
    Missing { what: &'static str, path: PathBuf },
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "it cannot be told who signed the backup: {} is no key set; name the region's with --region-keys", path.display()
    )]
    NoKeys { path: PathBuf },
    #[error("a gateway uses this ledger; stop it first")]
    Running,
    #[error("what was last asked of this voter is still to be done; start its gateway")]
    Pending,
    #[error("the invitation is for a cluster of another region: {0}")]
    OtherRegion(String),
    #[error(
        "this ENDS the cluster: this machine goes on alone with what it has, what the others agreed on and it never heard \
         of is LOST (revocations, limits and approvals among it), and the others must never come back; to go on, add \
         `--confirm {0}`"
    )]
    Unconfirmed(String),
    #[error("the voter's files cannot be used")]
    Store(#[from] StoreError),
    #[error("the invitation is not one")]
    Invitation(#[source] serde_json::Error),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// Make this machine a cluster's first voter; its ledger stays as it is.
    Init,
    Join(JoinArgs),
    /// Make this voter a new key and certificate; SIGHUP has a running gateway use them.
    RotateCert,
    Restore(RestoreArgs),
    Recover(RecoverArgs),
}

/// Make this machine the voter that an invitation names.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// What `aegisctl cluster invite` gave; read from stdin unless named.
    #[arg(long, value_name = "FILE")]
    invite: Option<PathBuf>,
}

/// Begin a cluster of one with a backup, where there is no ledger yet.
#[derive(Debug, Args)]
#[command(after_help = "\
What was decided after the backup is not in it: revocations among it. The voters of the cluster that it was taken from are
strangers to the new one: move their `control/cluster` and `control/ledger` away, and invite them.")]
pub(crate) struct RestoreArgs {
    /// What `aegisctl cluster backup` wrote.
    file: PathBuf,
    /// The key set of the region that signed the backup; this machine's own keys/jwks.json unless given.
    #[arg(long, value_name = "FILE", conflicts_with = "accept_unverified")]
    region_keys: Option<PathBuf>,
    /// Take the ledger whoever wrote it: they decide which agents, keys, limits and releases the region has from then on.
    #[arg(long)]
    accept_unverified: bool,
}

/// Go on alone with this machine's own ledger, where most voters are lost for good.
#[derive(Debug, Args)]
#[command(after_help = "\
Run it on the survivor whose `aegisctl cluster status` showed the highest last_entry, with its gateway stopped. The other
voters must never come back: they are strangers to the new cluster. Move their `control/cluster` and `control/ledger` away,
and invite them.")]
pub(crate) struct RecoverArgs {
    /// The name of the cluster that this ends; it is named where this is not given.
    #[arg(long, value_name = "CLUSTER", conflicts_with = "yes")]
    confirm: Option<String>,
    /// Go on whatever the cluster's name is.
    #[arg(long)]
    yes: bool,
}

/// This machine, as its aegis.yaml has it.
#[derive(Debug)]
pub(crate) struct Machine {
    region: Region,
    data: PathBuf,
    files: VoterFiles,
    now: Timestamp,
}

impl Machine {
    pub(crate) fn of(region: Region, data: PathBuf, now: Timestamp) -> Self {
        let files = VoterFiles::at(&data.join("control/cluster"));
        Self { region, data, files, now }
    }

    pub(crate) fn run(&self, command: &MachineCommand) -> Result<Told, RegionError> {
        match command {
            MachineCommand::Init => Ok(self.init()?),
            MachineCommand::Join(JoinArgs { invite }) => self.join(invite.as_deref()),
            MachineCommand::RotateCert => Ok(self.rotate()?),
            MachineCommand::Restore(args) => self.restore(args),
            MachineCommand::Recover(args) => self.recover(args),
        }
    }

    fn ledger(&self) -> PathBuf {
        self.data.join("control/ledger/ledger.redb")
    }

    /// Whoever holds the ledger's lock is a gateway that runs.
    fn check_stopped(&self) -> Result<(), MachineError> {
        let path = self.ledger();
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(source) => Err(MachineError::File { path, source }),
            Ok(file) => file.try_lock().map_err(|_| MachineError::Running),
        }
    }

    fn check_empty(&self) -> Result<(), MachineError> {
        let voter = self.files.read()?.map(|_| self.data.join("control/cluster"));
        match Some(self.ledger()).filter(|path| path.exists()).or(voter) {
            Some(path) => Err(MachineError::WasVoter { path }),
            None => Ok(()),
        }
    }

    fn folder(&self, below: &str) -> Result<PathBuf, MachineError> {
        let path = self.data.join(below);
        match DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(MachineError::File { path, source }),
        }
    }

    fn init(&self) -> Result<Told, MachineError> {
        self.check_stopped()?;
        let name = VoterName { cluster: self.region.as_str().to_owned(), node: 1 };
        self.make(&name, &Mandate::Found)?;
        Ok(told(&name).saying("next: give `control.cluster` in aegis.yaml and start the gateway"))
    }

    fn make(&self, name: &VoterName, mandate: &Mandate) -> Result<(), MachineError> {
        if self.files.read()?.is_some() {
            return Err(MachineError::Exists { path: self.data.join("control/cluster") });
        }
        self.folder("control")?;
        Ok(self.files.create(name, mandate, self.now)?)
    }

    fn join(&self, from: Option<&Path>) -> Result<Told, RegionError> {
        self.check_empty()?;
        let text = files::read_or_stdin(from)?;
        let invitation: Invitation =
            serde_json::from_str(&text).map_err(MachineError::Invitation)?;
        let name = &invitation.name;
        let rest = name.cluster.strip_prefix(self.region.as_str());
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            return Err(MachineError::OtherRegion(name.cluster.clone()).into());
        }
        let key = self.take_region_key(&invitation)?;
        let token = self.folder("control")?.join("follower.token");
        let token = take(&token, &invitation.follower_token)?;
        self.cosign_anew()?;
        self.files.accept(&invitation).map_err(MachineError::Store)?;
        let told = told(name).saying(format!(
            "next: give `control.cluster` with the address {} in aegis.yaml and start the gateway;\n\
             then, anywhere: aegisctl cluster promote {}",
            invitation.address, name.node
        ));
        let told = match key {
            Taken::Shared => told,
            Taken::Own => told.saying(
                "this machine has a keys/region.pem of its own and keeps it: its gateway REFUSES the policies that other voters \
                 sign, followers must trust both keys, and nonces are not shared.\n\
                 if it never served a call: move control/, keys/region.pem and keys/jwks.json away and ask for another invitation",
            ),
        };
        Ok(match token {
            Taken::Shared => told,
            Taken::Own => told.saying(
                "this machine keeps its own control/follower.token: no follower can go from the others to it",
            ),
        })
    }

    /// All voters of a region attest with one key, unless this machine had one before.
    fn take_region_key(&self, invitation: &Invitation) -> Result<Taken, RegionError> {
        take(&self.folder("keys")?.join("region.pem"), &invitation.region_key)
    }

    /// Verifiers count keys, so the ledger takes none that a voter of another id cosigned with: such a voter would never be a
    /// witness. The old key is kept, and the gateway makes another.
    fn cosign_anew(&self) -> Result<(), MachineError> {
        let path = self.data.join("control/cosigner.secret");
        let aside = path.with_extension(format!("before-{}", self.now.unix_s()));
        match std::fs::rename(&path, &aside) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(MachineError::File { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn rotate(&self) -> Result<Told, MachineError> {
        let name = self.own()?;
        self.files.renew(&name, self.now)?;
        Ok(told(&name).saying("next: send the gateway SIGHUP"))
    }

    fn own(&self) -> Result<VoterName, MachineError> {
        let path = self.data.join("control/cluster/voter.pem");
        let own = self.files.read()?.map(|own| own.name);
        own.ok_or(MachineError::Missing { what: "the voter", path })
    }

    fn restore(&self, args: &RestoreArgs) -> Result<Told, RegionError> {
        let from = &args.file;
        self.check_empty()?;
        self.folder("control/cluster")?;
        let file = File::open(from);
        let file = file.map_err(|source| FilesError::File { path: from.to_owned(), source })?;
        let keys = match args.accept_unverified {
            true => None,
            false => Some(self.region_keys(args.region_keys.as_deref())?),
        };
        let trust = keys.as_ref().map_or(Trust::Anybody, Trust::Keys);
        let what = (Copied::LedgerOnly, trust);
        let manifest = copy_checked(BufReader::new(file), &self.files.backup(), what)?;
        let name = VoterName { cluster: self.another()?, node: 1 };
        self.cosign_anew()?;
        self.make(&name, &Mandate::Restore)?;
        Ok(told(&name).saying(format!(
            "restored is what {} had decided until {}; what came after is lost, revocations among it.\n\
             Approvals that were open or granted then are denied, and every session has ended.\n\
             next: start the gateway",
            manifest.cluster, manifest.at
        ))
        .saying(GATEWAYS_AHEAD))
    }

    /// Who signs for the region, as it is known here.
    fn region_keys(&self, named: Option<&Path>) -> Result<KeySet, MachineError> {
        let path = named.map_or_else(|| self.data.join("keys/jwks.json"), Path::to_owned);
        let missing = || MachineError::NoKeys { path: path.clone() };
        let text = aegis_audit_plain::read_given(&path, files::FILE_BYTES_MAX);
        let text = text.map_err(|_| missing())?;
        KeySet::from_jwks(&text).map_err(|_| missing())
    }

    fn recover(&self, args: &RecoverArgs) -> Result<Told, RegionError> {
        self.check_stopped()?;
        if !self.ledger().exists() {
            let missing = MachineError::Missing { what: "the ledger", path: self.ledger() };
            return Err(missing.into());
        }
        if self.files.mandate().map_err(MachineError::Store)?.is_some() {
            return Err(MachineError::Pending.into());
        }
        let was = self.own()?;
        if !args.yes && args.confirm.as_ref() != Some(&was.cluster) {
            return Err(MachineError::Unconfirmed(was.cluster).into());
        }
        let name = VoterName { cluster: self.another()?, node: was.node };
        self.files.put_aside(self.now).map_err(MachineError::Store)?;
        self.make(&name, &Mandate::Recover(was))?;
        Ok(told(&name).saying(
            "what the others agreed on and this machine never heard of is LOST, and they must never come back.\n\
             next: start the gateway, look with `aegisctl cluster status`, and invite new voters",
        )
        .saying(GATEWAYS_AHEAD))
    }

    /// A cluster's name that no cluster had: no voter of another counts in it.
    fn another(&self) -> Result<String, RegionError> {
        let random: [u8; 6] = files::random()?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}.{hex}", self.region))
    }
}

/// What a machine does with a secret that the voters have in common.
#[derive(Clone, Copy, Debug)]
enum Taken {
    Shared,
    /// It had another before, which is never written over.
    Own,
}

fn take(path: &Path, secret: &str) -> Result<Taken, RegionError> {
    match aegis_audit_plain::read_given_text(path, files::FILE_BYTES_MAX) {
        Ok(own) if own.trim() == secret.trim() => Ok(Taken::Shared),
        Ok(_) => Ok(Taken::Own),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            files::new_secret(path, secret)?;
            Ok(Taken::Shared)
        }
        Err(source) => Err(FilesError::File { path: path.to_owned(), source }.into()),
    }
}

fn told(name: &VoterName) -> Told {
    Told::thing(&json!({ "cluster": name.cluster, "node": name.node }))
}
