//! What the book lets in, keeps and forgets.

use super::*;

mod consent;

fn key(n: u8) -> Party {
    Party::Key(PeerId::from_bytes([n; 32]))
}

fn id(n: u8) -> TextId {
    crate::protocol::message::TransferId([n; 16])
}

/// A text that somebody offers, about which the person is asked.
fn offered(n: u8, peer: Party) -> NewText {
    NewText {
        id: id(n),
        direction: Direction::Receiving,
        peer: Some(peer),
        peer_name: "anna".into(),
        bytes: 5,
        text: None,
        asks: true,
        now: 1,
    }
}

fn states(book: &TextBook) -> Vec<(u8, TextState)> {
    let snapshots = book.snapshots(|_| Person::default());
    snapshots.iter().map(|t| (t.id.0[0], t.state)).collect()
}

#[test]
fn few_texts_of_one_wait_for_an_answer_and_not_many_of_all() {
    let mut book = TextBook::default();
    let mut later = Instant::now();
    let mut n = 0;
    let mut fill = |book: &mut TextBook, peer: u8, standing| {
        let mut let_in = 0;
        for _ in 0..QUESTIONS_PER_PEER * 2 {
            // A minute passes each time: only those that wait count.
            later += std::time::Duration::from_secs(61);
            if book.admits(later, Source::of(&key(peer)), standing) {
                n += 1;
                book.enter(offered(n, key(peer)));
                let_in += 1;
            }
        }
        let_in
    };
    assert_eq!(fill(&mut book, 1, Standing::Stranger), QUESTIONS_PER_PEER);
    let others: usize = (2..20)
        .map(|peer| fill(&mut book, peer, Standing::Stranger))
        .sum();
    assert_eq!(others + QUESTIONS_PER_PEER, COMING_MAX);
    assert_eq!(
        fill(&mut book, 99, Standing::Trusted),
        QUESTIONS_PER_PEER,
        "strangers keep nobody out who is trusted"
    );
    book.remove(id(1));
    assert_eq!(fill(&mut book, 1, Standing::Stranger), 0, "still too many");
    for n in 2..=30 {
        book.remove(id(n));
    }
    assert_eq!(fill(&mut book, 1, Standing::Stranger), QUESTIONS_PER_PEER);
}

/// A text that is on its way to us, wanted.
fn on_its_way(n: u8, peer: Party) -> NewText {
    NewText {
        asks: false,
        ..offered(n, peer)
    }
}

#[test]
fn few_texts_of_one_are_on_their_way_at_once_and_not_many_of_all() {
    let mut book = TextBook::default();
    let now = Instant::now();
    let mut n = 0;
    let mut fill = |book: &mut TextBook, peer: u8, standing| {
        let mut let_in = 0;
        while let_in < 20 && book.admits(now, Source::of(&key(peer)), standing) {
            n += 1;
            book.enter(on_its_way(n, key(peer)));
            let_in += 1;
        }
        let_in
    };
    assert_eq!(fill(&mut book, 1, Standing::Stranger), COMING_PER_PEER);
    let others: usize = (2..9).map(|n| fill(&mut book, n, Standing::Stranger)).sum();
    assert_eq!(others + COMING_PER_PEER, COMING_MAX);
    assert_eq!(fill(&mut book, 99, Standing::Trusted), COMING_PER_PEER);
}

#[test]
fn what_is_being_sent_gives_way_to_nothing() {
    let mut book = TextBook::default();
    for n in 1..=200 {
        let direction = match n {
            ..=24 => Direction::Sending,
            _ => Direction::Receiving,
        };
        book.enter(NewText {
            direction,
            ..on_its_way(n, key(n))
        });
    }
    let left: Vec<u8> = states(&book).into_iter().map(|(n, _)| n).collect();
    assert_eq!(left.len(), TEXTS_MAX);
    assert_eq!(left[..SENDING_MAX], (1..=24).collect::<Vec<u8>>());
}

#[test]
fn nobody_ends_while_a_text_is_on_its_way_from_here() {
    let mut book = TextBook::default();
    book.enter(offered(1, key(1)));
    assert!(book.is_idle(), "a question of somebody else");
    book.enter(NewText {
        direction: Direction::Sending,
        ..on_its_way(2, key(2))
    });
    assert!(!book.is_idle());
    book.get_mut(id(2)).unwrap().state = TextState::Delivered;
    assert!(book.is_idle());
}

#[test]
fn what_is_over_makes_room_and_what_waits_does_not() {
    let mut book = TextBook::default();
    book.enter(offered(1, key(1)));
    for n in 2..=200 {
        book.enter(offered(n, key(2)));
        book.get_mut(id(n)).unwrap().state = TextState::Delivered;
    }
    let states = states(&book);
    assert_eq!(states.len(), TEXTS_MAX);
    assert_eq!(states[0], (1, TextState::Asking));
    assert_eq!(states[TEXTS_MAX - 1], (200, TextState::Delivered));
}

#[test]
fn news_of_a_task_that_was_replaced_are_about_nothing() {
    let mut book = TextBook::default();
    book.enter(offered(1, key(1)));
    let first = book.get(id(1)).unwrap().round;
    book.enter(offered(1, key(1)));
    assert!(book.reported(id(1), first).is_none());
    assert!(book.reported(id(1), first + 1).is_some());
    assert_eq!(states(&book).len(), 1, "one text is one text");
}

