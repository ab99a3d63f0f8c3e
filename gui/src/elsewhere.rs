//! What the window has done elsewhere, because a person, a disk or a program may take its time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use peerconnect::config::Setting;
use peerconnect::node::api::Command;
use peerconnect::protocol::message::{Outcome, TransferId};
use peerconnect::text::Shown;
use peerconnect::transfer::status::{FileRow, FileState, RowKind};

use crate::app::App;
use crate::menu::{Entries, MenuChange};
use crate::model::{About, Page, Staged, Whose};
use crate::notes::{Meant, Note, Press, Tell};
use crate::outside::{Pick, Picked};
use crate::theme::Tone;
use crate::words;

/// What comes back from work done elsewhere.
pub(crate) enum Done {
    Picked(Pick, Whose, Picked),
    Looked {
        found: Vec<Staged>,
        missing: Vec<PathBuf>,
    },
    /// So many bytes are free for a transfer in this folder, if that can be said.
    Room(TransferId, PathBuf, Option<u64>),
    /// What was pasted is no list of files.
    Text(String),
    /// It did not work.
    Said(String),
    /// The desktop was asked to change what it knows about this program.
    Changed(Result<&'static str, String>),
    /// What the desktop knows about this program.
    Found(Option<Entries>),
    /// This was pressed on this notification.
    Pressed(Note, Press),
}

/// Results of work elsewhere that wait for a frame; a thread with one more waits itself. A test
/// that works elsewhere at once must not reach it within a frame.
pub(crate) const DONE_MAX: usize = 64;

impl App {
    /// Does something that may take long, then wakes the window with what came out.
    pub(crate) fn elsewhere(&self, work: impl FnOnce() -> Option<Done> + Send + 'static) {
        let (finish, ctx) = (self.finish.clone(), self.ctx.clone());
        (self.outside.run)(Box::new(move || {
            // The window may have closed meanwhile: then nobody wants to know.
            if let Some(done) = work()
                && finish.send(done).is_ok()
            {
                ctx.request_repaint_after(Duration::from_millis(10));
            }
        }));
    }

    pub(crate) fn pick(&mut self, what: Pick, whose: Whose) {
        if self.model.picking {
            return;
        }
        self.model.picking = true;
        let pick = Arc::clone(&self.outside.pick);
        self.elsewhere(move || Some(Done::Picked(what, whose, pick(what))));
    }

    /// Looks at paths that are to be sent: a network drive may take its time.
    pub(crate) fn look(&self, paths: Vec<PathBuf>) {
        self.elsewhere(move || {
            let mut found = Vec::new();
            let mut missing = Vec::new();
            for path in paths {
                match look_at(path) {
                    Ok(entry) => found.push(entry),
                    Err(path) => missing.push(path),
                }
            }
            Some(Done::Looked { found, missing })
        });
    }

    /// Looks how much room there is in a folder.
    pub(crate) fn look_for_room(&self, transfer: TransferId, folder: PathBuf) {
        let room = Arc::clone(&self.outside.room);
        self.elsewhere(move || {
            let free = room(&folder);
            Some(Done::Room(transfer, folder, free))
        });
    }

    /// Looks at what was pasted: files if all of it is there, otherwise a text.
    pub(crate) fn look_or_write(&self, paths: Vec<PathBuf>, text: String) {
        self.elsewhere(move || {
            let found: Result<Vec<Staged>, PathBuf> = paths.into_iter().map(look_at).collect();
            Some(match found {
                Ok(found) => Done::Looked {
                    found,
                    missing: Vec::new(),
                },
                Err(_) => Done::Text(text),
            })
        });
    }

    /// Adds to the text that is being written, where that can be seen.
    pub(crate) fn write_on(&mut self, text: &str) {
        let written = self.drafts.staged.text.get_or_insert_default();
        written.push_str(text);
        self.model.page = Page::Transfers;
    }

    /// Shows a folder or file with the program that the system has for it.
    pub(crate) fn show(&self, path: PathBuf) {
        let open = Arc::clone(&self.outside.open);
        self.elsewhere(move || open(&path).err().map(Done::Said));
    }

    /// Shows a folder with what has this name in it marked, if that is there and there is a way.
    pub(crate) fn reveal(&self, folder: PathBuf, name: Option<String>) {
        let (open, mark) = (
            Arc::clone(&self.outside.open),
            Arc::clone(&self.outside.mark),
        );
        self.elsewhere(move || {
            let item = name.and_then(|name| words::below(&folder, &name));
            if item.is_some_and(|item| item.exists() && mark(&item)) {
                return None;
            }
            open(&folder).err().map(Done::Said)
        });
    }

    /// Has the system tell the person something. What is pressed on it comes back.
    pub(crate) fn notify(&self, note: Note) {
        let (finish, ctx) = (self.finish.clone(), self.ctx.clone());
        let told = note.clone();
        let pressed = Box::new(move |press| {
            if finish.send(Done::Pressed(note, press)).is_ok() {
                ctx.request_repaint_after(Duration::from_millis(10));
            }
        });
        (self.outside.notify)(Tell::Show(told, pressed));
    }

    fn pressed(&mut self, note: &Note, press: Press) {
        let id = note.about;
        match note.meant(press, &self.model.overview) {
            Meant::Answer(_) if self.model.answered.contains_key(&id) => {}
            Meant::Answer(answer) => self.ask(answer, About::Answer(id)),
            Meant::Show => self.come_forward(id),
            Meant::Nothing => {}
        }
    }

