//! Pictures of what is seldom seen: every failure, very many files, and the pages in the dark.

use std::sync::Arc;

use egui::Theme;
use egui_kittest::SnapshotResults;
use peerconnect::fault::{Direct, Fault, RelayTried, RouterTried, Tried};
use peerconnect::node::api::{Overview, Reply};
use peerconnect::protocol::message::{DeclineReason, SinkFault};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::{FileState, TransferSnapshot};

use super::{Stage, checks, codes};
use crate::model::{Action, Page};
use crate::pages::PAGE;
use crate::samples;

const SUBJECT: &str = "holiday.mp4, a.pdf and 1 more to Living-room PC";

/// Draws the same in the light and in the dark, under this name.
pub(super) fn both(name: &str, draw: impl Fn(Theme) -> Stage) {
    both_into(&mut SnapshotResults::new(), name, draw);
}

/// As [`both`], for a test that draws more.
pub(super) fn both_into(results: &mut SnapshotResults, name: &str, draw: impl Fn(Theme) -> Stage) {
    for (theme, ending) in [(Theme::Light, ""), (Theme::Dark, "_dark")] {
        let mut stage = draw(theme);
        stage.window.remove_cursor();
        stage.run();
        stage.window.snapshot(format!("{name}{ending}"));
        results.extend(stage.window.take_snapshot_results());
    }
}

pub(super) fn known(transfers: Vec<TransferSnapshot>) -> Arc<Overview> {
    samples::overview(vec![samples::trusted("Living-room PC")], transfers)
}

/// What a sender sees of those that people meet most and that end everything.
fn failures() -> Vec<Fault> {
    let peer = || "Living-room PC".to_owned();
    vec![
        Fault::PeerOffline { peer: peer() },
        Fault::PeerFirewall {
            peer: peer(),
            port: 3485,
        },
        Fault::Version {
            peer: peer(),
            peer_is_newer: Some(false),
            original: Some("legacy:192.168.1.30".into()),
        },
        Fault::IdentityChanged {
            peer: peer(),
            got: Some(samples::peer("new key").id),
        },
        Fault::SameIdentity { peer: peer() },
        Fault::NoRoute {
            peer: peer(),
            tried: Tried {
                direct: Some(Direct::UdpAndTcp),
                relay: Some(RelayTried::NoneSetUp),
                router: Some(RouterTried::Shut),
                ours: Some([192, 168, 1, 7].into()),
            },
        },
    ]
}

/// Those that end an offer.
fn declined() -> Vec<TransferSnapshot> {
    let rejected = |sample, fault| TransferSnapshot {
        state: TransferState::Rejected,
        bytes_done: 0,
        fault: Some(fault),
        ..sample
    };
    let (peer, reason) = ("Living-room PC".to_owned(), DeclineReason::Person);
    let full = Fault::DiskFull {
        folder: "/home/me/Downloads".into(),
        needed: 12_400_000_000,
        free: 3_100_000_000,
    };
    let unwritable = Fault::CannotWrite {
        path: "/srv/inbox".into(),
        why: "no permission".into(),
    };
    vec![
        rejected(samples::numbered(21), Fault::Declined { peer, reason }),
        rejected(samples::receiving(22), full),
        rejected(samples::receiving(23), unwritable),
    ]
}

/// Those that only some of the files meet.
fn incomplete() -> Vec<TransferSnapshot> {
    let (damaged, exists) = (SinkFault::Damaged, SinkFault::Exists);
    let named = |sample, why, path: &str| {
        let mut t = samples::without(sample, &[why]);
        t.failures[0].path = path.into();
        t
    };
    let mut full = named(
        samples::receiving(33),
        SinkFault::CannotWrite,
        "holiday.mp4",
    );
    full.fault = Some(Fault::CannotWrite {
        path: "/media/stick/holiday.mp4".into(),
        why: "the disk was removed".into(),
    });
    let several = [damaged, exists, damaged, damaged, damaged, damaged];
    vec![
        named(samples::numbered(31), damaged, "holiday.mp4"),
        named(samples::receiving(32), exists, "report.pdf"),
        full,
        samples::without(samples::numbered(34), &several),
        samples::without(samples::receiving(35), &several),
    ]
}

