//! How transfers from originals end when it is this program that ends.

use peerconnect::config::ConflictPolicy;
use peerconnect::fault::{Fault, Trouble};
use peerconnect::node::api::{Command, Reply};
use peerconnect::peer::{LegacyPeer, Party};
use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::message::{Outcome, TransferId};
use peerconnect::storage::journal::{Journal, JournalHead, Record};
use peerconnect::storage::store::{HistoryRecord, OutgoingRecord, Store};
use peerconnect::transfer::state::TransferState;

use crate::common::{Shape, Site, content, tree};
use crate::raw::{Raw, files, head};

async fn history(site: &Site) -> Vec<HistoryRecord> {
    match site.call(Command::History { count: 10 }).await {
        Reply::History(records) => records,
        other => panic!("{other:?}"),
    }
}

fn trouble(record: &HistoryRecord) -> Trouble {
    match &record.fault {
        Some(Fault::Original { trouble, .. }) => *trouble,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_nobody_has_taken_is_in_the_history_after_the_end_of_the_program() {
    let shape = Shape {
        accept_unencrypted: false,
        ..Shape::legacy("to")
    };
    let mut site = shape.start();
    let mut raw = Raw::open(&site, files()).await;
    site.until(|o| o.transfers.iter().find(|t| t.question.is_some()).cloned())
        .await;
    // It is told yes on behalf of the person, and sends.
    assert_eq!(raw.byte().await, Some(1));
    raw.file("held", b"held").await;
    site.until(|o| o.transfers.iter().find(|t| t.files == 1).cloned())
        .await;
    site.stop().await;
    site.restart();
    let records = history(&site).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(trouble(&records[0]), Trouble::LeftUnanswered);
    assert_eq!(records[0].names, ["held"]);
    assert_eq!(tree(&site.inbox()).len(), 0);
}

#[tokio::test]
async fn what_was_on_its_way_is_incomplete_after_the_end_of_the_program() {
    let mut site = Shape::legacy("to").start();
    let mut raw = Raw::files(&site).await;
    raw.file("whole", b"whole").await;
    raw.say(&head("half", 5_000_000, 0)).await;
    raw.say(&content(1, 2_500_000)).await;
    site.until(|o| {
        o.transfers
            .iter()
            .find(|t| t.bytes_done > 2_000_000)
            .cloned()
    })
    .await;
    site.stop().await;
    let names: Vec<String> = tree(&site.inbox()).into_keys().collect();
    assert_eq!(names, ["whole"]);
    site.restart();
    let records = history(&site).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(trouble(&records[0]), Trouble::LeftReceiving { kept: 5 });
}

#[tokio::test]
async fn what_was_on_its_way_is_incomplete_after_a_crash() {
    let mut site = Shape::legacy("to").start();
    site.stop().await;
    std::fs::create_dir_all(site.inbox()).unwrap();
    std::fs::write(site.inbox().join("whole"), b"whole").unwrap();
    let addr = "10.0.0.9:3485".parse().unwrap();
    let id = LegacyId::DEFAULT_PROFILE;
    let head = JournalHead {
        transfer: TransferId([9; 16]),
        peer: Party::Legacy(LegacyPeer { id, addr }),
        peer_name: "attic".into(),
        folder: site.inbox(),
        on_conflict: ConflictPolicy::Rename,
        excluded: vec![],
        started: 1,
    };
    let mut journal = Journal::create(&site.paths().journals(), &head).unwrap();
    let done = Record::Done {
        path: "whole".into(),
        outcome: Outcome::New,
        saved_as: None,
        hash: Some([1; 32]),
    };
    journal.append(&[done]).unwrap();
    journal.handle().unwrap().sync_data().unwrap();
    drop(journal);
    site.restart();
    let records = history(&site).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(trouble(&records[0]), Trouble::LeftReceiving { kept: 5 });
    let journals = std::fs::read_dir(site.paths().journals()).unwrap();
    assert_eq!(journals.count(), 0);
}

#[tokio::test]
async fn what_went_out_is_told_to_be_broken_off_after_a_crash_and_not_sent_by_itself() {
    let mut site = Shape::legacy("from").start();
    site.stop().await;
    let store = Store::open(&site.paths().state).unwrap();
    let transfer = TransferId([9; 16]);
    let paths = vec![site.inbox().join("film"), site.inbox().join("a.pdf")];
    let record = OutgoingRecord {
        transfer,
        peer: None,
        peer_name: "attic".into(),
        target: "legacy:10.0.0.9:3485/3486".into(),
        paths: paths.clone(),
        created: 1,
        accepted: true,
    };
    store.put_outgoing(&record).unwrap();
    drop(store);
    for _ in 0..2 {
        site.restart();
        let overview = site.until(|o| Some(o.clone())).await;
        assert!(overview.transfers.is_empty());
        let records = history(&site).await;
        assert_eq!(records.len(), 1, "once: {records:?}");
        assert_eq!(trouble(&records[0]), Trouble::KilledSending);
        assert_eq!(records[0].names, ["film", "a.pdf"]);
        assert_eq!(
            (&records[0].sources, records[0].transfer),
            (&paths, transfer)
        );
        site.stop().await;
    }
}

#[tokio::test]
async fn whoever_goes_before_the_answer_leaves_the_files_that_are_whole() {
    let shape = Shape {
        accept_unencrypted: false,
        ..Shape::legacy("to")
    };
    let site = shape.start();
    let mut raw = Raw::open(&site, files()).await;
    assert_eq!(raw.byte().await, Some(1));
    raw.file("whole", b"whole").await;
    raw.file("empty", b"").await;
    drop(raw);
    let asked = site
        .until(|o| o.transfers.iter().find(|t| t.files == 2).cloned())
        .await;
    site.call(Command::Answer {
        transfer: asked.id,
        decision: peerconnect::node::api::Decision::Accept {
            folder: None,
            only: None,
            pass_on: true,
        },
    })
    .await;
    let t = site.ended(asked.id).await;
    assert_eq!(t.state, TransferState::Failed, "{t:?}");
    assert!(matches!(t.fault, Some(Fault::Incomplete { .. })), "{t:?}");
    let names: Vec<String> = tree(&site.inbox()).into_keys().collect();
    assert_eq!(names, ["empty", "whole"]);
}

/// Waits for the end of a transfer to this port, with an answer to requests from elsewhere.
async fn sent_to(port: u16) -> Option<Fault> {
    let (to, from) = (Shape::legacy("to").start(), Shape::legacy("from").start());
    let legacy = to.handle.overview().borrow().me.legacy.clone().unwrap();
    let file = from.file("a", b"a");
    let address = format!("legacy:127.0.0.1:{port}/{}", legacy.req_port);
    let id = from.send(&address, &[&file]).await;
    from.ended(id).await.fault
}

fn is_deaf(fault: &Option<Fault>, port: u16) -> bool {
    let deaf = Trouble::Deaf { port };
    matches!(fault, Some(Fault::Original { trouble, .. }) if *trouble == deaf)
}

#[tokio::test]
async fn an_original_that_answers_but_takes_no_files_is_said_to_be_like_that() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // It takes the connection, and that is all.
    let closes = tokio::spawn(async move { drop(listener.accept().await) });
    let fault = sent_to(port).await;
    assert!(is_deaf(&fault, port), "{fault:?}");
    closes.await.unwrap();
    // Not even that.
    let fault = sent_to(port).await;
    assert!(is_deaf(&fault, port), "{fault:?}");
}
