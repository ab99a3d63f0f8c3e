//! A will is carried out: what a transfer is told by it.

use super::*;
use crate::net::link::PathKind;
use crate::peer::PeerId;
use crate::protocol::groups::GROUP_LEN;
use crate::protocol::message::{Outcome, PauseReason, Receipt, Stamp, Timestamp, TransferId};
use crate::protocol::sessions::{FeedingKey, Ticket, Trouble, WillFile};

const ID: TransferId = TransferId([1; 16]);
const NOTE: SessionNote = SessionNote {
    receivers: 3,
    key: FeedingKey([2; 32]),
};

fn heir(n: u8) -> Feeder {
    let peer = PeerId::from_bytes([n; 32]);
    Feeder::Member {
        member: TransferId([n; 16]),
        peer,
        addrs: Vec::new(),
        ticket: Ticket::new(&FeedingKey([n; 32]), peer),
    }
}

/// Two files of two groups each.
fn executor(heirs: &[u8]) -> (watch::Sender<bool>, Executor) {
    let mut will = Will::default();
    for index in 0..2 {
        let file = WillFile {
            index,
            size: 2 * GROUP_LEN,
            modified: Timestamp(1),
            stamp: Stamp([index as u8; 16]),
            first: 0,
            groups: vec![[3; 32], [4; 32]],
        };
        will.add(ID, file, Some(1)).unwrap();
    }
    let heirs = heirs.iter().map(|n| heir(*n)).collect();
    let (is_back, back) = watch::channel(false);
    let head = OfferHead {
        transfer: ID,
        entries: 2,
        bytes: 4 * GROUP_LEN,
        digest: [0; 32],
    };
    let path = PathInfo {
        kind: PathKind::Memory,
        addr: None,
        rtt: None,
    };
    let estate = Estate {
        head,
        note: NOTE,
        path,
        feeder: None,
        heirs,
        back,
    };
    (is_back, Executor::new(&will, estate))
}

async fn message(executor: &mut Executor) -> SenderMessage {
    match executor.recv().await.unwrap() {
        InboundEvent::Message(message) => message,
        InboundEvent::File(..) => panic!("a file too early"),
    }
}

async fn file(executor: &mut Executor) -> (FileIndex, WillReader) {
    match executor.recv().await.unwrap() {
        InboundEvent::File(header, reader) => (header.index, reader),
        InboundEvent::Message(message) => panic!("{message:?}"),
    }
}

