//! Ledgers that are taken over by other clusters, and members that a follower is asked about.
//!
//! Not here: the files of clusters (`authority`). Invariant: what was acknowledged is in what is taken over.

use std::net::TcpListener;

use aegis_domain::ToolName;
use aegis_ledger::{Action, Refusal, VoterAct, VoterRefusal};
use aegis_registry::{Action as RegistryAct, Actor, Defined, DefinitionText, Part, Target};

use super::cluster::{Authority, CLUSTER, Cluster, PATIENCE, place, settings, tenant, write};
use super::{closed_dir, never};
use crate::{
    Backup, DiskError, Identity, Node, NodeError, Pace, ProposeError, Settings, Wish, recover,
    restore,
};

const NEXT: &str = "eu-west-1.2";

fn of(cluster: &str, node: u64) -> Identity {
    Identity { cluster: cluster.into(), node }
}

fn image(backup: &Backup) -> Vec<u8> {
    let mut image = Vec::new();
    backup.write(&mut image).unwrap();
    image
}

async fn alone(identity: Identity, home: &std::path::Path) -> Node {
    let pace = Pace::default();
    let directory = home.to_owned();
    let settings = Settings { identity, directory, door: None, pace, on_fatal: never() };
    let node = Node::start(settings).await.unwrap();
    node.stand_alone("z:7400").await.unwrap();
    node
}

