//! How much room a disk has, before anything is made on it.

use std::io;
use std::path::Path;

use rustix::fs::statvfs;
use rustix::io::Errno;

/// Bytes that this user may use on the disk on which a folder is, or would be made. Nothing is
/// made. Blocks, for a network drive perhaps for long.
///
/// # Errors
///
/// What the system says, where the folder, or one in which it would be made, cannot be looked at.
pub fn room(folder: &Path) -> io::Result<u64> {
    let folder = std::path::absolute(folder)?;
    for place in folder.ancestors() {
        match statvfs(place) {
            Ok(disk) => return Ok(disk.f_bavail.saturating_mul(disk.f_frsize)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::NOENT.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_has_the_room_of_the_disk_it_would_be_on() {
        let here = tempfile::tempdir().unwrap();
        let missing = here.path().join("new/deeper");
        assert!(room(&missing).unwrap() > 0);
        assert!(!here.path().join("new").exists());
        let file = here.path().join("file");
        std::fs::write(&file, "a").unwrap();
        assert!(room(&file.join("below")).is_err());
    }
}
