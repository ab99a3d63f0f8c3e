//! What people read. Names that come from elsewhere are always shown through [`Shown`].

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use peerconnect::fault::{Face, Fault};
use peerconnect::node::api::SessionSnapshot;
use peerconnect::protocol::message::{Outcome, TransferId};
use peerconnect::text::{Shown, bytes, count, duration};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{
    Direction, FileRow, FileState, PausedBy, Shortcoming, TopName, TransferSnapshot,
};

use super::args::ProgressStyle;
use super::exit::Exit;
use super::json::path_words;
use super::output::Event;
use super::progress::{Bars, Plain, Symbols, percent, width_of_results};

pub(crate) mod sessions;
mod texts;
mod waiting;

use self::sessions::{receiver_names, total};
pub(crate) use self::texts::claimed_text;
use self::waiting::waiting;

/// Up to so many files, each gets a line when it is done.
const FILE_LINES_MAX: u32 = 20;

/// Writes to stderr; gives results back, which belong to stdout.
#[derive(Debug)]
pub(crate) struct Human {
    quiet: bool,
    /// Whether results go to a terminal.
    terminal: bool,
    symbols: Symbols,
    colour: bool,
    progress: Progress,
    /// A question is on the line: what is said meanwhile waits here.
    asking: bool,
    held: VecDeque<String>,
    /// The session that is told as a whole, and whether its files were told.
    session: Option<TransferId>,
    offered: bool,
}

/// Texts that are held back while a question is on the line; then the oldest go.
const HELD_MAX: usize = 200;

#[derive(Debug)]
enum Progress {
    None,
    Plain(Plain),
    Bars(Box<Bars>),
}

impl Human {
    pub(crate) fn new(quiet: bool, progress: ProgressStyle) -> Self {
        let get = |key: &str| std::env::var(key).ok();
        Self {
            quiet,
            terminal: std::io::stdout().is_terminal(),
            symbols: Symbols::of_locale(get),
            colour: colour(get, std::io::stdout().is_terminal()),
            progress: match progress {
                ProgressStyle::Bar => Progress::Bars(Box::new(Bars::new())),
                ProgressStyle::Plain => Progress::Plain(Plain::default()),
                ProgressStyle::Auto | ProgressStyle::None => Progress::None,
            },
            asking: false,
            held: VecDeque::new(),
            session: None,
            offered: false,
        }
    }

    /// Shows an event. What comes back is a result for stdout.
    pub(crate) fn show(&mut self, event: &Event<'_>) -> Option<String> {
        match event {
            Event::Hello(me) => self.say(&waiting(me)),
            Event::Offer(t) => match t.direction {
                // The same for every receiver.
                Direction::Sending if self.is_of_many(t) && self.offered => {}
                Direction::Sending => {
                    self.offered |= self.is_of_many(t);
                    self.say(&sending(t, self.symbols));
                }
                // The question shows it, or the state if nobody is asked.
                Direction::Receiving => {}
            },
            Event::State(t) => {
                if let Some(text) = state(t) {
                    self.say(&format!("{}{text}", self.whose(t)));
                }
            }
            Event::Path(t) => self.way(t),
            // Who answers has more to say about it, or the question says it.
            Event::File(..) | Event::Conflict(..) | Event::TextOffer(_) => {}
            Event::Blamed(t, by) => self.say(&sessions::blamed(t, by, self.symbols)),
            Event::Shortcoming(t, short) => self.say(&sessions::shortcoming(t, *short)),
            Event::LiedTo(_, by) => self.say(&sessions::lied_to(by, self.symbols)),
            Event::Progress(t) if self.is_of_many(t) => {}
            Event::Progress(t) => self.progress(t),
            Event::FileDone(t, row) => {
                if t.files <= FILE_LINES_MAX
                    && !self.is_of_many(t)
                    && let Some(text) = file_done(row, self.symbols)
                {
                    self.say(&text);
                }
            }
            Event::Error(t, _, fault) => {
                let whose = t.map(|t| self.whose(t)).unwrap_or_default();
                let text = error_text_of(&whose, fault, self.symbols);
                self.write(&text);
            }
            Event::Summary(t, exit) => {
                self.clear();
                return summary(t, *exit, self.symbols, self.colour);
            }
            Event::Text(t, text) => {
                self.clear();
                self.say(&texts::head(t));
                return Some(texts::shown(text, self.terminal.then(width_of_results)));
            }
            Event::TextState(t) => {
                if let Some(text) = texts::state(t) {
                    self.say(&text);
                }
            }
            Event::TextSummary(t, _) => return texts::summary(t, self.symbols),
            Event::Session(s) => {
                self.session = Some(s.id);
                let receivers = count(s.receivers.len() as u64, "receiver", "receivers");
                self.say(&format!("To {receivers}: {}.", receiver_names(s)));
            }
            Event::Receivers(s, transfers) => self.receivers(s, transfers),
            Event::MayLeave(s) => self.say(&sessions::may_leave(s)),
            Event::MustStay(s) => self.say(&sessions::must_stay(s)),
            Event::Total(s, exit) => {
                self.clear();
                return Some(total(s, *exit, self.symbols, self.colour));
            }
        }
        None
    }