    /// Puts us into the desktop's applications menu or among what it starts, or takes us out.
    pub(crate) fn change_menu(&self, change: MenuChange) {
        let menu = Arc::clone(&self.outside.menu);
        self.elsewhere(move || {
            let said = match change {
                MenuChange::Add => "PeerConnect is in the applications menu. Links open with it.",
                MenuChange::Remove => "PeerConnect is not in the applications menu any more.",
                MenuChange::Start => {
                    "PeerConnect starts with the computer from the next time on, without a window."
                }
                MenuChange::StartNoMore => "PeerConnect does not start with the computer any more.",
            };
            Some(Done::Changed(menu(change).map(|()| said)))
        });
    }

    /// Looks at what the desktop knows about this program.
    pub(crate) fn look_at_entries(&self) {
        let entries = Arc::clone(&self.outside.entries);
        self.elsewhere(move || Some(Done::Found(entries())));
    }

    /// Opens a link in the browser.
    pub(crate) fn browse(&self, link: String) {
        let browse = Arc::clone(&self.outside.browse);
        self.elsewhere(move || browse(&link).err().map(Done::Said));
    }

    /// Opens the only file of a transfer, under the name that it has here.
    pub(crate) fn open_file(&self, transfer: TransferId, rows: &[FileRow]) {
        let t = self.model.overview.transfer(transfer);
        let folder = t.and_then(|t| t.folder.clone());
        if let (Some(folder), [row]) = (folder, rows)
            && let Some(name) = arrived_as(row)
        {
            self.show(folder.join(name));
        }
    }

    pub(crate) fn finished(&mut self, done: Done) {
        match done {
            Done::Found(entries) => self.model.entries = entries,
            Done::Pressed(note, press) => self.pressed(&note, press),
            Done::Picked(what, whose, picked) => {
                self.model.picking = false;
                self.picked(what, whose, picked);
            }
            Done::Looked { found, missing } => {
                // What Ctrl+Enter would send must be in sight.
                if !found.is_empty() {
                    self.model.page = Page::Transfers;
                }
                self.model.stage(found);
                if let Some(first) = missing.first() {
                    let first = Shown(&first.to_string_lossy()).to_string();
                    let text = match missing.len() {
                        1 => format!("\"{first}\" is not there, or may not be read."),
                        n => format!("\"{first}\" and {} more are not there.", n - 1),
                    };
                    self.model.say(Tone::Error, text);
                }
            }
            Done::Room(id, folder, free) => self.drafts.offers.set_room(id, folder, free),
            Done::Text(text) => self.write_on(&text),
            Done::Said(text) => self.model.say(Tone::Error, text),
            Done::Changed(result) => {
                match result {
                    Ok(text) => self.model.say(Tone::Ok, text),
                    Err(text) => self.model.say(Tone::Error, text),
                }
                self.look_at_entries();
            }
        }
    }

    fn picked(&mut self, what: Pick, whose: Whose, picked: Picked) {
        let model = &mut self.model;
        match picked {
            Picked::Nothing => {}
            Picked::NoDialog => model.say(
                Tone::Warn,
                "No file dialog on this system. Type a path below, or drop files on the window.",
            ),
            Picked::Garbled => model.say(
                Tone::Error,
                "The file dialog gave names that do not exist. Drop the files on the window \
                 instead.",
            ),
            Picked::Paths(paths) => match (what, whose) {
                (Pick::Files | Pick::Folder, _) => self.look(paths),
                (Pick::Target, whose) => {
                    if let Some(folder) = paths.into_iter().next() {
                        self.picked_folder(whose, folder);
                    }
                }
            },
        }
    }

    fn picked_folder(&mut self, whose: Whose, folder: PathBuf) {
        let text = folder.to_string_lossy().into_owned();
        match whose {
            Whose::Transfer(id) => self.drafts.offers.set_folder(id, text),
            Whose::Mine if self.model.page == Page::Settings => {
                self.ask(Command::Set(Setting::Folder(folder)), About::Nothing);
            }
            Whose::Mine => self.drafts.top.folder = Some(text),
            Whose::Peer(peer) => {
                let folder = Some(folder);
                self.ask(Command::SetPeerFolder { peer, folder }, About::Nothing);
            }
        }
    }
}

/// What a path is; the path itself if it is not there.
fn look_at(path: PathBuf) -> Result<Staged, PathBuf> {
    match std::fs::metadata(&path) {
        Ok(meta) => Ok(Staged {
            bytes: meta.is_file().then_some(meta.len()),
            path,
        }),
        Err(_) => Err(path),
    }
}

/// The path below the folder that a file was saved under, if it is here.
pub(crate) fn arrived_as(row: &FileRow) -> Option<&str> {
    let here = match row.state {
        FileState::Settled(outcome) => match outcome {
            Outcome::New | Outcome::Identical | Outcome::Renamed | Outcome::Overwritten => true,
            Outcome::Skipped | Outcome::Failed(_) => false,
        },
        FileState::Waiting
        | FileState::Checking
        | FileState::Active
        | FileState::Paused
        | FileState::Asking => false,
    };
    let name = row.saved_as.as_deref().unwrap_or(&row.path);
    (here && row.kind == RowKind::File).then_some(name)
}
