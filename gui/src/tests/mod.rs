//! The window as a person meets it: found by label, clicked, typed into; the tests are the node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod about;
mod checks;
mod codes;
mod conflicts;
mod devices;
mod failures;
mod focus;
mod groups;
mod helps;
mod history;
mod leaving;
mod letters;
mod many;
#[cfg(target_os = "linux")]
mod notifier;
mod opened;
mod pasting;
mod pictures;
mod places;
mod questions;
mod seldom;
mod sending;
mod settings;
mod states;
mod steering;
mod system;
mod texts;
mod theme;
mod widths;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable;
use egui_kittest::{Harness, Node};
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, NodeHandle, Overview, PeerInfo, Reply, Request};
use peerconnect::transfer::status::TransferSnapshot;
use tokio::sync::{mpsc, oneshot, watch};

use self::system::System;
use crate::log::Log;
use crate::opened::Opened;
use crate::outside::{Outside, Picked};
use crate::{App, samples};

/// A window whose egui context exists only from the first frame on.
struct Shown {
    begin: Option<(NodeHandle, Outside)>,
    /// What it is opened with.
    opened: Option<Opened>,
    app: Option<App>,
}

impl Shown {
    fn frame(&mut self, ui: &mut egui::Ui) {
        if let Some((node, outside)) = self.begin.take() {
            self.app = Some(App::new(ui.ctx(), node, outside));
        }
        let app = self.app.as_mut().unwrap();
        if let Some(opened) = self.opened.take() {
            app.open_with(opened);
        }
        app.logic(&ui.ctx().clone());
        // The harness leaves a margin; a real window has none.
        let whole = egui::UiBuilder::new().max_rect(ui.content_rect());
        ui.scope_builder(whole, |ui| {
            ui.set_clip_rect(ui.content_rect());
            app.ui(ui);
        });
    }
}

/// What stands in the log.
const LOGGED: &str = "2027-01-15T08:00:00Z INFO peerconnect::node: listening port=3485
2027-01-15T08:00:01Z INFO peerconnect::net::discovery: looking for others\u{202e}
";

/// A window, the node that it talks to, and the system around it.
struct Stage {
    window: Harness<'static, Shown>,
    requests: mpsc::Receiver<Request>,
    pictures: watch::Sender<Arc<Overview>>,
    /// Replies that are still owed, in the order of the commands.
    owed: Vec<oneshot::Sender<Result<Reply, Fault>>>,
    /// What surrounds it.
    system: System,
    /// Where pasted pictures go.
    _scratch: tempfile::TempDir,
}

impl std::ops::Deref for Stage {
    type Target = System;

    fn deref(&self) -> &System {
        &self.system
    }
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|e| e.to_string())
    }
}

impl Stage {
    fn new(overview: Arc<Overview>) -> Self {
        Self::sized(overview, [900.0, 600.0], egui::Theme::Light)
    }

    fn with(peers: Vec<PeerInfo>, transfers: Vec<TransferSnapshot>) -> Self {
        Self::new(samples::overview(peers, transfers))
    }

    fn sized(overview: Arc<Overview>, size: [f32; 2], theme: egui::Theme) -> Self {
        Self::scaled(overview, size, theme, 1.0)
    }

    /// On a screen of this size.
    fn on_screen(overview: Arc<Overview>, size: [f32; 2], screen: [f32; 2]) -> Self {
        let mut stage = Self::sized(overview, size, egui::Theme::Light);
        let viewports = &mut stage.window.input_mut().viewports;
        let viewport = viewports.entry(egui::ViewportId::ROOT).or_default();
        viewport.monitor_size = Some(screen.into());
        stage.run();
        stage
    }

    fn scaled(
        overview: Arc<Overview>,
        size: [f32; 2],
        theme: egui::Theme,
        pixels_per_point: f32,
    ) -> Self {
        Self::build(overview, (size, pixels_per_point), theme, None)
    }

    /// A window that was opened with something.
    fn opened(overview: Arc<Overview>, opened: Opened) -> Self {
        let size = ([900.0, 600.0], 1.0);
        Self::build(overview, size, egui::Theme::Light, Some(opened))
    }

