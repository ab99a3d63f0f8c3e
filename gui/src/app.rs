//! The window itself: `logic` takes in what has happened, `ui` draws it, and what a person did
//! comes back as [`Action`]s that are carried out here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc;

use egui::{Context, Frame, Margin, Panel, ScrollArea, Ui, ViewportCommand};
use peerconnect::node::api::{CodeCommand, Command, NodeHandle, Who};
use peerconnect::protocol::codes::TypedCode;
use peerconnect::protocol::message::TransferId;
use peerconnect::transfer::status::FileQuery;

use crate::about_ui::{AboutDraft, about_ui};
use crate::actions::sending;
use crate::attention::Attention;
use crate::bridge::Bridge;
use crate::check_ui::{CheckDraft, check_ui};
use crate::codes_ui::codes_ui;
use crate::conflict_ui::{ConflictsDraft, conflicts_ui};
use crate::drops::Drops;
use crate::elsewhere::{DONE_MAX, Done};
use crate::history_ui::{HistoryDraft, history_ui};
use crate::input;
use crate::keys_ui::keys_ui;
use crate::link_ui::{LinkDraft, link_ui};
use crate::model::{About, Action, Model, Page};
use crate::offer_ui::{OffersDraft, offers_ui};
use crate::opened::Opened;
use crate::outside::Outside;
use crate::pages::{PAGE, Pages};
use crate::peers_ui::{PeersDraft, narrow_peers_ui, peers_ui};
use crate::settings_ui::{SettingsDraft, settings_ui};
use crate::staged_ui::{StagedDraft, staged_ui};
use crate::texts_ui::{TextsDraft, texts_ui};
use crate::theme::{self, Tone};
use crate::top_ui::{TopDraft, notices_ui, top_ui};
use crate::transfers_ui::{TransfersDraft, transfers_ui};
use crate::words;

/// What the panels keep for themselves between frames.
#[derive(Default)]
pub(crate) struct Drafts {
    pub(crate) top: TopDraft,
    pub(crate) link: LinkDraft,
    pub(crate) peers: PeersDraft,
    pub(crate) staged: StagedDraft,
    pub(crate) offers: OffersDraft,
    pub(crate) conflicts: ConflictsDraft,
    pub(crate) texts: TextsDraft,
    pub(crate) transfers: TransfersDraft,
    pub(crate) history: HistoryDraft,
    pub(crate) settings: SettingsDraft,
    pub(crate) check: CheckDraft,
    pub(crate) about: AboutDraft,
    /// What the person was told that dropping will do, while files hang over the window.
    pub(crate) drop: Option<input::Under>,
    /// A field had the keyboard a frame ago.
    pub(crate) typing: bool,
}

/// A window that is not wider has its devices above the transfers, not beside them.
pub(crate) const NARROW: f32 = 700.0;

/// Whether the devices stand above the transfers.
pub(crate) fn is_narrow(ui: &Ui) -> bool {
    ui.content_rect().width() < NARROW
}

/// Width of what is left for the bar of a page that scrolls.
const BAR: i8 = 4;

/// A page that scrolls; the bar stands beside the cards, not on them.
fn scrolled(ui: &mut Ui, page: impl FnOnce(&mut Ui)) {
    let all = ScrollArea::vertical().auto_shrink([false, false]);
    all.show(ui, |ui| {
        Frame::new()
            .inner_margin(Margin {
                right: 14,
                ..Margin::ZERO
            })
            .show(ui, page);
    });
}

/// Whether there is anything to tell above the panels.
fn has_news(model: &Model) -> bool {
    !model.notices.is_empty()
        || !model.overview.notices.is_empty()
        || model.missed().is_some()
        || model.questions().next().is_some()
        || model.conflicts().next().is_some()
        || !model.overview.texts.is_empty()
}

/// Puts something into a set, or takes it out.
fn put<T: Ord>(set: &mut BTreeSet<T>, what: T, on: bool) {
    match on {
        true => set.insert(what),
        false => set.remove(&what),
    };
}

