//! Files that hold keys: how large they may be, and to whom else they may be open.
//!
//! A secret that everyone on the machine can read is no secret, and a public key that everyone can
//! replace admits everyone. Both are refused when the file is opened; its handle is what is asked,
//! so that nothing can be put in its place in between. Nothing but a regular file is read: keys are
//! read again inside a request, and a pipe would let it wait for whoever writes.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

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
    // Opening a pipe would wait for its writer; a regular file does not know the flag.
    let mut look = File::options();
    let file = look.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(unread)?;
    let found: Metadata = file.metadata().map_err(unread)?;
    if !found.is_file() {
        return Err("is no file: accepted is a regular file or a link to one, and no pipe, also \
                    not that of `<(…)`"
            .to_owned());
    }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_pipe_is_refused_at_once_and_a_link_to_a_file_is_read() {
        let place = std::env::temp_dir().join(format!("flashdeal-key-file-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let (pipe, file, link) = (place.join("pipe"), place.join("file"), place.join("link"));
        mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        std::fs::write(&file, "a key").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (sender, answers) = channel();
        let paths = [pipe, place.clone(), link];
        // On a thread of its own: who opens a pipe without a writer never comes back.
        thread::spawn(move || paths.iter().try_for_each(|path| sender.send(read_secret(path))));
        let answer = || answers.recv_timeout(Duration::from_secs(20)).expect("an answer in time");
        assert!(answer().unwrap_err().contains("accepted is a regular file"), "a pipe");
        assert!(answer().unwrap_err().contains("accepted is a regular file"), "a directory");
        assert_eq!(answer().unwrap(), "a key");
        std::fs::remove_dir_all(&place).unwrap();
    }
}
