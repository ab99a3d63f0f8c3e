//! The system around a window in tests, which notes what it is asked for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use peerconnect::protocol::message::TransferId;

use crate::drops::Drops;
use crate::log::Log;
use crate::menu::{Entries, Entry, MenuChange};
use crate::notes::{Pressed, Tell};
use crate::outside::{Outside, Picked};
use crate::samples;

/// What it was asked for. Cheap to clone.
#[derive(Clone)]
pub(super) struct System {
    /// What the dialog gives next.
    pub(super) picked: Arc<Mutex<Picked>>,
    /// Folders that were shown.
    pub(super) opened: Seen<PathBuf>,
    /// Files that were marked in their folders.
    pub(super) marked: Seen<PathBuf>,
    /// What was done with the applications menu.
    pub(super) changed: Seen<MenuChange>,
    /// What the desktop knows about this program.
    pub(super) entries: Arc<Mutex<Option<Entries>>>,
    /// Links that were opened.
    pub(super) browsed: Seen<String>,
    /// What it was to tell the person.
    pub(super) notes: Seen<String>,
    /// Who waits for presses on what was told.
    pub(super) pressed: Arc<Mutex<Vec<Pressed>>>,
    /// What nobody need answer any more.
    pub(super) answered: Seen<TransferId>,
}

pub(super) type Seen<T> = Arc<Mutex<Vec<T>>>;

impl System {
    pub(super) fn new() -> Self {
        Self {
            picked: Arc::new(Mutex::new(Picked::Nothing)),
            opened: Seen::default(),
            marked: Seen::default(),
            changed: Seen::default(),
            entries: Arc::new(Mutex::new(Some(Entries {
                menu: Entry::There,
                start: Entry::Missing,
            }))),
            browsed: Seen::default(),
            notes: Seen::default(),
            pressed: Arc::default(),
            answered: Seen::default(),
        }
    }

    /// As a window knows it. Pasted pictures go below `scratch`.
    pub(super) fn outside(&self, log: Log, scratch: &Path) -> Outside {
        let Self {
            picked,
            opened,
            marked,
            changed,
            entries,
            browsed,
            notes,
            pressed,
            answered,
        } = self.clone();
        let known = Arc::clone(&entries);
        Outside {
            run: Arc::new(|job| job()),
            pick: Arc::new(move |_| picked.lock().unwrap().clone()),
            open: Arc::new(move |folder: &Path| {
                opened.lock().unwrap().push(folder.to_owned());
                Ok(())
            }),
            mark: Arc::new(move |item: &Path| {
                marked.lock().unwrap().push(item.to_owned());
                true
            }),
            browse: Arc::new(move |link: &str| {
                browsed.lock().unwrap().push(link.to_owned());
                Ok(())
            }),
            notify: Arc::new(move |told| match told {
                Tell::Show(note, on_press) => {
                    notes.lock().unwrap().push(note.title);
                    pressed.lock().unwrap().push(on_press);
                }
                Tell::Answered(about) => answered.lock().unwrap().push(about),
            }),
            // As much as the path has letters, in megabytes.
            room: Arc::new(|folder: &Path| Some(folder.as_os_str().len() as u64 * 1_000_000)),
            log,
            menu: Arc::new(move |change| {
                changed.lock().unwrap().push(change);
                if let Some(known) = &mut *known.lock().unwrap() {
                    match change {
                        MenuChange::Add => known.menu = Entry::There,
                        MenuChange::Remove => known.menu = Entry::Missing,
                        MenuChange::Start => known.start = Entry::There,
                        MenuChange::StartNoMore => known.start = Entry::Missing,
                    }
                }
                Ok(())
            }),
            entries: Arc::new(move || *entries.lock().unwrap()),
            drops: Drops::Anywhere,
            scratch: scratch.join("pasted"),
            now: Arc::new(|| samples::NOW),
        }
    }
}