    fn progress(&mut self, t: &TransferSnapshot) {
        let mut line = None;
        match &mut self.progress {
            Progress::None => {}
            Progress::Plain(plain) => line = plain.due(t, Instant::now()),
            Progress::Bars(_) if self.asking => {}
            Progress::Bars(bars) => match t.state {
                TransferState::Transferring
                | TransferState::Paused
                | TransferState::Interrupted
                | TransferState::Connecting
                | TransferState::Preparing => bars.show(t, self.symbols),
                TransferState::AwaitingAnswer
                | TransferState::Completed
                | TransferState::Rejected
                | TransferState::Cancelled
                | TransferState::Failed => {}
            },
        }
        if let Some(line) = line {
            self.say(&line);
        }
    }

    /// Whether a transfer is told as one of several that get the same.
    fn is_of_many(&self, t: &TransferSnapshot) -> bool {
        t.session.is_some() && t.session == self.session
    }

    /// Which receiver something is about, where there are several.
    fn whose(&self, t: &TransferSnapshot) -> String {
        match self.is_of_many(t) {
            true => format!("{}: ", Shown(&t.peer_name)),
            false => String::new(),
        }
    }

    fn receivers(&mut self, s: &SessionSnapshot, transfers: &[&TransferSnapshot]) {
        let mut line = None;
        match &mut self.progress {
            Progress::Plain(plain) => line = plain.due_for(s, Instant::now()),
            Progress::Bars(bars) if !self.asking && !s.is_over() => {
                bars.receivers(s, transfers, self.symbols);
            }
            Progress::None | Progress::Bars(_) => {}
        }
        if let Some(line) = line {
            self.say(&line);
        }
    }

    pub(crate) fn has_bars(&self) -> bool {
        matches!(self.progress, Progress::Bars(_))
    }

    pub(crate) fn active_files(&mut self, rows: &[FileRow]) {
        if let (Progress::Bars(bars), false) = (&mut self.progress, self.asking) {
            bars.active(rows);
        }
    }

    pub(crate) fn clear(&mut self) {
        if let Progress::Bars(bars) = &mut self.progress {
            bars.clear();
        }
    }

    /// Talk: a line to stderr unless `-q`.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.quiet {
            self.write(&format!("{text}\n"));
        }
    }

    pub(crate) fn prompt(&mut self, text: &str) {
        self.clear();
        self.write(text);
        self.asking = true;
    }

    pub(crate) fn unprompt(&mut self) {
        self.asking = false;
        for text in std::mem::take(&mut self.held) {
            self.write(&text);
        }
    }

    fn write(&mut self, text: &str) {
        if self.asking {
            if self.held.len() == HELD_MAX {
                self.held.pop_front();
            }
            self.held.push_back(text.to_owned());
            return;
        }
        let write = || {
            // Without a stderr there is nobody to tell.
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        };
        match &self.progress {
            Progress::Bars(bars) => bars.above(write),
            Progress::None | Progress::Plain(_) => write(),
        }
    }
}