#[test]
fn every_failure_says_what_happened_and_what_to_do() {
    both("failures", |theme| {
        let failed = (1..).zip(failures()).map(|(n, fault)| TransferSnapshot {
            state: TransferState::Failed,
            bytes_done: 0,
            fault: Some(fault),
            ..samples::numbered(n)
        });
        let failed = declined().into_iter().chain(failed).chain(incomplete());
        let mut other = samples::peer("new key");
        (other.connected, other.words) = (true, Some("river copper nine".into()));
        let peers = vec![samples::trusted("Living-room PC"), other];
        let overview = samples::overview(peers, failed.collect());
        Stage::sized(overview, [900.0, 2500.0], theme)
    });
}

#[test]
fn ten_thousand_files_unfolded() {
    both("ten_thousand", |theme| {
        let mut t = samples::sending();
        (t.entries, t.files, t.files_done) = (10_000, 10_000, 2_417);
        let mut stage = Stage::sized(known(vec![t]), [900.0, 580.0], theme);
        stage.click(&format!("Show files of {SUBJECT}"));
        stage.commands();
        let mut rows: Vec<_> = (0..PAGE).map(samples::row).collect();
        rows[3].state = FileState::Active;
        rows[3].bytes_done = 1_400_000;
        stage.reply(Ok(Reply::Files(rows)));
        stage
    });
}

#[test]
fn the_link_as_a_code() {
    both("link", |theme| {
        let mut stage = Stage::sized(known(vec![]), [900.0, 580.0], theme);
        stage.click("Show QR code");
        stage
    });
}

#[test]
fn the_page_about_the_program() {
    both("about", |theme| {
        let mut stage = Stage::sized(samples::overview(vec![], vec![]), [900.0, 720.0], theme);
        stage.click("Settings");
        stage.click("About and log");
        stage
    });
}

/// The pages that are drawn at other sizes, each as it is to be seen.
#[derive(Debug, Clone, Copy)]
enum Drawn {
    Settings,
    History,
    Check,
    Code,
}

impl Drawn {
    fn open(self, size: [f32; 2], theme: Theme, pixels_per_point: f32) -> Stage {
        let overview = match self {
            Self::Code => codes::with(Some(codes::waiting(Some("7-river-copper"), 1))),
            Self::Settings | Self::History | Self::Check => known(vec![]),
        };
        let mut stage = Stage::scaled(overview, size, theme, pixels_per_point);
        match self {
            Self::Settings => stage.click("Settings"),
            Self::History => {
                stage.click("History");
                stage.commands();
                let records = (1..=20).map(samples::ended).collect();
                stage.reply(Ok(Reply::History(records)));
            }
            Self::Check => {
                let app = stage.window.state_mut().app.as_mut().unwrap();
                app.act(Action::Show(Page::Check));
                stage.run();
                stage.commands();
                stage.reply(Ok(Reply::Checked(checks::findings())));
            }
            Self::Code => {}
        }
        stage
    }

    /// In the narrowest window, in the light and in the dark.
    fn narrow(self, name: &str, height: f32) {
        both(name, |theme| self.open([480.0, height], theme, 1.0));
    }

    /// On a screen with twice the pixels.
    fn sharp(self, name: &str) {
        let mut stage = self.open([480.0, 480.0], Theme::Light, 2.0);
        stage.window.remove_cursor();
        stage.run();
        stage.window.snapshot(name);
    }
}

#[test]
fn settings_in_the_narrowest_window() {
    Drawn::Settings.narrow("narrow_settings", 600.0);
}

#[test]
fn settings_twice_as_sharp() {
    Drawn::Settings.sharp("settings_2x");
}

#[test]
fn history_in_the_narrowest_window() {
    Drawn::History.narrow("narrow_history", 600.0);
}

#[test]
fn history_twice_as_sharp() {
    Drawn::History.sharp("history_2x");
}

#[test]
fn the_check_in_the_narrowest_window() {
    Drawn::Check.narrow("narrow_check", 720.0);
}

#[test]
fn the_check_twice_as_sharp() {
    Drawn::Check.sharp("check_2x");
}

#[test]
fn a_code_in_the_narrowest_window() {
    Drawn::Code.narrow("narrow_code", 720.0);
}

#[test]
fn a_code_twice_as_sharp() {
    Drawn::Code.sharp("code_2x");
}

#[test]
fn a_running_transfer_shows_how_fast_it_was() {
    both("curve", |theme| {
        let mut t = samples::sending();
        let mut stage = Stage::sized(known(vec![t.clone()]), [900.0, 420.0], theme);
        for n in 1..60u64 {
            t.rate = 60_000_000 + (n * n * 31 % 48) * 1_000_000;
            stage.publish(known(vec![t.clone()]));
        }
        stage
    });
}
