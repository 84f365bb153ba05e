//! The keys that disclosures are sealed under: one a tenant and thirty days, in a file of its own, and how it is destroyed.
//!
//! Not here: sealing (`seal`). Invariant: a key is never used again once its file is gone, and no file's name is given to
//! another key while anything sealed under the first is there.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_domain::{Secret, TenantId};

/// A key seals what is kept in so many days.
const DAYS_PER_KEY: u64 = 30;
pub(super) const SECRET_BYTES: usize = 32;

pub(super) type SecretBytes = Secret<[u8; SECRET_BYTES]>;

/// A key's file as it was when the key was read.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    identity: (u64, i64, i64),
    number: u64,
}

impl KeyFile {
    /// Counts up from 1 within a period.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is still the same file under the same name.
    pub(super) fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|meta| identity(&meta) == self.identity)
    }
}

fn identity(meta: &Metadata) -> (u64, i64, i64) {
    (meta.ino(), meta.ctime(), meta.ctime_nsec())
}

/// The keys below one directory of disclosures.
#[derive(Debug)]
pub(super) struct Keys {
    dir: PathBuf,
}

impl Keys {
    pub(super) fn new(disclosures: &Path) -> Self {
        Self { dir: disclosures.join(".keys") }
    }

    fn folder(&self, tenant: &TenantId) -> PathBuf {
        self.dir.join(tenant.as_str())
    }

    /// The key that seals what is kept on `day`, made where there is none.
    pub(super) fn current(
        &self,
        tenant: &TenantId,
        day: u64,
    ) -> io::Result<(KeyFile, SecretBytes)> {
        let period = day / DAYS_PER_KEY;
        let all = self.all(tenant)?;
        let of_period = all.iter().filter(|key| key.period == period);
        let newest = of_period.max_by_key(|key| key.number);
        match newest {
            Some(key) if !key.is_going => self.read(tenant, (period, key.number)),
            newest => self.make(tenant, (period, newest.map_or(0, |key| key.number))),
        }
    }

    /// The key that sealed a file of `day`; `None` where it was destroyed.
    pub(super) fn of(
        &self,
        tenant: &TenantId,
        (day, number): (u64, u64),
    ) -> io::Result<Option<SecretBytes>> {
        let key = Named { period: day / DAYS_PER_KEY, number, is_going: false };
        for name in [key.name(), Named { is_going: true, ..key }.name()] {
            match fs::read_to_string(self.folder(tenant).join(name)) {
                Ok(text) => return parse(&text).map(Some),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn read(
        &self,
        tenant: &TenantId,
        (period, number): (u64, u64),
    ) -> io::Result<(KeyFile, SecretBytes)> {
        let path = self.folder(tenant).join(Named { period, number, is_going: false }.name());
        let identity = identity(&fs::metadata(&path)?);
        let secret = parse(&fs::read_to_string(&path)?)?;
        Ok((KeyFile { path, identity, number }, secret))
    }

    /// Makes the key after number `before`.
    fn make(
        &self,
        tenant: &TenantId,
        (period, before): (u64, u64),
    ) -> io::Result<(KeyFile, SecretBytes)> {
        let folder = self.folder(tenant);
        fs::create_dir_all(&folder)?;
        let number = before.saturating_add(1);
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(Named { period, number, is_going: false }.name());
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        File::open(&folder)?.sync_all()?;
        self.read(tenant, (period, number))
    }

    /// Every key of a tenant, also those whose erasure was interrupted.
    pub(super) fn all(&self, tenant: &TenantId) -> io::Result<Vec<Named>> {
        let names = names(&self.folder(tenant))?;
        Ok(names.iter().filter_map(|name| Named::parse(name)).collect())
    }

    /// Sets a key aside: nobody seals under it any more, and what it sealed can still be opened.
    pub(super) fn set_aside(&self, tenant: &TenantId, key: Named) -> io::Result<Named> {
        let (folder, going) = (self.folder(tenant), Named { is_going: true, ..key });
        fs::rename(folder.join(key.name()), folder.join(going.name()))?;
        File::open(&folder)?.sync_all()?;
        Ok(going)
    }

    /// Overwrites a key, takes its name away, and makes both durable, as far as the device tells the truth.
    pub(super) fn destroy(&self, tenant: &TenantId, key: Named) -> io::Result<()> {
        let path = self.folder(tenant).join(key.name());
        let mut file = OpenOptions::new().write(true).open(&path)?;
        file.write_all(&[b'0'; SECRET_BYTES * 2])?;
        file.sync_all()?;
        fs::remove_file(&path)?;
        File::open(self.folder(tenant))?.sync_all()
    }
}

/// A key by its file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) period: u64,
    pub(super) number: u64,
    pub(super) is_going: bool,
}

impl Named {
    fn name(&self) -> String {
        let ending = if self.is_going { "going" } else { "key" };
        format!("{}-{}.{ending}", self.period, self.number)
    }

    fn parse(name: &str) -> Option<Self> {
        let (rest, ending) = name.split_once('.')?;
        let (period, number) = rest.split_once('-')?;
        let (period, number) = (period.parse().ok()?, number.parse().ok()?);
        let is_going = ending == "going";
        (is_going || ending == "key").then_some(Self { period, number, is_going })
    }

    /// Whether it sealed that file.
    pub(super) fn sealed(&self, (day, number): (u64, u64)) -> bool {
        (day / DAYS_PER_KEY, number) == (self.period, self.number)
    }
}

fn parse(text: &str) -> io::Result<SecretBytes> {
    let mut secret = [0; SECRET_BYTES];
    let digits = text.trim_end().as_bytes();
    let pairs = digits.chunks_exact(2);
    let whole = digits.len() == SECRET_BYTES.saturating_mul(2);
    for (slot, pair) in secret.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        *slot = u8::from_str_radix(pair, 16).map_err(|_| ErrorKind::InvalidData)?;
    }
    if whole { Ok(Secret::new(secret)) } else { Err(ErrorKind::InvalidData.into()) }
}

/// The names in a directory, sorted; none when it is missing.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let mut names = entries.map(name).collect::<io::Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}
