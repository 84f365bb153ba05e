//! Three nodes over real sockets and mutual TLS.
//!
//! Not here: single files (`crashes`). Invariant: what a test waits for is a state, and how long it took is not judged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegis_domain::{Region, TenantId, Timestamp};
use aegis_ledger::{
    Action, Answer, Batch, Command, FEATURE_LEVEL, Outcome, Refusal, Residency, TenantAct,
    TenantRefusal,
};
use aegis_registry::{Actor, ClientId, Fingerprint, Origin};
use openraft::CommittedLeaderId;
use openraft::raft::AppendEntriesRequest;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use tempfile::TempDir;

use super::{closed_dir, never};
use crate::state::{Shared, State};
use crate::types::{LogId, Vote};
use crate::wire::message::{Request, Response};
use crate::wire::peers::{PeerError, Peers, Way};
use crate::wire::tls::{Current, Tls};
use crate::{
    Credentials, DiskError, Door, Fatal, Identity, Node, NodeError, Pace, ProposeError, Settings,
    Wish,
};

pub(super) const CLUSTER: &str = "eu-west-1";
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn credentials(&self, uri: &str) -> Credentials {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Credentials {
            authority: self.0.pem().into_bytes(),
            certificate: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }
    }
}

pub(super) fn pace() -> Pace {
    let election = (Duration::from_millis(400), Duration::from_millis(800));
    Pace { heartbeat: Duration::from_millis(100), election, snapshot_every: 50, ..Pace::default() }
}

/// Nodes, their homes and where they are reached; what is stopped keeps both.
pub(super) struct Cluster {
    pub(super) authority: Authority,
    pub(super) homes: BTreeMap<u64, (TempDir, String)>,
    pub(super) nodes: BTreeMap<u64, Node>,
}

impl Cluster {
    pub(super) async fn of(count: u64) -> Self {
        let mut cluster =
            Self { authority: Authority::new(), homes: BTreeMap::new(), nodes: BTreeMap::new() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        cluster.homes.insert(1, (closed_dir(), address.clone()));
        cluster.start(1, Some(listener)).await;
        cluster.nodes[&1].found(&address).await.unwrap();
        for _ in 1..count {
            cluster.join().await;
        }
        cluster
    }

    pub(super) async fn join(&mut self) -> u64 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let leader = self.leader().await;
        let id = leader.admit(&address).await.unwrap();
        self.homes.insert(id, (closed_dir(), address));
        self.start(id, Some(listener)).await;
        leader.teach(id).await.unwrap();
        leader.promote(id).await.unwrap();
        self.nodes[&id].say_level().await.unwrap();
        id
    }

