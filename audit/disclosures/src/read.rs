//! Reads what is kept, and opens what can still be opened.
//!
//! Not here: writing it. Invariant: nothing is changed; a line whose key was destroyed is told of, and stays closed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use aegis_audit_chain::disclosure::Disclosure;
use aegis_domain::{DecisionId, TenantId};

use crate::keys::Keys;
use crate::keys::names;
use crate::parse_file_name;
use crate::seal::{DayKey, id_of};

/// No line is longer: a record has at most 20 disclosures, and a policy's input 64 KiB of text.
const LINE_BYTES_MAX: usize = 1 << 20;
const LINE_READ_MAX: u64 = (1 << 20) + 1;

/// The disclosures below one directory.
#[derive(Clone, Debug)]
pub struct Kept {
    dir: PathBuf,
}

/// One decision's disclosures.
#[derive(Clone, Debug)]
pub struct KeptLine {
    pub id: DecisionId,
    /// `None` when the key was destroyed, or the line is not as it was sealed.
    pub disclosures: Option<Vec<Disclosure>>,
}

/// The lines of one tenant and day, found by decision.
#[derive(Debug)]
pub struct KeptDay {
    tenant: TenantId,
    files: Vec<(File, Option<DayKey>)>,
    /// File, offset and length of each line.
    places: BTreeMap<DecisionId, (usize, u64, usize)>,
}

impl Kept {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Shows every line of a tenant, in the order of days.
    pub fn each(
        &self,
        tenant: &TenantId,
        show: &mut dyn FnMut(KeptLine) -> io::Result<()>,
    ) -> io::Result<()> {
        for file in self.files(tenant)? {
            self.each_of(tenant, file, show)?;
        }
        Ok(())
    }

    /// Shows every line of one file.
    pub(super) fn each_of(
        &self,
        tenant: &TenantId,
        (day, number): (u64, u64),
        show: &mut dyn FnMut(KeptLine) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some((file, key)) = self.open(tenant, (day, number))? else { return Ok(()) };
        lines(&file, &mut |_, line| {
            let Some(id) = id_of(line) else { return Ok(()) };
            let disclosures = key.as_ref().and_then(|key| key.open(tenant, line));
            show(KeptLine { id, disclosures })
        })
    }

    /// The lines of one day; none where nobody called, or they were erased.
    pub fn day(&self, tenant: &TenantId, day: u64) -> io::Result<KeptDay> {
        let (mut files, mut places) = (Vec::new(), BTreeMap::new());
        for name in self.files(tenant)?.into_iter().filter(|name| name.0 == day) {
            let Some((file, key)) = self.open(tenant, name)? else { continue };
            let at = files.len();
            lines(&file, &mut |offset, line| {
                places.extend(id_of(line).map(|id| (id, (at, offset, line.len()))));
                Ok(())
            })?;
            files.push((file, key));
        }
        Ok(KeptDay { tenant: tenant.clone(), files, places })
    }

    /// Day and key number of each of a tenant's files, in order.
    pub(super) fn files(&self, tenant: &TenantId) -> io::Result<Vec<(u64, u64)>> {
        let names = names(&self.dir.join(tenant.as_str()))?;
        let mut files: Vec<_> = names.iter().filter_map(|name| parse_file_name(name)).collect();
        files.sort_unstable();
        Ok(files)
    }

    pub(super) fn path(&self, tenant: &TenantId, (day, number): (u64, u64)) -> PathBuf {
        self.dir.join(tenant.as_str()).join(crate::file_name(day, number))
    }

    fn open(
        &self,
        tenant: &TenantId,
        (day, number): (u64, u64),
    ) -> io::Result<Option<(File, Option<DayKey>)>> {
        let file = match File::open(self.path(tenant, (day, number))) {
            // Erased between the listing and now.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let secret = Keys::new(&self.dir).of(tenant, (day, number))?;
        Ok(Some((file, secret.map(|secret| DayKey::new(&secret, day)).transpose()?)))
    }
}

impl KeptDay {
    /// The line of one decision.
    pub fn line(&self, id: DecisionId) -> io::Result<Option<Vec<Disclosure>>> {
        let Some((at, offset, length)) = self.places.get(&id).copied() else { return Ok(None) };
        let Some((file, Some(key))) = self.files.get(at) else { return Ok(None) };
        let mut line = vec![0; length];
        file.read_exact_at(&mut line, offset)?;
        Ok(key.open(&self.tenant, &line))
    }
}

/// Shows each whole line of a file, with where it begins.
fn lines(file: &File, show: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let (mut line, mut offset) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        // One byte more than a line may have, so that a longer one is known by it; the rest of that is passed over.
        let mut length = reader.by_ref().take(LINE_READ_MAX).read_until(b'\n', &mut line)?;
        if length > LINE_BYTES_MAX && !line.ends_with(b"\n") {
            length = length.saturating_add(reader.skip_until(b'\n')?);
        }
        if length == 0 {
            return Ok(());
        }
        // What is no whole line was being written when its writer died.
        if length <= LINE_BYTES_MAX && line.ends_with(b"\n") {
            show(offset, &line)?;
        }
        offset = offset.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
    }
}
