//! Keys that follow their file: what stands in it is what is accepted, seconds later. So keys
//! rotate, and are taken away, without a restart.
//!
//! Nobody watches the file in the background. Whoever checks a token looks at it when the last look
//! is some seconds old, so a key that was taken away admits nobody after that. A file that became
//! unreadable or wrong changes nothing: the old keys stay, the log says so once, and a counter
//! grows.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};
use std::time::{Duration, Instant};

use super::token::Key;
use crate::ports::signals;

/// How old a look at the file may be.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads all keys of a file; the sentence of a failure holds nothing that is secret.
pub(super) type Read = fn(&Path) -> Result<Arc<[Key]>, String>;

/// Keys of one file.
pub(super) struct Followed {
    setting: &'static str,
    path: PathBuf,
    read: Read,
    keys: RwLock<Arc<[Key]>>,
    look: Mutex<Look>,
}

/// When to look again, and what was there the last time.
struct Look {
    due: Instant,
    seen: Option<Stamp>,
}

/// Changes whenever the file is written, replaced or given away.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Followed {
    /// Reads the file that `setting` names for the first time.
    ///
    /// # Errors
    /// A sentence: what is wrong with the file or its first bad key.
    pub(super) fn open(setting: &'static str, path: &Path, read: Read) -> Result<Followed, String> {
        // The stamp first: a file that changes while it is read is read again.
        let look = Look { due: Instant::now() + LOOK_EVERY, seen: stamp(path) };
        let keys = RwLock::new(read(path)?);
        Ok(Followed { setting, path: path.to_owned(), read, keys, look: Mutex::new(look) })
    }

    /// The keys as of the last few seconds.
    pub(super) fn keys(&self) -> Arc<[Key]> {
        self.look_again();
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn look_again(&self) {
        let mut look = match self.look.try_lock() {
            Ok(look) => look,
            // Whoever looked did not come to an end; somebody else must, or old keys stay for ever.
            Err(TryLockError::Poisoned(left)) => left.into_inner(),
            // Somebody else is looking: the old keys are good for that long.
            Err(TryLockError::WouldBlock) => return,
        };
        if Instant::now() < look.due {
            return;
        }
        look.due = Instant::now() + LOOK_EVERY;
        let found = stamp(&self.path);
        if found == look.seen {
            return;
        }
        let (setting, file) = (self.setting, self.path.display());
        let read = (self.read)(&self.path);
        // Only what was read was seen: a reader that panics is no reason not to look again.
        look.seen = found;
        let result = match read {
            Ok(keys) => {
                tracing::info!(setting, %file, keys = keys.len(), "keys were read again");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
                "read"
            }
            Err(reason) => {
                tracing::error!(setting, %file, reason, "keys changed for the worse; the old stay");
                "refused"
            }
        };
        metrics::counter!(signals::KEY_RELOADS, "setting" => setting, "result" => result)
            .increment(1);
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    let changed = (found.ctime(), found.ctime_nsec());
    Some(Stamp { inode: found.ino(), bytes: found.len(), changed })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The first reading is right, the second panics, the third finds no key.
    fn read(_: &Path) -> Result<Arc<[Key]>, String> {
        static READ: AtomicUsize = AtomicUsize::new(0);
        match READ.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Arc::new([Key::shared(b"the one key, that is taken away")])),
            1 => panic!("a defect"),
            _ => Ok(Arc::new([])),
        }
    }

    #[test]
    fn a_panic_while_keys_are_read_does_not_keep_the_old_ones_for_ever() {
        let file = std::env::temp_dir().join(format!("flashdeal-followed-{}", std::process::id()));
        let followed = Followed::open("A_SETTING", &file, read).unwrap();
        std::fs::write(&file, "another").unwrap();
        let due = |followed: &Followed| {
            let mut look = followed.look.lock().unwrap_or_else(PoisonError::into_inner);
            look.due = Instant::now();
        };
        due(&followed);
        let looked = std::thread::scope(|scope| scope.spawn(|| followed.keys()).join().is_ok());
        assert!(!looked, "the defect is there");
        due(&followed);
        assert_eq!(followed.keys().len(), 0, "the key is gone");
        std::fs::remove_file(&file).unwrap();
    }
}