    pub(super) async fn start(&mut self, id: u64, listener: Option<TcpListener>) {
        let (home, address) = &self.homes[&id];
        let mut listener = listener;
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let socket = match listener.take() {
                Some(listener) => listener,
                None => match TcpListener::bind(address) {
                    Ok(listener) => listener,
                    Err(_) if tokio::time::Instant::now() < until => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                },
            };
            let uri = format!("aegis://{CLUSTER}/voters/{id}");
            let credentials = self.authority.credentials(&uri);
            match Node::start(settings(id, home.path(), socket, credentials)).await {
                Ok(node) => {
                    self.nodes.insert(id, node);
                    return;
                }
                // The life before this one is still letting go of its file.
                Err(NodeError::Disk(DiskError::Locked)) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) async fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).unwrap().stop().await.unwrap();
    }

    /// The node that the others take for the leader.
    pub(super) async fn leader(&self) -> Node {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            for node in self.nodes.values() {
                let status = node.status();
                let heard = status.quorum_heard_ago.is_some_and(|ago| ago <= pace().election.1);
                if status.leader == Some(status.node) && heard {
                    return node.clone();
                }
            }
            assert!(tokio::time::Instant::now() < until, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all nodes have applied the same and hold the same state.
    pub(super) async fn converge(&self) {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let applied: BTreeSet<_> =
                self.nodes.values().map(|node| node.status().applied).collect();
            let hashes: BTreeSet<_> =
                self.nodes.values().map(|node| node.ledger().hash()).collect();
            if applied.len() == 1 && hashes.len() == 1 {
                return;
            }
            assert!(tokio::time::Instant::now() < until, "the nodes do not converge: {applied:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(super) fn settings(
    id: u64,
    home: &Path,
    listener: TcpListener,
    credentials: Credentials,
) -> Settings {
    Settings {
        identity: Identity { cluster: CLUSTER.into(), node: id },
        directory: home.to_owned(),
        door: Some(Door { listener, credentials }),
        pace: pace(),
        on_fatal: never(),
    }
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(super) fn place(name: &str, seen: u64) -> Wish {
    let home = Region::parse(CLUSTER).unwrap();
    let residency = Residency { allowed: BTreeSet::from([home.clone()]), home };
    let act = TenantAct::Place { tenant: tenant(name), seen, residency };
    Wish { by: Actor::parse("tester").unwrap(), action: Action::Tenant(act), once: None }
}

pub(super) async fn write(node: &Node, name: &str) -> Answer {
    node.propose(place(name, 0)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_elect_write_lose_their_leader_go_on_and_converge() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let first = leader.identity().node;
    assert_eq!(write(&leader, "before").await, Ok(Outcome::Done));
    // A follower takes commands too, and has what it answered for.
    let follower =
        cluster.nodes.values().find(|node| node.identity().node != first).unwrap().clone();
    assert_eq!(write(&follower, "through-a-follower").await, Ok(Outcome::Done));
    assert!(follower.ledger().tenants().get(&tenant("through-a-follower")).is_some());
    drop((leader, follower));

    cluster.stop(first).await;
    let second = cluster.leader().await;
    assert_ne!(second.identity().node, first);
    assert_eq!(write(&second, "after").await, Ok(Outcome::Done));

    cluster.start(first, None).await;
    cluster.converge().await;
    let back = &cluster.nodes[&first];
    assert!(back.ledger().tenants().get(&tenant("after")).is_some());
    let voters: Vec<_> = back.ledger().voters().iter().map(|(id, it)| (id, it.level)).collect();
    assert_eq!(voters, [1, 2, 3].map(|id| (id, FEATURE_LEVEL)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_after_catching_up_sees_what_was_acknowledged_elsewhere() {
    let cluster = Cluster::of(3).await;
    for round in 0..20 {
        let name = format!("round-{round}");
        let nodes: Vec<_> = cluster.nodes.values().collect();
        write(nodes[round % 3], &name).await.unwrap();
        let reader = nodes[(round + 1) % 3];
        reader.catch_up().await.unwrap();
        assert!(reader.ledger().tenants().get(&tenant(&name)).is_some(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_refuses_and_has_applied_nothing() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let others: Vec<_> =
        cluster.nodes.keys().copied().filter(|id| *id != leader.identity().node).collect();
    for id in &others {
        cluster.stop(*id).await;
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    while leader.status().quorum_heard_ago.is_some_and(|ago| ago <= pace().election.1) {
        assert!(tokio::time::Instant::now() < until, "a leader without followers keeps its lease");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(leader.propose(place("lost", 0)).await, Err(ProposeError::NoQuorum));
    assert!(leader.catch_up().await.is_err(), "nobody can say what was acknowledged");
    for id in others {
        cluster.start(id, None).await;
    }
    write(&cluster.leader().await, "found").await.unwrap();
    cluster.converge().await;
    assert!(leader.ledger().tenants().get(&tenant("lost")).is_none(), "it was said not to be sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_long_is_sent_the_state_and_follows_on() {
    let mut cluster = Cluster::of(3).await;
    let away = cluster.nodes.keys().copied().find(|id| *id != 1).unwrap();
    cluster.stop(away).await;
    let leader = cluster.leader().await;
    for number in 0..160 {
        write(&leader, &format!("tenant-{number}")).await.unwrap();
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    while leader.status().snapshot.is_none_or(|snapshot| snapshot < 100) {
        assert!(tokio::time::Instant::now() < until, "no snapshot is made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.start(away, None).await;
    cluster.converge().await;
    assert!(cluster.nodes[&away].status().snapshot.is_some_and(|snapshot| snapshot >= 100));
    // What it took over is on its disk.
    cluster.stop(away).await;
    cluster.start(away, None).await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_under_a_key_of_a_clients_is_applied_once_through_any_node() {
    let cluster = Cluster::of(3).await;
    let once = Some((ClientId::of(b"key"), Fingerprint::of(b"request")));
    let wish = |name| Wish { once: once.clone(), ..place(name, 0) };
    for node in cluster.nodes.values() {
        assert_eq!(node.propose(wish("once")).await.unwrap(), Ok(Outcome::Done));
    }
    let refused = cluster.nodes[&1].propose(place("once", 0)).await.unwrap();
    assert_eq!(refused, Err(Refusal::Tenant(TenantRefusal::Changed)));
    let other = Some((ClientId::of(b"key"), Fingerprint::of(b"another request")));
    let reused = cluster.nodes[&2].propose(Wish { once: other, ..place("once", 0) }).await.unwrap();
    assert_eq!(reused, Err(Refusal::SerialReused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_out_for_good_and_its_id_is_not_given_out_again() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let gone = cluster.nodes.keys().copied().find(|id| *id != leader.identity().node).unwrap();
    leader.remove(gone).await.unwrap();
    assert!(!leader.status().voters.contains(&gone));
    assert!(matches!(leader.teach(gone).await, Err(NodeError::UnknownVoter(id)) if id == gone));
    let removed = cluster.nodes.remove(&gone).unwrap();
    assert!(removed.propose(place("by-a-stranger", 0)).await.is_err());
    removed.stop().await.unwrap();
    assert_eq!(cluster.join().await, 4);
    cluster.converge().await;
    assert!(leader.ledger().tenants().get(&tenant("by-a-stranger")).is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_must_name_the_node_and_the_cluster() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let home = closed_dir();
    for uri in ["aegis://eu-west-1/voters/3", "aegis://us-east-1/voters/2", "https://example.com"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = settings(2, home.path(), listener, cluster.authority.credentials(uri));
        assert!(matches!(Node::start(settings).await, Err(NodeError::Tls(_))), "{uri}");
    }
    // A node of the same name under another authority is never taught.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let id = leader.admit(&listener.local_addr().unwrap().to_string()).await.unwrap();
    let stranger = Authority::new().credentials(&format!("aegis://{CLUSTER}/voters/{id}"));
    let home = closed_dir();
    let stranger = Node::start(settings(id, home.path(), listener, stranger)).await.unwrap();
    assert!(leader.teach(id).await.is_err());
    assert!(stranger.status().leader.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_keeps_what_it_answered_for() {
    let home = closed_dir();
    let node = Node::alone(CLUSTER, home.path(), never()).await.unwrap();
    for number in 0..30 {
        write(&node, &format!("tenant-{number}")).await.unwrap();
    }
    let hash = node.ledger().hash();
    node.stop().await.unwrap();
    drop(node);
    let until = tokio::time::Instant::now() + PATIENCE;
    let node = loop {
        match Node::alone(CLUSTER, home.path(), never()).await {
            Ok(node) => break node,
            Err(NodeError::Disk(DiskError::Locked)) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(node.ledger().hash(), hash);
    assert_eq!(write(&node, "more").await, Ok(Outcome::Done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_taken_only_from_the_node_that_its_certificate_names() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let address = leader.address().unwrap().to_string();
    let own = |node| Identity { cluster: CLUSTER.into(), node };
    let shared = Arc::new(Shared::new(State::default()));
    let credentials = cluster.authority.credentials(&format!("aegis://{CLUSTER}/voters/3"));
    let tls = Tls::new(&credentials, &own(3)).unwrap();
    let ask = async |node, to| {
        let way = Way::Tls(Current::new(tls.clone()));
        let peers = Peers::new(own(node), way, Arc::clone(&shared));
        peers.ask((to, &address), Request::ReadIndex, &[]).await
    };
    assert!(matches!(ask(3, 1).await, Ok(Response::ReadIndex(Some(_)))));
    let spoofed = ask(2, 1).await;
    assert!(matches!(spoofed, Err(PeerError::Failed(why)) if why.contains("another voter")));
    assert!(matches!(ask(3, 2).await, Err(PeerError::Stranger)), "node 1 answered for node 2");
    let id = leader.admit(&address).await.unwrap();
    leader.remove(id).await.unwrap();
    let id = leader.admit(&address).await.unwrap();
    assert_eq!(id, 3);
    leader.remove(id).await.unwrap();
    let dismissed = ask(3, 1).await;
    assert!(matches!(dismissed, Err(PeerError::Dismissed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_does_not_follow_a_leader_whose_state_is_another() {
    let (authority, home) = (Authority::new(), closed_dir());
    let own = |node| Identity { cluster: CLUSTER.into(), node };
    let credentials = |node| authority.credentials(&format!("aegis://{CLUSTER}/voters/{node}"));
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        on_fatal: Arc::new(move |fatal: &Fatal| drop(told.send(fatal.clone()))),
        ..settings(1, home.path(), listener, credentials(1))
    };
    let node = Node::start(settings).await.unwrap();
    let address = node.address().unwrap().to_string();
    node.found(&address).await.unwrap();

    // A leader that has applied the first entry too, to another state.
    let shared = Arc::new(Shared::new(State::default()));
    shared.apply(
        LogId::new(CommittedLeaderId::new(9, 2), 0),
        &Batch {
            at: Timestamp::from_unix_s(1),
            commands: vec![Command {
                origin: Origin {
                    client: ClientId::of(b"somebody"),
                    serial: 1,
                    request: Fingerprint::of(b"something"),
                },
                by: Actor::parse("tester").unwrap(),
                action: place("elsewhere", 0).action,
            }],
        },
    );
    while shared.checkpoint().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let way = Way::Tls(Current::new(Tls::new(&credentials(2), &own(2)).unwrap()));
    let peers = Peers::new(own(2), way, shared);
    let append = AppendEntriesRequest {
        vote: Vote::new_committed(9, 2),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    let answered = peers.ask((1, &address), Request::Append(append), &[]).await;
    assert!(matches!(answered, Err(PeerError::Failed(why)) if why.contains("differ")));
    // Of one voter there is no majority, so whoever leads it is believed.
    assert_eq!(heard.recv().await, Some(Fatal::Diverged { index: 0 }));
    assert_ne!(node.status().term, 9, "the message was taken");
}
