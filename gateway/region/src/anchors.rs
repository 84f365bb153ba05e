//! The audit log of this process before witnesses: the voters of its region, wherever they are, and those outside.
//!
//! Not here: asking them (`audit/witness`), and what a voter says (`control`). Invariant: the voter of this very process is asked
//! without a socket, and every other one by the same protocol as strangers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use aegis_audit_chain::cosignature::Witness;
use aegis_audit_chain::submission::Answer;
use aegis_audit_ship::{Journal, JournalConfig};
use aegis_audit_witness::{
    AnchorConfig, Anchors, Channel, ChannelError, Http, HttpRegistrar, Quorum, Registrar,
    RegistrarError, Voter, WitnessAt, WitnessConfig, Witnesses,
};
use aegis_config::{Config, RegionRegistry};
use aegis_control::{Control, LogError};
use aegis_domain::{Secret, VoterUrls};
use aegis_ledger::StreamRefusal;
use aegis_registry::Actor;
use anyhow::Context as _;
use tokio::runtime::Handle;

/// As long as a proposal waits for a quorum, and a little more.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where `add-checkpoint` is below a voter's URL.
const PREFIX: &str = "/v1/audit/witness";

/// Begins to show the journal's heads: to the region's voters where there are any, and to the witnesses that are configured.
pub fn start(
    config: &Config,
    (log, journal): (&JournalConfig, &Arc<Journal>),
    (here, runtime): (Option<&Arc<Control>>, &Handle),
) -> anyhow::Result<(Option<Anchors>, Option<Witnesses>)> {
    let registry = log.registry()?;
    let key = log.region_key.verifier(registry.as_str());
    let anchors = match voters(config, (here, runtime))? {
        None => None,
        Some(Voters { home, registrar, ca }) => {
            let disowned = Arc::clone(journal);
            let wanted = AnchorConfig {
                dir: log.dir.clone(),
                registry: registry.clone(),
                key: key.clone(),
                newest: journal.newest_head(),
                home,
                registrar,
                ca,
                known: config.data_dir.join("audit.known"),
                disk: Arc::clone(&log.disk),
                disown: Box::new(move || disowned.disown()),
            };
            Some(Anchors::start(wanted).context("the audit log cannot be anchored")?)
        }
    };
    let witnesses = config.witnesses.iter().map(|outside| {
        let ca = outside.ca_file.as_deref().map(read).transpose()?;
        Ok(WitnessAt { witness: outside.key.clone(), url: outside.url.clone(), ca })
    });
    let witnesses = witnesses.collect::<anyhow::Result<Vec<_>>>()?;
    if anchors.is_none() && witnesses.is_empty() {
        return Ok((None, None));
    }
    let disowned = Arc::clone(journal);
    let disown = Arc::new(move || disowned.disown());
    let quorum = config.witness_quorum.map(|least| Quorum { least, disown });
    let cosigned = anchors.as_ref().map(Anchors::cosigned);
    let wanted = WitnessConfig {
        dir: log.dir.clone(),
        registry,
        region: key,
        disk: Arc::clone(&log.disk),
        heads: cosigned.into_iter().chain([journal.newest_head()]).collect(),
        witnesses,
        quorum,
    };
    let witnesses = Witnesses::start(wanted).context("witnesses cannot be asked")?;
    Ok((anchors, Some(witnesses)))
}

/// How the region's voters are reached.
struct Voters {
    home: Box<dyn Channel>,
    registrar: Box<dyn Registrar>,
    ca: Option<String>,
}

