//! What can be set. Everything holds at once, or says that it will after the next start; what
//! makes no sense is said beside its field and changes nothing.

use std::time::Duration;

use egui::{Key, Label, Margin, TextEdit, ThemePreference, Ui, Vec2, vec2};
use peerconnect::config::{
    Announce, ConflictPolicy, Dht, LegacyMode, LegacyUnanswered, PassOn, PortMapping, Setting,
    Settings, parse_bytes, typed_relays,
};
use peerconnect::net::relay::{RelayStanding, RelayState};
use peerconnect::node::api::Command;
use peerconnect::text::bytes;

use crate::look;
use crate::menu::{Entry, MenuChange};
use crate::model::{self, About, Action, Model, Whose};
use crate::outside::Pick;
use crate::page_ui::{choice, head, row, section};
use crate::theme::{self, Tone};
use crate::words;

/// What is being typed here, by the keys of the settings.
#[derive(Debug, Default)]
pub(crate) struct SettingsDraft {
    typing: Option<(&'static str, String)>,
    wrong: Option<(&'static str, String)>,
}

/// Everything that a control needs.
struct Page<'a> {
    model: &'a Model,
    draft: &'a mut SettingsDraft,
    actions: Vec<Action>,
}

/// The whole page.
pub(crate) fn settings_ui(ui: &mut Ui, model: &Model, draft: &mut SettingsDraft) -> Vec<Action> {
    let mut actions = Vec::new();
    head(ui, "Settings", &mut actions, |ui, actions| {
        if theme::small(ui, "About and log").clicked() {
            actions.push(Action::Show(model::Page::About));
        }
    });
    let mut page = Page {
        model,
        draft,
        actions,
    };
    section(ui, "This computer", |ui| page.computer(ui));
    section(ui, "Receiving", |ui| page.receiving(ui));
    section(ui, "Sending", |ui| page.sending(ui));
    section(ui, "Network", |ui| page.network(ui));
    section(ui, "Old versions (1.x, not encrypted)", |ui| page.old(ui));
    section(ui, "This window", |ui| page.window(ui));
    ui.add_space(8.0);
    page.actions
}

impl Page<'_> {
    fn settings(&self) -> &Settings {
        &self.model.overview.chosen.settings
    }

    fn set(&mut self, setting: Setting) {
        self.draft.wrong = None;
        self.actions
            .push(Action::Ask(Command::Set(setting), About::Nothing));
    }

    fn computer(&mut self, ui: &mut Ui) {
        let name = self.settings().name.clone();
        row(ui, "Name", "What others see.", |ui| {
            if let Some(name) = self.field(ui, ("name", "Name"), name, "") {
                self.name(name);
            }
            self.below(ui, "name");
        });
        let folder = self.settings().folder.to_string_lossy().into_owned();
        row(ui, "Download folder", "Where received files go.", |ui| {
            let typed = self.field(ui, ("folder", "Download folder"), folder, "");
            match typed.map(|text| words::typed_path(&text).ok_or(text)) {
                Some(Ok(path)) => self.set(Setting::Folder(path)),
                Some(Err(text)) => {
                    self.keep("folder", text, "Type the whole path, from / or ~.");
                }
                None => {}
            }
            ui.add_enabled_ui(!self.model.picking, |ui| {
                let choose = theme::small(ui, "Choose…");
                let choose = choose.accessible_name("Choose the download folder");
                if choose.clicked() {
                    self.actions.push(Action::Pick(Pick::Target, Whose::Mine));
                }
            });
            self.below(ui, "folder");
        });
    }

    fn receiving(&mut self, ui: &mut Ui) {
        let note =
            "This is about other content under that name. What is equal is never taken twice.";
        row(ui, "When a name is taken", note, |ui| {
            let mut options = vec![
                (ConflictPolicy::Rename, "Keep both"),
                (ConflictPolicy::Ask, "Ask me"),
                (ConflictPolicy::Skip, "Skip"),
                (ConflictPolicy::Overwrite, "Replace"),
            ];
            let now = self.settings().on_conflict;
            // For scripts: nobody chooses it here.
            if now == ConflictPolicy::Fail {
                options.push((now, "Refuse"));
            }
            if let Some(policy) = choice(ui, "When a name is taken", now, &options) {
                self.set(Setting::OnConflict(policy));
            }
        });
        let note = "How long files that are offered to you stay open.";
        row(ui, "Time to answer", note, |ui| {
            let now = self.settings().answer_timeout;
            let mut options = vec![
                (Duration::from_secs(60), "1 min".to_owned()),
                (Duration::from_secs(300), "5 min".to_owned()),
                (Duration::from_secs(1800), "30 min".to_owned()),
                (Duration::from_secs(14_400), "4 h".to_owned()),
                (Duration::from_secs(86_400), "24 h".to_owned()),
            ];
            if options.iter().all(|(time, _)| *time != now) {
                let own = peerconnect::text::duration(now.as_secs());
                options.push((now, own));
            }
            let options: Vec<(Duration, &str)> = options
                .iter()
                .map(|(time, name)| (*time, name.as_str()))
                .collect();
            if let Some(time) = choice(ui, "Time to answer", now, &options) {
                self.set(Setting::AnswerTimeout(time));
            }
        });
    }