    fn build(
        overview: Arc<Overview>,
        (size, pixels_per_point): ([f32; 2], f32),
        theme: egui::Theme,
        opened: Option<Opened>,
    ) -> Self {
        let (node, requests, pictures) = NodeHandle::new((*overview).clone());
        let mut log = Log::default();
        std::io::Write::write_all(&mut log, LOGGED.as_bytes()).unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let system = System::new();
        let outside = system.outside(log, scratch.path());
        let shown = Shown {
            begin: Some((node, outside)),
            opened,
            app: None,
        };
        let mut window = Harness::builder()
            .with_size(size)
            .with_theme(theme)
            .with_pixels_per_point(pixels_per_point)
            .with_step_dt(0.1)
            .renderer(soft::Soft::default())
            .build_ui_state(|ui, shown: &mut Shown| shown.frame(ui), shown);
        let viewports = &mut window.input_mut().viewports;
        let viewport = viewports.entry(egui::ViewportId::ROOT).or_default();
        viewport.monitor_size = Some(egui::vec2(1920.0, 1200.0));
        let mut stage = Self {
            window,
            requests,
            pictures,
            owed: Vec::new(),
            system,
            _scratch: scratch,
        };
        stage.run();
        stage
    }

    /// Lets a second pass: longer than anything in the window waits.
    fn run(&mut self) {
        self.window.run_steps(10);
    }

    /// Lets so many seconds pass.
    fn wait(&mut self, seconds: usize) {
        self.window.run_steps(10 * seconds);
    }

    /// Publishes a new picture of the node.
    fn publish(&mut self, overview: Arc<Overview>) {
        self.pictures.send_replace(overview);
        self.run();
    }

    /// Commands that have come since the last call; their replies are owed from now on.
    fn commands(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Ok((command, reply)) = self.requests.try_recv() {
            commands.push(command);
            self.owed.push(reply);
        }
        commands
    }

    /// The one command that has come.
    fn command(&mut self) -> Command {
        let mut commands = self.commands();
        assert_eq!(commands.len(), 1, "{commands:?}");
        commands.remove(0)
    }

    /// Replies to the oldest command.
    fn reply(&mut self, reply: Result<Reply, Fault>) {
        let owed = self.owed.remove(0);
        owed.send(reply).unwrap();
        self.run();
    }

    fn click(&mut self, label: &str) {
        self.window.get_by_label(label).click();
        self.run();
    }

    fn type_into(&mut self, label: &str, text: &str) {
        self.field(label).focus();
        self.run();
        self.field(label).type_text(text);
        self.run();
    }

    /// The field of this name, for one line or several.
    fn field<'a>(&'a self, label: &'a str) -> Node<'a> {
        use egui::accesskit::Role::{MultilineTextInput, TextInput};
        let window = &self.window;
        let several = window.query_by_role_and_label(MultilineTextInput, label);
        several.unwrap_or_else(|| window.get_by_role_and_label(TextInput, label))
    }

    fn press(&mut self, modifiers: Modifiers, key: Key) {
        self.window.key_press_modifiers(modifiers, key);
        self.run();
    }

    fn drop_files(&mut self, paths: &[&Path]) {
        self.window.input_mut().dropped_files = paths
            .iter()
            .map(|p| Arc::new(Dropped(p.to_path_buf())) as egui::DroppedFileHandle)
            .collect();
        self.run();
    }

    /// Whether some text on the screen contains this.
    fn says(&self, text: &str) -> bool {
        self.window
            .query_all_by_label_contains(text)
            .next()
            .is_some()
    }

    fn find<'a>(&'a self, label: &'a str) -> Option<Node<'a>> {
        self.window.query_by_label(label)
    }

    fn dialog_gives(&self, picked: Picked) {
        *self.picked.lock().unwrap() = picked;
    }
}

/// A folder with files of these names and sizes.
fn files(names: &[(&str, usize)]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let paths = names
        .iter()
        .map(|(name, size)| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![7; *size]).unwrap();
            path
        })
        .collect();
    (dir, paths)
}
