//! The window before and around [`App`]: starts the node, and says what is wrong if that fails.
//! A program that was opened from a menu has nobody who reads its standard error.

use egui::{Context, Frame, Label, Margin, Ui, ViewportCommand};
use peerconnect::fault::Fault;
use peerconnect::node::api::NodeHandle;

use crate::app::App;
use crate::bridge::wake_function;
use crate::outside::Outside;
use crate::theme::{self, Tone};

/// Wakes the window; given to the node.
pub type Wake = std::sync::Arc<dyn Fn() + Send + Sync>;

/// Starts a node, or reaches the one that runs already.
pub type Start = Box<dyn Fn(Wake) -> Result<NodeHandle, Fault>>;

/// A window that starts its node itself.
pub struct Window {
    start: Start,
    outside: Outside,
    app: Result<Box<App>, Fault>,
}

impl Window {
    /// Starts the node and makes its window; if it does not start, a window that says why.
    pub fn new(ctx: &Context, outside: Outside, start: Start) -> Self {
        theme::apply(ctx);
        Self {
            app: begin(ctx, &outside, &start),
            start,
            outside,
        }
    }

    /// Takes in what has happened since the last frame.
    pub fn logic(&mut self, ctx: &Context) {
        if let Ok(app) = &mut self.app {
            app.logic(ctx);
        }
    }

    /// Draws the window.
    pub fn ui(&mut self, ui: &mut Ui) {
        let again = match &mut self.app {
            Ok(app) => {
                app.ui(ui);
                false
            }
            Err(fault) => failed_ui(ui, fault),
        };
        if again {
            self.app = begin(ui.ctx(), &self.outside, &self.start);
        }
    }
}

fn begin(ctx: &Context, outside: &Outside, start: &Start) -> Result<Box<App>, Fault> {
    let node = start(wake_function(ctx))?;
    Ok(Box::new(App::new(ctx, node, outside.clone())))
}

/// What went wrong; whether the person wants another try.
fn failed_ui(ui: &mut Ui, fault: &Fault) -> bool {
    let p = theme::of(ui);
    let frame = Frame::new().fill(p.ground).inner_margin(Margin::same(40));
    let words = fault.words();
    egui::CentralPanel::default()
        .frame(frame)
        .show(ui, |ui| {
            theme::card(ui)
                .show(ui, |ui| {
                    ui.set_width(ui.available_width());
                    ui.label(theme::title("PeerConnect could not start"));
                    let title = theme::note(ui, Tone::Error, words.title).size(14.5);
                    ui.add(Label::new(title).wrap().selectable(true));
                    for text in [words.detail, words.hint] {
                        if !text.is_empty() {
                            let text = theme::note(ui, Tone::Weak, text);
                            ui.add(Label::new(text).wrap().selectable(true));
                        }
                    }
                    ui.add_space(12.0);
                    ui.horizontal(|ui| {
                        let again = theme::primary(ui, true, "Try again").clicked();
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
        if let Ok(app) = &mut self.app {
            app.shut_down();
        }
    }
}
