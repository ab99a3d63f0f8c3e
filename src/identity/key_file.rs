//! The key on disk: made once, complete or absent, for its owner's eyes only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use super::IdentityError;

/// A PEM file of an Ed25519 key has about 120 bytes; more than this is something else.
const KEY_FILE_LEN_MAX: u64 = 4096;

/// The text of the key file, `None` if there is none.
pub(super) fn load(path: &Path) -> Result<Option<String>, IdentityError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, error)),
    };
    let metadata = file.metadata().map_err(|error| io_error(path, error))?;
    if !metadata.is_file() || metadata.len() > KEY_FILE_LEN_MAX {
        return Err(IdentityError::Damaged { path: path.into() });
    }
    if is_exposed(&metadata) {
        return Err(IdentityError::Exposed { path: path.into() });
    }
    let mut text = String::new();
    match file.take(KEY_FILE_LEN_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(IdentityError::Damaged { path: path.into() })
        }
        Err(error) => Err(io_error(path, error)),
    }
}

/// Gives the key file another name. Nothing happens if there is none.
pub(super) fn put_aside(path: &Path, aside: &Path) -> Result<(), IdentityError> {
    match fs::rename(path, aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes the key file unless there is one by now; returns the text that is in it.
pub(super) fn create(dir: &Path, path: &Path, pem: &str) -> Result<String, IdentityError> {
    create_dir(dir).map_err(|error| io_error(dir, error))?;
    // A name of its own for each key, so that programs which start at once do not meet in it.
    let mark = blake3::derive_key("peerconnect/1 name of a temporary key file", pem.as_bytes());
    let mark = data_encoding::HEXLOWER.encode(mark.first_chunk::<8>().unwrap_or(&[0; 8]));
    let temporary = dir.join(format!(".{}.{mark}.new", super::KEY_FILE));
    let written = write_new(&temporary, pem.as_bytes()).and_then(|()| publish(&temporary, path));
    let removed = match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    match written.and(removed) {
        Ok(()) => {
            sync_dir(dir).map_err(|error| io_error(dir, error))?;
            Ok(pem.to_owned())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match load(path)? {
            Some(pem) => Ok(pem),
            None => Err(io_error(path, error)),
        },
        Err(error) => Err(io_error(path, error)),
    }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Gives the finished file its name; fails with `AlreadyExists` instead of replacing one.
fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
            // Some file systems do not know the flag; all of those that do not have links.
            Err(rustix::io::Errno::INVAL) => {}
            result => return result.map_err(io::Error::from),
        }
    }
    fs::hard_link(temporary, path)
}

fn create_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Without this a power cut could take the name away again, and with it our identity.
fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

#[cfg(unix)]
fn is_exposed(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_exposed(_: &fs::Metadata) -> bool {
    // The folder of a user's settings is closed to others by default there.
    false
}

fn io_error(path: &Path, error: io::Error) -> IdentityError {
    IdentityError::Io {
        path: path.into(),
        error,
    }
}