/// Tries until the life before has let go of its file.
async fn once_free<T>(act: impl Fn() -> Result<T, DiskError>) -> Result<T, DiskError> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match act() {
            Err(DiskError::Locked) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            done => return done,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_goes_on_alone_and_nobody_of_the_old_cluster_comes_back() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    for number in 0..70 {
        write(&leader, &format!("tenant-{number}")).await.unwrap();
    }
    cluster.converge().await;
    drop(leader);
    for id in [1, 2, 3] {
        cluster.stop(id).await;
    }
    let (home, address) = &cluster.homes[&2];
    let (from, to) = (of(CLUSTER, 2), of(NEXT, 2));
    let stranger = of("us-east-1", 2);
    let refused = once_free(|| recover(home.path(), (&stranger, &to), address)).await;
    assert!(matches!(refused, Err(DiskError::Stranger { .. })));
    recover(home.path(), (&from, &to), address).unwrap();
    let again = recover(home.path(), (&from, &to), address).unwrap();
    assert_eq!(again.index, 0, "done before, it changes nothing");

    let node = alone(to, home.path()).await;
    assert!(node.ledger().tenants().get(&tenant("tenant-69")).is_some());
    assert_eq!(node.status().voters, [2]);
    let voters: Vec<_> = node.ledger().voters().iter().map(|(id, _)| id).collect();
    assert_eq!(voters, [2]);
    write(&node, "after").await.unwrap();
    assert_eq!(node.admit("b:7400").await.unwrap(), 4, "no id of before is given out");
    node.stop().await.unwrap();
    drop(node);

    // What was a voter of the old cluster under the same id is a stranger now.
    let credentials = cluster.authority.credentials(&format!("aegis://{CLUSTER}/voters/2"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let old = settings(2, home.path(), listener, credentials);
    let path = home.path().to_owned();
    once_free(|| recover(&path, (&of(NEXT, 2), &of(NEXT, 2)), "z:7400").map(drop)).await.unwrap();
    let refused = Node::start(old).await;
    assert!(matches!(refused, Err(NodeError::Disk(DiskError::Stranger { .. }))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_while_others_write_is_restored_into_another_cluster() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    for number in 0..20 {
        write(&leader, &format!("tenant-{number}")).await.unwrap();
    }
    let follower = cluster.nodes.values().find(|node| node.identity() != leader.identity());
    let backup = follower.unwrap().backup().await.unwrap();
    write(&leader, "later").await.unwrap();

    let home = closed_dir();
    let to = of(NEXT, 1);
    restore(home.path(), &to, "z:7400", image(&backup).as_slice()).unwrap();
    restore(home.path(), &to, "z:7400", image(&backup).as_slice()).unwrap();
    assert!(matches!(
        restore(home.path(), &of("other", 1), "z:7400", image(&backup).as_slice()),
        Err(DiskError::Stranger { .. })
    ));
    let node = alone(to, home.path()).await;
    // Whoever followed the lost cluster, however far, is told everything and nothing piecemeal.
    let (held, revision) = (*leader.serial().borrow(), *leader.released().borrow());
    assert!(node.events_after(held, 16).is_none() && node.events_after(held + 9, 16).is_none());
    assert!(*node.serial().borrow() > held + 1_000 && *node.released().borrow() > revision + 1_000);
    assert!(node.ledger().tenants().get(&tenant("tenant-19")).is_some());
    assert!(node.ledger().tenants().get(&tenant("later")).is_none());
    write(&node, "new").await.unwrap();
    assert!(restore(closed_dir().path(), &of(NEXT, 1), "z:7400", b"{}".as_slice()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_voter_can_be_asked_about_members_but_none_takes_itself_out() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let (one, other) = {
        let mut followers =
            cluster.nodes.values().filter(|node| node.identity() != leader.identity());
        (followers.next().unwrap(), followers.next().unwrap())
    };
    let gone = other.identity().node;
    assert!(matches!(other.remove(gone).await, Err(NodeError::Itself)));
    one.remove(gone).await.unwrap();
    one.catch_up().await.unwrap();
    assert!(!one.status().voters.contains(&gone));
    assert!(matches!(one.teach(gone).await, Err(NodeError::UnknownVoter(_))));
    one.finish_change().await.unwrap();
    one.raise().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let cluster = Cluster::of(2).await;
    let leader = cluster.leader().await;
    for (id, node) in &cluster.nodes {
        let stranger = Authority::new().credentials(&format!("aegis://{CLUSTER}/voters/9"));
        assert!(matches!(node.renew(&stranger), Err(NodeError::Tls(_))));
        node.renew(&cluster.authority.credentials(&format!("aegis://{CLUSTER}/voters/{id}")))
            .unwrap();
    }
    write(&leader, "renewed").await.unwrap();
    cluster.converge().await;
    // Credentials of another authority prove that new connections are made with what was given last.
    let other = Authority::new();
    for (id, node) in &cluster.nodes {
        node.renew(&other.credentials(&format!("aegis://{CLUSTER}/voters/{id}"))).unwrap();
    }
    write(&cluster.leader().await, "another-authority").await.unwrap();
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_voter_of_the_version_before_cannot_read_waits_for_it() {
    let cluster = Cluster::of(3).await;
    let (id, older) = cluster.nodes.iter().next_back().unwrap();
    let level = aegis_ledger::FEATURE_LEVEL - 1;
    older.command(VoterAct::Reads { id: *id, level }).await.unwrap();
    let refused = cluster.nodes[&1].raise().await;
    assert!(matches!(refused, Err(NodeError::Refused(Refusal::Voter(VoterRefusal::NotAllRead)))));
    // Both versions go on together: what both can read is written through either.
    write(older, "through-the-older").await.unwrap();
    write(&cluster.nodes[&1], "through-the-newer").await.unwrap();
    cluster.converge().await;
    // It was replaced by the newer version, which says so when it starts.
    older.say_level().await.unwrap();
    cluster.nodes[&1].raise().await.unwrap();
}

fn define() -> Wish {
    let part = Part::Tool(ToolName::parse("pay").unwrap());
    let of = Defined { tenant: tenant("acme"), part };
    let text = Some(DefinitionText::parse("upstream: https://api.stripe.com\n").unwrap());
    let action = Action::Registry(Box::new(RegistryAct::Define { of, seen: None, text }));
    Wish { by: Actor::parse("tester").unwrap(), action, once: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_is_sent_to_no_voter_before_the_level_that_reads_it() {
    let cluster = Cluster::of(1).await;
    write(&cluster.nodes[&1], "acme").await.unwrap();
    let backup = cluster.nodes[&1].backup().await.unwrap();
    // As the version before wrote it.
    let mut image: serde_json::Value = serde_json::from_slice(&image(&backup)).unwrap();
    *image.pointer_mut("/voters/level").unwrap() = 2.into();
    let (home, to) = (closed_dir(), of(NEXT, 1));
    restore(home.path(), &to, "z:7400", image.to_string().as_bytes()).unwrap();
    let node = alone(to, home.path()).await;
    assert_eq!(node.propose(define()).await, Err(ProposeError::Level));
    write(&node, "meanwhile").await.unwrap();
    node.say_level().await.unwrap();
    node.raise().await.unwrap();
    node.propose(define()).await.unwrap().unwrap();
    assert_eq!(node.ledger().registry().definitions().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_ledger_takes_only_what_takes_something_back() {
    let home = closed_dir();
    let pace = Pace { ledger_bytes_max: 1, ..Pace::default() };
    let (identity, directory) = (of(CLUSTER, 1), home.path().to_owned());
    let settings = Settings { identity, directory, door: None, pace, on_fatal: never() };
    let node = Node::start(settings).await.unwrap();
    node.stand_alone("a:7400").await.unwrap();
    assert_eq!(node.propose(place("acme", 0)).await, Err(ProposeError::Full));
    assert_eq!(node.propose(define()).await, Err(ProposeError::Full));
    assert!(node.status().is_full());
    let target = Target::Tenant(tenant("acme"));
    let action = Action::Registry(Box::new(RegistryAct::Revoke { target, issued: None }));
    let wish = Wish { by: Actor::parse("tester").unwrap(), action, once: None };
    node.propose(wish).await.unwrap().unwrap();
}

/// The same tenant is placed again and again, so nearly all that fills the ledger is its log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_fills_warns_before_it_refuses_and_takes_writes_again_once_it_is_shrunk() {
    let home = closed_dir();
    let pace = Pace { ledger_bytes_max: 300_000, snapshot_every: 1_000_000, ..Pace::default() };
    let (identity, directory) = (of(CLUSTER, 1), home.path().to_owned());
    let settings = Settings { identity, directory, door: None, pace, on_fatal: never() };
    let node = Node::start(settings).await.unwrap();
    node.stand_alone("a:7400").await.unwrap();
    let mut warned_after = None;
    while let Ok(answer) = node.propose(place("acme", 0)).await {
        drop(answer);
        let status = node.status();
        if status.is_nearly_full() {
            warned_after = warned_after.or(status.last_entry);
        }
    }
    let full = node.status();
    assert!(full.is_full());
    assert_eq!(node.propose(place("acme", 0)).await, Err(ProposeError::Full));
    let room = full.last_entry.unwrap() - warned_after.unwrap();
    assert!(room > full.last_entry.unwrap() / 10, "warned {room} entries before");

    node.shrink().await.unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    while node.status().is_nearly_full() {
        assert!(tokio::time::Instant::now() < until, "{:?}", node.status());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    write(&node, "after").await.unwrap();
}
