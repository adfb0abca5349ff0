//! Who owns a home: the process that holds the lock on its `lock` file.
//!
//! The kernel drops the lock with the process, also after `kill -9`, so a held lock means a live
//! owner, and a free one means that whatever runs there is an orphan. The file is never deleted:
//! with a fresh file under the old name two processes could each hold "the" lock. Children do not
//! inherit it (the standard library opens files close-on-exec).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::account::name_of;
use super::error::{EmbeddedError, io_error};
use super::place::Place;

/// The lock of a home, held until this is dropped.
#[derive(Debug)]
pub(super) struct HomeLock {
    file: File,
    path: PathBuf,
}

/// The answer to one try.
#[derive(Debug)]
pub(super) enum Taken {
    /// Nobody had it; now we do.
    Ours(HomeLock),
    /// A live process has it. It writes its id a moment after taking the lock.
    Theirs(Option<u32>),
}

/// Tries once, without waiting.
pub(super) fn try_take(place: &Place) -> Result<Taken, EmbeddedError> {
    let path = place.lock_file();
    let doing = || format!("lock {}", path.display());
    let mut file = open(place, &path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            file.read_to_string(&mut owner).map_err(io_error(doing()))?;
            return Ok(Taken::Theirs(owner.trim().parse().ok()));
        }
        Err(TryLockError::Error(error)) => return Err(io_error(doing())(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        // After `sudo`, the ordinary account must still be able to lock.
        .and_then(|()| place.account.give(&path))
        .map_err(io_error(doing()))?;
    Ok(Taken::Ours(HomeLock { file, path }))
}

impl HomeLock {
    /// Whether the locked file is still the one at its path. Somebody who deletes the data
    /// directory under a running server makes room for a second owner of the same path.
    pub(super) fn is_in_place(&self) -> bool {
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
            (_, Err(_)) | (Err(_), _) => false,
        }
    }
}

/// Opens a file of the home to lock it, and makes it when it is missing.
pub(super) fn open(place: &Place, path: &Path) -> Result<File, EmbeddedError> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(|error| match fs::metadata(path).or_else(|_| fs::metadata(&place.home)) {
        Ok(found)
            if error.kind() == io::ErrorKind::PermissionDenied
                && found.uid() != place.account.uid() =>
        {
            EmbeddedError::NotOurs { path: place.home.clone(), owner: name_of(found.uid()) }
        }
        Ok(_) | Err(_) => io_error(format!("open {}", path.display()))(error),
    })
}
