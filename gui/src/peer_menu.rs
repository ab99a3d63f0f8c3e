//! What can be done with one device beside sending: its menu, and what opens below its row.

use egui::{Frame, Margin, Popup, Rect, Response, TextEdit, Ui, pos2};
use peerconnect::node::api::{Command, PeerInfo};
use peerconnect::peer::PeerId;
use peerconnect::storage::store::Accept;
use peerconnect::text::Shown;

use crate::bidi::{AnyScript, read, visual};
use crate::icons::{self, Icon};
use crate::model::{About, Action, Device, Model, Whose};
use crate::outside::Pick;
use crate::peers_ui::PeersDraft;
use crate::theme::{self, Size, Tone};
use crate::top_ui::not_a_path;
use crate::words;

/// The button that opens the menu. Of an old version nothing can be kept, so it has none.
pub(crate) fn more(
    ui: &mut Ui,
    device: &Device<'_>,
    name: &str,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    let key = device.near.and_then(|near| near.key());
    if device.known.is_none() && key.is_none() {
        return;
    }
    let more = icons::button(ui, Icon::More, &format!("More about {name}"));
    match (device.known, key) {
        (Some(peer), _) => menu(&more, peer, draft, actions),
        (None, Some(key)) => stranger_menu(&more, key, actions),
        (None, None) => {}
    }
}

/// An entry of the menu that names the device.
fn entry(ui: &mut Ui, text: &str) -> Response {
    ui.button(visual(text)).accessible_name(read(text))
}

/// What is asked or compared below the row.
pub(crate) fn below(
    ui: &mut Ui,
    model: &Model,
    device: &Device<'_>,
    name: &str,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    let Some(peer) = device.known else {
        return;
    };
    let top = ui.cursor().min;
    folder_form(ui, model, peer, draft, actions);
    forget_form(ui, peer, name, draft, actions);
    if draft.reveal.take_if(|id| *id == peer.id).is_some() {
        let forms = Rect::from_min_max(top, pos2(top.x, ui.cursor().top()));
        ui.scroll_to_rect(forms, None);
    }
    let new = !peer.record.trusted && peer.record.accept != Accept::Block;
    if let Some(three) = peer.words.as_ref().filter(|_| new) {
        compare(ui, peer, &words::three_words(three), name, actions);
    }
}

/// What can be done with a device that is only announced so far.
fn stranger_menu(more: &Response, peer: PeerId, actions: &mut Vec<Action>) {
    Popup::menu(more).show(|ui| {
        let block = ui.button("Never show its questions");
        let block = block.on_hover_text("Nothing that it sends is taken either.");
        if block.clicked() {
            actions.push(block_it(peer));
        }
    });
}

fn block_it(peer: PeerId) -> Action {
    let accept = Accept::Block;
    Action::Ask(Command::Trust { peer, accept }, About::Nothing)
}

fn menu(more: &Response, peer: &PeerInfo, draft: &mut PeersDraft, actions: &mut Vec<Action>) {
    let name = Shown(peer.record.name()).to_string();
    Popup::menu(more).show(|ui| {
        let mut ask = |command| actions.push(Action::Ask(command, About::Nothing));
        let trust = |accept| Command::Trust {
            peer: peer.id,
            accept,
        };
        if ui.button("Rename").clicked() {
            draft.renaming = Some((peer.id, peer.record.name().to_owned()));
        }
        match peer.record.accept {
            Accept::Ask | Accept::Block => {
                if entry(ui, &format!("Always accept from {name}")).clicked() {
                    ask(trust(Accept::Always));
                }
            }
            Accept::Always => {
                if ui.button("Ask each time").clicked() {
                    ask(trust(Accept::Ask));
                }
            }
        }
        if peer.record.accept == Accept::Block {
            if ui.button("Show its questions again").clicked() {
                ask(trust(Accept::Ask));
            }
        } else if ui.button("Never show its questions").clicked() {
            ask(trust(Accept::Block));
        }
        let elsewhere = ui.button("Save its files elsewhere…");
        if elsewhere
            .on_hover_text("A folder for what it sends")
            .clicked()
        {
            let folder = peer
                .folder
                .as_deref()
                .map(|f| f.to_string_lossy().into_owned());
            draft.folder = Some((peer.id, folder.unwrap_or_default()));
            draft.reveal = Some(peer.id);
        }
        if peer.folder.is_some() && ui.button("Save its files with all others").clicked() {
            ask(Command::SetPeerFolder {
                peer: peer.id,
                folder: None,
            });
        }
        ui.separator();
        if entry(ui, &format!("Forget {name}…")).clicked() {
            draft.forgetting = Some(peer.id);
            draft.reveal = Some(peer.id);
        }
    });
}

