//! A release as a gateway holds it: a statement with the bundles it names, in memory and as one line of text.
//!
//! Not here: where the text is kept (`keep`). Invariant: a `Release` was checked against the region's keys, and holds the
//! bundles that its statement names, no more and no fewer.

use std::collections::BTreeMap;

use aegis_audit_chain::Hash;
use aegis_domain::Region;
use aegis_identity::{KeySet, TokenError, verify_jws_within};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::wire::{Page, RELEASE_TYPE, RELEASES_TYPE, Statement};

/// A pointer and the names of a few versions, with a rollout's stages.
const STATEMENT_BYTES_MAX: usize = 256 * 1_024;
const PAGE_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// Why something is no release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("it is not signed by the region")]
    Signature(#[source] TokenError),
    #[error("it cannot be read")]
    Content(#[source] serde_json::Error),
    #[error("it is for another region")]
    Region,
    #[error("its bundles are not those that the statement names")]
    Bundles,
}

/// What decides in a line, with all that is needed to decide by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    statement: Statement,
    /// The statement as it was signed.
    signed: String,
    /// Since when it decides here, by the region's clock; told to people only.
    pub since_s: u64,
    bundles: BTreeMap<Hash, Vec<u8>>,
}

/// Its text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    statement: String,
    since_s: u64,
    bundles: Vec<String>,
}

/// The text of a release, as an export holds it. Whoever reads it checks it.
pub fn written(signed: &str, since_s: u64, bundles: &[Vec<u8>]) -> String {
    let bundles = bundles.iter().map(|bytes| STANDARD_NO_PAD.encode(bytes)).collect();
    let text = Text { statement: signed.to_owned(), since_s, bundles };
    // Texts and numbers always have a JSON form.
    serde_json::to_string(&text).unwrap_or_default()
}

impl Page {
    /// What a page says, if it is signed by these keys and for this region.
    pub fn read(signed: &str, keys: &KeySet, region: &Region) -> Result<Self, ReleaseError> {
        let payload = verify_jws_within(signed, RELEASES_TYPE, keys, PAGE_BYTES_MAX);
        let payload = payload.map_err(ReleaseError::Signature)?;
        let page: Self = serde_json::from_slice(&payload).map_err(ReleaseError::Content)?;
        if page.region == *region { Ok(page) } else { Err(ReleaseError::Region) }
    }
}

impl Statement {
    /// The same of one statement.
    pub fn read(signed: &str, keys: &KeySet, region: &Region) -> Result<Self, ReleaseError> {
        let payload = verify_jws_within(signed, RELEASE_TYPE, keys, STATEMENT_BYTES_MAX);
        let payload = payload.map_err(ReleaseError::Signature)?;
        let statement: Self = serde_json::from_slice(&payload).map_err(ReleaseError::Content)?;
        if statement.region == *region { Ok(statement) } else { Err(ReleaseError::Region) }
    }
}

impl Release {
    /// Puts a believed statement and its bundles together; each bundle is known by its digest.
    pub(crate) fn new(
        (statement, signed): (Statement, &str),
        since_s: u64,
        bundles: Vec<Vec<u8>>,
    ) -> Result<Self, ReleaseError> {
        let bundles: BTreeMap<Hash, Vec<u8>> =
            bundles.into_iter().map(|bytes| (Hash::of(&bytes), bytes)).collect();
        let mut named: Vec<_> = statement.bundles.values().collect();
        named.sort();
        named.dedup();
        if !named.into_iter().eq(bundles.keys()) {
            return Err(ReleaseError::Bundles);
        }
        Ok(Self { statement, signed: signed.to_owned(), since_s, bundles })
    }

    /// Reads what `text` wrote, and believes none of it before it is checked.
    pub fn read(text: &str, keys: &KeySet, region: &Region) -> Result<Self, ReleaseError> {
        let Text { statement: signed, since_s, bundles } =
            serde_json::from_str(text).map_err(ReleaseError::Content)?;
        let statement = Statement::read(&signed, keys, region)?;
        let bundles = bundles.iter().map(|text| STANDARD_NO_PAD.decode(text));
        let bundles = bundles.collect::<Result<_, _>>().map_err(|_| ReleaseError::Bundles)?;
        Self::new((statement, &signed), since_s, bundles)
    }

    /// One line that says all of it: what is kept on disk.
    pub(crate) fn text(&self) -> String {
        let bundles: Vec<_> = self.bundles.values().cloned().collect();
        written(&self.signed, self.since_s, &bundles)
    }

    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The archive of a version that the pointer names.
    pub fn bundle(&self, version: u32) -> Option<&[u8]> {
        self.with_digest(*self.statement.bundles.get(&version)?)
    }

    pub(crate) fn with_digest(&self, digest: Hash) -> Option<&[u8]> {
        self.bundles.get(&digest).map(Vec::as_slice)
    }
}