fn voters(
    config: &Config,
    (here, runtime): (Option<&Arc<Control>>, &Handle),
) -> anyhow::Result<Option<Voters>> {
    Ok(match (&config.registry, here) {
        (Some(RegionRegistry::Kept(api)), Some(control)) => {
            let here = Here { control: Arc::clone(control), runtime: runtime.clone() };
            let ca_file = api.cluster.as_ref().and_then(|door| door.ca_file.as_deref());
            let ca = ca_file.map(read).transpose()?;
            Some(Voters { home: Box::new(here.clone()), registrar: Box::new(here), ca })
        }
        (Some(RegionRegistry::Followed(followed)), _) => {
            let ca = followed.ca_file.as_deref().map(read).transpose()?;
            let unasked = || Followed {
                voters: followed.voters.clone(),
                token: followed.token.clone(),
                ca: ca.clone(),
                channels: BTreeMap::new(),
                registrars: BTreeMap::new(),
            };
            let (home, registrar) = (unasked(), unasked());
            Some(Voters { home: Box::new(home), registrar: Box::new(registrar), ca })
        }
        (Some(RegionRegistry::Kept(_)) | None, _) => None,
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The voters of a region that is followed: one at a time, and the next where one does not answer.
struct Followed {
    voters: VoterUrls,
    token: Secret<String>,
    ca: Option<String>,
    channels: BTreeMap<String, Http>,
    registrars: BTreeMap<String, HttpRegistrar>,
}

impl Channel for Followed {
    fn add_checkpoint(&mut self, body: &str) -> Result<Answer, ChannelError> {
        let Self { voters, ca, channels, .. } = self;
        voters.ask(|url| {
            let channel = channels.entry(url.to_owned());
            let new = || Http::new(&format!("{url}{PREFIX}"), ca.clone());
            channel.or_insert_with(new).add_checkpoint(body)
        })
    }
}

impl Registrar for Followed {
    fn register(&mut self, key: &str) -> Result<Vec<Voter>, RegistrarError> {
        let Self { voters, token, ca, registrars, .. } = self;
        voters.ask(|url| {
            let registrar = registrars.entry(url.to_owned());
            let new = || HttpRegistrar::new(url, token.expose(), ca.clone());
            registrar.or_insert_with(new).register(key)
        })
    }
}

/// The voter of this process.
#[derive(Clone)]
struct Here {
    control: Arc<Control>,
    runtime: Handle,
}

impl Here {
    /// Waits on this thread for what is done on the runtime's.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ChannelError> {
        let (told, answer) = channel();
        // A task rather than `block_on`, which panics once the runtime is gone; this hears that nobody will answer.
        drop(self.runtime.spawn(async move {
            told.send(work.await).ok();
        }));
        let gone = |_| ChannelError::Here("the voter of this process stops".to_owned());
        answer.recv_timeout(PATIENCE).map_err(gone)
    }
}

impl Channel for Here {
    fn add_checkpoint(&mut self, body: &str) -> Result<Answer, ChannelError> {
        let (control, body) = (Arc::clone(&self.control), body.to_owned());
        let said = self.wait(async move { control.witness().add_checkpoint(&body).await })?;
        said.map_err(|error| ChannelError::Here(error.to_string()))
    }
}

impl Registrar for Here {
    fn register(&mut self, key: &str) -> Result<Vec<Voter>, RegistrarError> {
        let by = Actor::parse("gateway");
        let by = by.map_err(|error| RegistrarError::Refused(error.to_string()))?;
        let (control, own) = (Arc::clone(&self.control), key.to_owned());
        let taken = self.wait(async move { control.witness().register_log(&by, &own).await })?;
        taken.map_err(|error| match error {
            LogError::Refused(StreamRefusal::Exists) => RegistrarError::Taken,
            LogError::Refused(refusal) => RegistrarError::Refused(refusal.to_string()),
            LogError::Ledger(error) => ChannelError::Here(error.to_string()).into(),
        })?;
        let ledger = self.control.node().ledger();
        let own = self.control.node().identity().node;
        let cosigning = ledger.voters().cosigners().iter().filter(|it| it.until.is_none());
        let voter = |it: &aegis_ledger::Cosigner| {
            let key = Witness::parse(&it.key).ok()?;
            // This one is asked without its URL.
            let url = it.url.as_deref().filter(|_| it.voter != own).map(str::to_owned);
            Some(Voter { key, url })
        };
        let voters: Vec<_> = cosigning.filter_map(voter).collect();
        if voters.is_empty() { Err(RegistrarError::Voterless) } else { Ok(voters) }
    }
}