#[test]
fn a_text_is_remembered_as_accepted_for_the_one_who_sends_it() {
    let mut book = TextBook::default();
    book.remember_accepted(key(1), id(1), 5);
    assert!(book.was_accepted(key(1), id(1), 5));
    assert!(!book.was_accepted(key(2), id(1), 5));
    assert!(!book.was_accepted(key(1), id(1), 6), "another text");
    for n in 2..100 {
        book.remember_accepted(key(1), id(n), 5);
    }
    let kept = book.was_accepted(key(1), id(1), 5);
    assert!(!kept, "it is not kept for ever");
    assert_eq!(book.accepted.len(), ACCEPTED_MAX);
    book.forget_accepted(key(2), id(99));
    assert!(book.was_accepted(key(1), id(99), 5));
    book.forget_accepted(key(1), id(99));
    assert!(!book.was_accepted(key(1), id(99), 5), "it has come");
}

#[test]
fn a_blocked_peer_asks_nothing_any_more_and_what_came_before_stays() {
    let mut book = TextBook::default();
    for (n, peer) in [(1, 1), (2, 1), (3, 2)] {
        book.enter(offered(n, key(peer)));
    }
    book.get_mut(id(1)).unwrap().state = TextState::Delivered;
    book.end_questions_of(PeerId::from_bytes([1; 32]));
    let left = [(1, TextState::Delivered), (3, TextState::Asking)];
    assert_eq!(states(&book), left);
}

#[tokio::test]
async fn whoever_forgets_a_text_ends_its_task_after_its_last_order() {
    let mut book = TextBook::default();
    let (_, mut orders) = book.enter(offered(1, key(1)));
    let entry = book.remove(id(1)).unwrap();
    assert!(entry.order(TextOrder::Refuse));
    drop(entry);
    assert_eq!(orders.recv().await, Some(TextOrder::Refuse));
    assert_eq!(orders.recv().await, None);
}

/// A connection of a program that agrees to `alpns` to a node at `to`, which sends no more than
/// `window` bytes on a stream before they are read.
async fn program(
    identity: &crate::identity::Identity,
    to: (PeerId, std::net::SocketAddr),
    alpns: &[&[u8]],
    window: u32,
) -> (quinn::Endpoint, quinn::Connection) {
    use crate::protocol::frame::encode;
    use crate::protocol::message::{ConnectionMessage, Hello, Opening};
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let tls = identity.client_config_for(Some(to.0), alpns).unwrap();
    let mut config = quinn::ClientConfig::new(tls.crypto);
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(window.into());
    config.transport_config(transport.into());
    let connecting = endpoint.connect_with(config, to.1, &tls.server_name);
    let quic = connecting.unwrap().await.unwrap();
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    let nonce = [7; 16];
    let hello = Opening::Connection(Hello {
        name: "old one".into(),
        version: "0".into(),
        observed: None,
        commitment: crate::protocol::words::commitment(&nonce),
    });
    send.write_all(&encode(&hello).unwrap()).await.unwrap();
    recv.read_exact(&mut [0]).await.unwrap();
    let reveal = encode(&ConnectionMessage::Reveal { nonce }).unwrap();
    send.write_all(&reveal).await.unwrap();
    // The connection stream stays open as long as the connection.
    tokio::spawn(async move {
        let _open = send;
        while let Ok(Some(_)) = recv.read(&mut [0; 64]).await {}
    });
    (endpoint, quic)
}

/// A node that takes nothing without a question, and where it is.
fn node(dir: &std::path::Path) -> (crate::node::Node, (PeerId, std::net::SocketAddr)) {
    use crate::config::{LegacyMode, Paths, Settings};
    use crate::node::api::Presence;
    use crate::node::{Node, NodeOptions, ResumeAtStart};
    let node = Node::start(NodeOptions {
        paths: Paths::below(dir),
        settings: Settings {
            legacy: LegacyMode::Off,
            ..Settings::default()
        },
        bind: Some([127, 0, 0, 1].into()),
        port: Some(0),
        legacy_port: None,
        legacy_req_port: None,
        rule: None,
        resume: ResumeAtStart::None,
        presence: Presence::Off,
        wake: None,
        confine: false,
    });
    let node = node.unwrap();
    let me = node.handle().overview().borrow().me.clone();
    (node, (me.id, me.addrs[0].parse().unwrap()))
}

#[tokio::test]
async fn a_program_that_knows_no_texts_is_sent_none_and_stays_connected() {
    use crate::node::api::{Command, Reply};
    let dir = tempfile::tempdir().unwrap();
    let (node, at) = node(dir.path());
    let handle = node.handle();
    let identity = crate::identity::Identity::generate().unwrap();
    let alpns = [crate::protocol::message::ALPN];
    let (_endpoint, quic) = program(&identity, at, &alpns, 1000).await;
    let mut overview = handle.overview();
    let old = |o: &std::sync::Arc<crate::node::api::Overview>| o.peers.iter().any(|p| p.connected);
    overview.wait_for(old).await.unwrap();
    let send = TextCommand::Send {
        to: Target::Peer(identity.id()),
        text: "hi".into(),
    };
    let reply = handle.call(Command::Text(send)).await;
    let Ok(Reply::TextSent(id)) = reply else {
        panic!("{reply:?}");
    };
    let over = |o: &std::sync::Arc<crate::node::api::Overview>| {
        o.text(id).is_some_and(|t| t.state.is_final())
    };
    let fault = overview
        .wait_for(over)
        .await
        .unwrap()
        .text(id)
        .unwrap()
        .fault
        .clone();
    let fault = fault.unwrap();
    assert_eq!(
        (fault.slug(), fault.exit_code()),
        ("no-texts", 15),
        "{fault}"
    );
    assert!(
        quic.close_reason().is_none(),
        "what runs between them goes on"
    );
    let _ = handle.call(Command::Shutdown).await;
}
