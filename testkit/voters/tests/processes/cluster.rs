//! The voters as processes: their homes, certificates, clocks and disks, and how they are told what to do.
//!
//! Not here: what is asked of the ledger (`clients`). Invariant: processes, mounts and namespaces end with the value.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use aegis_ledger::Ledger;
use aegis_testkit::hot::{Host, Network};
use aegis_voters::{Said, Standing, Told};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use tempfile::TempDir;

const CLUSTER: &str = "eu-west-1";
const PATIENCE: Duration = Duration::from_secs(60);
/// A command's answer may take five seconds, and a busy machine some more.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// Of each voter's disk.
const DISK_BYTES: u64 = 64 * 1_024 * 1_024;

/// A conversation with a voter.
pub(crate) struct Talk(BufReader<TcpStream>);

impl Talk {
    pub(crate) fn with(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// `None` where nobody answered, and then the conversation is over.
    pub(crate) fn ask(&mut self, told: &Told) -> Option<Said> {
        let mut line = serde_json::to_vec(told).unwrap();
        line.push(b'\n');
        self.0.get_mut().write_all(&line).ok()?;
        let mut said = String::new();
        self.0.read_line(&mut said).ok()?;
        serde_json::from_str(&said).ok()
    }
}

struct Voter {
    host: Host,
    home: Home,
    process: Option<Child>,
    /// How it ended by itself.
    status: Option<i32>,
}

/// Where voters keep what they keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disks {
    /// In memory, each of a size that can be used up.
    Small,
    /// This machine's.
    Real,
}

struct Home(TempDir, Disks);

