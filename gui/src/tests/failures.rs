//! What can be done about transfers that failed, and what stands behind a failure.

use egui_kittest::kittest::Queryable;
use peerconnect::fault::Fault;
use peerconnect::net::link::{PathInfo, PathKind};
use peerconnect::node::api::{Again, Command, Reply};
use peerconnect::protocol::message::{DeclineReason, Room, Scope, SinkFault, TransferId};
use peerconnect::transfer::state::TransferState;
use peerconnect::transfer::status::TransferSnapshot;

use super::Stage;
use crate::model::Page;
use crate::samples;

const SUBJECT: &str = "holiday.mp4, a.pdf and 1 more to Living-room PC";

fn peer() -> String {
    "Living-room PC".to_owned()
}

fn failed(fault: Fault) -> TransferSnapshot {
    TransferSnapshot {
        state: TransferState::Failed,
        fault: Some(fault),
        ..samples::sending()
    }
}

#[test]
fn where_the_network_is_in_the_way_it_can_be_checked() {
    let reason = DeclineReason::Person;
    for (fault, checks) in [
        (Fault::no_route(peer()), true),
        (Fault::PeerOffline { peer: peer() }, true),
        (
            Fault::PeerFirewall {
                peer: peer(),
                port: 3485,
            },
            true,
        ),
        (
            Fault::Declined {
                peer: peer(),
                reason,
            },
            false,
        ),
    ] {
        // Somebody is connected: the list of devices has no such button.
        let peers = vec![samples::trusted("Kitchen")];
        let mut stage = Stage::with(peers, vec![failed(fault.clone())]);
        let again = if checks { "Try again" } else { "Send again" };
        assert!(stage.find(again).is_some(), "{fault:?}");
        let offered = stage.find("Check my network").is_some();
        assert_eq!(offered, checks, "{fault:?}");
        if checks {
            stage.click("Check my network");
            let app = stage.window.state().app.as_ref().unwrap();
            assert_eq!(app.model.page, Page::Check);
        }
    }
}

/// A window with one transfer that failed like this.
fn stage(fault: Fault) -> Stage {
    Stage::with(vec![samples::trusted("Kitchen")], vec![failed(fault)])
}

fn again(what: Again) -> Command {
    let transfer = samples::sending().id;
    Command::SendAgain { transfer, what }
}

/// What has failed goes from the window once it is sent anew.
fn goes_when_the_new_one_is_there(stage: &mut Stage) {
    let id = TransferId([9; 16]);
    stage.reply(Ok(Reply::Transfer {
        id,
        attached: false,
    }));
    let old = samples::sending().id;
    assert_eq!(stage.command(), Command::Dismiss(old));
    let what = "such transfer".into();
    stage.reply(Err(Fault::NotFound { what }));
    assert!(!stage.says("There is no such transfer"), "it may be gone");
}

#[test]
fn whoever_is_not_reached_is_tried_again_waited_for_or_lets_itself_in() {
    let offline = || Fault::PeerOffline { peer: peer() };
    let firewall = || Fault::PeerFirewall {
        peer: peer(),
        port: 3485,
    };
    for (fault, button, what) in [
        (offline(), "Try again", Again::All),
        (offline(), "Send when online", Again::WhenOnline),
        (firewall(), "Try again", Again::All),
        (
            firewall(),
            "Let Living-room PC connect to me",
            Again::WhenOnline,
        ),
        (Fault::no_route(peer()), "Try again", Again::All),
        (
            Fault::no_route(peer()),
            "Send when online",
            Again::WhenOnline,
        ),
    ] {
        let mut stage = stage(fault);
        stage.click(button);
        assert_eq!(stage.command(), again(what));
        goes_when_the_new_one_is_there(&mut stage);
    }
    let refused = Fault::Invalid { why: "no".into() };
    let mut stage = stage(offline());
    stage.click("Try again");
    stage.commands();
    stage.reply(Err(refused));
    assert!(stage.commands().is_empty(), "there is no new one");
    let known = samples::trusted("Living-room PC");
    let stage = Stage::with(vec![known], vec![failed(offline())]);
    assert!(stage.says("Last seen 12 min ago."));
}

#[test]
fn who_waits_to_be_connected_to_says_so() {
    let t = TransferSnapshot {
        state: TransferState::Connecting,
        fault: Some(Fault::PeerFirewall {
            peer: peer(),
            port: 3485,
        }),
        ..samples::sending()
    };
    let stage = Stage::with(vec![], vec![t]);
    assert!(stage.says("Waiting until Living-room PC connects."));
}

