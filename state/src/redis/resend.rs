//! The settlements and adjustments of the last minutes, to be sent again when servers forgot them or never got them.
//!
//! Not here: sending. Invariant: what no server confirmed is offered again until it is too late to count; sending it
//! twice changes nothing, because the scripts tell duplicates.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use aegis_domain::{DecisionId, MicroUsd, TenantId, Timestamp, Ttl};

use crate::{Adjustment, Hold, LATE_SETTLE};

/// How long ago a replica that is promoted, or a server that restarts, may have stopped hearing.
const HORIZON: Duration = Duration::from_secs(120);
const KEPT_MAX: usize = 1 << 16;

/// What servers must not forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Settlement { hold: Hold, actual: MicroUsd },
    Adjustment(Adjustment),
}

impl Message {
    pub(super) fn id(&self) -> &DecisionId {
        match self {
            Message::Settlement { hold, .. } => &hold.id,
            Message::Adjustment(adjustment) => &adjustment.id,
        }
    }

    pub(super) fn tenant(&self) -> &TenantId {
        match self {
            Message::Settlement { hold, .. } => &hold.tenant,
            Message::Adjustment(adjustment) => &adjustment.key.tenant,
        }
    }
}

/// One message that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) message: Message,
    now: Timestamp,
    at: Instant,
    standing: Standing,
}

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Not to be sent, until it is offered.
    Withheld,
    UnderWay,
    Failed,
    Confirmed,
}

/// Longer than any call takes: what is under way since then was dropped by its caller.
const UNDER_WAY_MAX: Duration = Duration::from_secs(10);

impl Sent {
    /// The time of the gateway that sent it, as far as it has come since.
    pub(super) fn now(&self, at: Instant) -> Timestamp {
        let passed = at.saturating_duration_since(self.at).as_millis();
        self.now.plus(Ttl::from_ms(u64::try_from(passed).unwrap_or(u64::MAX)))
    }
}

/// Which messages to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Those no server confirmed.
    Unconfirmed,
    /// All that a server may have forgotten.
    All,
}

#[derive(Debug, Default)]
pub(super) struct Resends {
    by_id: HashMap<DecisionId, Sent>,
    /// Oldest first.
    order: VecDeque<DecisionId>,
    /// The youngest settlement that was dropped for want of room.
    dropped_at: Option<Timestamp>,
}

impl Resends {
    pub(super) fn note(&mut self, message: &Message, now: Timestamp, at: Instant) {
        self.keep(message, (now, at), Standing::UnderWay);
    }

    /// Keeps what must be sent only if it is offered; what was sent under its id stands.
    pub(super) fn withhold(&mut self, message: &Message, now: Timestamp, at: Instant) {
        if self.by_id.contains_key(message.id()) {
            return;
        }
        self.keep(message, (now, at), Standing::Withheld);
    }

    pub(super) fn offer(&mut self, id: &DecisionId) {
        if self.by_id.get(id).is_some_and(|sent| sent.standing == Standing::Withheld) {
            self.mark(id, Standing::Failed);
        }
    }

    fn keep(&mut self, message: &Message, (now, at): (Timestamp, Instant), standing: Standing) {
        self.forget(at);
        let id = *message.id();
        let sent = Sent { message: message.clone(), now, at, standing };
        if self.by_id.insert(id, sent).is_none() {
            self.order.push_back(id);
        }
    }

    pub(super) fn confirm(&mut self, id: &DecisionId) {
        self.mark(id, Standing::Confirmed);
    }

    pub(super) fn fail(&mut self, id: &DecisionId) {
        self.mark(id, Standing::Failed);
    }

    fn mark(&mut self, id: &DecisionId, standing: Standing) {
        if let Some(sent) = self.by_id.get_mut(id) {
            sent.standing = standing;
        }
    }

    /// Drops what was told before: a sum that was restored has it, and would count it twice.
    pub(super) fn drop_before(&mut self, tenant: &TenantId, restored_at: Timestamp) {
        self.by_id.retain(|_, sent| sent.message.tenant() != tenant || sent.now >= restored_at);
    }

    pub(super) fn of(&self, tenant: &TenantId, again: Again, at: Instant) -> Vec<Sent> {
        let is_due = |sent: &&Sent| {
            let age = at.saturating_duration_since(sent.at);
            let is_wanted = match sent.standing {
                Standing::Withheld => false,
                Standing::UnderWay => age > UNDER_WAY_MAX,
                Standing::Failed => true,
                Standing::Confirmed => again == Again::All && age <= HORIZON,
            };
            sent.message.tenant() == tenant && is_wanted
        };
        self.order.iter().filter_map(|id| self.by_id.get(id)).filter(is_due).cloned().collect()
    }

    /// Data that are older than this lack settlements that cannot be sent again.
    pub(super) fn repairs_from(&self) -> Option<Timestamp> {
        self.dropped_at
    }

