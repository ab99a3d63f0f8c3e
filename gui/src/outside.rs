//! What the window asks of the system around it: dialogs, folders to show, the clock. Most of it
//! can be slow or hang, so nothing of that is called on the thread that paints; tests put their
//! own functions in place.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use peerconnect::config::Paths;

use crate::dialogs;
use crate::drops::Drops;
use crate::log::Log;
use crate::menu::{self, Entries, MenuChange};
use crate::notes::{self, Notify};
use crate::reveal;

/// Work that may wait for a person or a disk.
pub type Job = Box<dyn FnOnce() + Send>;

/// Shows a folder; the error is a sentence for people.
pub type Open = Arc<dyn Fn(&Path) -> Result<(), String> + Send + Sync>;

/// Opens a link in the browser; the error is a sentence for people. Only http and https.
pub type Browse = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Bytes of room on the disk of a folder, as far as that can be said.
pub type Room = Arc<dyn Fn(&Path) -> Option<u64> + Send + Sync>;

/// What a dialog is to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pick {
    /// Any number of files.
    Files,
    /// One folder to send.
    Folder,
    /// One folder to save files in.
    Target,
}

/// What came out of a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picked {
    /// These; absolute and there.
    Paths(Vec<PathBuf>),
    /// The person closed the dialog.
    Nothing,
    /// This system has no dialog to show.
    NoDialog,
    /// The dialog gave names that do not exist: some split names at `|`.
    Garbled,
}

/// The system around the window. Cheap to clone.
#[derive(Clone)]
pub struct Outside {
    /// Runs work elsewhere.
    pub run: Arc<dyn Fn(Job) + Send + Sync>,
    /// Shows a dialog and waits for the person.
    pub pick: Arc<dyn Fn(Pick) -> Picked + Send + Sync>,
    /// Shows a folder in the system's file manager.
    pub open: Open,
    /// Shows a file or folder marked in the one that it is in; whether that could be.
    pub mark: Arc<dyn Fn(&Path) -> bool + Send + Sync>,
    /// Opens a link in the browser.
    pub browse: Browse,
    /// Bytes of room on the disk of this folder, as far as that can be said.
    pub room: Room,
    /// Has the system tell a person something, or take it back. Does not wait.
    pub notify: Notify,
    /// What this process notes.
    pub log: Log,
    /// Changes the desktop's applications menu; the error is a sentence for people.
    pub menu: Arc<dyn Fn(MenuChange) -> Result<(), String> + Send + Sync>,
    /// What the desktop knows about this program; `None` where it can know nothing.
    pub entries: Arc<dyn Fn() -> Option<Entries> + Send + Sync>,
    /// How files can be dropped on the window.
    pub drops: Drops,
    /// Folder for what has no file yet, such as pictures from the clipboard.
    pub scratch: PathBuf,
    /// Seconds since 1970.
    pub now: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Outside {
    /// The real system, for a window that takes drops like this.
    pub fn real(log: Log, drops: Drops) -> Self {
        Self {
            // A thread of its own that nobody waits for: a dialog whose helper process dies
            // never returns, and quitting must not wait for it.
            run: Arc::new(|job| {
                let spawned = std::thread::Builder::new()
                    .name("peerconnect-outside".into())
                    .spawn(job);
                if let Err(error) = spawned {
                    tracing::warn!(%error, "no thread for a dialog");
                }
            }),
            pick: Arc::new(dialogs::pick),
            open: Arc::new(show_folder),
            mark: Arc::new(reveal::marked),
            browse: Arc::new(|link| match open_elsewhere(link.as_ref()) {
                true => Ok(()),
                false => Err("The link could not be opened here. Copy it instead.".into()),
            }),
            room: Arc::new(|folder| peerconnect::storage::room::room(folder).ok()),
            log,
            drops,
            menu: Arc::new(menu::change),
            entries: Arc::new(menu::look),
            notify: notes::system(),
            scratch: Paths::find(None).state.join("pasted"),
            now: Arc::new(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |d| d.as_secs())
            }),
        }
    }
}

/// Opens `folder` with the program that the system has for it, and waits until that has begun.
fn show_folder(folder: &Path) -> Result<(), String> {
    match open_elsewhere(folder.as_os_str()) {
        true => Ok(()),
        false => Err(format!("{} could not be shown here.", folder.display())),
    }
}

/// Whether the system has a program for this, and it has begun.
fn open_elsewhere(what: &OsStr) -> bool {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if cfg!(windows) {
        "explorer"
    } else {
        "xdg-open"
    };
    let status = std::process::Command::new(program)
        .arg(what)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    // explorer ends with 1 even when it has opened the folder.
    status.is_ok_and(|status| status.success() || cfg!(windows))
}
