//! From a wish to an entry of the log: numbered, gathered into a batch, and brought to whoever leads.
//!
//! Not here: what comes of it (`ledger`), and who may wish (`control`). Invariant: a process has one batch under way at a
//! time, so its numbers reach the log in order; `NoQuorum` is said only of what was never sent.

use std::sync::Arc;
use std::time::Duration;

use aegis_ledger::{Action, Answer, Batch, Command};
use aegis_registry::{Actor, ClientId, Fingerprint, Origin};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::state::Shared;
use crate::types::Raft;
use crate::wire::message::{Request, Response};
use crate::wire::peers::Peers;

const COMMANDS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 2 * 1_024 * 1_024;
pub(crate) const COMMAND_BYTES_MAX: usize = 1_024 * 1_024;
/// How many wishes wait while a batch is under way.
const WAITING_MAX: usize = 4_096;
/// How long a batch waits for those who were answered with the one before: they ask again at once, and would otherwise find that
/// the first of them has gone ahead alone and have to wait for two entries instead of one.
const GATHERED_WITHIN: Duration = Duration::from_millis(1);
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Why it is not told what came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("no leader is in touch with a quorum; the command was not sent")]
    NoQuorum,
    #[error("the command was sent, and it is not known whether it was applied")]
    Unknown,
    #[error("too many commands wait; this one was not sent")]
    Busy,
    #[error("a command is at most {COMMAND_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the ledger's file is full, so it takes nothing but what takes something back")]
    Full,
    #[error("not all voters are up to date: run `aegisctl cluster raise` once they are")]
    Level,
    #[error("this voter has stopped")]
    Stopped,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub by: Actor,
    pub action: Action,
    /// Who numbers it, where that is not this process: a key of a client's, and what was asked under it.
    pub once: Option<(ClientId, Fingerprint)>,
}

struct Asked {
    wish: Wish,
    bytes: usize,
    /// Told when the command is about to be sent; from then on it may be applied.
    sent: oneshot::Sender<oneshot::Receiver<Answer>>,
}

/// Where wishes are left.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    asked: mpsc::Sender<Asked>,
    within: Duration,
}

impl Desk {
    /// Says what came of a command once this node has applied it.
    pub(crate) async fn propose(&self, wish: Wish) -> Result<Answer, ProposeError> {
        let deadline = Instant::now().checked_add(self.within).ok_or(ProposeError::Busy)?;
        let bytes = serde_json::to_vec(&wish.action).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge);
        }
        let (sent, mut answer) = oneshot::channel();
        match self.asked.try_send(Asked { wish, bytes, sent }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(ProposeError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(ProposeError::Stopped),
        }
        let told = match timeout_at(deadline, &mut answer).await {
            Ok(told) => told.map_err(|_| ProposeError::NoQuorum)?,
            Err(_) => {
                // It may be sent in this very moment; closing settles which.
                answer.close();
                answer.try_recv().map_err(|_| ProposeError::NoQuorum)?
            }
        };
        match timeout_at(deadline, told).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }
}

pub(crate) struct Proposer {
    pub(crate) raft: Raft,
    pub(crate) peers: Peers,
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: ClientId,
    pub(crate) sent: u64,
    /// How old the quorum's last word may be.
    pub(crate) lease: Duration,
    pub(crate) within: Duration,
}

impl Proposer {
    /// The desk, and the work behind it.
    pub(crate) fn open(self) -> (Desk, impl Future<Output = ()>) {
        let (asked, wishes) = mpsc::channel(WAITING_MAX);
        (Desk { asked, within: self.within }, self.run(wishes))
    }

    async fn run(mut self, mut wishes: mpsc::Receiver<Asked>) {
        let (mut left, mut before) = (None, 0);
        loop {
            let first = match left.take() {
                Some(asked) => asked,
                None => match wishes.recv().await {
                    Some(asked) => asked,
                    None => return,
                },
            };
            let mut gathered = vec![first];
            left = gather(&mut wishes, &mut gathered, before).await;
            before = gathered.len();
            // Whoever is dropped here hears that nothing was sent.
            if self.is_ready().await {
                let commands: Vec<_> =
                    gathered.into_iter().filter_map(|asked| self.number(asked)).collect();
                self.bring(commands).await;
            }
        }
    }

