//! How long a bucket keeps the objects that a log is read from, as far as its kind of store can be asked.
//!
//! Not here: what is asked when something is written (`create`), and verdicts (`audit/verify`). Invariant: each object is asked about in
//! the version that is read, and what was not answered is never counted as kept.

use std::time::Duration;

use aegis_audit_chain::retention::{Kept, Retention, Said};
use futures::StreamExt as _;

use crate::google::GoogleBucket;
use crate::kind::Kind;
use crate::lock::{KeptUntil, Lock, Locks, held_by};
use crate::log::{First, causes};
use crate::{Bucket, BucketError, DAY_S, UNVERSIONED};

/// Questions that are under way at once: an answer takes longer than the question.
const AT_ONCE: usize = 32;
/// One failure among very many questions must not leave the answer open.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// What stands for every object, where a rule of the bucket's holds all of them.
const ALL: &str = "the bucket";
const AZURE: &str = "a policy holds the container; how long, and whether it is locked, Azure tells on its management plane only";

/// A key, and what was written first under it.
type Object<'o> = (String, &'o First);

impl Bucket {
    /// Compares how long each object is kept with what is asked for, counted from when it was written.
    pub(crate) fn kept(&self, objects: Vec<Object<'_>>, asked: Retention) -> Kept {
        let count = u64::try_from(objects.len()).unwrap_or(u64::MAX);
        let of_all = |what: String| vec![Said { of: ALL.to_owned(), objects: count, what }];
        let rule = match &self.kind {
            Kind::S3(locks) => return self.runtime.block_on(self.locks_of(locks, objects, asked)),
            Kind::Google(google) => self.runtime.block_on(policy(google, &objects, asked)),
            Kind::Azure(azure) => match self.runtime.block_on(azure.has_policy()) {
                Ok(true) => Ok(Kept { unknown: of_all(AZURE.to_owned()), ..Kept::default() }),
                Ok(false) => Err(BucketError::Retention { found: "nothing".to_owned(), asked }),
                Err(error) => Err(error),
            },
            Kind::Folder(_) => Err(BucketError::Unproven),
        };
        let kept = rule.unwrap_or_else(|error| match error {
            BucketError::Retention { found, .. } => {
                Kept { weaker: of_all(found), ..Kept::default() }
            }
            error => Kept { unknown: of_all(causes(&error)), ..Kept::default() },
        });
        Kept { objects: count, ..kept }
    }

    async fn locks_of(&self, locks: &Locks, objects: Vec<Object<'_>>, asked: Retention) -> Kept {
        let one = async |(key, first): Object<'_>| {
            let lock = self.lock_of(locks, &key, first).await;
            (key, first.written_s, lock)
        };
        let answers = futures::stream::iter(objects).map(one).buffer_unordered(AT_ONCE);
        let mut answers: Vec<_> = answers.collect().await;
        answers.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        let mut all = Kept::default();
        for (key, written_s, lock) in answers {
            all.objects = all.objects.saturating_add(1);
            let of_one = |what: String| Said { of: key, objects: 1, what };
            match (lock, written_s) {
                (Ok(lock), Some(written_s)) => {
                    let until_s = lock.kept.as_ref().map(KeptUntil::until_s);
                    all.earliest_s = [all.earliest_s, until_s].into_iter().flatten().min();
                    let is_met = |kept: &KeptUntil| kept.is_as_asked(asked, written_s);
                    if !lock.kept.as_ref().is_some_and(is_met) {
                        all.weaker.push(of_one(lock.to_string()));
                    }
                }
                (Ok(_), None) => {
                    all.unknown.push(of_one("the store does not say when it was written".into()));
                }
                (Err(error), _) => all.unknown.push(of_one(causes(&error))),
            }
        }
        all
    }

    async fn lock_of(&self, locks: &Locks, key: &str, first: &First) -> Result<Lock, BucketError> {
        let version = first.version.as_deref();
        if version == Some(UNVERSIONED) {
            // A lock holds a version, so a bucket without them has none.
            return Ok(Lock { kept: None, is_on_hold: false });
        }
        let path = self.path(key);
        let mut tries = 1;
        loop {
            match locks.lock(&path, version).await {
                Err(error) if tries < TRIES && may_pass(&error) => {
                    tokio::time::sleep(PAUSE.saturating_mul(tries)).await;
                    tries = tries.saturating_add(1);
                }
                answered => return answered,
            }
        }
    }
}

/// Whether the same question may have another answer soon.
fn may_pass(error: &BucketError) -> bool {
    matches!(error, BucketError::Ask { .. } | BucketError::Status { status: 429 | 500.., .. })
}

/// What a policy of the whole bucket is worth for what is in it.
async fn policy(
    google: &GoogleBucket,
    objects: &[Object<'_>],
    asked: Retention,
) -> Result<Kept, BucketError> {
    let found = google.policy().await?;
    held_by(asked, found)?;
    let kept_s = found.map(|found| u64::from(found.days).saturating_mul(DAY_S));
    let written_s = objects.iter().filter_map(|(_, first)| first.written_s).min();
    let earliest_s = written_s.zip(kept_s).map(|(from, kept)| from.saturating_add(kept));
    Ok(Kept { earliest_s, ..Kept::default() })
}
