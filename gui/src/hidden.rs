//! The program without a window, as it starts with the computer: it takes what may come without a
//! question, and opens a window when somebody waits for an answer.
//!
//! The window is a process of its own on this node, so that it can be closed, and opened again, as
//! often as the person likes.

use std::process::{Child, Command, Stdio};

use peerconnect::config::Paths;
use peerconnect::fault::Fault;
use peerconnect::node::api::NodeHandle;
use peerconnect::node::instance;
use peerconnect_gui::{Attention, Log, Look, Note, QUESTION, notify};

use crate::background::{Signals, end, internal, options};

/// Most things that the system is told at once.
const NOTES_MAX: usize = 3;

/// Stays until the node ends or the system wants it to. At once if one runs already: whoever
/// started that one looks after it.
pub(crate) fn run() -> Result<(), Fault> {
    Log::default().install();
    let paths = Paths::find(None);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    runtime.block_on(async {
        let instance = instance::reach(options(&paths, None)?).await?;
        if instance.is_shared() {
            return Ok(());
        }
        let mut signals = Signals::open().map_err(internal)?;
        let code = tokio::select! {
            () = watch(&instance.node, &paths) => None,
            code = signals.next() => Some(code),
        };
        match code {
            None => instance.close().await,
            Some(code) => end(instance, &mut signals, code).await,
        }
        Ok(())
    })
}

/// Calls a person when there is a reason, until the node ends.
async fn watch(node: &NodeHandle, paths: &Paths) {
    let mut pictures = node.overview();
    let mut attention = Attention::beginning_with(&pictures.borrow());
    let mut window: Option<Child> = None;
    loop {
        let picture = pictures.borrow_and_update().clone();
        let questions = attention.questions(&picture);
        let mut notes = attention.ends(&picture);
        let is_open = window
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        // Whoever has a window is told by that one.
        if !is_open && !node.is_attended() {
            if !questions.is_empty() {
                window = open_window();
                if window.is_none() {
                    notes.splice(..0, questions);
                }
            }
            tell(notes, paths);
        }
        if pictures.changed().await.is_err() {
            return;
        }
    }
}

fn open_window() -> Option<Child> {
    let program = std::env::current_exe();
    let opened = program.and_then(|program| {
        Command::new(program)
            .arg(QUESTION)
            .stdin(Stdio::null())
            .spawn()
    });
    opened
        .inspect_err(|error| tracing::warn!(%error, "no window can be opened"))
        .ok()
}

/// Has the system tell these, unless the person does not want it. It may take its time.
fn tell(mut notes: Vec<Note>, paths: &Paths) {
    if notes.is_empty() || !Look::load(paths).notifies() {
        return;
    }
    notes.truncate(NOTES_MAX);
    tokio::task::spawn_blocking(move || notes.iter().for_each(notify));
}
