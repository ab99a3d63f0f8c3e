//! The program without a window, as it starts with the computer: it takes what may come without a
//! question, and opens a window when somebody waits for an answer.
//!
//! The window is a process of its own on this node, so that it can be closed, and opened again, as
//! often as the person likes.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use peerconnect::config::Paths;
use peerconnect::fault::Fault;
use peerconnect::node::api::NodeHandle;
use peerconnect::node::instance;
use peerconnect::protocol::message::TransferId;
use peerconnect_gui::{
    ABOUT, Attention, Log, Look, Meant, Note, Notify, Press, QUESTION, Question, Tell, notify,
};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::background::{Signals, end, internal, options};

/// Most things that the system is told at once, and the least time between two such times.
const NOTES_MAX: usize = 3;
const NOTES_PAUSE: Duration = Duration::from_secs(3);
/// Presses on notifications that wait to be looked at; more are not taken.
const PRESSES_MAX: usize = 8;
/// Least time between two windows that open by themselves. Strangers could have them pop up as
/// often as they like; what they want is told by a notification meanwhile.
const STRANGERS_PAUSE: Duration = Duration::from_secs(600);
const TRUSTED_PAUSE: Duration = Duration::from_secs(10);

/// Stays until the system wants it to end. Where another one runs already, it is there when that
/// one ends.
pub(crate) fn run() -> Result<(), Fault> {
    Log::default().install();
    let paths = Paths::find(None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    runtime.block_on(async {
        let mut signals = Signals::open().map_err(internal)?;
        loop {
            let instance = instance::reach(options(&paths, None)?).await?;
            if instance.is_shared() {
                let mut pictures = instance.node.overview();
                drop(instance);
                tokio::select! {
                    () = async { while pictures.changed().await.is_ok() {} } => continue,
                    code = signals.next() => std::process::exit(code),
                }
            }
            let code = tokio::select! {
                () = watch(&instance.node, &paths) => None,
                code = signals.next() => Some(code),
            };
            match code {
                None => instance.close().await,
                Some(code) => end(instance, &mut signals, code).await,
            }
            return Ok(());
        }
    })
}

/// Calls a person when there is a reason, until the node ends.
async fn watch(node: &NodeHandle, paths: &Paths) {
    let mut pictures = node.overview();
    let mut attention = Attention::beginning_with(&pictures.borrow());
    let (tell, mut presses) = mpsc::channel(PRESSES_MAX);
    let mut caller = Caller::new(tell);
    loop {
        let picture = pictures.borrow_and_update().clone();
        let questions = attention.questions(&picture);
        let ends = attention.ends(&picture);
        for about in attention.answered() {
            caller.take_back(about);
        }
        // Whoever has a window is told by that one.
        if caller.window.is_none() && !node.is_attended() {
            caller.call(questions, ends, paths);
        }
        tokio::select! {
            changed = pictures.changed() => if changed.is_err() {
                return;
            },
            Some((note, press)) = presses.recv() => {
                let meant = note.meant(press, &pictures.borrow());
                match meant {
                    Meant::Answer(answer) => if let Err(fault) = node.call(answer).await {
                        tracing::debug!(%fault, "answered too late");
                    },
                    Meant::Show => caller.show(note.about),
                    Meant::Nothing => {}
                }
            }
            ended = caller.window_ends() => if !ended.is_some_and(|status| status.success()) {
                // Perhaps there was no display to open it on: nobody has seen what waits.
                let open = Attention::open_questions(&pictures.borrow());
                caller.tell(open.into_iter().map(|q| q.note).collect(), paths);
            },
        }
    }
}

/// Calls the person, and not too often.
struct Caller {
    window: Option<Child>,
    opened: Option<Instant>,
    told: Option<Instant>,
    notify: Notify,
    /// Takes what is pressed on notifications.
    pressed: mpsc::Sender<(Note, Press)>,
}

impl Caller {
    fn new(pressed: mpsc::Sender<(Note, Press)>) -> Self {
        Self {
            window: None,
            opened: None,
            told: None,
            notify: notify(),
            pressed,
        }
    }

    /// Opens a window, because the person wants to see this. There is one at a time.
    fn show(&mut self, about: TransferId) {
        if self.window.is_none() {
            self.window = open_window(Wanted::ByPerson(about));
            self.opened = Some(Instant::now());
        }
    }

    /// Nothing about this waits for the person any more.
    fn take_back(&self, about: TransferId) {
        (self.notify)(Tell::Answered(about));
    }

    fn call(&mut self, questions: Vec<Question>, mut notes: Vec<Note>, paths: &Paths) {
        let pause = match questions.iter().any(|question| question.trusted) {
            true => TRUSTED_PAUSE,
            false => STRANGERS_PAUSE,
        };
        let rested = self.opened.is_none_or(|opened| opened.elapsed() >= pause);
        if !questions.is_empty() && rested {
            self.window = open_window(Wanted::ByQuestion);
            self.opened = Some(Instant::now());
        }
        if self.window.is_none() {
            notes.splice(..0, questions.into_iter().map(|question| question.note));
        }
        self.tell(notes, paths);
    }

    /// Has the system tell these, unless the person does not want it.
    fn tell(&mut self, mut notes: Vec<Note>, paths: &Paths) {
        let rested = self.told.is_none_or(|told| told.elapsed() >= NOTES_PAUSE);
        if notes.is_empty() || !rested || !Look::load(paths).notifies() {
            return;
        }
        self.told = Some(Instant::now());
        notes.truncate(NOTES_MAX);
        for note in notes {
            let (told, pressed) = (note.clone(), self.pressed.clone());
            let on_press = Box::new(move |press| drop(pressed.try_send((note, press))));
            (self.notify)(Tell::Show(told, on_press));
        }
    }

    /// Waits until the window is closed; for ever if there is none. `None` if that is not known.
    /// Cancel-safe.
    async fn window_ends(&mut self) -> Option<ExitStatus> {
        let Some(window) = &mut self.window else {
            return std::future::pending().await;
        };
        let ended = window.wait().await.ok();
        self.window = None;
        ended
    }
}

/// Why a window opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Somebody waits for an answer. It takes the keyboard from nobody.
    ByQuestion,
    /// The person wants to see what this is about.
    ByPerson(TransferId),
}

fn open_window(wanted: Wanted) -> Option<Child> {
    let program = std::env::current_exe();
    let opened = program.and_then(|program| {
        let mut command = Command::new(program);
        match wanted {
            Wanted::ByQuestion => command.arg(QUESTION),
            Wanted::ByPerson(about) => command.args([ABOUT, &about.to_string()]),
        }
        .stdin(Stdio::null())
        .spawn()
    });
    opened
        .inspect_err(|error| tracing::warn!(%error, "no window can be opened"))
        .ok()
}
