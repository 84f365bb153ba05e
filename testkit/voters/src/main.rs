//! One voter of the region's ledger as a process, for tests.
//!
//! Not here: the voter itself (`raft-store`). Invariant: when the voter must not go on, the process ends with status 3, which
//! no other end has.
#![expect(clippy::print_stderr, reason = "the test that started it reads why it ended")]

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aegis_raft_store::{
    Credentials, Door, Fatal, Identity, Node, NodeError, OnFatal, Pace, ProposeError, Settings,
    Wish,
};
use aegis_registry::Actor;
use aegis_voters::{Said, Standing, Told};
use anyhow::{Context as _, anyhow};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const LEASE: Duration = Duration::from_secs(1);

/// `aegis-voter CLUSTER NODE DIRECTORY RAFT-ADDRESS CONTROL-ADDRESS`; the directory holds `ca.pem`, `voter.pem`, `voter.key`
/// and, in `ledger/`, what the voter keeps.
fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [cluster, node, directory, raft, control] = arguments.as_slice() else {
        return Err(anyhow!("five arguments are needed"));
    };
    let identity = Identity { cluster: cluster.clone(), node: node.parse()? };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(identity, directory.into(), raft.parse()?, control.parse()?))
}

async fn serve(
    identity: Identity,
    directory: PathBuf,
    raft: SocketAddr,
    control: SocketAddr,
) -> anyhow::Result<()> {
    let read = |name: &str| std::fs::read(directory.join(name)).context(name.to_owned());
    let credentials = Credentials {
        authority: read("ca.pem")?,
        certificate: read("voter.pem")?,
        key: read("voter.key")?,
    };
    let on_fatal: OnFatal = Arc::new(|fatal: &Fatal| {
        eprintln!("{fatal}");
        std::process::exit(3);
    });
    let settings = Settings {
        identity,
        directory: directory.join("ledger"),
        door: Some(Door { listener: TcpListener::bind(raft)?, credentials }),
        pace: Pace { snapshot_every: 500, ..Pace::default() },
        on_fatal,
    };
    let node = Node::start(settings).await?;
    let listener = tokio::net::TcpListener::bind(control).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(converse(node.clone(), stream));
    }
}

async fn converse(node: Node, stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        let said = answer(&node, serde_json::from_str(&line)?).await;
        let said = said.unwrap_or_else(|error| Said::Failed(format!("{error:#}")));
        let mut line = serde_json::to_vec(&said)?;
        line.push(b'\n');
        to.write_all(&line).await?;
    }
    Ok(())
}

async fn answer(node: &Node, told: Told) -> anyhow::Result<Said> {
    let done = |result: Result<(), NodeError>| result.map(|()| Said::Done).map_err(Into::into);
    match told {
        Told::Found { address } => done(node.found(&address).await),
        Told::Admit { address } => Ok(Said::Admitted(node.admit(&address).await?)),
        Told::Teach { id } => done(node.teach(id).await),
        Told::Promote { id } => done(node.promote(id).await),
        Told::Remove { id } => done(node.remove(id).await),
        Told::FinishChange => done(node.finish_change().await),
        Told::Propose { by, action } => {
            let wish = Wish { by: Actor::parse(&by)?, action, once: None };
            Ok(match node.propose(wish).await {
                Ok(answer) => Said::Answer(answer),
                Err(ProposeError::Unknown) => Said::Unknown,
                Err(
                    ProposeError::NoQuorum
                    | ProposeError::Busy
                    | ProposeError::TooLarge
                    | ProposeError::Full
                    | ProposeError::Level
                    | ProposeError::Stopped,
                ) => Said::NotSent,
            })
        }
        Told::Read => {
            node.catch_up().await?;
            Ok(Said::Ledger(Box::new(node.ledger().clone())))
        }
        Told::Pointer(key) => {
            node.catch_up().await?;
            let ledger = node.ledger();
            let pointer = ledger.releases().line(&key).and_then(|line| line.pointer());
            let (epoch, active) = pointer.map_or((0, 0), |it| (it.epoch, it.choice.active));
            Ok(Said::Pointer { epoch, active })
        }
        Told::Override(key) => {
            node.catch_up().await?;
            let ledger = node.ledger();
            Ok(Said::Override(ledger.approvals().get(&key).map(|approval| approval.state.clone())))
        }
        Told::Status => Ok(Said::Status(standing(node))),
    }
}

fn standing(node: &Node) -> Standing {
    let status = node.status();
    let leads = status.leader == Some(status.node)
        && status.quorum_heard_ago.is_some_and(|ago| ago <= LEASE);
    Standing {
        node: status.node,
        leader: status.leader,
        applied: status.applied,
        voters: status.voters,
        is_joint: status.is_joint,
        leads,
    }
}