    fn sending(&mut self, ui: &mut Ui) {
        let note = "For all sending together. Empty for none.";
        row(ui, "Speed limit", note, |ui| {
            let limit = self.settings().rate_limit;
            let now = limit.map_or(String::new(), |rate| format!("{}/s", bytes(rate)));
            if let Some(text) = self.field(ui, ("rate_limit", "Speed limit"), now, "no limit") {
                match parse_limit(&text) {
                    Ok(limit) => self.set(Setting::RateLimit(limit)),
                    Err(why) => self.keep("rate_limit", text, &why),
                }
            }
            self.below(ui, "rate_limit");
        });
        let note = "When several get the same files at once, this computer passes on what it has.";
        row(ui, "Help others", note, |ui| {
            let options = [
                (PassOn::Local, "In this network"),
                (PassOn::Always, "Always"),
                (PassOn::Never, "Never"),
            ];
            if let Some(pass_on) = choice(ui, "Help others", self.settings().pass_on, &options) {
                self.set(Setting::PassOn(pass_on));
            }
        });
    }

    fn network(&mut self, ui: &mut Ui) {
        let note = "Without it, nothing is sent into the network, and nobody is found by itself.";
        row(ui, "Show this computer nearby", note, |ui| {
            let options = [(Announce::All, "On"), (Announce::Never, "Off")];
            let what = "Show this computer nearby";
            if let Some(announce) = choice(ui, what, self.settings().announce, &options) {
                self.set(Setting::Announce(announce));
            }
            self.below(ui, "announce");
        });
        let note = "UDP. What a firewall must let in; 0 for any free one.";
        row(ui, "Port", note, |ui| {
            let now = self.settings().port.to_string();
            if let Some(text) = self.field(ui, ("port", "Port"), now, "") {
                match text.trim().parse() {
                    Ok(port) => self.set(Setting::Port(port)),
                    Err(_) => self.keep("port", text, "A port is a number up to 65535."),
                }
            }
            self.below(ui, "port");
        });
        let note = "By PCP, NAT-PMP or UPnP, so that people elsewhere reach you without a relay.";
        row(ui, "Port at the router", note, |ui| {
            let options = [(PortMapping::On, "On"), (PortMapping::Off, "Off")];
            let now = self.settings().port_mapping;
            if let Some(mapping) = choice(ui, "Port at the router", now, &options) {
                self.set(Setting::PortMapping(mapping));
            }
        });
        let note = "Finds people elsewhere by their keys alone, and lets those find you who have \
                    your link, in the DHT of BitTorrent. Its strangers see your address, not who \
                    you are.";
        row(ui, "Find people anywhere", note, |ui| {
            let options = [(Dht::On, "On"), (Dht::Off, "Off")];
            let now = self.settings().dht;
            if let Some(dht) = choice(ui, "Find people anywhere", now, &options) {
                self.set(Setting::Dht(dht));
            }
        });
        self.relays(ui);
        let note = "What works here, and what to do about the rest.";
        row(ui, "Trouble to connect?", note, |ui| {
            if theme::small(ui, "Check my network").clicked() {
                self.actions.push(Action::Show(model::Page::Check));
            }
        });
    }

    fn relays(&mut self, ui: &mut Ui) {
        let note = "For people who cannot reach this computer: the link that a relay prints. It \
                    cannot read what is sent.";
        row(ui, "Relays", note, |ui| {
            let relays = &self.settings().relays;
            let now = match relays.is_empty() {
                true => String::new(),
                false => typed_relays(relays),
            };
            if let Some(text) = self.field(ui, ("relays", "Relays"), now, "none") {
                match Setting::parse("relays", &text) {
                    Ok(relays) => self.set(relays),
                    Err(_) => {
                        let why = "Paste one link or two, as a relay prints them.";
                        self.keep("relays", text, why);
                    }
                }
            }
            self.below(ui, "relays");
            for standing in &self.model.overview.me.relays {
                let (tone, text) = standing_words(standing);
                ui.label(theme::note(ui, tone, text));
            }
        });
    }

