//! The foreign issuers whose tokens are taken in exchange, with their keys as of the last refresh.
//!
//! Not here: fetching (`agents/follow`), and checking tokens (`identity`). Invariant: keys are refreshed on a schedule of
//! our own; no token ever causes a fetch.

use std::sync::Arc;
use std::time::Duration;

use aegis_follow::{KeySource, KeySources};
use aegis_identity::{SubjectIssuer, SubjectLimits, SubjectProfile, SubjectRule, SubjectVerifier};

/// One foreign issuer, as it is configured.
#[derive(Clone, Debug)]
pub struct SubjectSource {
    pub profile: SubjectProfile,
    /// `iss`, or the trust domain of JWT-SVIDs.
    pub name: String,
    /// What its tokens must be for, to be taken here.
    pub audiences: Vec<String>,
    /// Where its keys are published: https, or a path on this machine.
    pub keys: KeySource,
    pub rules: Vec<SubjectRule>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct SubjectSources {
    pub issuers: Vec<SubjectSource>,
    /// How often keys are fetched; every five minutes unless set.
    pub refresh: Option<Duration>,
}

const REFRESH: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub(crate) struct Subjects {
    issuers: Vec<SubjectSource>,
    keys: KeySources,
}

impl Subjects {
    pub(crate) fn start(sources: SubjectSources) -> Self {
        let wanted = sources
            .issuers
            .iter()
            .map(|issuer| (issuer.keys.clone(), issuer.profile == SubjectProfile::JwtSvid));
        let keys = KeySources::start(wanted.collect(), sources.refresh.unwrap_or(REFRESH));
        Self { issuers: sources.issuers, keys }
    }

    /// The issuers with the keys they have now. One whose keys were never had is not among them.
    pub(crate) fn verifier(&self) -> Arc<SubjectVerifier> {
        let sets = self.keys.current();
        let issuers = self.issuers.iter().zip(sets.iter()).filter_map(|(source, keys)| {
            Some(SubjectIssuer {
                profile: source.profile,
                name: source.name.clone(),
                audiences: source.audiences.clone(),
                keys: keys.clone()?,
                rules: source.rules.clone(),
            })
        });
        Arc::new(SubjectVerifier::new(issuers.collect(), SubjectLimits::default()))
    }
}
