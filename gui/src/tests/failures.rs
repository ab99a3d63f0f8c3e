//! What can be done about transfers that failed, and what stands behind a failure.

use egui_kittest::kittest::Queryable;
use peerconnect::fault::Fault;
use peerconnect::net::link::{PathInfo, PathKind};
use peerconnect::protocol::message::DeclineReason;
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
        (Fault::NoRoute { peer: peer() }, true),
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
        assert!(stage.find("Send again").is_some(), "{fault:?}");
        let offered = stage.find("Check my network").is_some();
        assert_eq!(offered, checks, "{fault:?}");
        if checks {
            stage.click("Check my network");
            let app = stage.window.state().app.as_ref().unwrap();
            assert_eq!(app.model.page, Page::Check);
        }
    }
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
    let mut t = failed(Fault::NoRoute { peer: peer() });
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