    /// Whether there is a leader that a quorum listens to. An election is waited for, a leader that is cut off is not.
    async fn is_ready(&self) -> bool {
        let Some(deadline) = Instant::now().checked_add(self.within) else { return false };
        while Instant::now() < deadline {
            let metrics = self.raft.metrics().borrow().clone();
            match metrics.current_leader {
                Some(leader) if leader == metrics.id => {
                    let age = metrics.millis_since_quorum_ack.map(Duration::from_millis);
                    if age.is_some_and(|age| age > self.lease) {
                        return false;
                    }
                    // Nobody has answered it yet: its election is not over.
                    if age.is_some() && self.shared.time(leader).is_some() {
                        return true;
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Some(_) => return true,
                None => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
        false
    }

    /// Gives a command its number and says that it is on its way; nothing for one whose client has left.
    fn number(&mut self, asked: Asked) -> Option<Command> {
        let origin = match asked.wish.once {
            Some((client, request)) => Origin { client, serial: 1, request },
            None => {
                self.sent = self.sent.saturating_add(1);
                let request = Fingerprint::of(&self.sent.to_be_bytes());
                Origin { client: self.client.clone(), serial: self.sent, request }
            }
        };
        let answer = self.shared.wait(&origin);
        asked.sent.send(answer).ok()?;
        Some(Command { origin, by: asked.wish.by, action: asked.wish.action })
    }

    /// Brings commands to the leader, again and again until one took them: twice in the log is once applied.
    async fn bring(&self, commands: Vec<Command>) {
        let Some(deadline) = Instant::now().checked_add(self.within) else { return };
        while !commands.is_empty() && Instant::now() < deadline {
            match timeout_at(deadline, self.hand_over(&commands)).await {
                Ok(true) | Err(_) => return,
                Ok(false) => tokio::time::sleep(RETRY_AFTER).await,
            }
        }
    }

    async fn hand_over(&self, commands: &[Command]) -> bool {
        let metrics = self.raft.metrics().borrow().clone();
        let Some(leader) = metrics.current_leader else { return false };
        let commands = commands.to_vec();
        if leader == metrics.id && self.shared.is_handing_over() {
            return false;
        }
        if leader == metrics.id {
            let Some(at) = self.shared.time(leader) else { return false };
            let written = self.raft.client_write(Batch { at, commands }).await;
            return written
                .inspect_err(|error| debug!(%error, "a batch was not committed"))
                .is_ok();
        }
        let members = metrics.membership_config.membership();
        let Some(node) = members.get_node(&leader) else { return false };
        let asked = self.peers.ask((leader, &node.addr), Request::Propose(commands), &[]).await;
        match asked {
            Ok(Response::Proposed) => true,
            Ok(_) => false,
            Err(error) => {
                debug!(leader, %error, "the leader did not take a batch");
                false
            }
        }
    }
}

/// Takes what else is there, and waits a little until there is as much as there was before. Gives back what did not fit.
async fn gather(
    wishes: &mut mpsc::Receiver<Asked>,
    gathered: &mut Vec<Asked>,
    before: usize,
) -> Option<Asked> {
    let deadline = Instant::now().checked_add(GATHERED_WITHIN)?;
    let mut bytes: usize = gathered.iter().map(|asked| asked.bytes).sum();
    while gathered.len() < COMMANDS_MAX {
        let asked = match wishes.try_recv() {
            Ok(asked) => asked,
            Err(_) if gathered.len() >= before => return None,
            Err(_) => timeout_at(deadline, wishes.recv()).await.ok()??,
        };
        bytes = bytes.saturating_add(asked.bytes);
        if bytes > BATCH_BYTES_MAX {
            return Some(asked);
        }
        gathered.push(asked);
    }
    None
}
