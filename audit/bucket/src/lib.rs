//! Objects that are written once: a folder, S3, Google Cloud Storage or Azure, whatever the address names.
//!
//! Not here: what is written and when (`audit/ship`), what is in it (`audit/verify`). Invariant: `create` returns a receipt only after the object was
//! read back and is byte for byte what was to be written, whatever the store answered on the way.

mod azure;
mod google;
mod kept;
mod kind;
mod lock;
mod log;
mod pieces;
mod questions;

use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::segment::SegmentError;
use aegis_audit_chain::{Hash, Origin, layout};
use aegis_audit_index::OBJECT_BYTES_MAX;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::signer::Url;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreScheme, PutMode};
use tokio::runtime::Runtime;

pub use aegis_audit_chain::retention::{LockMode, Retention};
pub use lock::KeptUntil;
pub use log::{BucketLog, Indexes};

use kind::Kind;
use lock::Locks;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What S3 calls the only version of an object in a bucket that keeps no others.
const UNVERSIONED: &str = "null";
const DAY_S: u64 = 24 * 60 * 60;

/// Where the objects go, and what else its client must be told.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// `file:///..`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub url: String,
    /// Options of the store's client, such as `aws_region`; they win over the environment. Some are secret.
    pub options: Vec<(String, String)>,
}

impl Address {
    /// A folder that stands for a bucket.
    pub fn folder(path: &std::path::Path) -> Result<Self, BucketError> {
        let whole = std::path::absolute(path).map_err(BucketError::Folder)?;
        let unknown = |()| BucketError::Address(path.display().to_string());
        let url = Url::from_file_path(whole).map_err(unknown)?.to_string();
        Ok(Self { url, options: Vec::new() })
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.options.iter().map(|(key, _)| key).collect();
        f.debug_struct("Address").field("url", &self.url).field("options", &keys).finish()
    }
}

/// What a store did not do.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    #[error("the address {0} is not one of a folder or a bucket")]
    Address(String),
    #[error("the store's client could not be made")]
    Client(#[source] Error),
    #[error("the runtime of the store's client could not be made")]
    Runtime(#[source] std::io::Error),
    #[error("the folder cannot be used")]
    Folder(#[source] std::io::Error),
    #[error("{what} {key} failed")]
    Store {
        what: &'static str,
        key: String,
        #[source]
        source: Error,
    },
    #[error("the store answered a question about {what} with status {status}")]
    Status { what: &'static str, status: u16 },
    #[error("the store could not be asked about {what}")]
    Ask {
        what: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("not asked, because the store had said nothing of {objects} others in a row")]
    Silent { objects: u32 },
    #[error("the store's answer about {what} is not one")]
    Answer { what: &'static str },
    #[error("{key} is there already and is another object")]
    Fork { key: String },
    #[error(
        "the store wrote over {key}, though it was asked to create it only, and keeps no versions: what is there can be lost"
    )]
    Overwrites { key: String },
    #[error("the store took {key} and does not list it, so nobody who reads the log would find it")]
    Unlisted { key: String },
    #[error("{key} is longer than {OBJECT_BYTES_MAX} bytes")]
    TooLong { key: String },
    #[error("the store promises {found}, and {asked} was asked for")]
    Retention { found: String, asked: Retention },
    #[error(
        "the store keeps {key} by this lock: {found}, and {asked} was asked for; put a longer retention on that object"
    )]
    Kept { key: String, found: String, asked: Retention },
    #[error("this kind of store cannot show how long it keeps objects")]
    Unproven,
}

/// What the store said about an object that is there for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub key: String,
    pub sha256: Hash,
    pub bytes: u64,
    /// The store's name for exactly this content, where it has one.
    pub version: Option<String>,
    /// Until when it is kept, where the store says so.
    pub kept_until: Option<KeptUntil>,
    /// When it was written, by the store's clock.
    pub written_s: u64,
}