    fn old(&mut self, ui: &mut Ui) {
        let note = "Nothing of theirs is ever taken without a question.";
        row(ui, "Talk to old versions", note, |ui| {
            let options = [
                (LegacyMode::On, "Yes"),
                (LegacyMode::ReceiveOnly, "Only receive"),
                (LegacyMode::Off, "No"),
            ];
            let now = self.settings().legacy;
            if let Some(mode) = choice(ui, "Talk to old versions", now, &options) {
                self.set(Setting::Legacy(mode));
            }
            self.below(ui, "legacy");
        });
        let note = "Old versions wait 4 seconds for your answer.";
        row(ui, "If you do not answer", note, |ui| {
            let options = [
                (LegacyUnanswered::Hold, "Keep it aside"),
                (LegacyUnanswered::Decline, "Decline"),
            ];
            let now = self.settings().legacy_unanswered;
            if let Some(what) = choice(ui, "If you do not answer", now, &options) {
                self.set(Setting::LegacyUnanswered(what));
            }
        });
    }

    /// A field for a setting; what was typed, when that is finished and something else.
    fn field(
        &mut self,
        ui: &mut Ui,
        (key, name): (&'static str, &str),
        now: String,
        hint: &str,
    ) -> Option<String> {
        let typing = self
            .draft
            .typing
            .as_ref()
            .filter(|(typed, _)| *typed == key);
        let mut text = typing.map_or_else(|| now.clone(), |(_, text)| text.clone());
        let field = TextEdit::singleline(&mut text)
            .hint_text(theme::note(ui, Tone::Weak, hint))
            .margin(Margin::symmetric(8, 5))
            .desired_width((ui.available_width() - 90.0).clamp(120.0, 280.0));
        let field = ui.add(field).accessible_name(name);
        if field.changed() {
            self.draft.typing = Some((key, text.clone()));
        }
        if !field.lost_focus() {
            return None;
        }
        self.draft.typing.take_if(|(typed, _)| *typed == key)?;
        self.draft.wrong = None;
        let kept = !ui.input(|i| i.key_pressed(Key::Escape)) && text != now;
        kept.then_some(text)
    }

    fn name(&mut self, name: String) {
        let setting = Setting::Name(name.clone());
        match setting.check() {
            Ok(()) => self.set(setting),
            Err(_) => self.keep("name", name, "A name has one to 128 bytes."),
        }
    }

    /// What was typed stays to be corrected.
    fn keep(&mut self, key: &'static str, text: String, why: &str) {
        self.draft.typing = Some((key, text));
        self.draft.wrong = Some((key, why.to_owned()));
    }

    /// What must be said about a setting.
    fn below(&self, ui: &mut Ui, key: &str) {
        let wrong = self.draft.wrong.as_ref();
        let waits = self.model.overview.chosen.after_restart.iter();
        let (tone, text) = match wrong.filter(|(wrong, _)| *wrong == key) {
            Some((_, why)) => (Tone::Error, why.as_str()),
            None if waits.into_iter().any(|waits| waits == key) => {
                (Tone::Warn, "Holds after the next start of PeerConnect.")
            }
            None => return,
        };
        ui.end_row();
        ui.add(Label::new(theme::note(ui, tone, text)).wrap());
    }
}

/// How it stands with a relay.
fn standing_words(standing: &RelayStanding) -> (Tone, String) {
    let id = standing.relay.id.short();
    match standing.state {
        RelayState::Udp(_) => (Tone::Weak, format!("{id} is reached.")),
        RelayState::Tcp => {
            let text = format!("{id} is reached by TCP only: UDP is blocked here.");
            (Tone::Weak, text)
        }
        RelayState::Away => (Tone::Warn, format!("{id} is not reached.")),
    }
}

fn parse_limit(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "" | "none" | "no limit" => Ok(None),
        text => parse_bytes(text)
            .map(Some)
            .map_err(|_| "Type bytes per second, such as 500k, 20M or 1.5G.".to_owned()),
    }
}

/// How large everything can be, in percent.
const SCALES: [(u32, &str); 5] = [
    (100, "100 %"),
    (125, "125 %"),
    (150, "150 %"),
    (200, "200 %"),
    (300, "300 %"),
];

/// What a window needs, in points.
const ROOM: Vec2 = vec2(480.0, 400.0);

/// The scales with which everything has its place on this screen; where that is not known, in
/// this window. The one that holds is always among them.
fn scales(ctx: &egui::Context) -> Vec<(u32, &'static str)> {
    let zoom = ctx.zoom_factor();
    let (screen, window) = ctx.input(|i| (i.viewport().monitor_size, i.viewport_rect().size()));
    let room = screen.unwrap_or(window) * zoom;
    let fits = |percent: u32| {
        let least = ROOM * (percent as f32 / 100.0);
        percent == 100 || (least.x <= room.x && least.y <= room.y)
    };
    let now = percent(zoom);
    let all = SCALES.into_iter();
    all.filter(|(scale, _)| fits(*scale) || *scale == now)
        .collect()
}

