//! Texts between two nodes: as peers with keys, and as originals meet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub
)]

mod common;

use std::time::Duration;

use common::{Shape, Site};
use peerconnect::config::{ConflictPolicy, LegacyMode};
use peerconnect::fault::Fault;
use peerconnect::node::api::{
    Command, ReceiveRule, Reply, Target, TextCommand, TextSnapshot, TextState,
};
use peerconnect::node::texts::{QUESTIONS_PER_PEER, TEXTS_MAX};
use peerconnect::protocol::message::DeclineReason;
use peerconnect::protocol::texts::{TEXT_LEN_MAX, TextId};
use peerconnect::storage::store::{Accept, HistoryRecord};
use peerconnect::transfer::status::Direction;

/// How the two reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Quic,
    Original,
}

const WAYS: [Way; 2] = [Way::Quic, Way::Original];

struct Two {
    to: Site,
    from: Site,
    address: String,
}

impl Two {
    /// `asks`: whether the person at `to` is asked.
    fn start(way: Way, asks: bool) -> Self {
        let shape = match (way, asks) {
            (Way::Quic, true) => Shape::asking("ben"),
            (Way::Quic, false) => Shape::new("ben"),
            (Way::Original, _) => Shape {
                accept_unencrypted: !asks,
                ..Shape::legacy("ben")
            },
        };
        Self::with(way, shape)
    }

    fn with(way: Way, shape: Shape) -> Self {
        let to = shape.start();
        let from = match way {
            Way::Quic => Shape::new("anna"),
            Way::Original => Shape::legacy("anna"),
        };
        let address = match way {
            Way::Quic => to.link(),
            Way::Original => {
                let legacy = to.handle.overview().borrow().me.legacy.clone().unwrap();
                format!("legacy:127.0.0.1:{}/{}", legacy.port, legacy.req_port)
            }
        };
        let from = from.start();
        Self { to, from, address }
    }