impl Receipt {
    /// Compares how long the store keeps the object with what was asked for, counted from when it was written.
    pub fn check_kept(&self, asked: Retention) -> Result<(), BucketError> {
        let kept = self.kept_until.as_ref();
        if kept.is_some_and(|kept| kept.is_as_asked(asked, self.written_s)) {
            return Ok(());
        }
        let found = kept.map_or_else(|| "nothing".to_owned(), KeptUntil::to_string);
        Err(BucketError::Kept { key: self.key.clone(), found, asked })
    }
}

/// One bucket, or one folder of one.
#[derive(Debug)]
pub struct Bucket {
    runtime: Runtime,
    store: Arc<dyn ObjectStore>,
    kind: Kind,
    prefix: Path,
}

impl Bucket {
    /// Makes the client, and the folder where the address is one; nothing is sent yet.
    pub fn open_to_write(address: &Address) -> Result<Self, BucketError> {
        let url: Option<Url> = address.url.parse().ok().filter(|url: &Url| url.scheme() == "file");
        if let Some(Ok(dir)) = url.map(|url| url.to_file_path()) {
            std::fs::create_dir_all(dir).map_err(BucketError::Folder)?;
        }
        Self::open(address)
    }

    /// Makes the client; nothing is sent yet.
    pub fn open(address: &Address) -> Result<Self, BucketError> {
        // `reqwest` takes the process's provider; whoever was first is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let unknown = || BucketError::Address(address.url.clone());
        let url: Url = address.url.parse().map_err(|_| unknown())?;
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|_| unknown())?;
        let (store, kind) = kind::open(&scheme, &url, address)?;
        // A folder's client stands in it, and needs no prefix.
        let prefix = if matches!(kind, Kind::Folder(_)) { Path::default() } else { prefix };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self { runtime: runtime.map_err(BucketError::Runtime)?, store, kind, prefix })
    }

    /// What S3 can be asked, where this is one.
    fn locks(&self) -> Option<&Locks> {
        match &self.kind {
            Kind::S3(locks) => Some(locks),
            Kind::Folder(_) | Kind::Google(_) | Kind::Azure(_) => None,
        }
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// Makes sure that the store keeps every new object at least that long, without being asked again.
    pub fn check_retention(&self, asked: Retention) -> Result<(), BucketError> {
        self.runtime.block_on(async {
            match &self.kind {
                Kind::Folder(_) => Err(BucketError::Unproven),
                Kind::S3(locks) => locks.check_default(asked).await,
                Kind::Google(bucket) => bucket.check_policy(asked).await,
                Kind::Azure(container) => container.check_policy(asked).await,
            }
        })
    }

    /// Writes an object that must not be there yet, or finds that it is there already and the same.
    pub fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Receipt, BucketError> {
        self.runtime.block_on(self.create_async(key, bytes.into()))
    }

    /// The same for one that was perhaps written before: where versions are kept it is looked for first, because some that
    /// keep them know no conditions, and would take it as one more.
    pub fn find_or_create(&self, key: &str, bytes: Vec<u8>) -> Result<Receipt, BucketError> {
        self.runtime.block_on(async {
            let (path, bytes) = (self.path(key), bytes::Bytes::from(bytes));
            let first = match self.locks() {
                Some(locks) => locks.oldest(&path).await?,
                None => None,
            };
            if first.is_none() {
                return self.create_async(key, bytes).await;
            }
            let stored = self.read_async(&path, first.as_deref()).await;
            let stored = stored.map_err(store_error("reading back", key))?;
            self.compared(key, (stored, &bytes), first).await
        })
    }

    async fn create_async(&self, key: &str, bytes: bytes::Bytes) -> Result<Receipt, BucketError> {
        let path = self.path(key);
        let put = self.store.put_opts(&path, bytes.clone().into(), PutMode::Create.into()).await;
        let (written, failed) = match put {
            Ok(put) => (put.version, None),
            // Whatever else went wrong, the object may be there: a reply was lost, or another try was ours.
            Err(error) => (None, Some(error)),
        };
        if let (Kind::Folder(dir), Some(Error::AlreadyExists { .. })) = (&self.kind, &failed) {
            settle(dir, path.as_ref()).map_err(BucketError::Folder)?;
        }
        let version = match self.locks() {
            // Some take every put as a newer version. The oldest counts, for readers too, and may be somebody else's.
            Some(locks) => match locks.oldest(&path).await? {
                None if failed.is_none() => {
                    return Err(BucketError::Unlisted { key: key.to_owned() });
                }
                oldest => oldest,
            },
            None => written,
        };
        let stored = match (self.read_async(&path, version.as_deref()).await, failed) {
            // Nothing was written, so the first error says why.
            (Err(Error::NotFound { .. }), Some(failed)) => Err(store_error("writing", key)(failed)),
            (read, _) => read.map_err(store_error("reading back", key)),
        };
        self.compared(key, (stored?, &bytes), version).await
    }

    /// What is said of an object that was read back, if it is what was to be written.
    async fn compared(
        &self,
        key: &str,
        (stored, bytes): (Stored, &[u8]),
        version: Option<String>,
    ) -> Result<Receipt, BucketError> {
        if stored.bytes == bytes {
            self.receipt(key, stored, version).await
        } else {
            Err(BucketError::Fork { key: key.to_owned() })
        }
    }

    /// Makes sure that what was written stays, by writing the same again: a store must refuse to, unless it keeps versions.
    pub fn check_held(&self, written: &Receipt, bytes: Vec<u8>) -> Result<(), BucketError> {
        // Some that speak S3 know no conditions; where a version is kept, whatever comes later only hides it.
        let version = written.version.as_deref().filter(|_| self.locks().is_some());
        if version.is_some_and(|version| version != UNVERSIONED) {
            return Ok(());
        }
        let (path, bytes) = (self.path(&written.key), bytes::Bytes::from(bytes));
        let again = self.store.put_opts(&path, bytes.into(), PutMode::Create.into());
        match self.runtime.block_on(again) {
            Ok(_) => Err(BucketError::Overwrites { key: written.key.clone() }),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
            Err(error) => Err(store_error("writing again", &written.key)(error)),
        }
    }

    async fn receipt(
        &self,
        key: &str,
        stored: Stored,
        version: Option<String>,
    ) -> Result<Receipt, BucketError> {
        let Stored { bytes, written_s } = stored;
        // A lock holds a version, so a bucket without them has none.
        let kept_until = match (self.locks(), version.as_deref()) {
            (Some(_), Some(UNVERSIONED)) | (None, _) => None,
            (Some(locks), version) => locks.kept_until(&self.path(key), version).await?,
        };
        let (key, sha256) = (key.to_owned(), Hash::of(&bytes));
        let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Receipt { key, sha256, bytes, version, kept_until, written_s })
    }

    async fn read_async(&self, path: &Path, version: Option<&str>) -> Result<Stored, Error> {
        let options = GetOptions { version: version.map(str::to_owned), ..GetOptions::default() };
        let got = self.store.get_opts(path, options).await?;
        if got.meta.size > OBJECT_BYTES_MAX {
            let source = format!("it is longer than {OBJECT_BYTES_MAX} bytes").into();
            return Err(Error::Generic { store: "audit", source });
        }
        let written_s = u64::try_from(got.meta.last_modified.timestamp()).unwrap_or(0);
        Ok(Stored { bytes: got.bytes().await?, written_s })
    }

    /// Some bytes of an object, in a version of it.
    fn read_range(
        &self,
        key: &str,
        (version, bytes): (Option<&str>, std::ops::Range<u64>),
    ) -> Result<bytes::Bytes, BucketError> {
        let (version, range) = (version.map(str::to_owned), Some(GetRange::Bounded(bytes)));
        let options = GetOptions { version, range, ..GetOptions::default() };
        let path = self.path(key);
        let read = async { self.store.get_opts(&path, options).await?.bytes().await };
        self.runtime.block_on(read).map_err(store_error("reading", key))
    }

    /// An object's first content; what was put over it later is not looked at.
    pub fn read(&self, key: &str) -> Result<Option<bytes::Bytes>, BucketError> {
        let first = match self.locks() {
            Some(locks) => self.runtime.block_on(locks.oldest(&self.path(key)))?,
            None => None,
        };
        self.read_version(key, first.as_deref())
    }

    fn read_version(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<bytes::Bytes>, BucketError> {
        let path = self.path(key);
        match self.runtime.block_on(self.read_async(&path, version)) {
            Err(Error::NotFound { .. }) => Ok(None),
            read => Ok(Some(read.map_err(store_error("reading", key))?.bytes)),
        }
    }

    /// Every key below a folder, with what else the store says of it.
    fn list(&self, dir: &str) -> Result<Vec<Listed>, BucketError> {
        self.list_after(dir, None)
    }

    /// Those of them that come behind a key, in the order of their bytes.
    fn list_after(&self, dir: &str, after: Option<&str>) -> Result<Vec<Listed>, BucketError> {
        let (path, after) = (self.path(dir), after.map(|key| self.path(key)));
        self.runtime.block_on(async {
            if let Some(locks) = self.locks() {
                let mut listed = locks.versions(&path, after.as_ref()).await?;
                for one in &mut listed {
                    one.key = self.key(&one.key);
                }
                return Ok(listed);
            }
            let found = match &after {
                None => self.store.list(Some(&path)),
                Some(after) => self.store.list_with_offset(Some(&path), after),
            };
            let found = found.try_collect::<Vec<_>>().await;
            let found = found.map_err(store_error("listing", dir))?;
            let one = |meta: object_store::ObjectMeta| Listed {
                key: self.key(meta.location.as_ref()),
                bytes: meta.size,
                oldest: None,
                written_s: u64::try_from(meta.last_modified.timestamp()).ok(),
                flaw: None,
            };
            Ok(found.into_iter().map(one).collect())
        })
    }

    /// The names of all objects in a folder and below it.
    pub fn names(&self, dir: &str) -> Result<Vec<String>, BucketError> {
        let listed = self.list(dir)?;
        let names = listed.iter().filter_map(|one| one.key.rsplit('/').next());
        Ok(names.map(str::to_owned).collect())
    }

    /// First record and size of each segment of a stream that has its manifest, in order.
    pub fn segments(&self, origin: &Origin) -> Result<Vec<(u64, u64)>, BucketError> {
        let listed = self.list(&format!("{}/seg", layout::bucket_dir(origin)))?;
        let names = listed.iter().filter_map(|one| one.key.rsplit('/').next());
        let mut found: Vec<_> = names.filter_map(layout::parse_manifest_name).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// A key without the prefix.
    fn key(&self, full: &str) -> String {
        let prefix = self.prefix.as_ref();
        let rest = full.strip_prefix(prefix).unwrap_or(full);
        rest.strip_prefix('/').unwrap_or(rest).to_owned()
    }
}

/// An object as it was read back.
struct Stored {
    bytes: bytes::Bytes,
    written_s: u64,
}

/// One key, as a store that keeps versions lists it.
#[derive(Debug)]
struct Listed {
    key: String,
    bytes: u64,
    /// The version that was written first.
    oldest: Option<String>,
    /// When that was, where the store says so.
    written_s: Option<u64>,
    /// What was done to it since.
    flaw: Option<SegmentError>,
}

/// Brings a file and its name to the disk. Whoever made it may have been killed between the two.
fn settle(dir: &std::path::Path, key: &str) -> std::io::Result<()> {
    let path = dir.join(key);
    let mut places = path.ancestors().take_while(|place| place.starts_with(dir));
    places.try_for_each(|place| std::fs::File::open(place)?.sync_all())
}

fn store_error(what: &'static str, key: &str) -> impl FnOnce(Error) -> BucketError {
    let key = key.to_owned();
    move |source| BucketError::Store { what, key, source }
}