#[test]
fn a_device_with_another_key_is_trusted_after_its_words_were_compared() {
    let fault = || Fault::IdentityChanged {
        peer: peer(),
        got: Some(samples::peer("new key").id),
    };
    // It does not answer any more: there is nothing to compare.
    let mut alone = stage(fault());
    assert!(alone.find("They match – trust it").is_none());
    alone.click("Try again");
    assert_eq!(alone.command(), again(Again::All));

    let mut other = samples::peer("new key");
    other.connected = true;
    other.words = Some("river copper nine".into());
    let both = || Stage::with(vec![other.clone()], vec![failed(fault())]);
    let mut stage = both();
    assert!(stage.says("This is not the Living-room PC you know."));
    let three = "read you the three words: here river\u{a0}·\u{a0}copper\u{a0}·\u{a0}nine.";
    assert!(stage.says(three));
    stage.click("They match – trust it");
    let transfer = samples::sending().id;
    let key = other.id;
    assert_eq!(stage.command(), Command::TrustInstead { transfer, key });
    goes_when_the_new_one_is_there(&mut stage);

    let mut stage = both();
    stage.click("Cancel");
    assert_eq!(stage.command(), Command::Dismiss(transfer));
}

#[test]
fn an_old_version_in_place_of_a_device_gets_something_only_when_somebody_says_so() {
    let fault = Fault::Version {
        peer: peer(),
        peer_is_newer: Some(false),
        original: Some("legacy:192.168.1.30".into()),
    };
    let mut stage = stage(fault);
    assert!(stage.says("Living-room PC runs an older PeerConnect."));
    assert!(stage.says("without encryption and without resume"));
    assert!(stage.find("Send again").is_none());
    stage.click("Send unencrypted this time");
    assert_eq!(stage.command(), again(Again::Unencrypted));
    stage.click("Cancel");
    let transfer = samples::sending().id;
    assert_eq!(stage.command(), Command::Dismiss(transfer));
    let newer = Fault::Version {
        peer: peer(),
        peer_is_newer: Some(true),
        original: None,
    };
    let stage = super::failures::stage(newer);
    assert!(stage.find("Send unencrypted this time").is_none());
}

#[test]
fn a_computer_with_the_same_key_is_told_apart_by_a_new_one() {
    let mut stage = stage(Fault::SameIdentity { peer: peer() });
    assert!(stage.says("Another computer has the same identity as this one."));
    stage.click("Make a new identity");
    assert!(stage.says("Devices that trust this computer ask again."));
    assert!(!stage.says("Transfers on their way are paused"));
    stage.click("Keep this one");
    assert!(!stage.says("Devices that trust this computer ask again."));
    assert!(stage.commands().is_empty());
    stage.click("Make a new identity");
    stage.click("Make it and start anew");
    assert_eq!(stage.command(), Command::NewIdentity);
    stage.reply(Ok(Reply::Done));
    assert_eq!(stage.command(), Command::Shutdown);
}

#[test]
fn whoever_makes_a_new_identity_knows_what_is_paused() {
    let failed = failed(Fault::SameIdentity { peer: peer() });
    let mut stage = Stage::with(vec![], vec![failed, samples::receiving(2)]);
    stage.click("Make a new identity");
    assert!(stage.says("Transfers on their way are paused"));
    // It was somebody else's node: it has to be started anew there.
    let mut stage = stage_of_a_command(Fault::SameIdentity { peer: peer() });
    stage.click("Make a new identity");
    stage.click("Make it and start anew");
    stage.command();
    stage.reply(Ok(Reply::Done));
    assert!(stage.commands().is_empty());
    assert!(stage.says("End PeerConnect where it runs and start it again"));
}

/// The same on the node of a command that runs elsewhere.
fn stage_of_a_command(fault: Fault) -> Stage {
    let mut overview = (*samples::overview(vec![], vec![failed(fault)])).clone();
    overview.me.pid += 1;
    Stage::new(overview.into())
}

