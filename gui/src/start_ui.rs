//! The window before and around [`App`]: starts the node, and says what is wrong if that fails.
//! A program that was opened from a menu has nobody who reads its standard error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use egui::{Context, Frame, Margin, Ui, ViewportCommand};
use peerconnect::config::Paths;
use peerconnect::fault::{Face, Fault};
use peerconnect::node::api::NodeHandle;

use crate::app::App;
use crate::bidi::AnyScript;
use crate::bridge::wake_function;
use crate::look::Look;
use crate::opened::Opened;
use crate::outside::Outside;
use crate::theme::{self, Size, Tone};

/// Wakes the window; given to the node.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Starts a node, or reaches the one that runs already. May take its time: it is called by
/// [`Outside::run`].
pub type Start = Arc<dyn Fn(Wake) -> Result<NodeHandle, Fault> + Send + Sync>;

/// A start that takes longer is told; a shorter one would only flicker.
const PATIENCE: f64 = 0.5;

/// A window that starts its node itself.
pub struct Window {
    start: Start,
    outside: Outside,
    /// A node that is starting, since this time of the window's clock.
    coming: Option<(Receiver<Result<NodeHandle, Fault>>, f64)>,
    state: State,
    /// How it looks, and where that is kept.
    look: Option<(Look, Paths)>,
    /// What it is opened with, until there is a node.
    opened: Option<Opened>,
    /// Set when the node goes on without the window.
    behind: Arc<AtomicBool>,
}

enum State {
    /// No node yet.
    Empty,
    /// A node that runs, or did.
    Open(Box<App>),
    /// None, for this reason.
    Failed(Fault),
}

impl Window {
    /// A window that starts its node, and says why if there is none.
    pub fn new(ctx: &Context, outside: Outside, start: Start) -> Self {
        theme::apply(ctx);
        let mut window = Self {
            start,
            outside,
            coming: None,
            state: State::Empty,
            look: None,
            opened: None,
            behind: Arc::default(),
        };
        window.begin(ctx);
        window
    }

    /// Shows this once there is a node.
    pub fn open_with(mut self, opened: Opened) -> Self {
        self.opened = Some(opened);
        self
    }

    /// Gives the window this look, and keeps what becomes of it below `paths`.
    pub fn remember(mut self, ctx: &Context, paths: Paths, look: Look) -> Self {
        look.apply(ctx);
        self.look = Some((look, paths));
        self
    }

    /// Set once the window is gone, if its node goes on without it.
    pub fn behind(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.behind)
    }

    fn begin(&mut self, ctx: &Context) {
        let (tell, came) = mpsc::sync_channel(1);
        let (start, wake) = (Arc::clone(&self.start), wake_function(ctx));
        self.coming = Some((came, ctx.input(|i| i.time)));
        (self.outside.run)(Box::new(move || {
            // Nobody listens any more if the window has closed.
            let _ = tell.send(start(wake.clone()));
            wake();
        }));
    }

    /// Takes in what has happened since the last frame.
    pub fn logic(&mut self, ctx: &Context) {
        self.arrive(ctx);
        if let Some((look, _)) = &mut self.look {
            look.observe(ctx);
        }
        if let State::Open(app) = &mut self.state {
            app.logic(ctx);
            // The node of a command that has ended: from now on it is ours to run one.
            if app.is_abandoned() && self.coming.is_none() {
                self.begin(ctx);
            }
        }
    }

    fn arrive(&mut self, ctx: &Context) {
        let Some((coming, _)) = &self.coming else {
            return;
        };
        let result = match coming.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err(Fault::Internal {
                what: "the node did not start".into(),
            }),
            Ok(result) => result,
        };
        self.coming = None;
        match (result, &mut self.state) {
            (Ok(node), State::Open(app)) => app.change_node(node),
            (Ok(node), State::Empty | State::Failed(_)) => {
                let mut app = App::new(ctx, node, self.outside.clone());
                if let Some(opened) = self.opened.take() {
                    app.open_with(opened);
                }
                self.state = State::Open(Box::new(app));
            }
            (Err(fault), State::Open(_) | State::Empty | State::Failed(_)) => {
                self.state = State::Failed(fault);
            }
        }
    }

    /// Draws the window.
    pub fn ui(&mut self, ui: &mut Ui) {
        let again = match &mut self.state {
            State::Open(app) => {
                app.ui(ui);
                false
            }
            State::Failed(fault) => failed_ui(ui, fault, self.coming.is_none()),
            State::Empty => {
                let since = self.coming.as_ref().map_or(0.0, |(_, since)| *since);
                empty_ui(ui, since);
                false
            }
        };
        if again {
            self.begin(&ui.ctx().clone());
        }
    }
}

/// Nothing, and after a while what is waited for.
fn empty_ui(ui: &mut Ui, since: f64) {
    let frame = Frame::new().fill(theme::of(ui).ground);
    egui::CentralPanel::default().frame(frame).show(ui, |ui| {
        let left = since + PATIENCE - ui.input(|i| i.time);
        if left > 0.0 {
            ui.request_repaint_after(Duration::from_secs_f64(left));
            return;
        }
        let text = theme::note(ui, Tone::Weak, "PeerConnect is starting…");
        ui.centered_and_justified(|ui| ui.label(text));
    });
}

/// What went wrong; whether the person wants another try.
fn failed_ui(ui: &mut Ui, fault: &Fault, idle: bool) -> bool {
    let p = theme::of(ui);
    let frame = Frame::new().fill(p.ground).inner_margin(Margin::same(40));
    let words = fault.words(Face::Window);
    egui::CentralPanel::default()
        .frame(frame)
        .show(ui, |ui| {
            theme::card(ui)
                .show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    theme::title(ui, "PeerConnect could not start");
                    let title = theme::toned(ui, Tone::Error, Size::Body, words.title);
                    ui.selectable_lines(title);
                    for text in [words.detail, words.hint] {
                        if !text.is_empty() {
                            let text = theme::note(ui, Tone::Weak, text);
                            ui.selectable_lines(text);
                        }
                    }
                    ui.add_space(12.0);
                    ui.horizontal(|ui| {
                        let again = theme::primary(ui, idle, "Try again").clicked();
                        if theme::plain(ui, "Quit").clicked() {
                            ui.send_viewport_cmd(ViewportCommand::Close);
                        }
                        again
                    })
                    .inner
                })
                .inner
        })
        .inner
}

impl eframe::App for Window {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        Self::logic(self, ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        Self::ui(self, ui);
    }

    fn on_exit(&mut self, _gl: Option<&eframe::glow::Context>) {
        if let State::Open(app) = &mut self.state {
            self.behind.store(app.end(), Ordering::SeqCst);
        }
        if let Some((look, paths)) = &self.look {
            look.save(paths);
        }
    }
}