fn lost(event: Result<InboundEvent<WillReader>, LinkError>) -> String {
    match event {
        Err(LinkError::Lost(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// Up to where files may come, of which the first is sent and the second held.
async fn begin(executor: &mut Executor) {
    executor
        .send(ReceiverMessage::Known { entries: 2 })
        .await
        .unwrap();
    assert_eq!(message(executor).await, SenderMessage::Session(NOTE));
    let end = SenderMessage::EntriesEnd { entries: 2 };
    assert_eq!(message(executor).await, end);
    executor.send(ReceiverMessage::Accepted).await.unwrap();
    let feeder = SenderMessage::Feeder(heir(1));
    assert_eq!(message(executor).await, feeder);
    let run = |action| PlanRun { count: 1, action };
    let plan = vec![run(PlanAction::Send), run(PlanAction::Hold)];
    executor.send(ReceiverMessage::Plan(plan)).await.unwrap();
}

fn settled(index: FileIndex) -> ReceiverMessage {
    ReceiverMessage::Settled(vec![Receipt {
        index,
        outcome: Outcome::New,
        saved_as: None,
        hash: None,
    }])
}

#[tokio::test(start_paused = true)]
async fn everything_is_referred_to_the_heirs_and_then_it_is_over() {
    let (_back, mut executor) = executor(&[1, 2]);
    begin(&mut executor).await;
    let (index, mut reader) = file(&mut executor).await;
    assert_eq!(index, 0);
    let hashes = [[3; 32], [4; 32]];
    let whole = Piece::End(file_hash(2 * GROUP_LEN, &hashes));
    for piece in [
        Piece::Elsewhere(0, [3; 32]),
        Piece::Elsewhere(1, [4; 32]),
        whole,
    ] {
        assert_eq!(reader.read().await, Ok(piece));
    }
    let have = ReceiverMessage::Have {
        index: 1,
        stamp: None,
        first: 0,
        groups: Vec::new(),
        more: false,
    };
    executor.send(have).await.unwrap();
    assert_eq!(file(&mut executor).await.0, 1);
    executor.send(settled(1)).await.unwrap();
    executor.send(settled(1)).await.unwrap();
    executor.send(settled(0)).await.unwrap();
    let finish = SenderMessage::Finish { entries: 2 };
    assert_eq!(message(&mut executor).await, finish);
}

#[tokio::test(start_paused = true)]
async fn what_one_heir_does_not_have_is_tried_with_the_next_and_with_all_again_later_and_later() {
    let (_back, mut executor) = executor(&[1, 2]);
    begin(&mut executor).await;
    drop(file(&mut executor).await);
    let (index, mut asked) = (0, 0);
    let mut waits = Vec::new();
    for round in 0..10 {
        let start = Instant::now();
        for group in 0..2 {
            let again = ReceiverMessage::Again { index, group };
            executor.send(again).await.unwrap();
        }
        let next = heir(2 - asked);
        asked = 1 - asked;
        let next = SenderMessage::Feeder(next);
        assert_eq!(message(&mut executor).await, next);
        if round == 8 {
            // Something came: there may soon be more.
            let (done, fed) = (1, Vec::new());
            let progress = ReceiverMessage::Progress { done, fed };
            executor.send(progress).await.unwrap();
        }
        assert_eq!(file(&mut executor).await.0, 0);
        waits.push(start.elapsed().as_secs());
    }
    // One who lacks something is no reason to wait, and all are one.
    assert_eq!(waits, [0, 1, 0, 2, 0, 4, 0, 8, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_heir_is_asked_for_everything_before_the_next_one_is() {
    let (_back, mut executor) = executor(&[1, 2]);
    begin(&mut executor).await;
    executor.release(1);
    let first = file(&mut executor).await;
    drop(file(&mut executor).await);
    let (index, group) = (1, 0);
    let again = ReceiverMessage::Again { index, group };
    executor.send(again).await.unwrap();
    let early = tokio::time::timeout(AGAIN, executor.recv()).await;
    assert!(early.is_err(), "the first file is still being given");
    executor.send(settled(0)).await.unwrap();
    drop(first);
    let next = SenderMessage::Feeder(heir(2));
    assert_eq!(message(&mut executor).await, next);
    assert_eq!(file(&mut executor).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_is_left_or_the_sender_is_back_it_ends() {
    let (_back, mut alone) = executor(&[1]);
    begin(&mut alone).await;
    let lied = ReceiverMessage::Trouble {
        feeder: TransferId([1; 16]),
        trouble: Trouble::Lied,
    };
    alone.send(lied).await.unwrap();
    assert_eq!(lost(alone.recv().await), "nobody else has it");

    let (back, mut executor) = executor(&[1]);
    begin(&mut executor).await;
    drop(file(&mut executor).await);
    back.send_replace(true);
    assert_eq!(lost(executor.recv().await), "the sender is back");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_files_are_begun_at_once() {
    let (_back, mut executor) = executor(&[1]);
    executor.open = Arc::new(Semaphore::new(1));
    begin(&mut executor).await;
    executor.release(1);
    let first = file(&mut executor).await;
    assert!(
        tokio::time::timeout(AGAIN, executor.recv()).await.is_err(),
        "the first one is not over"
    );
    drop(first);
    assert_eq!(file(&mut executor).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_gives_anything_for_a_minute_it_ends_unless_the_person_has_paused() {
    let (_back, mut executor) = executor(&[1]);
    begin(&mut executor).await;
    let _file = file(&mut executor).await;
    let steer = |action| {
        let scope = Scope::Transfer;
        ReceiverMessage::Steer(Steer { scope, action })
    };
    let pause = SteerAction::Pause(PauseReason::Person);
    executor.send(steer(pause)).await.unwrap();
    let waits = STALL_MAX * 5;
    let paused = tokio::time::timeout(waits, executor.recv()).await;
    assert!(paused.is_err());
    executor.send(steer(SteerAction::Resume)).await.unwrap();
    let start = Instant::now();
    for done in 1..3 {
        let fed = Vec::new();
        let progress = ReceiverMessage::Progress { done, fed };
        executor.send(progress).await.unwrap();
        let some = tokio::time::timeout(STALL_MAX / 2, executor.recv()).await;
        assert!(some.is_err(), "something has come");
    }
    assert_eq!(lost(executor.recv().await), "the others give nothing");
    let waited = start.elapsed();
    assert!(waited >= STALL_MAX * 3 / 2 && waited < STALL_MAX * 2);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_paused_is_left_alone_and_the_rest_comes() {
    let (_back, mut executor) = executor(&[1]);
    begin(&mut executor).await;
    let steer = |action| {
        let scope = Scope::File(0);
        ReceiverMessage::Steer(Steer { scope, action })
    };
    let pause = SteerAction::Pause(PauseReason::Person);
    executor.send(steer(pause)).await.unwrap();
    executor.release(1);
    assert_eq!(file(&mut executor).await.0, 1);
    let paused = tokio::time::timeout(STALL_MAX * 5, executor.recv()).await;
    assert!(paused.is_err());
    executor.send(steer(SteerAction::Resume)).await.unwrap();
    assert_eq!(file(&mut executor).await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn one_paused_file_does_not_keep_the_others_waiting_for_ever() {
    let (_back, mut executor) = executor(&[1]);
    begin(&mut executor).await;
    executor.release(1);
    let (_first, _second) = (file(&mut executor).await, file(&mut executor).await);
    let steer = |index, action| {
        let scope = Scope::File(index);
        ReceiverMessage::Steer(Steer { scope, action })
    };
    let pause = SteerAction::Pause(PauseReason::Person);
    executor.send(steer(0, pause)).await.unwrap();
    executor.send(steer(1, pause)).await.unwrap();
    let paused = tokio::time::timeout(STALL_MAX * 5, executor.recv()).await;
    assert!(paused.is_err(), "nobody owes anything");
    executor.send(steer(1, SteerAction::Resume)).await.unwrap();
    assert_eq!(lost(executor.recv().await), "the others give nothing");
}