impl Home {
    fn new(disks: Disks) -> Self {
        let home = tempfile::tempdir().unwrap();
        if disks == Disks::Real {
            return Self(home, disks);
        }
        let size = format!("size={DISK_BYTES},mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "aegis-voter"]).arg(home.path());
        assert!(mount.status().unwrap().success(), "a disk of its own takes root");
        Self(home, disks)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.1 == Disks::Real {
            return;
        }
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

pub(crate) struct Cluster {
    authority: CertifiedIssuer<'static, KeyPair>,
    voters: BTreeMap<u64, Voter>,
    /// Those that were taken out, whose homes are kept until the end.
    removed: Vec<Voter>,
    network: Network,
    disks: Disks,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let ids: Vec<_> = self.voters.keys().copied().collect();
        ids.into_iter().for_each(|id| self.kill(id));
        self.removed.clear();
    }
}

impl Cluster {
    pub(crate) fn found(network: Network, voters: u64, disks: Disks) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let (all, removed) = (BTreeMap::new(), Vec::new());
        let mut cluster = Self { authority, voters: all, removed, network, disks };
        cluster.settle_in(1);
        let address = cluster.raft(1);
        cluster.until("the first voter founds a cluster", |cluster| {
            matches!(cluster.ask(1, &Told::Found { address: address.clone() })?, Said::Done)
                .then_some(())
        });
        for _ in 1..voters {
            cluster.join();
        }
        cluster
    }

    /// Tries until it works.
    fn until<T>(&self, what: &str, mut attempt: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(done) = attempt(self) {
                return done;
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.voters.keys().copied().collect()
    }

    pub(crate) fn host(&self, id: u64) -> &Host {
        &self.voters[&id].host
    }

    pub(crate) fn ip(&self, id: u64) -> String {
        self.host(id).ip.clone()
    }

    fn raft(&self, id: u64) -> String {
        format!("{}:7400", self.ip(id))
    }

    pub(crate) fn control(&self, id: u64) -> SocketAddr {
        format!("{}:7401", self.ip(id)).parse().unwrap()
    }

    fn ask(&self, id: u64, told: &Told) -> Option<Said> {
        Talk::with(self.control(id))?.ask(told)
    }

    fn standing(&self, id: u64) -> Option<Standing> {
        match self.ask(id, &Told::Status)? {
            Said::Status(standing) => Some(standing),
            _ => None,
        }
    }

    pub(crate) fn leader(&self) -> u64 {
        self.until("somebody leads", |cluster| {
            let mut standings = cluster.ids().into_iter().filter_map(|id| cluster.standing(id));
            standings.find(|standing| standing.leads).map(|standing| standing.node)
        })
    }

    /// Makes the home of a voter and starts it.
    fn settle_in(&mut self, id: u64) {
        let host = self.network.host(usize::try_from(id).unwrap());
        let home = Home::new(self.disks);
        let mut params = CertificateParams::default();
        let uri = format!("aegis://{CLUSTER}/voters/{id}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let files = [
            ("ca.pem", self.authority.pem()),
            ("voter.pem", certificate.pem()),
            ("voter.key", key.serialize_pem()),
            ("clock", "+0".to_owned()),
        ];
        for (name, text) in files {
            std::fs::write(home.path().join(name), text).unwrap();
        }
        self.voters.insert(id, Voter { host, home, process: None, status: None });
        self.start(id);
    }

    pub(crate) fn start(&mut self, id: u64) {
        let (raft, control) = (self.raft(id), self.control(id).to_string());
        let voter = self.voters.get_mut(&id).unwrap();
        let mut command = voter.host.command(&program());
        command.args([CLUSTER, &id.to_string()]).arg(voter.home.path()).args([raft, control]);
        if let Some(faketime) = faketime().filter(|_| self.disks == Disks::Small) {
            // Clocks of the wall only: time that passes is nobody's to change.
            command
                .env("LD_PRELOAD", faketime)
                .env("FAKETIME_TIMESTAMP_FILE", voter.home.path().join("clock"))
                .env("FAKETIME_CACHE_DURATION", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        voter.process = Some(command.spawn().unwrap());
    }

    pub(crate) fn kill(&mut self, id: u64) {
        let Some(mut process) = self.voters.get_mut(&id).unwrap().process.take() else { return };
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub(crate) fn signal(&self, id: u64, signal: &str) {
        let process = self.voters[&id].process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// The wall clock of a voter, as an offset.
    pub(crate) fn set_clock(&self, id: u64, offset: &str) {
        std::fs::write(self.voters[&id].home.path().join("clock"), offset).unwrap();
    }

    /// Leaves no byte on a voter's disk.
    pub(crate) fn fill_disk(&self, id: u64) {
        let mut file = std::fs::File::create(self.voters[&id].home.path().join("filler")).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
    }

    /// How a voter ended that ends by itself.
    pub(crate) fn ended(&mut self, id: u64) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let voter = self.voters.get_mut(&id).unwrap();
        while voter.status.is_none() && Instant::now() < deadline {
            voter.status = voter.process.as_mut()?.try_wait().unwrap().and_then(|it| it.code());
            std::thread::sleep(Duration::from_millis(50));
        }
        voter.status
    }

    /// What a voter holds in memory.
    pub(crate) fn resident_kib(&self, id: u64) -> u64 {
        resident_kib(self.voters[&id].process.as_ref().unwrap().id())
    }

    /// Has the leader do something, whoever that is just now.
    fn lead(&self, what: &str, told: &Told) -> Said {
        self.until(what, |cluster| {
            let said = cluster.ask(cluster.leader(), told)?;
            if let Said::Failed(why) = &said {
                eprintln!("{what}: {why}");
            }
            (!matches!(said, Said::Failed(_))).then_some(said)
        })
    }

    fn admit(&mut self) -> u64 {
        // A voter that was admitted by an attempt whose answer was lost is one that never comes.
        let nth = self.voters.len() + self.removed.len() + 1;
        let address = format!("{}:7400", self.network.ip(nth));
        match self.lead("a voter is admitted", &Told::Admit { address }) {
            Said::Admitted(id) if usize::try_from(id).unwrap() == nth => {
                self.settle_in(id);
                id
            }
            other => panic!("{other:?}, not {nth}"),
        }
    }

    pub(crate) fn join(&mut self) -> u64 {
        let id = self.admit();
        self.lead("a voter is taught", &Told::Teach { id });
        self.lead("a voter is promoted", &Told::Promote { id });
        id
    }

    /// A voter joins, and the leader is killed while it is being made one.
    pub(crate) fn join_and_kill(&mut self, leader: u64) -> u64 {
        let id = self.admit();
        self.lead("a voter is taught", &Told::Teach { id });
        let control = self.control(leader);
        let asked = std::thread::spawn(move || Talk::with(control)?.ask(&Told::Promote { id }));
        std::thread::sleep(Duration::from_millis(3));
        self.kill(leader);
        drop(asked.join().unwrap());
        id
    }

    /// Until no change of members is left half-done.
    pub(crate) fn finish_change(&self) {
        self.until("the change is finished", |cluster| {
            let leader = cluster.leader();
            let finished = matches!(cluster.ask(leader, &Told::FinishChange)?, Said::Done);
            (finished && !cluster.standing(leader)?.is_joint).then_some(())
        });
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.until("a voter is removed", |cluster| {
            let leader = cluster.leader();
            drop(cluster.ask(leader, &Told::Remove { id }));
            (!cluster.standing(leader)?.voters.contains(&id)).then_some(())
        });
        self.kill(id);
        let removed = self.voters.remove(&id).unwrap();
        self.removed.push(removed);
    }

    /// Waits until all voters hold the same, which they do when each has caught up and nobody asks any more.
    pub(crate) fn settle(&self) -> Ledger {
        self.until("all hold the same", |cluster| {
            let voters = cluster.standing(cluster.leader())?.voters;
            let mut ledgers = Vec::new();
            for id in voters {
                let Said::Ledger(ledger) = cluster.ask(id, &Told::Read)? else { return None };
                ledgers.push(*ledger);
            }
            let is_same = ledgers.windows(2).all(|pair| pair[0].hash() == pair[1].hash());
            is_same.then(|| ledgers.pop()).flatten()
        })
    }
}

/// Another build of the voter where `AEGIS_VOTER` names one.
fn program() -> PathBuf {
    let other = std::env::var_os("AEGIS_VOTER");
    other.map_or_else(|| env!("CARGO_BIN_EXE_aegis-voter").into(), PathBuf::from)
}

/// The library that clocks are faked with; it is in a folder named after the machine's architecture.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut paths = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let found = paths.find(|path| path.exists());
    let wanted = std::env::var_os("CI").is_some();
    assert!(found.is_some() || !wanted, "libfaketime is not installed, and no clock would jump");
    if found.is_none() {
        eprintln!("libfaketime is not installed: clocks do not jump");
    }
    found
}

/// What a process holds in memory (proc_pid_status(5)).
pub(crate) fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
