//! The name of a stream: `<domain>/<region>/<writer>/<incarnation>`.
//!
//! Not here: where its files lie (`layout`). Invariant: one origin names one life of one writer and is never
//! given out again.

use std::fmt;
use std::sync::Arc;

/// Why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("an origin is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("an origin has four parts, each of a-z 0-9 . -, and ends in a number")]
    Malformed,
    #[error("`registry` is not a writer's name")]
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
        if writer == REGISTRY {
            return Err(OriginError::Reserved);
        }
        Self::parse(&format!("{domain}/{region}/{writer}/{incarnation}"))
    }

    /// The registry of a region.
    pub fn registry(domain: &str, region: &str, epoch: u64) -> Result<Self, OriginError> {
        Self::parse(&format!("{domain}/{region}/{REGISTRY}/{epoch}"))
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

    /// The writer's name, or `registry`.
    pub fn writer(&self) -> &str {
        self.0.split('/').nth(2).unwrap_or_default()
    }

    /// The number of this life, or the registry's epoch.
    pub fn incarnation(&self) -> u64 {
        self.0.rsplit('/').next().and_then(parse_number).unwrap_or(0)
    }

    pub fn is_registry(&self) -> bool {
        self.writer() == REGISTRY
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
        assert_eq!(Origin::stream("a", "b", "registry", 1), Err(OriginError::Reserved));
    }
}
