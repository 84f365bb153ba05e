//! Points in time and lengths of time: passed in, never asked for.
//!
//! Not here: clocks (the gateway reads one) and calendars (`policies/engine`).
//! Invariant: a `Timestamp` is nanoseconds since 1970-01-01T00:00:00Z and fits 19 decimal digits.

/// A wall-clock instant in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u64);

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

impl Timestamp {
    pub const fn from_unix_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Takes seconds, stopping at the last representable instant.
    pub const fn from_unix_s(s: u64) -> Self {
        Self(s.saturating_mul(NS_PER_S))
    }

    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(NS_PER_MS))
    }

    pub const fn unix_ns(self) -> u64 {
        self.0
    }

    pub const fn unix_us(self) -> u64 {
        self.0 / 1_000
    }

    pub const fn unix_ms(self) -> u64 {
        self.0 / NS_PER_MS
    }

    pub const fn unix_s(self) -> u64 {
        self.0 / NS_PER_S
    }

    /// This instant moved on, stopping at the last representable one.
    pub const fn plus(self, ttl: Ttl) -> Self {
        Self(self.0.saturating_add(ttl.0.saturating_mul(NS_PER_MS)))
    }

    /// How long after `earlier` this is; zero when it is before.
    pub const fn since(self, earlier: Timestamp) -> Ttl {
        Ttl(self.0.saturating_sub(earlier.0) / NS_PER_MS)
    }
}

impl Ttl {
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    pub const fn from_s(s: u64) -> Self {
        Self(s.saturating_mul(1_000))
    }

    pub const fn ms(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded up: what `Retry-After` wants.
    pub const fn s_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_wraps() {
        let end = Timestamp::from_unix_ns(u64::MAX);
        assert_eq!(end.plus(Ttl::from_s(u64::MAX)), end);
        assert_eq!(Timestamp::from_unix_s(1).since(end), Ttl::from_ms(0));
        assert_eq!(Ttl::from_ms(1).s_ceil(), 1);
    }
}
