//! What was answered, and what is being asked: one slot for each name.
//!
//! Pure but for the cell in a slot: time is an argument. How long an answer holds is `limits`. Invariants: there are
//! never more slots than the bound; a name has one slot, so those who ask together wait for one answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use aegis_domain::{Host, Reason};
use tokio::sync::OnceCell;

/// An answer and when it ends; without an end it has none left.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) addresses: Result<Vec<IpAddr>, Reason>,
    pub(crate) ends: Option<Instant>,
}

/// Empty while the question is under way.
pub(crate) type Slot = Arc<OnceCell<Held>>;

#[derive(Debug)]
pub(crate) struct Memory {
    slots: HashMap<Host, Slot>,
    names_max: usize,
}

impl Memory {
    pub(crate) fn new(names_max: usize) -> Self {
        Self { slots: HashMap::new(), names_max: names_max.max(1) }
    }

    /// The name's slot, with an answer that still holds at `now` or with none.
    pub(crate) fn slot(&mut self, host: &Host, now: Instant) -> Slot {
        if let Some(slot) = self.slots.get(host).filter(|slot| holds(slot, now)) {
            return Arc::clone(slot);
        }
        self.slots.remove(host);
        self.make_room(now);
        let slot = Slot::default();
        self.slots.insert(host.clone(), Arc::clone(&slot));
        slot
    }

    /// What has ended goes first, then the answer that ends soonest; those who wait on a slot keep it in any case.
    fn make_room(&mut self, now: Instant) {
        if self.slots.len() < self.names_max {
            return;
        }
        self.slots.retain(|_, slot| holds(slot, now));
        while self.slots.len() >= self.names_max {
            let ends = |slot: &Slot| slot.get().map_or(Some(now), |held| held.ends);
            let soonest = self.slots.iter().min_by_key(|(_, slot)| ends(slot));
            let Some(host) = soonest.map(|(host, _)| host.clone()) else { return };
            self.slots.remove(&host);
        }
    }
}

fn holds(slot: &Slot, now: Instant) -> bool {
    slot.get().is_none_or(|held| held.ends.is_some_and(|ends| now < ends))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn host(name: &str) -> Host {
        Host::parse(name).unwrap()
    }

    fn answer(memory: &mut Memory, name: &str, now: Instant, life_s: u64) {
        let ends = now.checked_add(Duration::from_secs(life_s));
        memory.slot(&host(name), now).set(Held { addresses: Ok(Vec::new()), ends }).unwrap();
    }

    fn knows(memory: &mut Memory, name: &str, now: Instant) -> bool {
        memory.slots.get(&host(name)).is_some_and(|slot| slot.get().is_some() && holds(slot, now))
    }

    #[test]
    fn an_answer_holds_until_its_end_and_not_a_moment_longer() {
        let (mut memory, start) = (Memory::new(10), Instant::now());
        answer(&mut memory, "a.test", start, 5);
        let at = |ms| start + Duration::from_millis(ms);
        assert!(memory.slot(&host("a.test"), at(4_999)).get().is_some());
        assert!(memory.slot(&host("a.test"), at(5_000)).get().is_none());
    }

    #[test]
    fn those_who_ask_for_one_name_share_its_slot_while_it_is_asked_for() {
        let (mut memory, start) = (Memory::new(10), Instant::now());
        let first = memory.slot(&host("a.test"), start);
        let later = memory.slot(&host("a.test"), start + Duration::from_secs(60));
        assert!(Arc::ptr_eq(&first, &later));
        assert!(!Arc::ptr_eq(&first, &memory.slot(&host("b.test"), start)));
    }

    #[test]
    fn what_ends_soonest_makes_room_and_the_bound_holds() {
        let (mut memory, start) = (Memory::new(3), Instant::now());
        for (name, life_s) in [("a.test", 30), ("b.test", 10), ("c.test", 20)] {
            answer(&mut memory, name, start, life_s);
        }
        answer(&mut memory, "d.test", start, 5);
        assert_eq!(memory.slots.len(), 3);
        assert!(!knows(&mut memory, "b.test", start));
        assert!(knows(&mut memory, "a.test", start) && knows(&mut memory, "c.test", start));
    }

    #[test]
    fn what_has_ended_makes_room_before_what_has_not() {
        let (mut memory, start) = (Memory::new(2), Instant::now());
        answer(&mut memory, "a.test", start, 1);
        answer(&mut memory, "b.test", start, 60);
        let later = start + Duration::from_secs(2);
        answer(&mut memory, "c.test", later, 60);
        assert!(knows(&mut memory, "b.test", later) && knows(&mut memory, "c.test", later));
    }

    #[test]
    fn a_flood_of_names_never_passes_the_bound() {
        let (mut memory, start) = (Memory::new(8), Instant::now());
        for at in 0..100 {
            memory.slot(&host(&format!("n{at}.test")), start);
            assert!(memory.slots.len() <= 8);
        }
    }
}
