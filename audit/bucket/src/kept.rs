//! How long a bucket keeps the objects that a log is read from, as far as its kind of store can be asked.
//!
//! Not here: what is asked when something is written (`create`), and verdicts (`audit/verify`). Invariant: each object is asked about in
//! the version that is read, and what was not answered is never counted as kept.

use std::sync::atomic::{AtomicU32, Ordering};
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
/// Objects in a row of which the store said nothing, after which the others are not asked about: one that hangs would be asked for
/// days.
const SILENT_MAX: u32 = 64;

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
        let silent = AtomicU32::new(0);
        let one = async |(key, first): Object<'_>| {
            let lock = match silent.load(Ordering::Relaxed) {
                SILENT_MAX.. => Err(BucketError::Silent { objects: SILENT_MAX }),
                _ => self.lock_of(locks, &key, first).await,
            };
            match &lock {
                Err(BucketError::Silent { .. }) => {}
                Err(error) if may_pass(error) => _ = silent.fetch_add(1, Ordering::Relaxed),
                Ok(_) | Err(_) => silent.store(0, Ordering::Relaxed),
            }
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;

    use aegis_audit_chain::retention::LockMode;

    use super::*;
    use crate::Address;

    const ASKED: Retention = Retention { mode: LockMode::Compliance, days: 30 };
    const GOOD: &str = "200 OK\r\nx-amz-object-lock-mode: COMPLIANCE\r\n\
        x-amz-object-lock-retain-until-date: 2001-01-01T00:00:00Z";

    /// A store that fails at each question, but at every so many-th; and how many it was asked.
    fn sick_store(well: u32) -> (Address, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for wire in listener.incoming() {
                let mut wire = wire.unwrap();
                if !wire.read(&mut [0; 8192]).is_ok_and(|read| read > 0) {
                    continue;
                }
                let number = counted.fetch_add(1, Ordering::Relaxed);
                let said = if number % well == well - 1 { GOOD } else { "503 Slow Down" };
                let answer =
                    format!("HTTP/1.1 {said}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                drop(wire.write_all(answer.as_bytes()));
            }
        });
        let options = [
            ("aws_access_key_id", "a"),
            ("aws_secret_access_key", "b"),
            ("aws_endpoint", &format!("http://127.0.0.1:{port}")),
            ("aws_allow_http", "true"),
            ("aws_region", "eu-west-1"),
        ];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        (Address { url: "s3://audit".to_owned(), options }, asked)
    }

    fn kept(well: u32, objects: usize) -> (Kept, u32) {
        let (address, asked) = sick_store(well);
        let first = First { version: Some("1".to_owned()), written_s: Some(1) };
        let objects = (0..objects).map(|number| (format!("v1/{number:04}"), &first)).collect();
        let kept = Bucket::open(&address).unwrap().kept(objects, ASKED);
        (kept, asked.load(Ordering::Relaxed))
    }

    #[test]
    fn a_store_that_answers_nothing_is_not_asked_about_every_object() {
        let (kept, asked) = kept(u32::MAX, 1_000);
        assert_eq!((kept.objects, kept.unknown.len(), kept.weaker.len()), (1_000, 1_000, 0));
        let at_once = u32::try_from(AT_ONCE).unwrap();
        assert!(asked <= (SILENT_MAX + at_once) * TRIES, "{asked}");
        let whys = |why: &str| kept.unknown.iter().filter(|one| one.what.contains(why)).count();
        let (failed, unasked) = (whys("with status 503"), whys("not asked"));
        assert!(failed >= 64 && failed + unasked == 1_000, "{failed} {unasked}");
    }

    #[test]
    fn one_answer_is_enough_to_go_on() {
        let (kept, asked) = kept(30, 300);
        assert!(kept.unknown.iter().all(|one| one.what.contains("with status 503")));
        let unknown = u32::try_from(kept.unknown.len()).unwrap();
        assert!(
            unknown > SILENT_MAX && unknown < 300 && asked > unknown * TRIES,
            "{unknown} {asked}"
        );
    }
}
