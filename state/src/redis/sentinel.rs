//! Who the primary is, asked of the Sentinels.
//!
//! Not here: connecting to it (`keeper`). Invariant: a primary is believed only when more than half of all configured
//! Sentinels name it, so a gateway cut off with a few of them does not follow a primary that was replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::{BoxStream, select_all};
use redis::{Client, Msg, RedisResult};
use tokio::time::timeout;

use super::config::Server;

/// What one Sentinel may take to answer.
const ANSWER: Duration = Duration::from_millis(300);

pub(super) struct Sentinels {
    clients: Vec<Client>,
    name: String,
}

impl Sentinels {
    pub(super) fn new(clients: Vec<Client>, name: String) -> Self {
        Self { clients, name }
    }

    /// The address most Sentinels name.
    pub(super) async fn primary(&self) -> Option<Server> {
        let answers = join_all(self.clients.iter().map(|client| self.ask(client))).await;
        majority(answers.into_iter().flatten(), self.clients.len())
    }

    async fn ask(&self, client: &Client) -> Option<Server> {
        let answer = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            let mut question = redis::cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
            question.query_async(&mut connection).await
        };
        let answer: RedisResult<Option<(String, u16)>> = timeout(ANSWER, answer).await.ok()?;
        answer.ok().flatten().map(|(host, port)| Server { host, port })
    }

    /// What the Sentinels tell unasked: one message for each `+switch-master`. Those that do not answer are left out.
    pub(super) async fn news(&self) -> BoxStream<'static, Msg> {
        let subscribe = |client: &Client| {
            let client = client.clone();
            async move {
                let mut events = client.get_async_pubsub().await?;
                events.subscribe("+switch-master").await?;
                RedisResult::Ok(events.into_on_message())
            }
        };
        let subscriptions = self.clients.iter().map(|client| timeout(ANSWER, subscribe(client)));
        let streams = join_all(subscriptions).await.into_iter().flatten().flatten();
        // Once all have ended there is no more news, and the caller's own questions must do.
        select_all(streams).chain(futures::stream::pending()).boxed()
    }
}

fn majority(answers: impl IntoIterator<Item = Server>, asked: usize) -> Option<Server> {
    let mut votes: BTreeMap<Server, usize> = BTreeMap::new();
    for server in answers {
        *votes.entry(server).or_default() += 1;
    }
    votes.into_iter().find(|(_, count)| count.saturating_mul(2) > asked).map(|(server, _)| server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_sentinels_is_not_most_of_them() {
        let server = |port| Server { host: "10.0.0.1".to_owned(), port };
        assert_eq!(majority([server(1), server(1)], 3), Some(server(1)));
        assert_eq!(majority([server(1)], 3), None);
        assert_eq!(majority([server(1), server(2)], 3), None);
        assert_eq!(majority([server(1), server(2)], 4), None);
        assert_eq!(majority([], 0), None);
    }
}