    async fn send(&self, text: &str) -> TextId {
        match self.try_send(text).await {
            Ok(Reply::TextSent(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    async fn try_send(&self, text: &str) -> Result<Reply, Fault> {
        let to = Target::Text(self.address.clone());
        let text = text.to_owned();
        let send = TextCommand::Send { to, text };
        self.from.handle.call(Command::Text(send)).await
    }

    /// How the sending of a text ended.
    async fn ended(&self, id: TextId) -> TextSnapshot {
        let ended = |t: &&TextSnapshot| t.state.is_final();
        self.from.until(|o| o.text(id).filter(ended).cloned()).await
    }

    /// The question at `to`.
    async fn question(&self) -> TextSnapshot {
        let asks = |t: &&TextSnapshot| t.is_question();
        self.to.until(|o| o.texts.iter().find(asks).cloned()).await
    }

    /// The text that has come to `to`.
    async fn came(&self) -> (TextSnapshot, String) {
        let came = |t: &&TextSnapshot| t.has_come();
        let t = self.to.until(|o| o.texts.iter().find(came).cloned()).await;
        match self.to.call(Command::Text(TextCommand::Read(t.id))).await {
            Reply::Text(text) => (t, text),
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&self, text: TextId, take: bool) {
        let answer = TextCommand::Answer { text, take };
        self.to.call(Command::Text(answer)).await;
    }
}

async fn history(site: &Site) -> Vec<HistoryRecord> {
    match site.call(Command::History { count: 99 }).await {
        Reply::History(records) => records,
        other => panic!("{other:?}"),
    }
}

fn delivered(way: Way) -> TextState {
    match way {
        Way::Quic => TextState::Delivered,
        // Nobody says so there.
        Way::Original => TextState::HandedOver,
    }
}

#[tokio::test]
async fn a_text_arrives_as_it_is_and_both_sides_remember_it() {
    for way in WAYS {
        let two = Two::start(way, false);
        let text = "https://example.org/ é\n\u{202e}\u{1b}[2J";
        let id = two.send(text).await;
        let sent = two.ended(id).await;
        assert_eq!((sent.state, &sent.fault), (delivered(way), &None));
        assert_eq!(sent.is_legacy(), way == Way::Original);
        let (came, there) = two.came().await;
        assert_eq!(there, text, "{way:?}");
        assert_eq!(came.bytes as usize, text.len());
        assert_eq!(came.is_legacy(), way == Way::Original);
        for (site, is_sent) in [(&two.to, false), (&two.from, true)] {
            let records = history(site).await;
            let [record] = records.as_slice() else {
                panic!("{records:?}");
            };
            assert_eq!(record.sent, is_sent);
            assert_eq!(record.text.as_ref().unwrap().start, text);
            assert_eq!((record.files, record.bytes), (0, text.len() as u64));
        }
    }
}

#[tokio::test]
async fn the_longest_text_arrives_and_a_longer_one_is_not_sent() {
    for way in WAYS {
        let two = Two::start(way, false);
        let most = "long text ".repeat(TEXT_LEN_MAX)[..TEXT_LEN_MAX].to_owned();
        let id = two.send(&most).await;
        assert_eq!(two.ended(id).await.state, delivered(way));
        // To originals it may go in several pieces.
        let bytes = |o: &peerconnect::node::api::Overview| {
            let came = o.texts.iter().filter(|t| t.has_come());
            let parts: Vec<_> = came.map(|t| (t.id, t.bytes as usize)).collect();
            let whole = parts.iter().map(|(_, bytes)| bytes).sum::<usize>() == most.len();
            whole.then_some(parts)
        };
        let mut all = String::new();
        for (id, _) in two.to.until(bytes).await {
            match two.to.call(Command::Text(TextCommand::Read(id))).await {
                Reply::Text(text) => all.push_str(&text),
                other => panic!("{other:?}"),
            }
        }
        assert!(all == most, "{way:?}");
        for bad in [String::new(), format!("{most}x")] {
            let refused = two.try_send(&bad).await;
            assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_question_holds_nothing_of_the_text_and_is_answered_once() {
    for way in WAYS {
        let two = Two::start(way, true);
        let id = two.send("secret").await;
        let asked = two.question().await;
        assert_eq!(asked.bytes, 6);
        let read = Command::Text(TextCommand::Read(asked.id));
        assert!(two.to.handle.call(read).await.is_err(), "{way:?}");
        if way == Way::Quic {
            let waits = |t: &&TextSnapshot| t.state == TextState::Asking;
            two.from.until(|o| o.text(id).filter(waits).cloned()).await;
        }
        two.answer(asked.id, true).await;
        assert_eq!(two.came().await.1, "secret");
        assert_eq!(two.ended(id).await.state, delivered(way));
        let again = TextCommand::Answer {
            text: asked.id,
            take: true,
        };
        let again = two.to.handle.call(Command::Text(again)).await;
        assert!(matches!(again, Err(Fault::Invalid { .. })), "{again:?}");
    }
}

#[tokio::test]
async fn a_declined_text_leaves_no_trace_and_its_sender_is_told_if_that_is_possible() {
    for way in WAYS {
        let two = Two::start(way, true);
        let id = two.send("spam").await;
        let asked = two.question().await;
        two.answer(asked.id, false).await;
        two.to.until(|o| o.texts.is_empty().then_some(())).await;
        assert!(history(&two.to).await.is_empty());
        let ended = two.ended(id).await;
        match (way, &ended.fault) {
            (Way::Quic, Some(Fault::Declined { reason, .. })) => {
                assert_eq!(*reason, DeclineReason::Person);
            }
            (Way::Original, None) => assert_eq!(ended.state, TextState::HandedOver),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_question_that_nobody_answers_goes_away() {
    for way in WAYS {
        let shape = Shape {
            answer_timeout: Duration::from_millis(200),
            accept_unencrypted: false,
            accept_all: false,
            ..Shape::legacy("ben")
        };
        let two = Two::with(way, shape);
        let id = two.send("hello?").await;
        let ended = two.ended(id).await;
        if way == Way::Quic {
            let Some(Fault::Declined { reason, .. }) = &ended.fault else {
                panic!("{ended:?}");
            };
            assert_eq!(*reason, DeclineReason::NoAnswer);
        }
        two.to.until(|o| o.texts.is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_text_that_is_taken_back_is_not_asked_about_any_more() {
    let two = Two::start(Way::Quic, true);
    let id = two.send("oops").await;
    two.question().await;
    two.from.call(Command::Text(TextCommand::Drop(id))).await;
    two.to.until(|o| o.texts.is_empty().then_some(())).await;
    assert!(two.from.handle.overview().borrow().texts.is_empty());
}

#[tokio::test]
async fn a_trusted_peer_is_not_asked_about_though_its_files_are() {
    let two = Two::start(Way::Quic, true);
    let anna = two.from.handle.overview().borrow().me.id;
    let trust = Command::Trust {
        peer: anna,
        accept: Accept::Ask,
    };
    two.to.call(trust).await;
    let id = two.send("hi").await;
    assert_eq!(two.ended(id).await.state, TextState::Delivered);
    let (came, text) = two.came().await;
    assert_eq!(text, "hi");
    assert!(came.trusted && came.words.is_none());
    let file = two.from.file("a", b"a");
    two.from.send(&two.address, &[&file]).await;
    let asked = |o: &peerconnect::node::api::Overview| {
        o.transfers
            .iter()
            .any(|t| t.question.is_some())
            .then_some(())
    };
    two.to.until(asked).await;
}

#[tokio::test]
async fn a_blocked_peer_sends_nothing() {
    let two = Two::start(Way::Quic, false);
    let anna = two.from.handle.overview().borrow().me.id;
    let block = Command::Trust {
        peer: anna,
        accept: Accept::Block,
    };
    two.to.call(block).await;
    let id = two.send("hi").await;
    let ended = two.ended(id).await;
    assert!(
        matches!(ended.fault, Some(Fault::Refused { .. })),
        "{ended:?}"
    );
    assert!(two.to.handle.overview().borrow().texts.is_empty());
}

#[tokio::test]
async fn strangers_have_few_questions_open_and_everything_else_is_turned_away() {
    for way in WAYS {
        let two = Two::start(way, true);
        let mut ids = Vec::new();
        for n in 0..QUESTIONS_PER_PEER {
            ids.push(two.send(&format!("{n}")).await);
            let there =
                |o: &peerconnect::node::api::Overview| (o.texts.len() == n + 1).then_some(());
            two.to.until(there).await;
        }
        let more = two.send("more").await;
        let ended = two.ended(more).await;
        if way == Way::Quic {
            let Some(Fault::Declined { reason, .. }) = &ended.fault else {
                panic!("{ended:?}");
            };
            assert_eq!(*reason, DeclineReason::Busy);
        }
        let open = two.to.handle.overview().borrow().texts.len();
        assert_eq!(open, QUESTIONS_PER_PEER, "{way:?}");
    }
}

#[tokio::test]
async fn texts_that_are_over_make_room_for_others() {
    let two = Two::start(Way::Quic, true);
    let anna = two.from.handle.overview().borrow().me.id;
    let trust = Command::Trust {
        peer: anna,
        accept: Accept::Always,
    };
    two.to.call(trust).await;
    let count = TEXTS_MAX + 5;
    for n in 0..count {
        let id = two.send(&format!("{n}")).await;
        assert_eq!(two.ended(id).await.state, TextState::Delivered);
    }
    for (site, direction) in [
        (&two.to, Direction::Receiving),
        (&two.from, Direction::Sending),
    ] {
        let picture = site.handle.overview().borrow().clone();
        assert_eq!(picture.texts.len(), TEXTS_MAX);
        assert!(picture.texts.iter().all(|t| t.direction == direction));
        let records = history(site).await;
        assert_eq!(records.len(), count);
        assert_eq!(
            records[0].text.as_ref().unwrap().start,
            format!("{}", count - 1)
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks_while_the_person_thinks_is_made_again() {
    let mut two = Two::start(Way::Quic, true);
    let id = two.send("still here").await;
    two.question().await;
    two.to.stop().await;
    two.to.restart();
    let asked = two.question().await;
    assert_eq!(asked.id, id, "the same text");
    two.answer(id, true).await;
    assert_eq!(two.came().await.1, "still here");
    assert_eq!(two.ended(id).await.state, TextState::Delivered);
}

#[tokio::test]
async fn a_text_that_is_only_asked_about_is_not_what_is_waited_for() {
    for way in WAYS {
        let two = Two::start(way, true);
        let folder = |site: &Site| site.handle.overview().borrow().me.folder.clone();
        let own = folder(&two.to);
        let rule = |accepts| ReceiveRule {
            accept_all: accepts,
            accept_unencrypted: accepts,
            folder: two.to.dir.path().join("elsewhere"),
            on_conflict: ConflictPolicy::Rename,
            pass_on: true,
        };
        two.to.call(Command::Expect(rule(false))).await;
        two.send("may I?").await;
        let asked = two.question().await;
        assert_eq!(folder(&two.to), rule(false).folder, "{way:?}");
        two.answer(asked.id, false).await;
        two.to.until(|o| o.texts.is_empty().then_some(())).await;
        two.to.call(Command::Expect(rule(true))).await;
        two.send("here").await;
        assert_eq!(two.came().await.1, "here");
        assert_eq!(folder(&two.to), own, "{way:?}");
        two.send("more").await;
        two.question().await;
        // Whoever waits no more leaves nothing behind, and of others' rules nothing changes.
        two.to.call(Command::Expect(rule(true))).await;
        two.to.call(Command::ExpectNoMore(rule(false))).await;
        assert_eq!(folder(&two.to), rule(true).folder);
        two.to.call(Command::ExpectNoMore(rule(true))).await;
        let other = Command::Find("nobody".into());
        let _ = two.to.handle.call(other).await;
        assert_eq!(folder(&two.to), own);
    }
}

#[tokio::test]
async fn nothing_goes_to_originals_where_they_are_switched_off() {
    for legacy in [LegacyMode::ReceiveOnly, LegacyMode::Off] {
        let mut two = Two::start(Way::Original, false);
        let shape = Shape {
            legacy,
            ..Shape::legacy("anna")
        };
        two.from = shape.start();
        let refused = two.try_send("hi").await;
        assert!(matches!(refused, Err(Fault::Invalid { .. })), "{refused:?}");
    }
}
