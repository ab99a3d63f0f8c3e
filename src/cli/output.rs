//! Where the command line writes: results to stdout, talk to stderr, or everything as JSON lines.
//!
//! stdout belongs to a thread of its own, which writes in large pieces. If its reader is slow,
//! progress is left out and the rest waits: the face waits then, the node does not.

use std::io::{BufWriter, IsTerminal, Write};
use std::thread::JoinHandle;

use peerconnect::fault::Fault;
use peerconnect::node::api::{Me, SessionSnapshot, TextSnapshot};
use peerconnect::transfer::status::{Conflict, FileRow, Shortcoming, TransferSnapshot};
use tokio::sync::mpsc;

use super::args::{Global, ProgressStyle};
use super::exit::Exit;
use super::human::Human;
use super::json;

/// Pieces that may wait for the thread that writes stdout.
const PIECES_MAX: usize = 16;

/// Size at which a piece is handed to the thread, in bytes.
const PIECE_LEN: usize = 64 * 1024;

/// What a face has to say.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// Who we are; first of all.
    Hello(&'a Me),
    /// The files of a transfer are known.
    Offer(&'a TransferSnapshot),
    /// It is in another state now.
    State(&'a TransferSnapshot),
    /// It takes another way now.
    Path(&'a TransferSnapshot),
    /// Another receiver, of this name, says that this one has passed on damaged data.
    Blamed(&'a TransferSnapshot, &'a str),
    /// The others get nothing from the receiver.
    Shortcoming(&'a TransferSnapshot, Shortcoming),
    /// Another receiver, of this name, has passed on wrong data to this computer.
    LiedTo(&'a TransferSnapshot, &'a str),
    /// One of its files.
    File(&'a TransferSnapshot, &'a FileRow),
    /// How far it is; may be left out.
    Progress(&'a TransferSnapshot),
    /// The fate of one of its files.
    FileDone(&'a TransferSnapshot, &'a FileRow),
    /// The name of one of its files is taken; the person is asked.
    Conflict(&'a TransferSnapshot, &'a Conflict),
    /// Something went wrong with it, or with one file of it.
    Error(Option<&'a TransferSnapshot>, Option<u32>, &'a Fault),
    /// It has ended, or this face has.
    Summary(&'a TransferSnapshot, Exit),
    /// Somebody wants to send a text, and the person is asked.
    TextOffer(&'a TextSnapshot),
    /// A text has come, and this is what is in it.
    Text(&'a TextSnapshot, &'a str),
    /// A text that is sent is in another state now.
    TextState(&'a TextSnapshot),
    /// A text that was sent is there, or will not be.
    TextSummary(&'a TextSnapshot, Exit),
    /// Files go to several receivers; before everything about their transfers.
    Session(&'a SessionSnapshot),
    /// How far they are, with the transfers of this run; may be left out.
    Receivers(&'a SessionSnapshot, &'a [&'a TransferSnapshot]),
    /// All who do not have everything get the rest from the others, also without this program.
    MayLeave(&'a SessionSnapshot),
    /// That is not so any more, and it is not over.
    MustStay(&'a SessionSnapshot),
    /// All of it has ended, or this face has; last of all.
    Total(&'a SessionSnapshot, Exit),
}

/// Where it goes.
#[derive(Debug)]
pub(crate) struct Output {
    style: Style,
    stdout: Stdout,
}

#[derive(Debug)]
enum Style {
    Json,
    Human(Human),
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let style = if global.json.is_some() {
            Style::Json
        } else {
            let progress = match global.progress {
                _ if global.quiet => ProgressStyle::None,
                ProgressStyle::Auto if std::io::stderr().is_terminal() => ProgressStyle::Bar,
                ProgressStyle::Auto => ProgressStyle::Plain,
                ProgressStyle::Bar => ProgressStyle::Bar,
                ProgressStyle::Plain => ProgressStyle::Plain,
                ProgressStyle::None => ProgressStyle::None,
            };
            Style::Human(Human::new(global.quiet, progress))
        };
        Self {
            style,
            stdout: Stdout::new(Box::new(std::io::stdout())),
        }
    }

    /// JSON lines into `to`.
    #[cfg(test)]
    pub(crate) fn json_into(to: Box<dyn Write + Send>) -> Self {
        Self {
            style: Style::Json,
            stdout: Stdout::new(to),
        }
    }

    /// Results for people into `to`.
    #[cfg(test)]
    pub(crate) fn words_into(to: Box<dyn Write + Send>) -> Self {
        Self {
            style: Style::Human(Human::new(true, ProgressStyle::None)),
            stdout: Stdout::new(to),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        matches!(self.style, Style::Json)
    }

    /// Says something. Waits while stdout is full, except with progress, which is left out.
    pub(crate) async fn emit(&mut self, event: Event<'_>) {
        match &mut self.style {
            Style::Json => {
                let optional = matches!(event, Event::Progress(_) | Event::Receivers(..));
                if !(optional && self.stdout.is_full()) {
                    json::write(&event, &mut self.stdout.pending);
                    self.stdout.push_if_long().await;
                }
            }
            Style::Human(human) => {
                if let Some(result) = human.show(&event) {
                    self.line(&result).await;
                }
            }
        }
    }

    /// Shows which files are on their way now, where people look.
    pub(crate) fn active_files(&mut self, rows: &[FileRow]) {
        if let Style::Human(human) = &mut self.style {
            human.active_files(rows);
        }
    }

    /// Whether [`Self::active_files`] shows anything.
    pub(crate) fn shows_active_files(&self) -> bool {
        match &self.style {
            Style::Json => false,
            Style::Human(human) => human.has_bars(),
        }
    }

    /// A line to stdout: a result.
    pub(crate) async fn line(&mut self, text: &str) {
        self.stdout.pending.extend_from_slice(text.as_bytes());
        self.stdout.pending.push(b'\n');
        self.stdout.push_if_long().await;
    }

    /// One JSON object to stdout.
    pub(crate) async fn object(&mut self, kind: &str, body: impl serde::Serialize) {
        json::write_line(kind, body, &mut self.stdout.pending);
        self.stdout.push_if_long().await;
    }

    /// A line to stderr, for people: nothing with `--json` and `-q`.
    pub(crate) fn say(&mut self, text: &str) {
        if let Style::Human(human) = &mut self.style {
            human.say(text);
        }
    }

    /// A question to the person; stays on the line. Shown even with `-q`. Until
    /// [`Self::unprompt`], nothing is written beside it.
    pub(crate) fn prompt(&mut self, text: &str) {
        if let Style::Human(human) = &mut self.style {
            human.prompt(text);
        }
    }

    /// The question is answered or taken back: what was held back meanwhile is said.
    pub(crate) fn unprompt(&mut self) {
        if let Style::Human(human) = &mut self.style {
            human.unprompt();
        }
    }

    /// Hands on what has been written so far.
    pub(crate) async fn flush(&mut self) {
        self.stdout.push().await;
    }

    /// Whether nobody reads stdout any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.stdout
            .pieces
            .as_ref()
            .is_none_or(mpsc::Sender::is_closed)
    }

    /// Writes what is left and waits until it is written.
    pub(crate) async fn finish(mut self) {
        if let Style::Human(human) = &mut self.style {
            human.clear();
            human.unprompt();
        }
        self.stdout.finish().await;
    }
}

struct Stdout {
    pending: Vec<u8>,
    pieces: Option<mpsc::Sender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Stdout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stdout").finish_non_exhaustive()
    }
}

impl Stdout {
    fn new(to: Box<dyn Write + Send>) -> Self {
        let (pieces, incoming) = mpsc::channel(PIECES_MAX);
        let thread = std::thread::Builder::new()
            .name("stdout".into())
            .spawn(move || write_pieces(BufWriter::with_capacity(PIECE_LEN, to), incoming));
        Self {
            pending: Vec::new(),
            pieces: Some(pieces),
            // Without a thread the channel is closed, which ends the face as a closed pipe does.
            thread: thread.ok(),
        }
    }

    fn is_full(&self) -> bool {
        self.pieces.as_ref().is_some_and(|p| p.capacity() == 0)
    }

    async fn push_if_long(&mut self) {
        if self.pending.len() >= PIECE_LEN {
            self.push().await;
        }
    }

    async fn push(&mut self) {
        let piece = std::mem::take(&mut self.pending);
        if let Some(pieces) = &self.pieces
            && !piece.is_empty()
        {
            // Fails only when stdout is closed, which `is_closed` tells.
            let _ = pieces.send(piece).await;
        }
    }

    async fn finish(&mut self) {
        self.push().await;
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_pieces(mut to: BufWriter<Box<dyn Write + Send>>, mut from: mpsc::Receiver<Vec<u8>>) {
    while let Some(piece) = from.blocking_recv() {
        let written = to.write_all(&piece).and_then(|()| match from.is_empty() {
            true => to.flush(),
            false => Ok(()),
        });
        if written.is_err() {
            // A closed pipe: what is left in the buffer must not be tried again.
            let _ = to.into_parts();
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use peerconnect::transfer::state::TransferState;

    use super::*;
    use crate::cli::testing::snapshot;

    /// Far more than the buffer and the queue before it hold.
    const LINES: usize = 5000;

    /// A pipe that nobody reads while the lock is held.
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    #[allow(clippy::await_holding_lock)]
    async fn progress_into_a_full_pipe_is_left_out_and_nothing_else_is() {
        let text = Arc::new(Mutex::new(Vec::new()));
        let mut out = Output::json_into(Box::new(Pipe(Arc::clone(&text))));
        let t = snapshot(TransferState::Transferring);
        let full = text.lock().unwrap();
        let many = async {
            for _ in 0..LINES {
                out.emit(Event::Progress(&t)).await;
                out.flush().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), many).await;
        assert!(in_time.is_ok(), "progress waited for the pipe");
        out.emit(Event::Summary(&t, Exit::OK)).await;
        drop(full);
        out.finish().await;
        let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
        let progress = text.lines().filter(|l| l.contains("\"progress\"")).count();
        assert!(progress < LINES / 2, "{progress}");
        assert!(text.lines().last().unwrap().contains("\"summary\""));
    }
}
