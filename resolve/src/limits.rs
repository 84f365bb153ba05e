//! How much is asked, how much is remembered, and for how long.
//!
//! Not here: the memory itself (`memory`). Invariant: nothing is held without an end, and no answer of a name server
//! moves the floor or the ceiling.

use std::time::Duration;

use crate::servers::Outcome;

/// The bounds of a resolver; the defaults are those of `docs/spec/addresses.md`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a call waits for a name, all told.
    pub deadline: Duration,
    /// Questions under way at once; each name has at most one.
    pub questions_max: usize,
    /// Names remembered.
    pub names_max: usize,
    /// Addresses under one name; a name with more is refused whole.
    pub addresses_max: usize,
    /// Bounds on the time to live of an answer.
    pub found: (Duration, Duration),
    /// Bounds on how long "there is none" holds (RFC 2308 §5).
    pub absent: (Duration, Duration),
    /// How long a failure holds: RFC 9520 §3.2 wants at least a second.
    pub failed: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            questions_max: 256,
            names_max: 4_096,
            addresses_max: 256,
            found: (Duration::from_secs(5), Duration::from_secs(300)),
            absent: (Duration::from_secs(1), Duration::from_secs(60)),
            failed: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// How long an outcome holds.
    pub(crate) fn life(&self, outcome: &Outcome) -> Duration {
        let (ttl, (floor, ceiling)) = match outcome {
            Outcome::Found { ttl, .. } => (*ttl, self.found),
            Outcome::Absent { ttl } => (*ttl, self.absent),
            Outcome::Failed => return self.failed,
        };
        ttl.max(floor).min(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(outcome: &Outcome) -> u64 {
        Limits::default().life(outcome).as_secs()
    }

    #[test]
    fn a_time_to_live_stays_between_floor_and_ceiling() {
        for (ttl_s, found_s, absent_s) in
            [(0, 5, 1), (3, 5, 3), (30, 30, 30), (120, 120, 60), (86_400, 300, 60)]
        {
            let ttl = Duration::from_secs(ttl_s);
            assert_eq!(life(&Outcome::Found { addresses: Vec::new(), ttl }), found_s, "{ttl_s}");
            assert_eq!(life(&Outcome::Absent { ttl }), absent_s, "{ttl_s}");
        }
        assert_eq!(life(&Outcome::Failed), 1);
    }
}
