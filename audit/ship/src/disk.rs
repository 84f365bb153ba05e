//! The few things the journal does to a disk, behind a trait so that tests can make each of them fail.
//!
//! Not here: what is written. Invariant: a call that returns `Ok` from `sync` has put everything written before it on
//! the device, as far as the device tells the truth.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Where the journal's files are made. Reading needs no trait: a lost read is seen by its checksum.
pub trait Disk: Send + Sync {
    /// Makes a file that must not exist, with room for `bytes`.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to go on writing it.
    fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes one directory, in one that is there.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name in its directory, in place of whatever has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a directory and those above it, and makes their names durable: also that of one that is there, because
    /// whoever made it may have been killed before it was.
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        // A relative path begins with no name at all, which is where we are.
        let is_there = |dir: &Path| dir.as_os_str().is_empty() || dir.exists();
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !is_there(dir)).collect();
        if let Some(above) = path.ancestors().nth(missing.len()).and_then(Path::parent) {
            match self.sync_dir(above) {
                // A directory that we may not even read is nobody's work of ours.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        for dir in missing.iter().rev() {
            self.make_dir(dir)?;
            dir.parent().map_or(Ok(()), |parent| self.sync_dir(parent))?;
        }
        Ok(())
    }

    /// Writes a small file so that its name never stands for half of it: a crash leaves at most a `.tmp` beside it.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let draft = path.with_extension("tmp");
        match self.remove(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = self.create(&draft, 0)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        self.rename(&draft, path)?;
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }
}

/// One file being written.
pub trait DiskFile: Send {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Puts the data on the device (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
    /// Gives back preallocated room after `bytes`.
    fn trim(&mut self, bytes: u64) -> io::Result<()>;
}

/// Writes what a file shows once more, from `since` up to the last byte that is not zero, and syncs it.
///
/// What a dead process wrote may be in memory only, and after a sync that failed Linux calls such pages clean: whoever reads them sees
/// them, the next sync has nothing to do and succeeds, and a power cut takes them (Rebello et al., "Can Applications Recover from fsync
/// Failures?", USENIX ATC 2020: "pages are always marked clean"; for the same reason PostgreSQL ends at such an error, and writes
/// again from its log). A write makes a page dirty whatever is in it. A direct read would tell more, but not every file system has it.
pub(crate) fn write_again(file: &mut dyn DiskFile, (shown, since): (&[u8], u64)) -> io::Result<()> {
    let since = usize::try_from(since).unwrap_or(usize::MAX);
    let end = shown.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    if let Some(again) = shown.get(since..end).filter(|again| !again.is_empty()) {
        file.write_at(again, u64::try_from(since).unwrap_or(u64::MAX))?;
    }
    file.sync()
}

/// The disk itself.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk;

struct RealFile(File);

impl Disk for RealDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        if bytes > 0 {
            preallocate(&file, bytes)?;
        }
        Ok(Box::new(RealFile(file)))
    }

    fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }
}

/// Reserves the blocks, so that a full disk is met here and not in the middle of a batch. File systems that cannot
/// reserve get a sparse file; there a full disk fails the write, which is final too.
fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        result => result.map_err(io::Error::from),
    }
}

impl DiskFile for RealFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn trim(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)?;
        self.0.sync_all()
    }
}
