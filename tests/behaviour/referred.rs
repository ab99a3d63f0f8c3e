//! Groups that the sender of a session refers to other receivers.

use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use peerconnect::net::link::{
    FileOpener, FileReader, FileWriter, Inbound, InboundEvent, Outbound, Piece,
};
use peerconnect::net::memory::{MemoryInbound, MemoryOutbound};
use peerconnect::peer::PeerId;
use peerconnect::protocol::groups::{GROUP_LEN, Hash, file_hash, hash_group};
use peerconnect::protocol::message::{
    Code, FileHeader, PauseReason, PlanAction, PlanRun, ReceiverMessage, Scope, SenderMessage,
    Stamp, Steer, SteerAction, Timestamp, TransferId,
};
use peerconnect::protocol::sessions::{
    Feeder, FeedingKey, GroupRun, HeldPart, SessionNote, Ticket, Trouble,
};
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::feed::{Ask, Feeding, Given};
use peerconnect::transfer::member::{Joined, MemberNews, Membership, Whereabouts};
use tokio::sync::mpsc;

use crate::common::{DEADLINE, content, tree};
use crate::pair::{Memory, Pair};
use crate::world::{Seen, World};

const ID: TransferId = TransferId([7; 16]);
const FEEDER: TransferId = TransferId([8; 16]);
const STAMP: Stamp = Stamp([1; 16]);
/// Two groups, the second one short.
const SIZE: u64 = GROUP_LEN + 5;

static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| content(1, SIZE as usize));

fn group(number: u32) -> &'static [u8] {
    let (first, second) = CONTENT.split_at(GROUP_LEN as usize);
    if number == 0 { first } else { second }
}

fn hash(number: u32) -> Hash {
    hash_group(SIZE, number, group(number))
}

fn header() -> FileHeader {
    FileHeader {
        transfer: ID,
        index: 0,
        size: SIZE,
        modified: Timestamp(1),
        stamp: STAMP,
    }
}

/// The sender's end of a session, up to where files may come, and who is asked for content.
struct Sender {
    out: MemoryOutbound,
    feeding: Feeding,
    seen: Arc<Mutex<Seen>>,
}

impl Sender {
    async fn say(&mut self, message: SenderMessage) {
        self.out.send(message).await.unwrap();
    }

    async fn until(&mut self, fits: impl Fn(&ReceiverMessage) -> bool) -> ReceiverMessage {
        loop {
            let message = self.out.recv().await.unwrap();
            if fits(&message) {
                return message;
            }
        }
    }

    /// Waits until the receiver's person is told something.
    async fn until_seen(&self, so: impl Fn(&Seen) -> bool) {
        until_seen(&self.seen, |seen| so(seen).then_some(())).await;
    }

    /// Refers all of the file elsewhere.
    async fn refer(&self) {
        let mut writer = self.out.opener().open(&header(), 0).await.unwrap();
        for piece in [
            Piece::Elsewhere(0, hash(0)),
            Piece::Elsewhere(1, hash(1)),
            Piece::End(file_hash(SIZE, &[hash(0), hash(1)])),
        ] {
            writer.write(piece).await.unwrap();
        }
    }

    /// Sends one group itself.
    async fn send(&self, number: u32) {
        let mut writer = self.out.opener().open(&header(), 0).await.unwrap();
        writer.write(Piece::Group(number)).await.unwrap();
        for piece in group(number).chunks(256 * 1024) {
            let data = Piece::Data(Bytes::from_static(piece));
            writer.write(data).await.unwrap();
        }
        let end = Piece::GroupEnd(Some(hash(number)));
        writer.write(end).await.unwrap();
        let end = Piece::End(file_hash(SIZE, &[hash(0), hash(1)]));
        writer.write(end).await.unwrap();
    }

    async fn asked(&mut self) -> Ask {
        self.feeding.asks.recv().await.unwrap()
    }

    /// Waits until both groups are asked for, before it answers: `None` for what nobody gives.
    async fn give_both(&mut self, content: impl Fn(u32) -> Option<Vec<u8>>) {
        let asks = [self.asked().await, self.asked().await];
        let mut groups = asks.map(|ask| answer(ask, &content));
        groups.sort_unstable();
        assert_eq!(groups, [0, 1]);
    }

    async fn finish(mut self) {
        self.until(|m| matches!(m, ReceiverMessage::Settled(_)))
            .await;
        self.say(SenderMessage::Finish { entries: 1 }).await;
        self.until(|m| *m == ReceiverMessage::Complete).await;
        self.out.close(Code::Done).await;
    }
}

