//! A hostile receiver: what our own sender does about it.

use std::time::Duration;

use peerconnect::fault::Fault;
use peerconnect::identity::Identity;
use peerconnect::net::link::Offence;
use peerconnect::node::api::Command;
use peerconnect::protocol::frame;
use peerconnect::protocol::link_uri::Link;
use peerconnect::protocol::message::{
    ConnectionMessage, OfferHead, Opening, Outcome, PATH_LEN_MAX, PauseReason, PlanAction, PlanRun,
    Receipt, ReceiverMessage as M, Scope, SenderMessage, Stamp, Steer, SteerAction, TransferId,
};
use peerconnect::transfer::state::TransferState;

use super::peer::{Frames, OFFENCE};
use crate::common::{DEADLINE, Shape, Site, content};

/// A peer that is called and takes offers.
struct Taker {
    endpoint: quinn::Endpoint,
    link: String,
}

struct Offered {
    quic: quinn::Connection,
    stream: Frames,
    head: OfferHead,
}

impl Taker {
    fn start() -> Self {
        let identity = Identity::generate().unwrap();
        let config = quinn::ServerConfig::with_crypto(identity.server_config().unwrap());
        let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let link = Link {
            id: identity.id(),
            addrs: vec![endpoint.local_addr().unwrap()],
            relays: Vec::new(),
        };
        Self {
            endpoint,
            link: link.to_string(),
        }
    }

    /// Greets the caller and takes its first offer.
    async fn offered(&self) -> Offered {
        let quic = self.endpoint.accept().await.unwrap().await.unwrap();
        let (send, recv) = quic.accept_bi().await.unwrap();
        let mut first = Frames::new(send, recv);
        let _: Opening = first.hear().await;
        first
            .say(&ConnectionMessage::Welcome {
                name: "mallory".into(),
                version: "9".into(),
                observed: None,
                nonce: [3; 16],
            })
            .await;
        let _: ConnectionMessage = first.hear().await;
        let (send, recv) = quic.accept_bi().await.unwrap();
        let mut stream = Frames::new(send, recv);
        match stream.hear().await {
            Opening::Transfer(head) => Offered { quic, stream, head },
            other => panic!("{other:?}"),
        }
    }
}

impl Offered {
    async fn listed(&mut self) {
        self.stream.say(&M::Known { entries: 0 }).await;
        loop {
            if let SenderMessage::EntriesEnd { .. } = self.stream.hear().await {
                return;
            }
        }
    }
}

fn steer(scope: Scope, action: SteerAction) -> M {
    M::Steer(Steer { scope, action })
}

fn plan(count: u32, action: PlanAction) -> M {
    M::Plan(vec![PlanRun { count, action }])
}

fn have(index: u32, first: u32, groups: usize) -> M {
    M::Have {
        index,
        stamp: Some(Stamp([0; 16])),
        first,
        groups: vec![[0; 32]; groups],
        more: false,
    }
}

fn receipt(index: u32, name: usize) -> M {
    M::Settled(vec![Receipt {
        index,
        outcome: Outcome::New,
        saved_as: Some("x".repeat(name)),
        hash: None,
    }])
}

/// What is said after the manifest (2 files), and the offence that it is.
fn cases() -> Vec<(&'static str, Vec<M>, Offence)> {
    let yes = || M::Accepted;
    let send = || plan(2, PlanAction::Send);
    let hold = || vec![yes(), plan(2, PlanAction::Hold), M::Start { entries: 2 }];
    let held = |message| [hold(), vec![message]].concat();
    let again = |index, group| M::Again { index, group };
    vec![
        (
            "known twice",
            vec![M::Known { entries: 0 }],
            Offence::UnexpectedMessage,
        ),
        ("plan before yes", vec![send()], Offence::UnexpectedMessage),
        ("yes twice", vec![yes(), yes()], Offence::UnexpectedMessage),
        (
            "plan of more",
            vec![yes(), plan(3, PlanAction::Send)],
            Offence::NoSuchEntry,
        ),
        (
            "plan of 2^32",
            vec![yes(), send(), plan(u32::MAX, PlanAction::Skip)],
            Offence::NoSuchEntry,
        ),
        (
            "another start",
            vec![yes(), send(), M::Start { entries: 1 }],
            Offence::Contradiction,
        ),
        (
            "complete",
            vec![yes(), M::Complete],
            Offence::UnexpectedMessage,
        ),
        ("have of nothing", held(have(2, 0, 1)), Offence::NoSuchEntry),
        ("have before yes", vec![have(0, 0, 1)], Offence::NoSuchEntry),
        ("have behind it", held(have(0, 3, 1)), Offence::WrongGroup),
        (
            "have at 2^32",
            held(have(0, u32::MAX, 1)),
            Offence::WrongGroup,
        ),
        ("again of nothing", held(again(9, 0)), Offence::NoSuchEntry),
        ("again before yes", vec![again(0, 0)], Offence::NoSuchEntry),
        (
            "again at 2^32",
            held(again(0, u32::MAX)),
            Offence::WrongGroup,
        ),
        (
            "receipt of nothing",
            held(receipt(2, 1)),
            Offence::NoSuchEntry,
        ),
        (
            "receipt before yes",
            vec![receipt(0, 1)],
            Offence::NoSuchEntry,
        ),
        (
            "endless name",
            held(receipt(0, PATH_LEN_MAX + 1)),
            Offence::PathsTooLong,
        ),
    ]
}

