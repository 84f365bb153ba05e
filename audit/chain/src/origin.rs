//! The name of a stream: `<domain>/<region>/<writer>/<incarnation>`, and of the registry that speaks for a writer's streams.
//!
//! Not here: where its files lie (`layout`). Invariant: one origin names one life of one writer and is never
//! given out again; a registry speaks for no writer but its own.

use std::fmt;
use std::sync::Arc;

/// Why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("an origin is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("an origin has four parts, each of a-z 0-9 . -, and ends in a number")]
    Malformed,
    #[error("a writer's name is neither `registry` nor begins with `registry.`")]
    Reserved,
}

/// The name of one stream; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<str>);

const REGISTRY: &str = "registry";

impl Origin {
    pub const MAX_BYTES: usize = 255;

    /// The stream of one life of a writer.
    pub fn stream(
        domain: &str,
        region: &str,
        writer: &str,
        incarnation: u64,
    ) -> Result<Self, OriginError> {
        let reserved = writer.strip_prefix(REGISTRY);
        if reserved.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            return Err(OriginError::Reserved);
        }
        Self::parse(&format!("{domain}/{region}/{writer}/{incarnation}"))
    }

    /// The registry of one writer's streams.
    pub fn registry(
        domain: &str,
        region: &str,
        writer: &str,
        epoch: u64,
    ) -> Result<Self, OriginError> {
        Self::stream(domain, region, writer, epoch)?;
        Self::parse(&format!("{domain}/{region}/{REGISTRY}.{writer}/{epoch}"))
    }

    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text.len() > Self::MAX_BYTES {
            return Err(OriginError::TooLong { max: Self::MAX_BYTES });
        }
        let label = |part: &str| {
            let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
            // A part that is only dots would climb out of the directory that bears its name.
            part.bytes().all(allowed) && part.bytes().any(|b| b != b'.')
        };
        let mut parts = text.split('/');
        let four = [parts.next(), parts.next(), parts.next(), parts.next()];
        let labels = four.iter().all(|part| part.is_some_and(label));
        let number = four.last().copied().flatten().and_then(parse_number).is_some();
        if !labels || !number || parts.next().is_some() {
            return Err(OriginError::Malformed);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn region(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }

    pub fn domain(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The writer's name; of a registry, `registry.` and its writer's.
    pub fn writer(&self) -> &str {
        self.0.split('/').nth(2).unwrap_or_default()
    }

    /// The number of this life, or the registry's epoch.
    pub fn incarnation(&self) -> u64 {
        self.0.rsplit('/').next().and_then(parse_number).unwrap_or(0)
    }

    pub fn is_registry(&self) -> bool {
        self.speaks_for().is_some()
    }

    /// Whether this registry may name that stream. One that is called `registry` alone names those of all writers.
    pub fn vouches_for(&self, stream: &Origin) -> bool {
        let is_its = |writer: &str| writer.is_empty() || writer == stream.writer();
        (self.domain(), self.region()) == (stream.domain(), stream.region())
            && !stream.is_registry()
            && self.speaks_for().is_some_and(is_its)
    }

    /// A registry's writer; empty where that is every one.
    fn speaks_for(&self) -> Option<&str> {
        match self.writer().strip_prefix(REGISTRY)? {
            "" => Some(""),
            rest => rest.strip_prefix('.').filter(|writer| !writer.is_empty()),
        }
    }
}

/// A decimal number without leading zeros.
fn parse_number(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    canonical.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_safe_as_a_path_and_names_one_life() {
        let origin = Origin::stream("aegis.example", "eu-west-1", "gw-1", 7).unwrap();
        assert_eq!(origin.as_str(), "aegis.example/eu-west-1/gw-1/7");
        assert_eq!((origin.region(), origin.writer()), ("eu-west-1", "gw-1"));
        assert_eq!(origin.incarnation(), 7);
        for bad in ["a/b/c", "a/b/c/07", "a/b/../7", "a/b/C/7", "a/b//7", "a/b/c/7/8", "a/b/c/x"] {
            assert_eq!(Origin::parse(bad), Err(OriginError::Malformed), "{bad}");
        }
        for reserved in ["registry", "registry.", "registry.gw-1"] {
            assert_eq!(Origin::stream("a", "b", reserved, 1), Err(OriginError::Reserved));
        }
        assert!(!Origin::stream("a", "b", "registry-2", 1).unwrap().is_registry());
    }

    #[test]
    fn a_registry_speaks_for_its_own_writer_alone() {
        let registry = Origin::registry("d", "r", "gw-1", 1).unwrap();
        assert_eq!(registry.as_str(), "d/r/registry.gw-1/1");
        let named = |text: &str| Origin::parse(text).unwrap();
        assert!(registry.vouches_for(&named("d/r/gw-1/9")));
        for other in
            ["d/r/gw-2/9", "d/r/gw-1.x/9", "e/r/gw-1/9", "d/s/gw-1/9", "d/r/registry.gw-1/1"]
        {
            assert!(!registry.vouches_for(&named(other)), "{other}");
        }
        let of_all = named("d/r/registry/1");
        assert!(of_all.vouches_for(&named("d/r/gw-2/9")) && !of_all.vouches_for(&registry));
        assert!(!named("d/r/gw-1/1").vouches_for(&named("d/r/gw-1/1")));
        for bad in ["registry", "registry.x", "..", "a/b", "A", ""] {
            assert!(Origin::registry("d", "r", bad, 1).is_err(), "{bad}");
        }
    }
}
