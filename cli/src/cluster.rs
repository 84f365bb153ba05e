//! `aegisctl cluster`: the voters of a region, from the first machine to the last that is left.
//!
//! Not here: what a running voter is asked (`cli/region`), and the ledger itself; this writes the files that a gateway finds
//! when it starts. Invariant: nothing is done to the files of a gateway that runs, and no ledger is written over.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_authority::{Invitation, Mandate, StoreError, VoterFiles, VoterName};
use aegis_cli_region::{BackupError, ClusterCommand, Copied, copy_checked};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use crate::sheet::Sheet;
use crate::{clock, region};

/// More than an invitation is.
const INVITATION_BYTES_MAX: u64 = 64 * 1_024;

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
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Region(ClusterCommand),
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
struct JoinArgs {
    /// What `aegisctl cluster invite` gave; `-` reads it from stdin.
    #[arg(long, value_name = "FILE")]
    invite: PathBuf,
}

/// Begin a cluster of one with a backup, where there is no ledger yet.
#[derive(Debug, Args)]
#[command(after_help = "\
What was decided after the backup is not in it: revocations among it. The voters of the cluster that it was taken from are
strangers to the new one; wipe their `control/cluster` and `control/ledger`, and invite them.")]
struct RestoreArgs {
    file: PathBuf,
}

/// Go on alone with this machine's own ledger, where most voters are lost for good.
#[derive(Debug, Args)]
#[command(after_help = "\
Run it on the survivor whose `aegisctl cluster status` showed the highest last_entry, with its gateway stopped. The other
voters must never come back: they are strangers to the new cluster. Wipe their `control/cluster` and `control/ledger`, and
invite them.")]
struct RecoverArgs {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(args: &ClusterArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let here = || -> Result<Here, Failure> { Here::open(&Config::load(&home.config())?) };
    match &args.command {
        Command::Region(command) => region::show(command.run(home.root()), screen),
        Command::Init => here()?.init(screen),
        Command::Join(args) => here()?.join(&args.invite, screen),
        Command::RotateCert => here()?.rotate(screen),
        Command::Restore(args) => here()?.restore(&args.file, screen),
        Command::Recover(args) => here()?.recover(args, screen),
    }
}

/// This machine.
struct Here {
    region: String,
    data: PathBuf,
    files: VoterFiles,
}

impl Here {
    fn open(config: &Config) -> Result<Self, Failure> {
        let data = config.data_dir.clone();
        let files = VoterFiles::at(&data.join("control/cluster"));
        Ok(Self { region: config.region.as_str().to_owned(), data, files })
    }

    fn ledger(&self) -> PathBuf {
        self.data.join("control/ledger/ledger.redb")
    }