fn percent(zoom: f32) -> u32 {
    (zoom * 100.0).round() as u32
}

/// Scales everything, and makes the window larger if it has become too small for that.
fn scale(ctx: &egui::Context, percent: u32) {
    let zoom = percent as f32 / 100.0;
    // The new scale holds from the next frame on: this is still said in points of the old one.
    let least = ROOM * (zoom / ctx.zoom_factor());
    let size = ctx.input(|i| i.viewport_rect().size());
    ctx.set_zoom_factor(zoom);
    if size.x < least.x || size.y < least.y {
        ctx.send_viewport_cmd(egui::ViewportCommand::InnerSize(size.max(least)));
    }
}

/// What belongs to this window alone. It is kept with its size.
impl Page<'_> {
    fn window(&mut self, ui: &mut Ui) {
        if self.model.overview.me.pid != std::process::id() {
            self.behind(ui);
        }
        if cfg!(target_os = "linux") {
            self.menu(ui);
        }
        window(ui);
    }

    fn menu(&mut self, ui: &mut Ui) {
        let note = "So that links and files can be opened with PeerConnect.";
        let changes = [MenuChange::Add, MenuChange::Remove];
        let now = self.model.entries.map(|entries| entries.menu);
        self.desktop(ui, "In the applications menu", note, now, changes);
        let note = "Without a window, until somebody sends you something.";
        let changes = [MenuChange::Start, MenuChange::StartNoMore];
        let now = self.model.entries.map(|entries| entries.start);
        self.desktop(ui, "Start with the computer", note, now, changes);
    }

    /// Whoever started it without a window has no other way to end it.
    fn behind(&mut self, ui: &mut Ui) {
        let note = "Another PeerConnect on this computer goes on when this window is closed.";
        row(ui, "Runs in the background", note, |ui| {
            if theme::small(ui, "End it").clicked() {
                let end = Action::Ask(Command::Shutdown, About::Nothing);
                self.actions.push(end);
            }
        });
    }

    /// What the desktop knows about us, as it was found when the page was opened, and how to
    /// change it: to the first or to the second.
    fn desktop(
        &mut self,
        ui: &mut Ui,
        title: &str,
        note: &str,
        now: Option<Entry>,
        [make, remove]: [MenuChange; 2],
    ) {
        row(ui, title, note, |ui| {
            let options = [(Some(Entry::There), "Yes"), (Some(Entry::Missing), "No")];
            if let Some(wanted) = choice(ui, title, now, &options) {
                let change = match wanted {
                    Some(Entry::There) => make,
                    Some(Entry::Missing | Entry::Another) | None => remove,
                };
                self.actions.push(Action::ChangeMenu(change));
            }
            if now == Some(Entry::Another) {
                let text = "There is an entry for another copy of this program.";
                ui.end_row();
                ui.add(Label::new(theme::note(ui, Tone::Warn, text)).wrap());
            }
        });
    }
}

fn window(ui: &mut Ui) {
    row(ui, "Colours", "", |ui| {
        let options = [
            (ThemePreference::System, "As the system"),
            (ThemePreference::Light, "Light"),
            (ThemePreference::Dark, "Dark"),
        ];
        let now = ui.ctx().options(|o| o.theme_preference);
        if let Some(theme) = choice(ui, "Colours", now, &options) {
            ui.ctx().set_theme(theme);
        }
    });
    let note = "While this window is not in front.";
    row(ui, "Notifications", note, |ui| {
        let options = [(true, "On"), (false, "Off")];
        let now = look::notifies(ui.ctx());
        if let Some(on) = choice(ui, "Notifications", now, &options) {
            look::set_notifies(ui.ctx(), on);
        }
    });
    row(ui, "Size of everything", "Or Ctrl and + or -.", |ui| {
        let now = percent(ui.ctx().zoom_factor());
        let scales = scales(ui.ctx());
        if let Some(percent) = choice(ui, "Size", now, &scales) {
            scale(ui.ctx(), percent);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_shown_can_be_typed_again() {
        assert_eq!(parse_limit(" "), Ok(None));
        assert_eq!(parse_limit("20 MB/s"), Ok(Some(20_000_000)));
        assert_eq!(
            parse_limit(&format!("{}/s", bytes(20_000_000))),
            Ok(Some(20_000_000))
        );
        assert!(parse_limit("fast").is_err());
    }
}
