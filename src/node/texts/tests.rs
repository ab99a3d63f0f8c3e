//! What the book lets in, keeps and forgets.

use super::*;

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
    assert_eq!(others + QUESTIONS_PER_PEER, QUESTIONS_MAX);
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
    book.remember_accepted(key(1), id(1));
    assert!(book.was_accepted(key(1), id(1)));
    assert!(!book.was_accepted(key(2), id(1)));
    for n in 2..100 {
        book.remember_accepted(key(1), id(n));
    }
    assert!(!book.was_accepted(key(1), id(1)), "it is not kept for ever");
    assert_eq!(book.accepted.len(), ACCEPTED_MAX);
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

/// A connection of a program that knows no texts to a node at `to`.
async fn old_program(
    identity: &crate::identity::Identity,
    to: (PeerId, std::net::SocketAddr),
) -> (quinn::Endpoint, quinn::Connection) {
    use crate::protocol::frame::encode;
    use crate::protocol::message::{ALPN, ConnectionMessage, Hello, Opening};
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let tls = identity.client_config_for(Some(to.0), &[ALPN]).unwrap();
    let config = quinn::ClientConfig::new(tls.crypto);
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
        let _both = (send, recv);
        std::future::pending::<()>().await;
    });
    (endpoint, quic)
}

#[tokio::test]
async fn a_program_that_knows_no_texts_is_sent_none_and_stays_connected() {
    use crate::config::{LegacyMode, Paths, Settings};
    use crate::node::api::{Command, Presence, Reply};
    use crate::node::{Node, NodeOptions, ResumeAtStart};
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(NodeOptions {
        paths: Paths::below(dir.path()),
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
    let handle = node.handle();
    let me = handle.overview().borrow().me.clone();
    let identity = crate::identity::Identity::generate().unwrap();
    let at = me.addrs[0].parse().unwrap();
    let (_endpoint, quic) = old_program(&identity, (me.id, at)).await;
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