/// What is told comes by a way of its own, perhaps later than what is said over the link.
async fn until_seen<T>(seen: &Mutex<Seen>, mut so: impl FnMut(&mut Seen) -> Option<T>) -> T {
    loop {
        if let Some(found) = so(&mut seen.lock().unwrap()) {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

/// Answers a request; which group it was for.
fn answer(ask: Ask, content: impl Fn(u32) -> Option<Vec<u8>>) -> u32 {
    let Ask::Group {
        stamp, group, give, ..
    } = ask
    else {
        panic!("nobody has lied");
    };
    assert_eq!(stamp, STAMP);
    if let Some(content) = content(group) {
        let given = Given {
            content: content.into(),
            from: FEEDER,
        };
        give.send(given).unwrap();
    }
    group
}

fn right(number: u32) -> Option<Vec<u8>> {
    Some(group(number).to_vec())
}

/// A receiver, and what `sender` does with it.
async fn session<F: Future<Output = ()>>(sender: impl FnOnce(Sender) -> F) {
    Box::pin(whole_session(true, sender)).await;
}

/// `newest`: the sender knows all that may be told to it.
async fn whole_session<F: Future<Output = ()>>(newest: bool, sender: impl FnOnce(Sender) -> F) {
    let mut world = World::<Memory>::new().await;
    let path = world.file("a", &CONTENT);
    world.offer(&[&path]);
    let head = world.sending.table.lock().head(ID);
    let entry = world.sending.table.lock().entry(0).unwrap();
    let (mut out, mut inbound) = world.pair.link(head).await;
    if newest {
        inbound = inbound.with_limits().with_parts();
    }
    let (_orders, mut orders) = mpsc::channel(1);
    let seen = world.receiving.seen.clone();
    let both = async {
        out.recv().await.unwrap();
        let note = SessionNote {
            receivers: 2,
            key: FeedingKey([1; 32]),
        };
        for message in [
            SenderMessage::Session(note),
            SenderMessage::Entries(vec![entry]),
            SenderMessage::EntriesEnd { entries: 1 },
        ] {
            out.send(message).await.unwrap();
        }
        let mut told = Vec::new();
        while !matches!(told.last(), Some(ReceiverMessage::Start { .. })) {
            told.push(out.recv().await.unwrap());
        }
        assert!(told.contains(&ReceiverMessage::PassesOn(false)), "{told:?}");
        let feeding = until_seen(&seen, |seen| seen.feeding.take()).await;
        sender(Sender { out, feeding, seen }).await;
    };
    let run = world.incoming.run(inbound, &mut orders);
    let (ended, ()) = tokio::time::timeout(DEADLINE, async { tokio::join!(run, both) })
        .await
        .expect("it hangs");
    assert_eq!(ended, Ended::Completed);
    world.incoming.close(true).await;
    let there = tree(&world.inbox());
    assert!(there.into_iter().eq([("a".into(), CONTENT.clone())]));
}

/// More than enough for everybody to do what can be done without waiting.
async fn turns() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_nobody_gives_is_asked_of_the_sender() {
    session(|sender| {
        Box::pin(async move {
            let mut sender = sender;
            sender.refer().await;
            let denied = |number| (number == 0).then(|| group(0).to_vec());
            sender.give_both(denied).await;
            let again = |m: &ReceiverMessage| matches!(m, ReceiverMessage::Again { .. });
            let (index, group) = (0, 1);
            let expected = ReceiverMessage::Again { index, group };
            assert_eq!(sender.until(again).await, expected);
            sender.send(1).await;
            sender.finish().await;
        })
    })
    .await;
}

#[tokio::test]
async fn a_lie_is_told_and_the_group_is_asked_for_again() {
    session(|sender| {
        Box::pin(async move {
            let mut sender = sender;
            sender.refer().await;
            let wrong = |number: u32| {
                let mut content = group(number).to_vec();
                content[0] ^= u8::from(number == 0);
                Some(content)
            };
            sender.give_both(wrong).await;
            assert!(matches!(sender.asked().await, Ask::Lied(FEEDER)));
            assert_eq!(answer(sender.asked().await, right), 0);
            sender.finish().await;
        })
    })
    .await;
}

#[tokio::test]
async fn what_is_withheld_is_told_as_slow_to_a_sender_that_knows_no_more() {
    let withheld = Trouble::Withheld {
        index: 0,
        group: 1,
        denied: false,
    };
    for (newest, trouble) in [(true, withheld), (false, Trouble::Slow)] {
        let told = |sender: Sender| async move {
            let mut sender = sender;
            let complain = sender.feeding.troubles.send((FEEDER, withheld));
            complain.await.unwrap();
            let about = |m: &ReceiverMessage| matches!(m, ReceiverMessage::Trouble { .. });
            let feeder = FEEDER;
            let expected = ReceiverMessage::Trouble { feeder, trouble };
            assert_eq!(sender.until(about).await, expected);
            sender.refer().await;
            sender.give_both(right).await;
            sender.finish().await;
        };
        Box::pin(whole_session(newest, told)).await;
    }
}

#[tokio::test]
async fn content_of_another_length_is_a_lie_as_well() {
    session(|sender| {
        Box::pin(async move {
            let mut sender = sender;
            sender.refer().await;
            let longer = |number: u32| Some([group(number), b"x"].concat());
            sender.give_both(longer).await;
            let (mut lies, mut given) = (0, 0);
            while (lies, given) != (2, 2) {
                match sender.asked().await {
                    Ask::Lied(_) => lies += 1,
                    ask => {
                        answer(ask, right);
                        given += 1;
                    }
                }
            }
            sender.finish().await;
        })
    })
    .await;
}

#[tokio::test]
async fn nothing_is_asked_for_while_somebody_has_paused() {
    session(|sender| {
        Box::pin(async move {
            let mut sender = sender;
            let steer = |action| {
                SenderMessage::Steer(Steer {
                    scope: Scope::Transfer,
                    action,
                })
            };
            let pause = SteerAction::Pause(PauseReason::Person);
            sender.say(steer(pause)).await;
            sender.until_seen(|seen| seen.paused.is_some()).await;
            sender.refer().await;
            turns().await;
            assert!(sender.feeding.asks.try_recv().is_err());
            sender.say(steer(SteerAction::Resume)).await;
            sender.give_both(right).await;
            sender.finish().await;
        })
    })
    .await;
}

/// What comes on the next stream of the file, without the content itself.
async fn marks(inbound: &mut MemoryInbound) -> Vec<Piece> {
    let mut reader = loop {
        if let InboundEvent::File(_, reader) = inbound.recv().await.unwrap() {
            break reader;
        }
    };
    let mut marks = Vec::new();
    while !matches!(marks.last(), Some(Piece::End(_))) {
        match reader.read().await.unwrap() {
            Piece::Data(_) => {}
            mark => marks.push(mark),
        }
    }
    marks
}

/// A receiver up to where files may come, and what the one who decides is told of it.
async fn take_part(
    inbound: &mut MemoryInbound,
    news: &mut mpsc::Receiver<(TransferId, MemberNews)>,
) -> Joined {
    let known = ReceiverMessage::Known { entries: 0 };
    inbound.send(known).await.unwrap();
    loop {
        let event = inbound.recv().await.unwrap();
        let end = SenderMessage::EntriesEnd { entries: 1 };
        if matches!(event, InboundEvent::Message(message) if message == end) {
            break;
        }
    }
    inbound.consent();
    let plan = PlanRun {
        count: 1,
        action: PlanAction::Send,
    };
    for message in [
        ReceiverMessage::Accepted,
        ReceiverMessage::PassesOn(true),
        ReceiverMessage::Plan(vec![plan]),
        ReceiverMessage::Start { entries: 1 },
    ] {
        inbound.send(message).await.unwrap();
    }
    match news.recv().await {
        Some((_, MemberNews::Joined { joined, .. })) => *joined,
        other => panic!("{other:?}"),
    }
}

/// A receiver that is fed by another one, and asks the sender for what that one does not give.
async fn receiver(mut inbound: MemoryInbound, mut news: mpsc::Receiver<(TransferId, MemberNews)>) {
    let joined = take_part(&mut inbound, &mut news).await;
    joined.feeder.send_replace(Some(other()));
    assert_eq!(marks(&mut inbound).await, all_referred());
    inbound.send(again(1)).await.unwrap();
    let sent = [Piece::Group(1), Piece::GroupEnd(Some(hash(1))), end()];
    assert_eq!(marks(&mut inbound).await, sent);
}

fn again(group: u32) -> ReceiverMessage {
    let index = 0;
    ReceiverMessage::Again { index, group }
}

fn end() -> Piece {
    Piece::End(file_hash(SIZE, &[hash(0), hash(1)]))
}

/// The whole file, as one that comes from somebody else.
fn all_referred() -> [Piece; 3] {
    let groups = [0, 1].map(|number| Piece::Elsewhere(number, hash(number)));
    let [first, second] = groups;
    [first, second, end()]
}

/// Somebody else who feeds the receiver.
fn other() -> Feeder {
    let peer = PeerId::from_bytes([8; 32]);
    Feeder::Member {
        member: FEEDER,
        peer,
        addrs: Vec::new(),
        ticket: Ticket::new(&FeedingKey([2; 32]), peer),
    }
}

#[tokio::test]
async fn what_the_sender_is_asked_for_it_sends_itself() {
    sends_to(false, receiver).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_of_the_sender_while_nobody_else_was_there_comes_from_the_next_one() {
    // So slowly that it stays on its way.
    Box::pin(sends_at(
        Some(1000),
        false,
        |mut inbound, mut news| async move {
            let joined = take_part(&mut inbound, &mut news).await;
            joined.feeder.send_replace(Some(other()));
            assert_eq!(marks(&mut inbound).await, all_referred());
            joined.feeder.send_replace(Some(Feeder::Origin));
            for group in [0, 1] {
                inbound.send(again(group)).await.unwrap();
            }
            let _sent = loop {
                if let InboundEvent::File(_, mut reader) = inbound.recv().await.unwrap() {
                    assert_eq!(reader.read().await, Ok(Piece::Group(0)));
                    break reader;
                }
            };
            joined.feeder.send_replace(Some(other()));
            assert_eq!(marks(&mut inbound).await, all_referred());
        },
    ))
    .await;
}

/// A sender of two groups in a session, and what came of it at the end.
async fn sends_to<F: Future<Output = ()>>(
    tells_parts: bool,
    receiver: impl FnOnce(MemoryInbound, mpsc::Receiver<(TransferId, MemberNews)>) -> F,
) -> Ended {
    sends_at(None, tells_parts, receiver).await
}

/// The same, with so many bytes a second at most.
async fn sends_at<F: Future<Output = ()>>(
    rate: Option<u64>,
    tells_parts: bool,
    receiver: impl FnOnce(MemoryInbound, mpsc::Receiver<(TransferId, MemberNews)>) -> F,
) -> Ended {
    let mut world = World::<Memory>::new().await;
    world.limiter.set(rate);
    let path = world.file("a", &CONTENT);
    world.offer(&[&path]);
    let head = world.sending.table.lock().head(ID);
    let (out, inbound) = world.pair.link(head).await;
    let out = if tells_parts { out.with_parts() } else { out };
    let (decisions, news) = mpsc::channel(64);
    let note = SessionNote {
        receivers: 2,
        key: FeedingKey([1; 32]),
    };
    let mut outgoing = world.outgoing.in_session(Membership::new(note, decisions));
    outgoing.set_whereabouts(Whereabouts {
        peer: PeerId::from_bytes([9; 32]),
        name: "receiver".into(),
        addrs: Vec::new(),
    });
    let (_orders, mut orders) = mpsc::channel(1);
    let run = outgoing.run(out, &mut orders);
    let both = async { tokio::join!(run, receiver(inbound, news)) };
    let both = Box::pin(tokio::time::timeout(DEADLINE, both));
    both.await.expect("it hangs").0
}

fn held(index: u32, groups: u32, runs: &[(u32, u32)]) -> HeldPart {
    let run = |&(first, count): &(u32, u32)| GroupRun { first, count };
    HeldPart {
        index,
        stamp: STAMP,
        groups,
        runs: runs.iter().map(run).collect(),
    }
}

#[tokio::test]
async fn what_a_receiver_holds_of_a_file_counts_if_it_is_of_that_file() {
    sends_to(true, |mut inbound, mut news| async move {
        let joined = take_part(&mut inbound, &mut news).await;
        assert!(joined.tells_parts);
        let entries = joined.holding.get().manifest().map(|known| known.entries);
        assert_eq!(entries, Some(1));
        let first = held(0, 2, &[(0, 1)]);
        // Of a file that has other groups now nothing is known here.
        for (said, known) in [
            (vec![first.clone()], Some(first)),
            (vec![held(0, 3, &[(0, 3)])], None),
        ] {
            inbound.send(ReceiverMessage::Holds(said)).await.unwrap();
            while joined.holding.get().part(0) != known.as_ref() {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_receiver_cannot_hold_or_must_not_say_is_an_offence() {
    let all = |count, runs: &[(u32, u32)]| vec![held(0, 2, runs); count];
    let gaps: Vec<(u32, u32)> = (0..1025).map(|n| (2 * n, 1)).collect();
    for (tells_parts, said) in [
        (false, all(1, &[(0, 1)])),
        (true, all(1, &[(0, 3)])),
        (true, all(65, &[(0, 1)])),
        (true, vec![held(0, 4000, &gaps)]),
        (true, vec![held(1, 2, &[(0, 1)])]),
    ] {
        let ended = sends_to(tells_parts, |mut inbound, mut news| async move {
            take_part(&mut inbound, &mut news).await;
            inbound.send(ReceiverMessage::Holds(said)).await.unwrap();
            while inbound.recv().await.is_ok() {}
        });
        assert!(matches!(ended.await, Ended::Misbehaved(_)));
    }
}