    fn forget(&mut self, at: Instant) {
        while let Some(oldest) = self.order.front() {
            let is_over = self.by_id.get(oldest).is_none_or(|sent| {
                let age = at.saturating_duration_since(sent.at);
                let is_quiet = matches!(sent.standing, Standing::Confirmed | Standing::Withheld);
                age > Duration::from_millis(LATE_SETTLE.ms()) || (is_quiet && age > HORIZON)
            });
            if !is_over && self.order.len() < KEPT_MAX {
                break;
            }
            let dropped = self.order.pop_front().and_then(|oldest| self.by_id.remove(&oldest));
            // What was never to be sent is no loss.
            let lost = dropped.filter(|sent| !is_over && sent.standing != Standing::Withheld);
            self.dropped_at = self.dropped_at.max(lost.map(|sent| sent.now));
        }
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::{AgentId, MicroUsd, ToolName};

    use super::*;
    use crate::{Budgets, InFlight};

    fn hold(n: u64) -> Hold {
        Hold {
            id: DecisionId::new(n, [0; 10]),
            tenant: TenantId::parse("acme").unwrap(),
            agent: AgentId::parse("bot").unwrap(),
            tool: ToolName::parse("pay").unwrap(),
            in_flight: InFlight::default(),
            budgets: Budgets::none(),
            estimate: MicroUsd::ZERO,
            decided_at: Timestamp::from_unix_s(1),
            expires_at: Timestamp::from_unix_s(31),
        }
    }

    fn message(n: u64) -> Message {
        Message::Settlement { hold: hold(n), actual: MicroUsd::ZERO }
    }

    #[test]
    fn what_no_server_confirmed_is_offered_until_it_is_too_late() {
        let (mut resends, start) = (Resends::default(), Instant::now());
        for n in 1..=3 {
            resends.note(&message(n), Timestamp::from_unix_s(1), start);
        }
        resends.confirm(&hold(1).id);
        resends.fail(&hold(2).id);
        let offered = |resends: &Resends, again, s| {
            let due = resends.of(&hold(1).tenant, again, start + Duration::from_secs(s));
            due.iter().map(|sent| sent.message.clone()).collect::<Vec<_>>()
        };
        assert_eq!(offered(&resends, Again::Unconfirmed, 1), [message(2)]);
        assert_eq!(offered(&resends, Again::All, 1), [message(1), message(2)]);
        // The third was dropped by its caller while it was under way.
        assert_eq!(offered(&resends, Again::All, 121), [message(2), message(3)]);
        let late = start + Duration::from_millis(LATE_SETTLE.ms()) + Duration::from_secs(1);
        resends.note(&message(4), Timestamp::from_unix_s(1), late);
        assert_eq!(resends.order.len(), 1);
    }

    #[test]
    fn what_is_withheld_is_sent_once_it_is_offered_and_lost_without_harm() {
        let (mut resends, start) = (Resends::default(), Instant::now());
        let at = Timestamp::from_unix_s;
        for n in 1..=2 {
            resends.withhold(&message(n), at(1), start);
        }
        // It was granted after all, and settled.
        resends.note(&message(3), at(1), start);
        resends.confirm(&hold(3).id);
        resends.withhold(&message(3), at(2), start);
        let due = |resends: &Resends, again| {
            let due = resends.of(&hold(1).tenant, again, start + UNDER_WAY_MAX * 2);
            due.iter().map(|sent| sent.message.clone()).collect::<Vec<_>>()
        };
        assert_eq!(due(&resends, Again::All), [message(3)]);
        resends.offer(&hold(1).id);
        resends.offer(&hold(3).id);
        assert_eq!(due(&resends, Again::Unconfirmed), [message(1)]);
        let kept = u64::try_from(KEPT_MAX).unwrap();
        (4..=kept + 2).for_each(|n| resends.withhold(&message(n), at(2), start));
        assert_eq!(resends.repairs_from(), Some(at(1)), "the first was to be sent");
        (1..=kept).for_each(|n| resends.withhold(&message(kept + 2 + n), at(3), start));
        assert_eq!(resends.repairs_from(), Some(at(1)));
    }

    #[test]
    fn what_was_dropped_for_want_of_room_says_up_to_when_data_can_be_repaired() {
        let (mut resends, start) = (Resends::default(), Instant::now());
        let at = |n: u64| Timestamp::from_unix_s(n);
        for n in 1..=KEPT_MAX as u64 {
            resends.note(&message(n), at(n), start);
        }
        assert_eq!(resends.repairs_from(), None);
        for n in 1..=2 {
            resends.note(&message(n + (1 << 20)), at(1 << 20), start);
        }
        assert_eq!(resends.repairs_from(), Some(at(2)));
    }

    #[test]
    fn a_settlement_sent_again_tells_the_time_it_is_sent() {
        let (mut resends, start) = (Resends::default(), Instant::now());
        resends.note(&message(1), Timestamp::from_unix_s(1), start);
        resends.fail(&hold(1).id);
        let sent = resends.of(&hold(1).tenant, Again::Unconfirmed, start).remove(0);
        assert_eq!(sent.now(start + Duration::from_secs(2)), Timestamp::from_unix_s(3));
    }
}
