//! Our own sender to our own receiver over the original's protocol: what it can express behaves as
//! on every other link.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use peerconnect::config::ConflictPolicy;
use peerconnect::net::link::{Inbound, InboundEvent, LinkError, PathInfo, PathKind};
use peerconnect::net::tcp::{
    Destination, LegacyArrival, LegacyListener, LegacyOptions, TcpInbound, TcpOutbound, TcpReader,
    Trees, dial,
};
use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::message::{
    Code, DeclineReason, OfferHead, Outcome, ReceiverMessage, Scope, SinkFault, SourceFault,
    TransferId,
};
use peerconnect::transfer::control::{Decision, Order};
use peerconnect::transfer::ended::Ended;
use tokio::sync::mpsc;

use crate::common::{content, tree};
use crate::pair::Pair;
use crate::world::World;

/// Links over TCP on the loopback.
pub struct Plain {
    spool: tempfile::TempDir,
    listener: Option<LegacyListener>,
}

impl Pair for Plain {
    type Out = TcpOutbound;
    type In = Awaited;

    async fn new() -> Self {
        Self {
            spool: tempfile::tempdir().unwrap(),
            listener: None,
        }
    }

    async fn link(&mut self, _head: OfferHead) -> (TcpOutbound, Awaited) {
        let (listener, arrivals) = LegacyListener::bind(LegacyOptions {
            bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: 0,
            spool: self.spool.path().to_owned(),
            trees: Trees::default(),
        })
        .unwrap();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port()));
        self.listener = Some(listener);
        let to = Destination {
            addr,
            us: LegacyId::DEFAULT_PROFILE,
            patience: Duration::from_secs(60),
        };
        let stream = dial(addr).await.unwrap();
        let out = TcpOutbound::new(to, stream, Arc::default(), Vec::new());
        (out, Awaited::new(arrivals))
    }

    fn scissors(&self) -> Box<dyn Fn()> {
        Box::new(|| panic!("nothing breaks these links from outside"))
    }
}

/// A link that is there as soon as the sender has said what it wants.
pub struct Awaited {
    head: OfferHead,
    arrivals: mpsc::Receiver<LegacyArrival>,
    link: Option<TcpInbound>,
}

impl Awaited {
    fn new(arrivals: mpsc::Receiver<LegacyArrival>) -> Self {
        let head = OfferHead {
            transfer: TransferId([7; 16]),
            entries: 0,
            bytes: 0,
            digest: *blake3::hash(b"").as_bytes(),
        };
        Self {
            head,
            arrivals,
            link: None,
        }
    }

    async fn link(&mut self) -> &mut TcpInbound {
        if self.link.is_none() {
            let arrival = self.arrivals.recv().await;
            let Some(LegacyArrival::Transfer(link)) = arrival else {
                panic!("{arrival:?}");
            };
            self.link = Some(*link);
        }
        self.link.as_mut().unwrap()
    }
}

impl Inbound for Awaited {
    type Reader = TcpReader;

    fn head(&self) -> &OfferHead {
        &self.head
    }

    fn path(&self) -> PathInfo {
        PathInfo {
            kind: PathKind::LegacyPlain,
            addr: None,
            rtt: None,
        }
    }

    fn consent(&mut self) {}

    async fn send(&mut self, message: ReceiverMessage) -> Result<(), LinkError> {
        self.link().await.send(message).await
    }

    async fn recv(&mut self) -> Result<InboundEvent<TcpReader>, LinkError> {
        self.link().await.recv().await
    }

    async fn close(mut self, code: Code) {
        if let Some(link) = self.link.take() {
            link.close(code).await;
        }
    }
}

async fn world() -> World<Plain> {
    World::new().await
}

const NEW: Option<Outcome> = Some(Outcome::New);

#[tokio::test]
async fn files_of_every_size_arrive() {
    let mut world = world().await;
    let mib = 1024 * 1024;
    let sizes = [0, 1, 65_536, mib - 1, mib, mib + 1, 2 * mib, 7 * mib + 17];
    for (seed, size) in (10..).zip(sizes) {
        world.file(&format!("{size}"), &content(seed, size));
    }
    world.send_all().await;
    for (seed, size) in (10..).zip(sizes) {
        let got = world.got(&format!("{size}"));
        assert!(got == content(seed, size), "{size}");
    }
}

#[tokio::test]
async fn many_small_files_arrive() {
    let mut world = world().await;
    for i in 0..1000_u64 {
        world.file(&format!("f{i}"), &content(i, i as usize % 5000));
    }
    world.send_all().await;
    assert!(tree(&world.out()) == tree(&world.inbox()));
    assert_eq!(world.receiving.table.lock().totals().files_done, 1000);
}

#[tokio::test]
async fn files_of_one_name_arrive_beside_each_other() {
    let mut world = world().await;
    let one = world.file("a/name.txt", b"one");
    let other = world.file("b/name.txt", b"other");
    world.offer(&[&one, &other]);
    world.complete().await;
    assert_eq!(world.got("name.txt"), b"one");
    assert_eq!(world.got("name (1).txt"), b"other");
}