fn colour(get: impl Fn(&str) -> Option<String>, terminal: bool) -> bool {
    let set = |key| get(key).is_some_and(|value| !value.is_empty());
    if set("NO_COLOR") {
        return false;
    }
    if get("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    terminal && get("TERM").is_none_or(|term| term != "dumb")
}

/// A fault as lines: what happened, what is known, what to do.
pub(crate) fn error_text(fault: &Fault, symbols: Symbols) -> String {
    error_text_of("", fault, symbols)
}

fn error_text_of(whose: &str, fault: &Fault, symbols: Symbols) -> String {
    let words = fault.words(Face::CommandLine);
    let mut text = format!("{} {whose}{}\n", symbols.error, words.title);
    for part in [words.detail, words.hint] {
        if !part.is_empty() {
            text.push_str(&format!("  {part}\n"));
        }
    }
    text
}

fn sending(t: &TransferSnapshot, symbols: Symbols) -> String {
    format!(
        "Sending {} {dot} {} {dot} {}",
        top_names(t, 3),
        count(t.files.into(), "file", "files"),
        bytes(t.bytes),
        dot = symbols.dot
    )
}

/// `holiday/ (40 files), a.pdf and 3 more`: at most `most` names.
pub(crate) fn top_names(t: &TransferSnapshot, most: usize) -> String {
    names(&t.top_names, t.top_count, most)
}

/// The same of names, of which there are `count`.
pub(crate) fn names(top_names: &[TopName], count: u32, most: usize) -> String {
    let mut text = String::new();
    for top in top_names.iter().take(most) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&top_name(top));
    }
    let shown = top_names.len().min(most);
    let more = (count as usize).saturating_sub(shown);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn top_name(top: &TopName) -> String {
    let name = Shown(&top.name);
    match top.files {
        Some(files) => format!("{name}/ ({})", count(files.into(), "file", "files")),
        None => name.to_string(),
    }
}

/// Most receivers that are named.
const NAMES_MAX: usize = 8;

/// What is new, where that is worth a line.
fn state(t: &TransferSnapshot) -> Option<String> {
    let peer = Shown(&t.peer_name);
    let text = match (t.state, t.direction) {
        (TransferState::AwaitingAnswer, Direction::Sending) if t.accepted => {
            format!("Continuing with {peer}.")
        }
        (TransferState::AwaitingAnswer, Direction::Sending) => {
            let mut text = format!("Waiting for {peer} to accept.");
            if let Some(words) = &t.words {
                text.push_str(&format!(" New device: both screens show {}.", Shown(words)));
            }
            text
        }
        // It names its files only when they come.
        (TransferState::Transferring, Direction::Receiving) if t.is_legacy() => {
            format!("Receiving from {}.", claimed(t))
        }
        (TransferState::Transferring, Direction::Sending) if t.is_legacy() => {
            format!("{} takes the files.", claimed(t))
        }
        (TransferState::Transferring, Direction::Receiving) => format!(
            "Receiving {} from {peer}, {}",
            count(t.files.into(), "file", "files"),
            bytes(t.bytes)
        ),
        (TransferState::Paused, _) => match t.paused_by {
            Some(PausedBy::Us) => {
                format!("Paused. Go on with: peerconnect resume {}", t.id.short())
            }
            Some(PausedBy::Peer) => format!("Paused by {peer}."),
            Some(PausedBy::DiskFull) => match &t.fault {
                Some(fault) => format!("Paused: {fault}"),
                None => format!("Paused: no room left at {peer}. It goes on by itself."),
            },
            None => "Paused.".into(),
        },
        (TransferState::Interrupted, _) if t.is_legacy() => format!(
            "Connection lost. Trying again. {} is an old version: whole files that arrived stay, \
             the one on its way is sent from its beginning.",
            claimed(t)
        ),
        // It may not even have been accepted.
        (TransferState::Interrupted, _) if t.bytes_done == 0 => {
            "Connection lost. Trying again.".into()
        }
        (TransferState::Interrupted, _) => format!(
            "Connection lost at {}%. {} are safe. Trying again.",
            percent(t),
            bytes(t.bytes_done)
        ),
        (TransferState::Preparing | TransferState::Connecting, _)
        | (TransferState::AwaitingAnswer, Direction::Receiving)
        | (TransferState::Transferring, Direction::Sending)
        | (TransferState::Completed | TransferState::Rejected, _)
        | (TransferState::Cancelled | TransferState::Failed, _) => return None,
    };
    Some(text)
}