async fn offended(
    from: &Site,
    quic: &quinn::Connection,
    id: TransferId,
    what: &str,
    offence: Offence,
) {
    match tokio::time::timeout(DEADLINE, quic.closed())
        .await
        .expect(what)
    {
        quinn::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(close.error_code, OFFENCE.into(), "{what}");
        }
        other => panic!("{what}: {other}"),
    }
    let end = from.ended(id).await;
    assert_eq!(end.state, TransferState::Failed, "{what}");
    match end.fault {
        Some(Fault::Misbehaved { offence: told, .. }) => {
            assert_eq!(told, offence.to_string(), "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_a_receiver_may_not_say_ends_the_transfer() {
    let (from, honest) = (Shape::new("from").start(), Shape::new("honest").start());
    let good = from.file("good", &content(5, 3_000_000));
    let (a, b) = (from.file("a", &content(1, 3 << 20)), from.file("b", b"b"));
    for (what, messages, offence) in cases() {
        let taker = Taker::start();
        let id = from.send(&taker.link, &[&a, &b]).await;
        let mut offered = taker.offered().await;
        assert_eq!((offered.head.transfer, offered.head.entries), (id, 2));
        offered.listed().await;
        for message in messages {
            offered.stream.say(&message).await;
        }
        offended(&from, &offered.quic, id, what, offence).await;
    }
    let first: [(&str, Vec<u8>, &str); 5] = [
        (
            "known more",
            frame::encode(&M::Known { entries: 3 }).unwrap(),
            "no such entry",
        ),
        (
            "no known",
            frame::encode(&M::Accepted).unwrap(),
            "unexpected message",
        ),
        ("4 GiB", vec![255; 4], "frame of 4294967295 bytes"),
        ("nonsense", vec![0, 0, 0, 1, 99], "expected message"),
        ("trailing", vec![0, 0, 0, 3, 0, 0, 0], "after the end"),
    ];
    for (what, bytes, told) in first {
        let taker = Taker::start();
        let id = from.send(&taker.link, &[&a, &b]).await;
        let mut offered = taker.offered().await;
        offered.stream.raw(&bytes).await;
        let end = from.ended(id).await;
        let fault = end.fault.unwrap().to_string();
        assert!(fault.contains(told), "{what}: {fault}");
    }
    let id = from.send(&honest.link(), &[&good]).await;
    from.completed(id).await;
    honest.completed(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_a_receiver_cost_nothing_and_harm_no_other_transfer() {
    let (from, honest) = (Shape::new("from").start(), Shape::new("honest").start());
    let taker = Taker::start();
    let dir = from.outbox("many");
    std::fs::create_dir_all(&dir).unwrap();
    for n in 0..300 {
        std::fs::write(dir.join(n.to_string()), b"x").unwrap();
    }
    let id = from.send(&taker.link, &[&dir]).await;
    let mut offered = taker.offered().await;
    offered.listed().await;
    let stream = &mut offered.stream;
    for _ in 0..20_000 {
        stream
            .say(&M::Asked(peerconnect::protocol::message::Room::Fits))
            .await;
    }
    stream.say(&M::Accepted).await;
    stream.say(&plan(301, PlanAction::Hold)).await;
    stream.say(&M::Start { entries: 301 }).await;
    let pause = SteerAction::Pause(PauseReason::Person);
    stream.say(&steer(Scope::Transfer, pause)).await;
    for n in 0..20_000 {
        stream.say(&steer(Scope::File(u32::MAX - n), pause)).await;
        stream
            .say(&steer(Scope::File(n % 301), SteerAction::First))
            .await;
        let index = 1 + n % 300;
        stream.say(&M::Again { index, group: 0 }).await;
        stream.say(&have(index, 0, 1)).await;
    }
    let good = from.file("good", &content(5, 3_000_000));
    let other = from.send(&honest.link(), &[&good]).await;
    from.completed(other).await;
    honest.completed(other).await;
    // It waits for whom it was told to wait for, until its person has enough.
    from.in_state(id, TransferState::Paused).await;
    let scope = Scope::Transfer;
    from.call(Command::Cancel {
        transfer: id,
        scope,
    })
    .await;
    assert_eq!(from.ended(id).await.state, TransferState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_reads_nothing_holds_up_only_itself() {
    let (from, honest) = (Shape::new("from").start(), Shape::new("honest").start());
    let taker = Taker::start();
    let big = from.file("big", &content(6, 30_000_000));
    let id = from.send(&taker.link, &[&big]).await;
    let mut offered = taker.offered().await;
    offered.listed().await;
    offered.stream.say(&M::Accepted).await;
    offered.stream.say(&plan(1, PlanAction::Send)).await;
    offered.stream.say(&M::Start { entries: 1 }).await;
    let stuck = offered.quic.accept_uni().await.unwrap();
    let good = from.file("good", &content(5, 3_000_000));
    let other = from.send(&honest.link(), &[&good]).await;
    from.completed(other).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let now = from.in_state(id, TransferState::Transferring).await;
    assert!(now.bytes_moved < 30_000_000, "{now:?}");
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_receiver_does_not_end_what_was_accepted() {
    const BUSY: u32 = 7;
    const INTERNAL: u32 = 8;
    let (from, taker) = (Shape::new("from").start(), Taker::start());
    let path = from.file("x", b"x");
    let id = from.send(&taker.link, &[&path]).await;
    let mut first = taker.offered().await;
    first.listed().await;
    first.stream.say(&M::Accepted).await;
    from.in_state(id, TransferState::Transferring).await;
    first.quic.close(INTERNAL.into(), b"");
    let mut second = taker.offered().await;
    assert_eq!(second.head.transfer, id);
    second.stream.send.reset(BUSY.into()).unwrap();
    // It tries again, over the same connection.
    let again = tokio::time::timeout(DEADLINE, second.quic.accept_bi()).await;
    let (send, recv) = again.expect("given up").unwrap();
    match Frames::new(send, recv).hear().await {
        Opening::Transfer(head) => assert_eq!(head.transfer, id),
        other => panic!("{other:?}"),
    }
}