/// The window of one node.
pub struct App {
    pub(crate) ctx: Context,
    pub(crate) bridge: Bridge,
    pub(crate) outside: Outside,
    pub(crate) done: mpsc::Receiver<Done>,
    pub(crate) finish: mpsc::SyncSender<Done>,
    pub(crate) model: Model,
    pub(crate) drafts: Drafts,
    pub(crate) title: String,
    /// What the person's attention was called to.
    pub(crate) attention: Attention,
    /// The node lives in this process and ends with the window.
    pub(crate) own_node: bool,
    /// The window may close now.
    pub(crate) closing: bool,
    /// The node goes on without the window until it has nothing to do.
    pub(crate) behind: bool,
    /// That the node has ended was said.
    pub(crate) over: bool,
    /// Our node ends so that it begins anew, as somebody else to others.
    pub(crate) renewing: bool,
}

impl App {
    /// A window for this node. Sets the look of `ctx`.
    pub fn new(ctx: &Context, node: NodeHandle, outside: Outside) -> Self {
        theme::apply(ctx);
        // Quitting is ours: it may have to ask first.
        ctx.options_mut(|o| o.quit_shortcuts.clear());
        let (bridge, first) = Bridge::new(node, ctx);
        let (finish, done) = mpsc::sync_channel(DONE_MAX);
        let attention = Attention::beginning_with(&first);
        let own_node = first.me.pid == std::process::id();
        let mut model = Model::new(first);
        model.takes_drops = !matches!(outside.drops, Drops::None);
        Self {
            ctx: ctx.clone(),
            own_node,
            bridge,
            outside,
            done,
            finish,
            model,
            drafts: Drafts::default(),
            title: String::new(),
            attention,
            closing: false,
            behind: false,
            over: false,
            renewing: false,
        }
    }