/// What becomes of a transfer that a signal stopped here.
pub(crate) fn stopped(t: &TransferSnapshot, shared: bool) -> String {
    if t.is_legacy() && !shared {
        return go_on_hint(t, shared);
    }
    let kept = bytes(t.bytes_done);
    let hint = format!("peerconnect resume {}", t.id.short());
    format!("Paused. {kept} kept. Go on with: {hint}")
}

/// How a transfer goes on whose connection was waited for in vain.
pub(crate) fn go_on_hint(t: &TransferSnapshot, shared: bool) -> String {
    match shared {
        // Nothing is remembered of it beyond the end of this program.
        false if t.is_legacy() => "Stopped. Whole files that arrived stay; old versions cannot \
                                   continue, so the rest must be sent again."
            .into(),
        true if t.is_legacy() => "It is tried again as long as PeerConnect runs.".into(),
        true => "It goes on by itself as soon as both are online.".into(),
        false => format!("Go on with: peerconnect resume {}", t.id.short()),
    }
}

/// A peer that proved nothing, and what that means.
pub(crate) fn claimed(t: &TransferSnapshot) -> String {
    format!("\"{}\" ({NOT_ENCRYPTED})", Shown(&t.peer_name))
}

/// What everybody must know about transfers with programs of the original's kind.
pub(crate) const NOT_ENCRYPTED: &str = "not encrypted, old version";

fn file_done(row: &FileRow, symbols: Symbols) -> Option<String> {
    let FileState::Settled(outcome) = row.state else {
        return None;
    };
    let name = Shown(&row.path);
    let saved = Shown(row.saved_as.as_deref().unwrap_or(&row.path));
    let ok = symbols.ok;
    Some(match outcome {
        Outcome::New => format!("{ok} {name}"),
        Outcome::Identical => format!("{ok} {name} (already there)"),
        Outcome::Renamed => format!("{ok} {name} (saved as {saved})"),
        Outcome::Overwritten => format!("{ok} {name} (replaced the old one)"),
        Outcome::Skipped => format!("{} {name} (skipped)", symbols.dot),
        // An error of its own says more.
        Outcome::Failed(_) => return None,
    })
}

fn summary(t: &TransferSnapshot, exit: Exit, symbols: Symbols, colour: bool) -> Option<String> {
    if t.state != TransferState::Completed {
        return None;
    }
    let files = count(t.files_done.into(), "file", "files");
    let path = match &t.path {
        Some(path) => format!(" ({})", path_words(path.kind)),
        None => String::new(),
    };
    let seconds = took(t.seconds);
    let verified = match t.is_legacy() {
        true => "not verified (not encrypted, old version)",
        false => "verified",
    };
    let what = match (t.direction, &t.folder) {
        (Direction::Sending, _) if t.is_unconfirmed() => format!(
            "{files} passed on to {} by another receiver, not confirmed (not encrypted, old \
             version)",
            Shown(&t.peer_name)
        ),
        (Direction::Sending, _) => {
            format!("{files} delivered to {}, {verified}", Shown(&t.peer_name))
        }
        (Direction::Receiving, Some(folder)) => {
            format!(
                "{files} in {}, {verified}",
                Shown(&folder.to_string_lossy())
            )
        }
        (Direction::Receiving, None) => format!("{files}, {verified}"),
    };
    let failed = match t.files_failed {
        0 => String::new(),
        n => format!(", {n} failed"),
    };
    let mark = mark(exit, symbols, colour);
    let repaired = t.repaired.as_ref();
    let repaired = repaired.map_or(String::new(), |one| format!("\n  {}", one.words()));
    Some(format!(
        "{mark} {what}{failed}, {}, {seconds}{path}{repaired}",
        bytes(t.bytes)
    ))
}

fn took(seconds: f64) -> String {
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        duration(seconds as u64)
    }
}

fn mark(exit: Exit, symbols: Symbols, colour: bool) -> String {
    match (exit == Exit::OK, colour) {
        (true, true) => format!("\u{1b}[32m{}\u{1b}[0m", symbols.ok),
        (true, false) => symbols.ok.to_owned(),
        (false, true) => "\u{1b}[33m!\u{1b}[0m".into(),
        (false, false) => "!".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
