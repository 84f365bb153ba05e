//! The besieged: voters and gateways as processes, each on a host of its own, with clocks and disks of their own.
//!
//! Not here: what is done to them (`storms`), and who calls and commands (`agents`, `people`). Invariant: a gateway finds the
//! voters through the gatehouse alone; processes, mounts and namespaces end with the value.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aegis_control_client::Client;
use aegis_domain::Secret;
use aegis_testkit::hot::{Cut, Host, Network};
use aegis_testkit::{Building, Plan};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::doors::{Doors, Street};
use crate::gatehouse::Gatehouse;
use crate::people::{LINE, policy, policy_of};
use crate::stage::Stage;
use crate::{roamers, rollouts};

/// What the region's tokens name as their issuer, on whichever voter they were asked for.
const ISSUER: &str = "https://control.siege.test";
const GATEWAYS: usize = 4;
/// Where a test ends that waits in vain: no promise, and far beyond an election, a start and a snapshot on a machine that builds
/// other things meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Of each voter's ledger.
const DISK_BYTES: u64 = 64 * 1_024 * 1_024;

pub(crate) struct Voter {
    pub(crate) house: Building,
    pub(crate) host: Host,
    pub(crate) id: u64,
    disk: Option<Disk>,
}

pub(crate) struct Town {
    pub(crate) voters: Vec<Voter>,
    /// Those that are no voters any more; their logs are verified with the others'.
    pub(crate) left: Vec<Voter>,
    pub(crate) gateways: Vec<Building>,
    pub(crate) street: Street,
    pub(crate) stage: Arc<Stage>,
    /// What joins from now on.
    pub(crate) build: String,
    secrets: Secrets,
    gatehouse: Gatehouse,
    hosts: usize,
    disks: Disks,
    network: Network,
}

/// What all voters of a region share, as files below the data directory.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    const NAMES: [&str; 3] = ["keys/region.pem", "control/admin.token", "control/follower.token"];

    fn of(house: &Building) -> Self {
        let read = |name| std::fs::read_to_string(house.data().join(name)).unwrap();
        Self(Self::NAMES.iter().map(|name| (*name, read(name))).collect())
    }

    fn give(&self, plan: &Plan) {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        for (name, text) in &self.0 {
            let path = plan.path(name);
            let folder = path.parent().unwrap();
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).unwrap();
            let mut options = std::fs::OpenOptions::new();
            let mut file =
                options.create(true).write(true).truncate(true).mode(0o600).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    fn text(&self, wanted: &str) -> &str {
        &self.0.iter().find(|(name, _)| *name == wanted).unwrap().1
    }
}

/// Where voters keep the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disks {
    /// In memory, each of a size that can be used up.
    Small,
    /// This machine's.
    Real,
}

/// A disk of a voter's own, in memory, that can be used up.
pub(crate) struct Disk(PathBuf);