#[test]
fn an_offer_that_nobody_answers_can_be_withdrawn() {
    let t = TransferSnapshot {
        state: TransferState::AwaitingAnswer,
        accepted: false,
        bytes_done: 0,
        ..samples::sending()
    };
    let overview = || samples::overview(vec![], vec![t.clone()]);
    let mut stage = Stage::new(overview());
    assert!(stage.find("Withdraw").is_none(), "it was asked just now");
    stage.wait(130);
    stage.publish(overview());
    assert!(stage.says("Nobody has answered for 2 min. The offer stays open."));
    stage.wait(200);
    stage.publish(overview());
    assert!(stage.says("Nobody answered on Living-room PC for 5 min."));
    assert!(stage.says("The offer stays open for 24 h, unless it is set otherwise there."));
    assert!(!stage.says("Waiting for Living-room PC to accept"));
    stage.click("Withdraw");
    let (transfer, scope) = (t.id, Scope::Transfer);
    assert_eq!(stage.command(), Command::Cancel { transfer, scope });
    // Something else holds it up.
    let room = Room::NotWritable;
    let t = TransferSnapshot {
        fault: Some(Fault::PeerRoom { peer: peer(), room }),
        ..t
    };
    stage.publish(samples::overview(vec![], vec![t]));
    assert!(!stage.says("Nobody has answered"));
}

#[test]
fn what_was_declined_is_sent_again() {
    for reason in [DeclineReason::Person, DeclineReason::NoAnswer] {
        let peer = peer();
        let t = TransferSnapshot {
            state: TransferState::Rejected,
            ..failed(Fault::Declined { peer, reason })
        };
        let mut stage = Stage::with(vec![], vec![t]);
        stage.click("Send again");
        assert_eq!(stage.command(), again(Again::All));
    }
}

#[test]
fn a_file_that_did_not_arrive_is_explained_with_what_can_be_done() {
    let sent = samples::without(samples::sending(), &[SinkFault::Damaged]);
    let mut stage = Stage::with(vec![], vec![sent]);
    assert!(stage.says("Delivered to Living-room PC · 2 files"));
    assert!(stage.says("\"file 0\" doesn't arrive intact. The same part was wrong 3 times"));
    stage.click("Try this file again");
    assert_eq!(stage.command(), again(Again::Failed));

    let mut got = samples::without(samples::receiving(2), &[SinkFault::CannotWrite]);
    got.fault = Some(Fault::CannotWrite {
        path: "/srv/inbox/file 0".into(),
        why: "no permission (you are \"user\", folder belongs to \"root\")".into(),
    });
    let mut stage = Stage::with(vec![], vec![got]);
    assert!(stage.says("2 files arrived and verified"));
    assert!(stage.says("you are \"user\", folder belongs to \"root\""));
    assert!(stage.find("Show in folder").is_some());
    stage.click("Choose another folder");
    assert!(stage.field("Save received files in").value().is_some());
}

#[test]
fn where_a_folder_cannot_be_written_another_one_is_chosen() {
    for fault in [
        Fault::CannotWrite {
            path: "/srv/inbox".into(),
            why: "no permission".into(),
        },
        Fault::DiskFull {
            folder: "/srv/inbox".into(),
            needed: 2,
            free: 1,
        },
    ] {
        let t = TransferSnapshot {
            state: TransferState::Failed,
            fault: Some(fault),
            ..samples::receiving(2)
        };
        let mut stage = Stage::with(vec![], vec![t]);
        stage.click("Choose another folder");
        let field = stage.field("Save received files in");
        assert_eq!(field.value().as_deref(), Some("/srv/Downloads/PeerConnect"));
    }
}

#[test]
fn what_stands_behind_a_failure_is_shown_and_copied_when_it_is_wanted() {
    let mut t = failed(Fault::no_route(peer()));
    t.path = Some(PathInfo {
        kind: PathKind::Relay,
        addr: None,
        rtt: None,
    });
    let mut stage = Stage::with(vec![], vec![t.clone()]);
    assert!(!stage.says("no-route"));
    stage.click(&format!("Details of {SUBJECT}"));
    let key = t.peer.unwrap().key().unwrap();
    for fact in [
        "code      no-route".to_owned(),
        t.id.to_string(),
        key.to_string(),
        "through a relay, encrypted".to_owned(),
        "412 MB in 4 s".to_owned(),
    ] {
        assert!(stage.says(&fact), "{fact}");
    }
    stage.click("Copy details");
    assert!(stage.says("Copied."));
    stage.click(&format!("Hide details of {SUBJECT}"));
    assert!(!stage.says("no-route"));
    let running = Stage::with(vec![], vec![samples::sending()]);
    assert!(running.window.query_by_label_contains("Details").is_none());
}
