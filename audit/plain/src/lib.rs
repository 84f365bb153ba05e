//! Files that somebody else made: opened if they are plain ones, read so far and no further.
//!
//! Not here: what is in them. Invariant: nothing waits for a pipe or reads a device, and no more bytes are in memory than the caller
//! allows.

use std::fs::{File, FileType};
use std::io::{self, Error, ErrorKind, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What may lead to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// A person named the path, and means what it leads to.
    Followed,
    /// The file stands in a folder that was handed over: what a link there leads to was not.
    Refused,
}

/// Why a file was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPlain {
    #[error("it is a link, and the file itself must be there (`cp -RL` copies what links lead to)")]
    Link,
    #[error("it is {0}, and only a file is read; copy into one what it should hold")]
    Kind(&'static str),
    #[error("it is longer than {bytes_max} bytes, and so is no file of this kind; ask for it anew")]
    TooLong { bytes_max: u64 },
    #[error("it has {bytes} bytes, and no file of this kind is longer than {bytes_max} bytes")]
    Larger { bytes: u64, bytes_max: u64 },
}

/// Opens a plain file, without waiting for anybody.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    // A terminal must not become this process's own, and a pipe without a writer must not hold it up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let flags = match links {
        Links::Followed => flags,
        Links::Refused => flags | OFlags::NOFOLLOW,
    };
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(refused(NotPlain::Link)),
        Err(error) => return Err(error.into()),
    };
    match kind(file.metadata()?.file_type()) {
        None => Ok(file),
        Some(kind) => Err(refused(NotPlain::Kind(kind))),
    }
}

/// A whole file of at most so many bytes.
pub fn read(path: &Path, links: Links, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    let length = file.metadata()?.len();
    if length > bytes_max {
        return Err(refused(NotPlain::TooLong { bytes_max }));
    }
    let mut bytes = Vec::new();
    // One more, so that the end is seen without growing.
    bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX).saturating_add(1))?;
    // It may grow meanwhile.
    within(file, bytes, bytes_max)
}

/// What a person gave by its path: a file, whatever leads to it, or a pipe, which is waited for.
pub fn read_given(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    if found.is_file() && found.len() > bytes_max {
        return Err(refused(NotPlain::Larger { bytes: found.len(), bytes_max }));
    }
    if is_handed(path) || found.file_type().is_fifo() {
        return within(File::open(path)?, Vec::new(), bytes_max);
    }
    read(path, Links::Followed, bytes_max)
}

/// The same as text.
pub fn read_given_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    text(read_given(path, bytes_max)?)
}

/// All that comes out of something open, if it is no more than so many bytes.
pub fn read_open(open: impl io::Read, bytes_max: u64) -> io::Result<String> {
    text(within(open, Vec::new(), bytes_max)?)
}

/// What this process was handed open, such as its stdin.
fn is_handed(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd")
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

/// The text of a file that a person named; it may be what this process was handed open, such as its stdin.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let bytes = if is_handed(path) {
        within(File::open(path)?, Vec::new(), bytes_max)?
    } else {
        read(path, Links::Followed, bytes_max)?
    };
    text(bytes)
}

fn within(file: impl io::Read, mut bytes: Vec<u8>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match u64::try_from(read) {
        Ok(read) if read <= bytes_max => Ok(bytes),
        Ok(_) | Err(_) => Err(refused(NotPlain::TooLong { bytes_max })),
    }
}

/// What is no plain file, in words.
fn kind(found: FileType) -> Option<&'static str> {
    match () {
        () if found.is_file() => None,
        () if found.is_dir() => Some("a folder"),
        () if found.is_fifo() => Some("a pipe"),
        () if found.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

fn refused(why: NotPlain) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn why(refused: io::Result<Vec<u8>>) -> NotPlain {
        refused.unwrap_err().downcast::<NotPlain>().unwrap()
    }

    #[test]
    fn a_file_is_read_whole_up_to_the_last_byte_that_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"four").unwrap();
        assert_eq!(read(&path, Links::Refused, 4).unwrap(), b"four");
        assert_eq!(why(read(&path, Links::Refused, 3)), NotPlain::TooLong { bytes_max: 3 });
        let missing = read(&dir.path().join("nowhere"), Links::Refused, 4).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_says_that_it_is_short_and_is_not_is_read_no_further() {
        // A file of this kind has no length, and bytes all the same.
        let path = Path::new("/proc/self/status");
        assert_eq!(path.metadata().unwrap().len(), 0);
        assert_eq!(why(read(path, Links::Refused, 16)), NotPlain::TooLong { bytes_max: 16 });
    }

    #[test]
    fn a_link_is_followed_only_where_somebody_named_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, b"four").unwrap();
        symlink(&path, &link).unwrap();
        assert_eq!(read(&link, Links::Followed, 4).unwrap(), b"four");
        assert_eq!(why(read(&link, Links::Refused, 4)), NotPlain::Link);
    }

    #[test]
    fn what_a_person_gives_is_a_file_behind_links_or_a_pipe_and_no_more_than_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        // As Kubernetes mounts a secret: a link to a file below a link to a folder.
        let (folder, data) = (dir.path().join("2026"), dir.path().join("..data"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("key"), b"four").unwrap();
        symlink("2026", &data).unwrap();
        let key = dir.path().join("key");
        symlink("..data/key", &key).unwrap();
        assert_eq!(read_given(&key, 4).unwrap(), b"four");
        assert_eq!(why(read_given(&key, 3)), NotPlain::Larger { bytes: 4, bytes_max: 3 });
        assert_eq!(why(read_given(dir.path(), 9)), NotPlain::Kind("a folder"));
        assert_eq!(why(read_given(Path::new("/dev/zero"), 9)), NotPlain::Kind("a device"));

        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let give = |bytes: &'static [u8]| {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::write(pipe, bytes).ok())
        };
        let writer = give(b"four");
        assert_eq!(read_given_text(&pipe, 4).unwrap(), "four");
        writer.join().unwrap();
        let writer = give(b"five and more");
        assert_eq!(why(read_given(&pipe, 4)), NotPlain::TooLong { bytes_max: 4 });
        writer.join().unwrap();
        assert_eq!(read_open(&b"four"[..], 4).unwrap(), "four");
        assert!(read_open(&b"fives"[..], 4).is_err());
    }

    #[test]
    fn a_device_a_folder_and_a_socket_are_told_apart_and_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let device = read(Path::new("/dev/zero"), Links::Refused, u64::MAX);
        assert_eq!(why(device), NotPlain::Kind("a device"));
        assert_eq!(why(read(dir.path(), Links::Refused, 4)), NotPlain::Kind("a folder"));
        let path = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(read(&path, Links::Refused, 4).is_err());
    }
}
