//! One-time codes: asking for one, and the card of one that waits.

use std::sync::Arc;

use egui::{Event, OutputCommand};
use egui_kittest::kittest::Queryable;
use peerconnect::fault::{CodeTrouble, Fault};
use peerconnect::net::relay::{RelayStanding, RelayState};
use peerconnect::node::api::{
    CodeCommand, CodeReach, CodeSnapshot, CodeState, Command, Overview, Presence, Taking,
};
use peerconnect::peer::PeerId;
use peerconnect::protocol::codes::TypedCode;
use peerconnect::protocol::link_uri::{Link, RelayHint};

use super::{Stage, files};
use crate::samples;

pub(super) fn waiting(code: Option<&str>, wrong: u32) -> CodeSnapshot {
    CodeSnapshot {
        code: code.map(str::to_owned),
        wrong,
        names: vec!["holiday".into(), "a.pdf".into()],
        ..samples::code()
    }
}

/// A node with a relay, and with this code.
pub(super) fn with(code: Option<CodeSnapshot>) -> Arc<Overview> {
    let mut overview = Arc::unwrap_or_clone(samples::overview(vec![], vec![]));
    let relay = RelayHint {
        id: PeerId::of_public_key(b"relay"),
        addrs: Vec::new(),
    };
    let state = RelayState::Tcp;
    overview.me.relays = vec![RelayStanding { relay, state }];
    overview.codes = code.into_iter().collect();
    Arc::new(overview)
}

#[test]
fn a_code_for_what_is_staged_can_be_had_where_it_can_be_looked_up() {
    let (_dir, paths) = files(&[("a.txt", 1)]);
    let mut stage = Stage::with(vec![], vec![]);
    stage.drop_files(&[&paths[0]]);
    let hidden = |mut overview: Overview, presence| {
        overview.presence = presence;
        Arc::new(overview)
    };
    let alone = || Arc::unwrap_or_clone(samples::overview(vec![], vec![]));
    stage.publish(hidden(alone(), Presence::Off));
    assert!(stage.find("Get a code").is_none());
    for somewhere in [
        hidden(alone(), Presence::Announce),
        hidden(Arc::unwrap_or_clone(with(None)), Presence::Off),
    ] {
        stage.publish(somewhere);
        assert!(stage.find("Get a code").is_some());
    }
    stage.click("Get a code");
    let paths_sent = paths.clone();
    let send = Command::Code(CodeCommand::Send { paths: paths_sent });
    assert_eq!(stage.command(), send);
    assert!(!stage.says("Ready to send"));
    // What gets none is there again.
    stage.reply(Err(Fault::Code {
        trouble: CodeTrouble::NoWay,
    }));
    assert!(stage.says("Ready to send"));
}

/// A link with a code behind it.
fn one_time_link() -> String {
    let link = Link {
        id: PeerId::of_public_key(b"anna"),
        addrs: vec!["10.0.0.2:3485".parse().unwrap()],
        relays: Vec::new(),
    };
    TypedCode::one_time_link(&link.to_string(), "7-river-copper")
}

#[test]
fn a_one_time_link_is_copied_from_the_card() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.publish(with(Some(waiting(Some("7-river-copper"), 0))));
    stage.window.get_by_label("Copy as a link").click();
    stage.window.step();
    let commands = &stage.window.output().platform_output.commands;
    let link = TypedCode::one_time_link(&samples::me().link, "7-river-copper");
    assert!(commands.contains(&OutputCommand::CopyText(link)));
}

#[test]
fn a_one_time_link_that_is_pasted_is_shown_and_used_only_by_the_person() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.window.event(Event::Paste(one_time_link()));
    stage.run();
    assert!(stage.says("Add asks for its files: you see what they are first"));
    assert!(stage.commands().is_empty());
    stage.click("Add");
    let code = one_time_link();
    let receive = CodeCommand::Receive {
        code,
        taking: Taking::Asked,
    };
    assert_eq!(stage.command(), Command::Code(receive));
}

#[test]
fn a_code_is_shown_as_long_as_it_waits_and_why_it_does_not_any_more() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.publish(with(Some(waiting(None, 0))));
    assert!(stage.says("Looking for a code…"));
    stage.publish(with(Some(waiting(Some("7-river-copper"), 0))));
    assert!(stage.says("7-river-copper"));
    assert!(!stage.says("Somebody typed a wrong code"));
    assert!(!stage.says("in the same network"));
    let nearby = CodeSnapshot {
        reach: CodeReach::Nearby,
        ..waiting(Some("7-river-copper"), 0)
    };
    stage.publish(with(Some(nearby)));
    assert!(stage.says("in the same network"));
    stage.publish(with(Some(waiting(Some("7-lake-moss"), 1))));
    assert!(stage.says("7-lake-moss") && !stage.says("7-river-copper"));
    assert!(stage.says("Somebody typed a wrong code"));
    stage.click("Give the code up");
    let drop = CodeCommand::Drop(samples::sending().id);
    assert_eq!(stage.command(), Command::Code(drop));
    let ended = |fault| CodeSnapshot {
        state: CodeState::Ended(fault),
        ..waiting(None, 5)
    };
    let trouble = CodeTrouble::Guessed;
    stage.publish(with(Some(ended(Fault::Code { trouble }))));
    assert!(!stage.says("7-lake-moss"));
    assert!(stage.says("Somebody typed wrong codes again and again."));
    // What was wanted is no news.
    let mut stage = Stage::with(vec![], vec![]);
    stage.publish(with(Some(waiting(Some("7-lake-moss"), 0))));
    stage.publish(with(Some(ended(Fault::Cancelled))));
    assert!(!stage.says("Cancelled."));
}

#[test]
fn the_card_of_a_code() {
    let mut stage = Stage::with(vec![], vec![]);
    stage.publish(with(Some(waiting(Some("7-river-copper"), 1))));
    stage.window.remove_cursor();
    stage.run();
    stage.window.snapshot("code");
}

#[test]
fn a_code_says_what_to_do_with_it_and_leaves_the_transfers_in_sight() {
    let overview = with(Some(waiting(Some("7-river-copper"), 1)));
    let stage = Stage::sized(overview, [900.0, 500.0], egui::Theme::Light);
    assert!(stage.says("On the other computer: Add a device, and type this"));
    let transfers = stage.window.get_by_label("Transfers").rect();
    assert!(transfers.max.y < 480.0, "{transfers}");
}
