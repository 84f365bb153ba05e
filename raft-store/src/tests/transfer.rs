//! A state too large to come in one go, over a line that is cut half-way.
//!
//! Not here: pieces by themselves (`wire/incoming`). Invariant: what has come is not sent again.

use std::net::TcpListener as Listener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aegis_audit_chain::Hash;
use aegis_ledger::{Action, ReleaseAct};
use aegis_registry::Actor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::closed_dir;
use super::cluster::{CLUSTER, Cluster, settings};
use crate::{Node, Wish};

/// In base64 this makes a state of about 64 MiB.
const CONTENTS: u64 = 72;
const CONTENT_BYTES: usize = 680 * 1_024;
const STATE_BYTES: u64 = 64 * 1_024 * 1_024;
const CUT_AFTER: u64 = STATE_BYTES / 2;

/// A line to another address, which breaks once.
#[derive(Default)]
struct Line {
    carried: AtomicU64,
    is_cut: AtomicBool,
}

impl Line {
    /// Carries what comes until it is aborted.
    async fn run(self: Arc<Self>, listener: TcpListener, to: String) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let there = TcpStream::connect(&to).await.unwrap();
            tokio::spawn(Arc::clone(&self).carry(stream, there));
        }
    }

    async fn carry(self: Arc<Self>, here: TcpStream, there: TcpStream) {
        let ((mut from, mut back), (mut answers, mut to)) = (here.into_split(), there.into_split());
        let answering = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
        let mut bytes = vec![0; 64 * 1_024];
        while let Ok(length) = from.read(&mut bytes).await {
            let carried = self.carried.fetch_add(length.try_into().unwrap(), Ordering::SeqCst);
            let breaks =
                carried > CUT_AFTER && !self.is_cut.swap(carried > CUT_AFTER, Ordering::SeqCst);
            if length == 0 || breaks || to.write_all(&bytes[..length]).await.is_err() {
                break;
            }
        }
        answering.abort();
    }
}

async fn store(node: &Node, number: u64) {
    let mut content = vec![0; CONTENT_BYTES];
    content[..8].copy_from_slice(&number.to_be_bytes());
    let digest = Hash::of(&content);
    let action = Action::Release(ReleaseAct::Store { digest, content });
    let wish = Wish { by: Actor::parse("tester").unwrap(), action, once: None };
    node.propose(wish).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_broke_off_on_its_way_goes_on_where_it_stopped() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    for number in 0..CONTENTS {
        store(&leader, number).await;
    }
    // Nothing of it is in the log any more, so that it comes as one state.
    let last = leader.status().applied;
    while leader.shrink().await.is_err() {}
    let mut metrics = leader.running().raft.metrics();
    metrics.wait_for(|metrics| metrics.purged.map(|id| id.index) >= last).await.unwrap();
    drop(metrics);
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap().to_string();
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = between.local_addr().unwrap().to_string();
    let line = Arc::new(Line::default());
    let carrying = tokio::spawn(Arc::clone(&line).run(between, there));

    let id = leader.admit(&address).await.unwrap();
    let home = closed_dir();
    let credentials = cluster.authority.credentials(&format!("aegis://{CLUSTER}/voters/{id}"));
    let learner = Node::start(settings(id, home.path(), listener, credentials)).await.unwrap();
    while leader.teach(id).await.is_err() {}
    assert!(line.is_cut.load(Ordering::SeqCst), "the state came before the line broke");
    let carried = line.carried.load(Ordering::SeqCst);
    assert!(carried > STATE_BYTES, "{carried}");
    assert!(carried < STATE_BYTES + CUT_AFTER / 2, "what had come was sent again: {carried}");
    leader.catch_up().await.unwrap();
    assert_eq!(learner.ledger().releases(), leader.ledger().releases());
    carrying.abort();
}