/// The folder for what a device sends: typed, or chosen in a dialog.
fn folder_form(
    ui: &mut Ui,
    model: &Model,
    peer: &PeerInfo,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    let Some((_, text)) = draft.folder.as_mut().filter(|(id, _)| *id == peer.id) else {
        return;
    };
    let mut close = false;
    let inside = Frame::new().inner_margin(Margin::symmetric(10, 2));
    inside.show(ui, |ui| {
        ui.label(theme::note(ui, Tone::Weak, "Save its files in"));
        let field = TextEdit::singleline(text)
            .hint_text(theme::note(ui, Tone::Weak, "/home/me/From Anna"))
            .desired_width(f32::INFINITY);
        let field = ui.add(field).accessible_name("Save its files in");
        let enter = field.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
        ui.horizontal(|ui| {
            if theme::small(ui, "Save here").clicked() || enter {
                match words::typed_path(text) {
                    Some(folder) => {
                        let (peer, folder) = (peer.id, Some(folder));
                        let set = Command::SetPeerFolder { peer, folder };
                        actions.push(Action::Ask(set, About::Nothing));
                        close = true;
                    }
                    None => actions.push(not_a_path()),
                }
            }
            let choose = ui.add_enabled(!model.picking, egui::Button::new("Choose…"));
            if choose.clicked() {
                actions.push(Action::Pick(Pick::Target, Whose::Peer(peer.id)));
                close = true;
            }
            close |= theme::small(ui, "Cancel").clicked();
        });
    });
    if close {
        draft.folder = None;
    }
}

/// Asks whether a device shall really be forgotten, once that was pressed.
fn forget_form(
    ui: &mut Ui,
    peer: &PeerInfo,
    name: &str,
    draft: &mut PeersDraft,
    actions: &mut Vec<Action>,
) {
    if draft.forgetting != Some(peer.id) {
        return;
    }
    let inside = Frame::new().inner_margin(Margin::symmetric(10, 2));
    inside.show(ui, |ui| {
        let text = "Its name here, its folder and that it is trusted are gone then.";
        ui.lines(theme::note(ui, Tone::Warn, text));
        ui.horizontal_wrapped(|ui| {
            let forget = theme::small(ui, "Forget it");
            if forget.accessible_name(format!("Forget {name}")).clicked() {
                let forget = Command::Forget(peer.id);
                actions.push(Action::Ask(forget, About::Nothing));
                draft.forgetting = None;
            }
            let keep = theme::small(ui, "Keep it");
            if keep.accessible_name(format!("Keep {name}")).clicked() {
                draft.forgetting = None;
            }
        });
    });
}

/// The three words, as long as nobody has said that they match.
fn compare(ui: &mut Ui, peer: &PeerInfo, three: &str, name: &str, actions: &mut Vec<Action>) {
    let inside = Frame::new().inner_margin(Margin::symmetric(10, 2));
    inside.show(ui, |ui| {
        let parts = [
            ("New device: both screens show ", Tone::Weak),
            (three, Tone::Plain),
        ];
        ui.lines(theme::runs(ui, Size::Note, &parts));
        ui.horizontal_wrapped(|ui| {
            let button = theme::small(ui, "They match")
                .on_hover_text("Compare them aloud or side by side: then it is that device.");
            let button = button.accessible_name(format!("They match: trust {name}"));
            if button.clicked() {
                let trust = Command::Trust {
                    peer: peer.id,
                    accept: peer.record.accept,
                };
                actions.push(Action::Ask(trust, About::Nothing));
            }
            let button = theme::small(ui, "They differ")
                .on_hover_text("Then it is another device, and nothing of it is taken.");
            let button = button.accessible_name(format!("They differ: block {name}"));
            if button.clicked() {
                actions.push(block_it(peer.id));
                actions.push(Action::Say(Tone::Warn, words::differ(name)));
            }
        });
    });
}