    /// Whether the node has ended, and the window goes on: it was another process's, or is to begin
    /// anew.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.over && (!self.own_node || self.renewing) && !self.closing
    }

    /// Goes on with another node. What the person has begun here stays.
    pub(crate) fn change_node(&mut self, node: NodeHandle) {
        // What the last one owed comes back as failed.
        self.take_replies();
        let (bridge, first) = Bridge::new(node, &self.ctx);
        self.bridge = bridge;
        self.own_node = first.me.pid == std::process::id();
        self.over = false;
        if std::mem::take(&mut self.renewing) {
            let text = "This computer has a new identity. Devices that know it compare the three \
                        words once more.";
            self.model.say(Tone::Ok, text);
        }
        self.model.apply(first, self.ctx.input(|i| i.time));
    }

    /// Shows what the window was opened with. Nothing of it is done: the person decides.
    pub(crate) fn open_with(&mut self, opened: Opened) {
        if let Some(link) = opened.link {
            self.show_link(link);
        }
        if !opened.paths.is_empty() {
            self.look(opened.paths);
        }
        if let Some(about) = opened.about {
            self.come_forward(about);
        }
        if opened.left_out > 0 {
            let text = format!(
                "{} could not be taken over.",
                words::files(opened.left_out as u32)
            );
            self.model.say(Tone::Error, text);
        }
    }

    /// Puts a link where devices are added, for the person to use it.
    fn show_link(&mut self, link: String) {
        let text = match link.parse::<TypedCode>() {
            Ok(_) => {
                "A one-time link is here. Add asks for its files: you see what they are first."
            }
            Err(_) => "A link was opened. Add connects to the device that it is of.",
        };
        self.model.say(Tone::Plain, text);
        self.drafts.peers.typed = link;
        self.model.page = Page::Transfers;
    }

    /// Takes in what has happened since the last frame. Also called while the window is hidden.
    pub fn logic(&mut self, ctx: &Context) {
        let time = ctx.input(|i| i.time);
        self.model.now = (self.outside.now)();
        if let Some(overview) = self.bridge.news() {
            self.model.apply(overview, time);
        }
        if self.bridge.is_over() && !self.over && !self.closing {
            self.over = true;
            if self.own_node && !self.renewing {
                self.model.say(
                    Tone::Error,
                    "PeerConnect has stopped. Close this window and open it again.",
                );
            }
        }
        self.read_texts();
        self.close_delivered(ctx);
        self.read_history();
        self.take_replies();
        while let Ok(done) = self.done.try_recv() {
            self.finished(done);
        }
        for action in input::take(ctx, &self.model, &mut self.drafts) {
            self.act(action);
        }
        self.leave_politely(ctx);
        self.call_attention(ctx);
        self.set_title(ctx);
    }

    /// Draws the window.
    pub fn ui(&mut self, ui: &mut Ui) {
        let mut actions = link_ui(ui, &self.model, &mut self.drafts.link);
        actions.extend(self.leaving_ui(ui));
        let blocked = self.model.link_shown || self.model.leaving;
        // A screen reader can press what lies behind a dialog, so it is switched off.
        ui.add_enabled_ui(!blocked, |ui| self.panels(ui, &mut actions));
        self.model.sought = None;
        input::drop_hint(ui, &self.model, &self.outside.drops, &mut self.drafts);
        for action in actions {
            self.act(action);
        }
    }

    fn panels(&mut self, ui: &mut Ui, actions: &mut Vec<Action>) {
        let p = theme::of(ui);
        let frame = |fill, x, y| {
            Frame::new()
                .fill(fill)
                .inner_margin(Margin::symmetric(x, y))
        };
        let (model, drafts) = (&self.model, &mut self.drafts);
        // What is not drawn is no place to drop on.
        drafts.peers.begin(model);
        drafts.transfers.begin(model);
        Panel::top("head")
            .frame(frame(p.panel, 18, 12))
            .show(ui, |ui| actions.extend(top_ui(ui, model, &mut drafts.top)));
        if has_news(model) {
            let height = ui.available_height() * 0.5;
            Panel::top("news")
                .frame(frame(p.ground, 18, 10))
                .show_separator_line(false)
                .show(ui, |ui| {
                    let cards = ScrollArea::vertical().max_height(height);
                    // As high as the cards are, not as the panel was a frame ago.
                    cards.min_scrolled_height(height).show(ui, |ui| {
                        actions.extend(offers_ui(ui, model, &mut drafts.offers));
                        actions.extend(texts_ui(ui, model, &mut drafts.texts));
                        actions.extend(conflicts_ui(ui, model, &mut drafts.conflicts));
                        actions.extend(notices_ui(ui, model));
                    });
                });
        }
        let narrow = is_narrow(ui);
        if !narrow {
            Panel::left("peers")
                .frame(frame(p.panel, 14, 12))
                .default_size(270.0)
                .size_range(220.0..=380.0)
                .show(ui, |ui| {
                    actions.extend(peers_ui(ui, model, &mut drafts.peers));
                });
        }
        let around = frame(p.ground, 18, 14);
        egui::CentralPanel::default()
            .frame(around.inner_margin(Margin {
                right: BAR,
                ..around.inner_margin
            }))
            .show(ui, |ui| match model.page {
                Page::Transfers => scrolled(ui, |ui| {
                    if narrow {
                        actions.extend(narrow_peers_ui(ui, model, &mut drafts.peers));
                        ui.add_space(10.0);
                    }
                    actions.extend(codes_ui(ui, model));
                    actions.extend(staged_ui(ui, model, &mut drafts.staged));
                    ui.add_space(10.0);
                    actions.extend(transfers_ui(ui, model, &mut drafts.transfers));
                }),
                Page::History => actions.extend(history_ui(ui, model, &mut drafts.history)),
                Page::Settings => scrolled(ui, |ui| {
                    actions.extend(settings_ui(ui, model, &mut drafts.settings));
                }),
                Page::Check => scrolled(ui, |ui| {
                    actions.extend(check_ui(ui, model, &mut drafts.check));
                }),
                Page::About => scrolled(ui, |ui| {
                    actions.extend(about_ui(ui, model, &mut drafts.about));
                }),
                Page::Keys => scrolled(ui, |ui| actions.extend(keys_ui(ui))),
            });
    }

    /// Carries out what a person did.
    pub(crate) fn act(&mut self, action: Action) {
        let model = &mut self.model;
        match action {
            Action::Ask(command, about) => self.ask(command, about),
            Action::Pick(what, whose) => self.pick(what, whose),
            Action::Stage(paths) => self.look(paths),
            Action::Pasted(paths, text) => self.look_or_write(paths, text),
            Action::Write(text) => self.write_on(&text),
            Action::StagePicture(picture) => self.stage_picture(picture),
            Action::Say(tone, text) => model.say(tone, text),
            Action::Unstage(place) => model.unstage(place),
            Action::UnstageAll => model.staged.clear(),
            Action::Choose(peer, on) => put(&mut model.chosen, peer, on),
            Action::ChooseGroup(name, on) => self.choose_group(&name, on),
            Action::MakeGroup(name) => self.make_group(name),
            Action::RenameGroup(old, new) => self.rename_group(old, new),
            Action::Send => self.send(),
            Action::SendWhenOnline(who) => self.send_when_online(who),
            Action::SendWithCode => self.send_with_code(),
            Action::Text(action) => self.act_on_text(action),
            Action::Attach(transfer) => self.attach(transfer),
            Action::ShowTyped(link) => self.show_link(link),
            Action::AddPeer(text) => {
                model.adding = true;
                self.ask(crate::asking::adding(text), About::AddPeer);
            }
            Action::Select(transfer) => model.selected = Some(transfer),
            Action::Unfold(transfer, true) => {
                model.unfolded.insert(transfer, Pages::default());
            }
            Action::Unfold(transfer, false) => {
                model.unfolded.remove(&transfer);
            }
            Action::Detail(transfer, on) => put(&mut model.detailed, transfer, on),
            Action::LookForRoom(transfer, folder) => self.look_for_room(transfer, folder),
            Action::ChangeFolder => self.drafts.top.change_folder(model),
            Action::Spread(session, on) => put(&mut model.spread, session, on),
            Action::NeedPage(transfer, page) => self.need_page(transfer, page),
            Action::DoubtCancel(transfer) => model.doubt = transfer,
            Action::DoubtIdentity(transfer) => model.doubt_identity = transfer,
            Action::Copy(text) => {
                self.ctx.copy_text(text);
                model.say(Tone::Ok, "Copied. Send it to the other person.");
            }
            Action::ShowLink(shown) => model.link_shown = shown,
            Action::Check(call) => self.check(call),
            Action::ChangeMenu(change) => self.change_menu(change),
            Action::Show(page) => self.turn_to(page),
            Action::LookFor(query) => model.history.look_for(&query),
            Action::ForgetHistory => model.history.forget(),
            Action::SendFromHistory(place) => self.send_from_history(place),
            Action::OpenFile(path) => self.show(path),
            Action::ShowFolder(folder, name) => self.reveal(folder, name),
            Action::Open(transfer) => {
                let query = FileQuery::Range { from: 0, count: 1 };
                let rows = Command::Files { transfer, query };
                self.ask(rows, About::Open(transfer));
            }
            Action::Dismiss(number) => model.notices.retain(|n| n.number != number),
            Action::DismissNode(text) => {
                model.dismissed.insert(text);
            }
            Action::DismissMissed => model.missed_read = true,
            Action::Leave => self.ctx.send_viewport_cmd(ViewportCommand::Close),
            Action::Left(how) => self.leave(how),
        }
    }

    /// Sends what is staged to all chosen devices; the text, if nothing is staged.
    fn send(&mut self) {
        let chosen: Vec<Who> = self.model.chosen_devices().map(|d| d.who).collect();
        if chosen.is_empty() {
            return;
        }
        if self.model.staged.is_empty() {
            self.send_written();
            return;
        }
        let paths = self.take_staged();
        self.act(sending(chosen, paths));
        self.model.chosen.clear();
    }

    fn send_when_online(&mut self, who: Who) {
        let paths = self.take_staged();
        let command = Command::SendWhenOnline {
            to: who.into(),
            paths: paths.clone(),
        };
        self.ask(command, About::Send(paths));
        self.model.chosen.remove(&who);
    }

    fn send_with_code(&mut self) {
        let paths = self.take_staged();
        let command = Command::Code(CodeCommand::Send {
            paths: paths.clone(),
        });
        self.ask(command, About::Send(paths));
    }

    fn take_staged(&mut self) -> Vec<PathBuf> {
        let staged = std::mem::take(&mut self.model.staged);
        staged.into_iter().map(|s| s.path).collect()
    }

    fn attach(&mut self, transfer: TransferId) {
        if !self.model.staged.is_empty() {
            let paths = self.take_staged();
            let command = Command::Attach {
                transfer,
                paths: paths.clone(),
            };
            self.ask(command, About::Send(paths));
        }
    }

    fn need_page(&mut self, transfer: TransferId, page: u32) {
        let time = self.ctx.input(|i| i.time);
        let model = &mut self.model;
        if let (Some(t), Some(pages)) = (
            model.overview.transfer(transfer),
            model.unfolded.get_mut(&transfer),
        ) {
            pages.asked(page, t, time);
            let query = FileQuery::Range {
                from: page * PAGE,
                count: PAGE,
            };
            self.ask(
                Command::Files { transfer, query },
                About::Page(transfer, page),
            );
        }
    }
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        Self::logic(self, ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        Self::ui(self, ui);
    }

    fn on_exit(&mut self, _gl: Option<&eframe::glow::Context>) {
        self.end();
    }
}
