//! Files that hold keys: how large they may be, and to whom else they may be open.
//!
//! A secret that everyone on the machine can read is no secret, and a public key that everyone can
//! replace admits everyone. Both are refused when the file is opened; its handle is what is asked,
//! so that nothing can be put in its place in between.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// No key file is longer.
const BYTES_MAX: u64 = 64 * 1024;
/// What the file's mode may not give to others.
const OTHERS_ANYTHING: u32 = 0o007;
const OTHERS_WRITE: u32 = 0o002;

/// Reads a secret: nobody but its owner and group may read or write it.
///
/// # Errors
/// A sentence that holds nothing of the file.
pub fn read_secret(path: &Path) -> Result<String, String> {
    read(path, OTHERS_ANYTHING, "everyone on this machine can read or change it")
}

/// Reads public keys: everyone may read them; only their owner and group may write them.
///
/// # Errors
/// A sentence that holds nothing of the file.
pub fn read_public(path: &Path) -> Result<String, String> {
    read(path, OTHERS_WRITE, "everyone on this machine can change it")
}

fn read(path: &Path, forbidden: u32, reason: &str) -> Result<String, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(unread)?;
    let found: Metadata = file.metadata().map_err(unread)?;
    let mode = found.permissions().mode() & 0o777;
    if mode & forbidden != 0 {
        let better = mode & !0o007;
        return Err(format!("its mode is {mode:04o}: {reason}; `chmod {better:04o}` it"));
    }
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(unread)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }
    Ok(text)
}
