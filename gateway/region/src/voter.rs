//! This process's part in the region's ledger: alone, or one of several voters.
//!
//! Not here: how voters agree (`raft-store`), what they agree on (`ledger`), and who may be one (`authority`). Invariant: a
//! voter whose disk fails ends the process, for what it says from then on may not be what it holds; a voter whose
//! ledger is gone never comes back under its old id; and what somebody did to its files is on record once it counts.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_authority::{Mandate, VoterCredentials, VoterFiles, VoterName};
use aegis_config::{ClusterDoor, Config, ControlApi};
use aegis_control::{Chronicle, Deed};
use aegis_corridor::clock;
use aegis_raft_store::{
    Credentials, Door, Fatal, Identity, Node, Pace, Settings, recover, restore,
};
use aegis_registry::Actor;
use aegis_telemetry::{VoterGauges, VoterMetrics};
use anyhow::{Context as _, bail};
use tokio::signal::unix::Signal;

/// What a voter is called where nobody reaches it.
const ALONE: &str = "alone";
/// Whoever can write this voter's files: `aegisctl cluster` on its machine.
const MACHINE: &str = "local machine";
const RETRY_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a ledger that is nearly full is folded into a snapshot.
const SHRINK_EVERY: Duration = Duration::from_secs(60);
const LOOK_AT_CERTIFICATE_EVERY: Duration = Duration::from_secs(60 * 60);

/// A voter that runs, and the files that make it one.
#[derive(Clone, Debug)]
pub(crate) struct Voter {
    pub(crate) node: Node,
    files: VoterFiles,
}

impl Voter {
    /// Opens the ledger, or what its mandate says is to become it. Waits for others only where there are none.
    pub(crate) async fn open(
        config: &Config,
        api: &ControlApi,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let files = VoterFiles::at(&directory.join("cluster"));
        let own = credentials(&files)?;
        let identity = identity(config, own.as_ref())?;
        let address = api.cluster.as_ref().map_or(ALONE, |door| door.address.as_str());
        let mandate = files.mandate().context("the voter's mandate cannot be read")?;
        let ledger = directory.join("ledger");
        if let (Some(mandate), Some(_)) = (&mandate, &own) {
            take_over(mandate, &files, (&ledger, &identity, address))?;
        }
        let door = match (&api.cluster, &own) {
            (None, _) => None,
            (Some(door), Some(own)) => Some(open_door(door, own)?),
            (Some(_), None) => bail!(
                "`control.cluster` is set, but this machine is no voter yet: run `aegisctl cluster init` on \
                 the region's first, and `aegisctl cluster join` on each other"
            ),
        };
        let (pace, on_fatal) = (Pace::default(), Arc::new(end));
        let settings = Settings { identity, directory: ledger.clone(), door, pace, on_fatal };
        let about = || format!("the region's ledger in {} cannot be used", ledger.display());
        let node = Node::start(settings).await.with_context(about)?;
        let voter = Self { node, files };
        voter.begin(mandate.as_ref(), (own.is_some(), address)).await.with_context(about)?;
        Ok(voter)
    }

    async fn begin(
        &self,
        mandate: Option<&Mandate>,
        (is_of_a_cluster, address): (bool, &str),
    ) -> anyhow::Result<()> {
        if self.node.is_new().await? {
            return match mandate {
                Some(Mandate::Join) => Ok(()),
                None if is_of_a_cluster => bail!(
                    "it is gone, and a voter that forgot what it said may not speak again: have another voter \
                     remove this one (`aegisctl cluster remove`) and join as a new one"
                ),
                Some(Mandate::Found | Mandate::Recover(_) | Mandate::Restore) | None => {
                    Ok(self.node.stand_alone(address).await?)
                }
            };
        }
        self.node.belongs().await?;
        let status = self.node.status();
        if status.voters == [status.node] {
            self.node.stand_alone(address).await?;
        } else if self.node.address().is_none() {
            bail!("the region has the voters {:?}: give `control.cluster`", status.voters);
        }
        Ok(())
    }