#[tokio::test]
async fn a_taken_name_gets_a_number_unless_the_content_is_equal() {
    for (there, outcome) in [
        (content(1, 3_000_000), Outcome::Identical),
        (content(2, 3_000_000), Outcome::Renamed),
        (content(3, 5), Outcome::Renamed),
    ] {
        let mut world = world().await;
        let path = world.file("a.bin", &content(1, 3_000_000));
        std::fs::create_dir_all(world.inbox()).unwrap();
        std::fs::write(world.inbox().join("a.bin"), &there).unwrap();
        world.offer(&[&path]);
        let ends = world.run().await;
        assert_eq!(ends, (Ended::Completed, Ended::Completed));
        assert_eq!(world.receiving.outcomes(), [Some(outcome)]);
        assert!(world.got("a.bin") == there);
        if outcome == Outcome::Renamed {
            assert!(world.got("a (1).bin") == content(1, 3_000_000));
        }
        assert_eq!(world.parts(), 0);
    }
}

#[tokio::test]
async fn skipping_passes_over_the_content() {
    let pair = Plain::new().await;
    let mut world = World::with(pair, |terms| terms.on_conflict = ConflictPolicy::Skip);
    let paths = [
        world.file("large", &content(1, 3_000_000)),
        world.file("small", b"small"),
        world.file("z", &content(2, 2_000_000)),
    ];
    std::fs::create_dir_all(world.inbox()).unwrap();
    for name in ["large", "small"] {
        std::fs::write(world.inbox().join(name), b"x").unwrap();
    }
    world.offer(&[&paths[0], &paths[1], &paths[2]]);
    let ends = world.run().await;
    assert_eq!(ends, (Ended::Completed, Ended::Completed));
    let skipped = Some(Outcome::Skipped);
    assert_eq!(world.receiving.outcomes(), [skipped, skipped, NEW]);
    assert_eq!(world.got("large"), b"x");
    assert!(world.got("z") == content(2, 2_000_000));
}

#[tokio::test]
async fn a_declined_transfer_leaves_nothing() {
    let mut world = World::<Plain>::with_terms(|terms| terms.accepted = false).await;
    let path = world.file("a", &content(1, 2_000_000));
    world.offer(&[&path]);
    let ends = world.run_while(|_, receiving, _| async move {
        let asked = |side: &crate::world::Side| side.seen.lock().unwrap().asked > 0;
        receiving.until("the question", asked).await;
        receiving.order(Order::Answer(Decision::Decline)).await;
    });
    let declined = Ended::Declined(DeclineReason::Person);
    assert_eq!(ends.await, (declined.clone(), declined));
    assert_eq!(world.sending.moved(), 0);
    assert_eq!(tree(&world.inbox()).len(), 0);
}

/// Runs a transfer whose person decides when `ready` says so.
async fn decided(
    len: usize,
    decision: Decision,
    ready: impl Fn(&crate::world::Side, &crate::world::Side) -> bool + Copy,
) -> (World<Plain>, (Ended, Ended)) {
    let mut world = World::<Plain>::with_terms(|terms| terms.accepted = false).await;
    let first = world.file("a", &content(1, len));
    let second = world.file("b", b"second");
    world.offer(&[&first, &second]);
    let inbox = world.inbox();
    let ends = world
        .run_while(|sending, receiving, _| async move {
            let other = sending.clone();
            let so = |side: &crate::world::Side| ready(&other, side);
            receiving.until("the time to decide", so).await;
            assert_eq!(
                tree(&inbox).len(),
                0,
                "something is there before anybody agreed"
            );
            receiving.order(Order::Answer(decision)).await;
        })
        .await;
    (world, ends)
}

const YES: Decision = Decision::Accept {
    folder: None,
    only: None,
    pass_on: true,
};

#[tokio::test]
async fn what_comes_before_the_answer_waits_without_a_name() {
    // All of it is sent, and the sender has gone home, before the person looks.
    let gone = |sending: &crate::world::Side, receiving: &crate::world::Side| {
        let outcomes = sending.outcomes();
        let sent = !outcomes.is_empty() && outcomes.iter().all(|o| *o == NEW);
        sent && receiving.table.lock().len() == 2
    };
    let (world, ends) = decided(50_000, YES, gone).await;
    assert_eq!(ends, (Ended::Completed, Ended::Completed));
    assert!(world.got("a") == content(1, 50_000));
    assert_eq!(world.got("b"), b"second");
}

#[tokio::test]
async fn what_is_declined_late_is_gone() {
    let sent = |sending: &crate::world::Side, _: &crate::world::Side| sending.moved() > 0;
    let (world, ends) = decided(50_000, Decision::Decline, sent).await;
    assert_eq!(ends.1, Ended::Declined(DeclineReason::Person));
    assert_eq!(tree(&world.inbox()).len(), 0);
    let spool = std::fs::read_dir(world.pair.spool.path()).unwrap();
    assert_eq!(spool.count(), 0);
}