impl Disk {
    fn below(plan: &Plan) -> Self {
        let path = plan.path("control/ledger");
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={DISK_BYTES},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "aegis-siege"]).arg(&path);
        assert!(mount.status().unwrap().success(), "a disk of its own takes root");
        Self(path)
    }

    /// Leaves no byte.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
    }

    pub(crate) fn clear(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

impl Voter {
    pub(crate) fn disk(&self) -> &Disk {
        self.disk.as_ref().unwrap()
    }

    pub(crate) fn control(&self) -> SocketAddr {
        self.house.at(self.house.plan().control_port())
    }

    /// What a person commands this voter with.
    pub(crate) fn client(&self) -> Client {
        let token = std::fs::read_to_string(self.house.data().join("control/admin.token")).unwrap();
        let ca = self.house.authority().pem();
        Client::new(&self.house.control_url(), Some(Secret::new(token)), Some(ca)).unwrap()
    }

    /// How it sees the cluster.
    pub(crate) fn standing(&self) -> Option<Value> {
        let client = self.client();
        client.get("/v1/cluster").ok().map(|answer| answer.body)
    }
}

/// Tries until it works.
pub(crate) async fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Town {
    /// `None`, after saying so, where namespaces cannot be had.
    pub(crate) async fn found(voters: usize, disks: Disks) -> Option<Self> {
        let network = Network::new()?;
        let gatehouse = Gatehouse::open(&network.outside());
        let host = network.host(1);
        let plan = voting(Plan::on(host.clone()).await).founding();
        let plan = over_tls(plan);
        let disk = (disks == Disks::Small).then(|| Disk::below(&plan));
        let house = plan.start(&crate::first_build()).await;
        let secrets = Secrets::of(&house);
        let first = Voter { house, host, id: 1, disk };
        let mut town = Self {
            voters: vec![first],
            left: Vec::new(),
            gateways: Vec::new(),
            street: Street::default(),
            stage: Stage::new(),
            build: crate::first_build(),
            secrets,
            gatehouse,
            hosts: 1,
            disks,
            network,
        };
        town.let_in(&town.voters[0]);
        for _ in 1..voters {
            let id = town.admit().await;
            town.promote(id).await;
        }
        town.release_a_first_version();
        for nth in 0..GATEWAYS {
            let gateway = town.follower(nth).await;
            town.gateways.push(gateway);
        }
        eprintln!("{voters} voters and {GATEWAYS} gateways stand");
        Some(town)
    }

    pub(crate) fn gatehouse_url(&self) -> String {
        format!("https://{}", self.gatehouse.address())
    }

    pub(crate) fn follower_token(&self) -> &str {
        self.secrets.text("control/follower.token")
    }

    fn next_host(&mut self) -> Host {
        self.hosts += 1;
        self.network.host(self.hosts)
    }

    /// Invites one more, which has its own host and disk, and starts it.
    pub(crate) async fn admit(&mut self) -> u64 {
        let host = self.next_host();
        let plan = voting(Plan::beside(self.voters[0].house.plan(), host.clone()));
        self.secrets.give(&plan);
        let leader = self.leader().await;
        let (plan, id) = plan.joining(&self.voters[leader].house);
        let plan = over_tls(plan);
        let disk = (self.disks == Disks::Small).then(|| Disk::below(&plan));
        // Until it votes nobody witnesses its audit log, and so it is not ready.
        let house = plan.launch(&self.build).await;
        self.voters.push(Voter { house, host, id, disk });
        id
    }

    pub(crate) async fn promote(&self, id: u64) {
        let path = format!("/v1/cluster/members/{id}/promote");
        until("a voter is promoted", || {
            let mut clients = self.voters.iter().map(Voter::client);
            clients.find_map(|it| it.post(&path, &json!({}), &Default::default()).ok())
        })
        .await;
        let voter = self.voters.iter().find(|voter| voter.id == id).unwrap();
        while !voter.house.is_ready().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.let_in(voter);
    }

    /// People, agents and gateways find it from now on.
    fn let_in(&self, voter: &Voter) {
        self.gatehouse.meet(voter.control());
        let agents = voter.house.at(voter.house.port());
        self.street.open(Doors { id: voter.id, client: voter.client(), agents });
    }

    /// Takes one out for good.
    pub(crate) async fn remove(&mut self, nth: usize) {
        let gone = self.voters.remove(nth);
        self.gatehouse.forget(gone.control());
        self.street.close(gone.id);
        let path = format!("/v1/cluster/members/{}", gone.id);
        until("a voter is removed", || {
            let mut clients = self.voters.iter().map(Voter::client);
            clients.find_map(|it| it.delete(&path, &Default::default()).ok())
        })
        .await;
        self.left.push(gone);
    }

    fn release_a_first_version(&self) {
        let client = self.voters[0].client();
        let files = json!({ "files": [{ "name": "acme.policy.yaml", "text": policy(1) }] });
        client.post(&format!("{LINE}/versions"), &files, &Default::default()).unwrap();
        let first = aegis_control_client::Conditions { version: Some("\"0\""), once: None };
        client.put(&format!("{LINE}/pointer"), &json!({ "active": 1 }), &first).unwrap();
        for number in 1..=rollouts::UNFIT {
            let mut text = policy_of(roamers::TENANT, number);
            if number == rollouts::UNFIT {
                let rule = "{ id: unfit, effect: deny, when: { param: text, eq: ";
                text += &format!("    - {rule}{} }} }}\n", roamers::TEXT);
            }
            let files = json!({ "files": [{ "name": "other.policy.yaml", "text": text }] });
            let path = format!("{}/versions", rollouts::LINE);
            client.post(&path, &files, &Default::default()).unwrap();
        }
        let path = format!("{}/pointer", rollouts::LINE);
        client.put(&path, &json!({ "active": 1 }), &first).unwrap();
    }

    async fn follower(&mut self, nth: usize) -> Building {
        let plan = self.following(&format!("gateway-{nth}")).await;
        let plan = plan
            // Callers that were on their way when it was announced to go are still let in.
            .with("/limits/drain", json!("2s"))
            .without("/tenants/abroad")
            .with("/tenants/other/agents", roamers::known())
            .with("/tenants/other/policy", json!({ "release": "test" }))
            .with("/tenants/acme/policy", json!({ "release": "test" }));
        plan.start(&self.build).await
    }

    /// A gateway on a host of its own that follows the region.
    pub(crate) async fn following(&mut self, name: &str) -> Plan {
        let host = self.next_host();
        let first = &self.voters[0].house;
        let plan = Plan::beside(first.plan(), host);
        plan.file("follower.token", self.follower_token());
        plan.file("region.jwks.json", &first.published_keys().await.to_jwks_json());
        plan.with("/name", json!(name)).with(
            "/registry",
            json!({
                "url": self.gatehouse_url(),
                "issuer": ISSUER,
                "token": { "file": "follower.token" },
                "ca_file": "ca.pem",
                "region_keys": "region.jwks.json",
            }),
        )
    }

    /// The place of the voter that leads.
    pub(crate) async fn leader(&self) -> usize {
        until("somebody leads", || {
            let standings = self.voters.iter().filter_map(Voter::standing);
            let leaders = standings.filter_map(|standing| {
                (standing["node"] == standing["leader"]).then(|| standing["leader"].as_u64())?
            });
            let leaders: Vec<_> = leaders.collect();
            let mut places = self.voters.iter().enumerate();
            let leads = places.find(|(_, voter)| leaders.contains(&voter.id));
            leads.map(|(nth, _)| nth)
        })
        .await
    }

    pub(crate) fn others(&self, nth: usize) -> Vec<usize> {
        (0..self.voters.len()).filter(|other| *other != nth).collect()
    }

    pub(crate) fn between(&self, nth: usize, others: &[usize]) -> Cut {
        Cut::between(&self.voters[nth].host, self.ips(others))
    }

    /// From them to it; the other way they still pass.
    pub(crate) fn towards(&self, nth: usize, others: &[usize]) -> Cut {
        Cut::towards(&self.voters[nth].host, self.ips(others))
    }

    fn ips(&self, places: &[usize]) -> impl Iterator<Item = &str> {
        places.iter().map(|nth| self.voters[*nth].host.ip.as_str())
    }

    pub(crate) async fn kill(&mut self, places: &[usize]) {
        places.iter().for_each(|nth| self.voters[*nth].house.shoot());
        for nth in places {
            self.voters[*nth].house.ended().await;
        }
    }

    pub(crate) async fn start(&mut self, places: &[usize]) {
        for nth in places {
            self.voters[*nth].house.start_again().await;
        }
    }

    /// Returns once every agent was answered a call that it sent after this: none waits for what is the matter now.
    pub(crate) async fn calls_go_on(&self, since: u64) {
        until("every agent is answered meanwhile", || {
            self.stage.unanswered_since(since).is_empty().then_some(())
        })
        .await;
    }

    /// Returns once people have swung the pointer as things are now.
    pub(crate) async fn commands_go_on(&self) {
        let before = self.epoch().await;
        until("people command meanwhile", || {
            let epoch = self.voters.iter().filter(|it| it.house.is_running()).filter_map(epoch_at);
            (epoch.max()? > before).then_some(())
        })
        .await;
    }

    /// In order, with nobody sent there from before it begins to end; calls under way are answered still.
    pub(crate) async fn stop_gateway(&mut self, nth: usize) {
        self.stage.announce(Some(nth));
        self.gateways[nth].stop().await;
    }

    pub(crate) async fn start_gateway(&mut self, nth: usize) {
        self.gateways[nth].start_again().await;
        self.stage.announce(None);
    }

    /// The highest that any voter knows.
    pub(crate) async fn epoch(&self) -> u64 {
        until("a voter answers", || self.voters.iter().filter_map(epoch_at).max()).await
    }

    /// At which commands may be proposed.
    pub(crate) async fn level(&self) -> u64 {
        let leader = self.leader().await;
        until("the leader answers", || self.voters[leader].standing()?["level"].as_u64()).await
    }

    /// Lets commands be proposed that only this build reads.
    pub(crate) async fn raise(&self) {
        until("the level is raised", || {
            let mut clients = self.voters.iter().map(Voter::client);
            clients
                .find_map(|it| it.post("/v1/cluster/raise", &json!({}), &Default::default()).ok())
        })
        .await;
    }

    /// Those that are lost for good.
    pub(crate) fn forget_all_but(&mut self, survivor: usize) {
        let survivor = self.voters.remove(survivor);
        for gone in std::mem::replace(&mut self.voters, vec![survivor]) {
            self.gatehouse.forget(gone.control());
            self.street.close(gone.id);
            self.left.push(gone);
        }
    }

    /// The epoch of the pointer in another region, which begins with a backup: a line about it, and the ledger.
    pub(crate) async fn restored(&mut self, backup: &[u8]) -> u64 {
        let host = self.next_host();
        let ledger = backup.splitn(2, |byte| *byte == b'\n').nth(1).unwrap();
        let plan = voting(Plan::beside(self.voters[0].house.plan(), host.clone()));
        self.secrets.give(&plan);
        let plan = over_tls(plan.restoring(ledger));
        let house = plan.start(&self.build).await;
        let restored = Voter { house, host, id: 1, disk: None };
        until("the copy answers", || epoch_at(&restored)).await
    }

    /// Waits until every voter knows the same pointer, and says its epoch.
    pub(crate) async fn settled(&self) -> u64 {
        self.leader().await;
        until("all know the same", || {
            let pointers: Option<Vec<u64>> = self.voters.iter().map(epoch_at).collect();
            let pointers = pointers?;
            pointers.windows(2).all(|pair| pair[0] == pair[1]).then(|| pointers[0])
        })
        .await
    }
}

fn epoch_at(voter: &Voter) -> Option<u64> {
    let answer = voter.client().get(&format!("{LINE}/pointer")).ok()?;
    answer.body["epoch"].as_u64()
}

/// Only `acme` calls; a start is quicker without the others.
fn voting(plan: Plan) -> Plan {
    plan.without("/tenants/other").without("/tenants/abroad").with_own_clock()
}

/// To gateways, to people, and to other voters as their witness.
fn over_tls(plan: Plan) -> Plan {
    plan.with_control_over_tls(ISSUER).with("/control/cluster/ca_file", json!("ca.pem"))
}