    /// Whoever holds the ledger's lock is a gateway that runs.
    fn check_stopped(&self) -> Result<(), Failure> {
        let path = self.ledger();
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Failure::file("the ledger", &path, error)),
            Ok(file) => file.try_lock().map_err(|_| Failure::Usage {
                message: "a gateway uses this ledger; stop it first".into(),
            }),
        }
    }

    fn init(&self, screen: &Screen) -> Result<Exit, Failure> {
        self.check_stopped()?;
        let name = VoterName { cluster: self.region.clone(), node: 1 };
        self.make(&name, &Mandate::Found)?;
        tell(&name, screen)?;
        screen.say("next: give `control.cluster` in aegis.yaml and start the gateway");
        Ok(Exit::Ok)
    }

    fn make(&self, name: &VoterName, mandate: &Mandate) -> Result<(), Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.data.join("control"))
            .map_err(|error| Failure::file("the folder", &self.data, error))?;
        self.files.create(name, mandate, clock::now()).map_err(failed)
    }

    fn join(&self, from: &Path, screen: &Screen) -> Result<Exit, Failure> {
        self.check_empty()?;
        let text = if from == Path::new("-") {
            let mut text = String::new();
            let read = io::stdin().lock().take(INVITATION_BYTES_MAX).read_to_string(&mut text);
            read.map_err(Failure::Stdin)?;
            text
        } else {
            crate::home::read("the invitation", from)?
        };
        let invitation: Invitation = serde_json::from_str(&text)
            .map_err(|error| Failure::invalid("the invitation", error))?;
        let name = &invitation.name;
        let is_ours = name.cluster.strip_prefix(&self.region);
        if !is_ours.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            let message =
                format!("the invitation is for a cluster of another region: {}", name.cluster);
            return Err(Failure::Usage { message });
        }
        let keeps_another = self.take_region_key(&invitation)?;
        self.files.accept(&invitation).map_err(failed)?;
        tell(name, screen)?;
        if keeps_another {
            screen.say(
                "this machine keeps its own keys/region.pem: followers must trust both, and nonces are not shared",
            );
        }
        screen.say(&format!(
            "next: give `control.cluster` with the address {} in aegis.yaml and start the gateway;\n\
             then, anywhere: aegisctl cluster promote {}",
            invitation.address, name.node
        ));
        Ok(Exit::Ok)
    }

    /// All voters of a region attest with one key, unless this machine had one before. Whether it had.
    fn take_region_key(&self, invitation: &Invitation) -> Result<bool, Failure> {
        let path = self.data.join("keys/region.pem");
        let failure = |error| Failure::file("the region's key", &path, error);
        match fs::read_to_string(&path) {
            Ok(own) => return Ok(own.trim() != invitation.region_key.trim()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failure(error)),
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failure)?;
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| {
            file.write_all(invitation.region_key.as_bytes())?;
            file.sync_all()
        });
        written.map_err(failure)?;
        Ok(false)
    }

    fn check_empty(&self) -> Result<(), Failure> {
        let path = self.ledger();
        if path.exists() { Err(Failure::Exists { path }) } else { Ok(()) }
    }

    fn rotate(&self, screen: &Screen) -> Result<Exit, Failure> {
        let name = self.own()?;
        self.files.renew(&name, clock::now()).map_err(failed)?;
        tell(&name, screen)?;
        screen.say("next: send the gateway SIGHUP");
        Ok(Exit::Ok)
    }

    fn own(&self) -> Result<VoterName, Failure> {
        let own = self.files.read().map_err(failed)?;
        let path = || self.data.join("control/cluster/voter.pem");
        own.map(|own| own.name).ok_or_else(|| Failure::Missing { what: "the voter", path: path() })
    }

    fn restore(&self, from: &Path, screen: &Screen) -> Result<Exit, Failure> {
        self.check_empty()?;
        if self.files.read().map_err(failed)?.is_some() {
            return Err(Failure::Exists { path: self.data.join("control/cluster") });
        }
        let backup = self.files.backup();
        let folder = backup.parent().unwrap_or(Path::new("."));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| Failure::file("the folder", folder, error))?;
        let file = File::open(from).map_err(|error| Failure::file("the backup", from, error))?;
        let manifest = copy_checked(BufReader::new(file), &backup, Copied::LedgerOnly);
        let manifest = manifest.map_err(unreadable)?;
        let name = VoterName { cluster: self.another()?, node: 1 };
        self.make(&name, &Mandate::Restore)?;
        tell(&name, screen)?;
        screen.say(&format!(
            "restored is what {} had decided until {}; what came after is lost, revocations among it.\n\
             next: start the gateway",
            manifest.cluster, manifest.at
        ));
        Ok(Exit::Ok)
    }

    fn recover(&self, args: &RecoverArgs, screen: &Screen) -> Result<Exit, Failure> {
        self.check_stopped()?;
        if !self.ledger().exists() {
            return Err(Failure::Missing { what: "the ledger", path: self.ledger() });
        }
        if self.files.mandate().map_err(failed)?.is_some() {
            return Err(Failure::Usage {
                message: "what was last asked of this voter is still to be done; start its gateway"
                    .into(),
            });
        }
        let was = self.own()?;
        screen.say(
            "THIS ENDS THE CLUSTER. This machine goes on alone with what it has. What the others agreed on and this\n\
             one never heard of is LOST: revocations, limits and approvals among it. The others must never come back.",
        );
        if !args.yes && !is_confirmed(&was.cluster, screen)? {
            return Err(Failure::Usage { message: "nothing was done".into() });
        }
        let name = VoterName { cluster: self.another()?, node: was.node };
        self.files.put_aside(clock::now()).map_err(failed)?;
        self.make(&name, &Mandate::Recover(was))?;
        tell(&name, screen)?;
        screen.say(
            "next: start the gateway, look with `aegisctl cluster status`, and invite new voters",
        );
        Ok(Exit::Ok)
    }

    /// A cluster's name that no cluster had: no voter of another counts in it.
    fn another(&self) -> Result<String, Failure> {
        let random: [u8; 6] = clock::random()?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}.{hex}", self.region))
    }
}

/// Whether the cluster's name was typed.
fn is_confirmed(cluster: &str, screen: &Screen) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let message = "nobody is there to confirm it; say --yes";
        return Err(Failure::Usage { message: message.into() });
    }
    screen.say(&format!("type {cluster} to go on:"));
    let mut typed = String::new();
    io::stdin().read_line(&mut typed).map_err(Failure::Stdin)?;
    Ok(typed.trim() == cluster)
}

fn tell(name: &VoterName, screen: &Screen) -> Result<(), Failure> {
    let mut sheet = Sheet::new(&["cluster", "node"]);
    sheet.row(vec![name.cluster.clone().into(), name.node.into()]);
    screen.thing(&json!({ "cluster": name.cluster, "node": name.node }), &sheet)
}

fn unreadable(error: BackupError) -> Failure {
    match error {
        BackupError::File { path, source } => Failure::file("the backup", &path, source),
        BackupError::Read(_)
        | BackupError::Manifest(_)
        | BackupError::Format { .. }
        | BackupError::Digest => Failure::invalid("the backup", error),
    }
}

fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::File { path, source } => Failure::file("the voter's files", &path, source),
        StoreError::TooOpen { .. } | StoreError::Content { .. } | StoreError::Authority(_) => {
            Failure::invalid("the voter's files", error)
        }
    }
}