    /// Says what this version can read, once somebody leads; from then on the mandate is used up.
    pub(crate) async fn settle(self, chronicle: Arc<dyn Chronicle>) {
        if self.node.belongs().await.is_err() {
            return;
        }
        if let Ok(Some(mandate)) = self.files.mandate() {
            self.note(chronicle.as_ref(), MACHINE, act(&mandate)).await;
        }
        if let Err(error) = self.files.carried_out() {
            tracing::error!(%error, "the voter's mandate cannot be taken away");
        }
        while let Err(error) = self.node.say_level().await {
            tracing::debug!(%error, "nobody hears yet what this voter can read");
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Tells how this voter is, and makes room where the ledger's file grows large.
    pub(crate) async fn watch(self, metrics: VoterMetrics) {
        let (mut is_told, mut shrunk) = (false, None);
        loop {
            let status = self.node.status();
            let (bytes, max) = (status.ledger_bytes, status.ledger_bytes_max);
            let gauges = VoterGauges {
                leader: status.leader,
                // A leader that lost its quorum goes on taking itself for one.
                out_of_touch_s: status.in_touch_ago.as_secs(),
                voters: status.voters.len(),
                applied: status.applied.unwrap_or(0),
                ledger_bytes: bytes,
                ledger_bytes_max: max,
            };
            metrics.set(status.node, gauges);
            let is_nearly_full = status.is_nearly_full();
            if is_nearly_full && !is_told {
                tracing::error!(
                    bytes,
                    max,
                    "the ledger is nearly full; at its limit nothing new is taken"
                );
            }
            // Again and again: a snapshot may be under way just now, and later there may be more to give up.
            if is_nearly_full && shrunk.is_none_or(|at: Instant| at.elapsed() >= SHRINK_EVERY) {
                if let Err(error) = self.node.shrink().await {
                    tracing::error!(%error, "the ledger's log cannot be given up");
                }
                shrunk = Some(Instant::now());
            }
            is_told = is_nearly_full;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps the certificate good; SIGHUP has the files read again.
    pub(crate) async fn prove(self, mut hangup: Signal, chronicle: Arc<dyn Chronicle>) {
        let certificate = || Some(self.files.read().ok()??.certificate);
        let mut proved_by = certificate();
        loop {
            tokio::select! {
                heard = hangup.recv() => if heard.is_none() { return },
                () = tokio::time::sleep(LOOK_AT_CERTIFICATE_EVERY) => {}
            }
            // What differs before this voter looks whether it is time, somebody else put there.
            let by_itself = certificate() == proved_by;
            let renewed = credentials(&self.files)
                .and_then(|own| own.map_or(Ok(()), |own| Ok(self.node.renew(&proof(&own))?)));
            if let Err(error) = renewed {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the voter's certificate is not renewed"
                );
                continue;
            }
            let now = certificate();
            if now != proved_by {
                let own = format!("voter {}", self.node.identity().node);
                let by = if by_itself { &own } else { MACHINE };
                self.note(chronicle.as_ref(), by, "voter.rotate_cert").await;
                proved_by = now;
            }
        }
    }

    /// Puts on record what was done to this voter's files. It is done already, so a log that takes nothing is told of.
    async fn note(&self, chronicle: &dyn Chronicle, by: &str, act: &'static str) {
        let Ok(by) = Actor::parse(by) else { return };
        let target = Some(format!("voter {}", self.node.identity().node));
        let change = Deed { by, act, target }.changed(self.node.ledger().revision());
        if let Err(error) = chronicle.note(change).await {
            tracing::error!(%error, act, "what was done to this voter is not on record");
        }
    }
}

fn act(mandate: &Mandate) -> &'static str {
    match mandate {
        Mandate::Found => "voter.found",
        Mandate::Join => "voter.join",
        Mandate::Recover(_) => "voter.recover",
        Mandate::Restore => "voter.restore",
    }
}

/// The voter's credentials, with a certificate that will do for a while.
fn credentials(files: &VoterFiles) -> anyhow::Result<Option<VoterCredentials>> {
    let about = "the voter's files below `control/cluster` cannot be used";
    match files.read().context(about)? {
        Some(own) if own.wants_renewal(clock::now()) => {
            files.renew(&own.name, clock::now()).context(about)?;
            files.read().context(about)
        }
        own => Ok(own),
    }
}

fn identity(config: &Config, own: Option<&VoterCredentials>) -> anyhow::Result<Identity> {
    let region = config.region.as_str();
    let Some(VoterCredentials { name, .. }) = own else {
        return Ok(Identity { cluster: region.to_owned(), node: 1 });
    };
    // A cluster that took over another's ledger has a name that begins with the region's.
    let rest = name.cluster.strip_prefix(region);
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
        bail!("the voter's certificate is for a cluster of another region: {}", name.cluster);
    }
    Ok(voter(name))
}

fn voter(name: &VoterName) -> Identity {
    Identity { cluster: name.cluster.clone(), node: name.node }
}

fn proof(own: &VoterCredentials) -> Credentials {
    Credentials {
        authority: own.authority.clone().into_bytes(),
        certificate: own.certificate.clone().into_bytes(),
        key: own.key.expose().clone().into_bytes(),
    }
}

fn open_door(door: &ClusterDoor, own: &VoterCredentials) -> anyhow::Result<Door> {
    let listener = TcpListener::bind(door.listen)
        .with_context(|| format!("{} cannot be listened on", door.listen))?;
    Ok(Door { listener, credentials: proof(own) })
}

fn take_over(
    mandate: &Mandate,
    files: &VoterFiles,
    (ledger, to, address): (&Path, &Identity, &str),
) -> anyhow::Result<()> {
    match mandate {
        Mandate::Found | Mandate::Join => Ok(()),
        Mandate::Recover(from) => {
            let recovered = recover(ledger, (&voter(from), to), address)
                .context("the ledger cannot be taken over")?;
            let (index, unconfirmed) = (recovered.index, recovered.unconfirmed);
            tracing::warn!(
                index,
                unconfirmed,
                cluster = to.cluster,
                "a lost cluster's ledger was taken over"
            );
            Ok(())
        }
        Mandate::Restore => {
            let path = files.backup();
            let about = || format!("the backup {} cannot be restored", path.display());
            let written = File::open(&path).with_context(about)?;
            restore(ledger, to, address, written).with_context(about)
        }
    }
}

/// Nobody could be told otherwise: the calls of the control API wait for the very disk.
fn end(fatal: &Fatal) {
    tracing::error!(%fatal, "the gateway ends, because its part of the region's ledger cannot go on");
    std::process::exit(1);
}