#[tokio::test]
async fn a_large_file_trickles_until_the_person_agrees_and_then_runs() {
    let begun = |sending: &crate::world::Side, receiving: &crate::world::Side| {
        sending.moved() > 200_000 && receiving.table.lock().len() == 1
    };
    let (world, ends) = decided(30_000_000, YES, begun).await;
    assert_eq!(ends, (Ended::Completed, Ended::Completed));
    assert!(world.got("a") == content(1, 30_000_000));
    assert_eq!(world.got("b"), b"second");
}

#[tokio::test]
async fn a_pause_of_the_receiver_slows_the_sender_down_and_ends() {
    let mut world = world().await;
    let path = world.file("large", &content(1, 20_000_000));
    world.offer(&[&path]);
    world.limiter.set(Some(40_000_000));
    let ends = world.run_while(|sending, receiving, _| async move {
        receiving.until_moved(2_000_000).await;
        receiving.order(Order::Pause(Scope::Transfer)).await;
        let paused = peerconnect::transfer::status::PausedBy::Us;
        receiving.until_paused(paused).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(sending.moved() < 20_000_000, "it goes on at full speed");
        receiving.order(Order::Resume(Scope::Transfer)).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(world.got("large") == content(1, 20_000_000));
}

#[tokio::test]
async fn a_pause_of_the_sender_goes_unnoticed_and_ends() {
    let mut world = world().await;
    let path = world.file("large", &content(1, 6_000_000));
    world.offer(&[&path]);
    world.limiter.set(Some(12_000_000));
    let ends = world.run_while(|sending, _, _| async move {
        sending.until_moved(1_000_000).await;
        sending.order(Order::Pause(Scope::Transfer)).await;
        let paused = peerconnect::transfer::status::PausedBy::Us;
        sending.until_paused(paused).await;
        sending.order(Order::Resume(Scope::Transfer)).await;
    });
    let ends = ends.await;
    world.completed(ends).await;
    assert!(world.got("large") == content(1, 6_000_000));
}

#[tokio::test]
async fn a_file_that_the_receiver_cancels_is_passed_over() {
    let mut world = world().await;
    let paths = ["a", "b"].map(|name| world.file(name, &content(1, 5_000_000)));
    world.offer(&[&paths[0], &paths[1]]);
    world.limiter.set(Some(16_000_000));
    let ends = world.run_while(|_, receiving, _| async move {
        let begun =
            |side: &crate::world::Side| side.table.lock().row(0).is_some_and(|r| r.bytes_done > 0);
        receiving.until("a group", begun).await;
        receiving.order(Order::Cancel(Scope::File(0))).await;
    });
    assert_eq!(ends.await, (Ended::Completed, Ended::Completed));
    let cancelled = Some(Outcome::Failed(SinkFault::Cancelled));
    assert_eq!(world.receiving.outcomes(), [cancelled, NEW]);
    assert_eq!(tree(&world.inbox()).len(), 1);
}

#[tokio::test]
async fn a_transfer_that_either_side_cancels_keeps_what_is_complete_and_nothing_else() {
    for canceller in [0, 1] {
        let mut world = world().await;
        let paths = [
            world.file("a small", b"small"),
            world.file("large", &content(1, 12_000_000)),
        ];
        world.offer(&[&paths[0], &paths[1]]);
        world.limiter.set(Some(16_000_000));
        let ends = world.run_while(|sending, receiving, _| async move {
            let so =
                |side: &crate::world::Side| side.outcome(0).is_some() && side.done() > 2_000_000;
            receiving.until("some groups", so).await;
            let side = [sending, receiving].into_iter().nth(canceller).unwrap();
            side.order(Order::Cancel(Scope::Transfer)).await;
        });
        let (sent, received) = ends.await;
        let ends = [sent, received];
        assert_eq!(ends[canceller], Ended::CancelledHere);
        // The other side finds the connection ended, and cannot know why.
        assert!(matches!(ends[1 - canceller], Ended::Lost(_)), "{ends:?}");
        world.incoming.close(true).await;
        assert_eq!(tree(&world.inbox()).len(), 1);
        assert_eq!(world.got("a small"), b"small");
    }
}

#[tokio::test]
async fn a_source_that_shrinks_while_it_is_sent_fails_alone() {
    let mut world = world().await;
    let large = world.file("large", &content(1, 12_000_000));
    world.offer(&[&large]);
    world.limiter.set(Some(16_000_000));
    let ends = world.run_while(|sending, _, _| async move {
        sending.until_moved(2_000_000).await;
        let file = std::fs::File::options().write(true).open(&large).unwrap();
        file.set_len(3_000_000).unwrap();
    });
    let (sent, received) = ends.await;
    assert_eq!(sent, Ended::Completed);
    assert!(matches!(received, Ended::Lost(_)), "{received:?}");
    let changing = SinkFault::Source(SourceFault::Changing);
    assert_eq!(world.sending.outcome(0), Some(Outcome::Failed(changing)));
    world.incoming.close(true).await;
    assert_eq!(tree(&world.inbox()).len(), 0);
}
