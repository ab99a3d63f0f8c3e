//! Texts with the reference peer, both ways, and from raw connections that are up to no good.

use peerconnect::node::api::{Command, TextCommand};
use peerconnect::node::texts::QUESTIONS_PER_PEER;
use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::legacy::stream::{Opening, TextDialect, TextStep};

use crate::common::Shape;
use crate::raw::Raw;
use crate::reference::Lab;

#[test]
fn texts_of_an_original_are_shown_and_marked() {
    let Some(lab) = Lab::new() else { return };
    let (mut ours, to, kad) = lab.receive("daemon");
    // It checks in first, as originals do: then its name is known.
    let mut checking = lab.theirs(&["checkin", &kad]);
    assert_eq!(checking.end(), 0, "{:#?}", checking.seen);
    let mut theirs = lab.theirs(&["text", &to, "hello", "second é\n\u{202e}"]);
    assert_eq!(theirs.end(), 0, "{:#?}", theirs.seen);
    for text in ["hello", "second é\n\u{202e}"] {
        let line = ours.next("text");
        assert_eq!(line["text"], text);
        assert_eq!(line["encrypted"], false);
        assert_eq!(line["path"], "legacy-plain");
        assert!(line["peer"]["id"].is_null() && line["peer"]["claims"].is_object());
        assert_eq!(line["peer"]["trusted"], false);
    }
}

#[test]
fn a_text_gets_to_an_original_and_it_lives_on() {
    let Some(lab) = Lab::new() else { return };
    let (mut theirs, to) = lab.they_receive(&[]);
    for text in ["hello é", "second\nof two lines"] {
        let mut ours = lab.ours(&["send", "--text", text, "--to", &to]);
        assert_eq!(ours.end(), 0, "{:#?}", ours.seen);
        let summary = ours.seen.last().unwrap();
        assert_eq!(summary["delivered"], false, "nobody has said so");
        assert_eq!(summary["encrypted"], false);
        assert_eq!(theirs.next("text")["message"], text);
    }
    let long = "a rather long text\n".repeat(3_000);
    let mut ours = lab.ours(&["send", "--text", &long, "--to", &to]);
    assert_eq!(ours.end(), 0, "{:#?}", ours.seen.last());
    let mut came = String::new();
    while came.len() < long.len() {
        came.push_str(theirs.next("text")["message"].as_str().unwrap());
    }
    assert!(came == long);
    assert!(!theirs.has("acceptor-died") && !theirs.has("short-read"));
    let file = lab.file("a", b"still there");
    assert_eq!(lab.send(&to, &[&file]).end(), 0);
}

#[test]
fn taking_everything_does_not_mean_texts_of_originals() {
    let Some(lab) = Lab::new() else { return };
    let inbox = lab.path("in");
    let mut ours = lab.ours(&["daemon", "--yes", "--out", inbox.to_str().unwrap()]);
    let hello = ours.next("hello");
    let to = format!("127.0.0.1:{}", hello["legacy"]["port"]);
    let mut theirs = lab.theirs(&["text", &to, "psst"]);
    assert_eq!(theirs.end(), 0);
    let offer = ours.next("text_offer");
    assert_eq!(offer["encrypted"], false);
    assert!(!ours.has("text"));
}

fn texts() -> Opening {
    Opening::Texts {
        sender: LegacyId::DEFAULT_PROFILE,
        dialect: TextDialect::Basic,
    }
}

fn message(text: &str) -> Vec<u8> {
    let step = TextStep::Message {
        sender: LegacyId::DEFAULT_PROFILE,
        text: text.into(),
    };
    step.encode().unwrap()
}

/// As the newer original: it has six connections to one peer, and ends none that had a text.
#[tokio::test]
async fn six_texts_on_kept_connections_all_come() {
    let site = Shape::legacy("to").start();
    let mut kept = Vec::new();
    for n in 1..=6 {
        let mut raw = Raw::open(&site, texts()).await;
        raw.say(&message(&format!("text {n}"))).await;
        kept.push(raw);
        let come = |o: &peerconnect::node::api::Overview| {
            let come = o.texts.iter().filter(|t| t.has_come()).count();
            (come == n).then_some(())
        };
        site.until(come).await;
    }
}

#[tokio::test]
async fn a_flood_of_texts_is_a_few_questions_and_others_are_served() {
    let shape = Shape {
        accept_unencrypted: false,
        ..Shape::legacy("to")
    };
    let site = shape.start();
    let mut flood = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::open(&site, texts()).await;
        raw.say(&message("spam").repeat(50)).await;
        flood.push(raw);
    }
    for raw in &mut flood {
        assert_eq!(raw.byte().await, None, "turned away, without an answer");
    }
    let open = site.handle.overview().borrow().texts.clone();
    assert_eq!(open.len(), QUESTIONS_PER_PEER);
    assert!(open.iter().all(|t| t.is_question() && t.is_legacy()));
    // Files still come.
    let mut raw = Raw::files(&site).await;
    raw.file("a", b"a").await;
    // And what was asked about can be answered.
    let answer = TextCommand::Answer {
        text: open[0].id,
        take: true,
    };
    site.call(Command::Text(answer)).await;
    let came =
        |o: &peerconnect::node::api::Overview| o.texts.iter().any(|t| t.has_come()).then_some(());
    site.until(came).await;
}

#[tokio::test]
async fn nonsense_where_texts_come_is_nothing_anybody_hears_of() {
    let site = Shape::legacy("to").start();
    let mut not_utf8 = message("abc");
    let at = not_utf8.windows(3).position(|w| w == b"abc").unwrap();
    not_utf8[at + 1] = 0xff;
    for bytes in [not_utf8, vec![0xff; 64], message("cut")[..20].to_vec()] {
        let mut raw = Raw::open(&site, texts()).await;
        raw.say(&bytes).await;
        raw.no_more().await;
        assert_eq!(raw.byte().await, None);
    }
    let mut raw = Raw::open(&site, texts()).await;
    raw.say(&message("honest")).await;
    let came =
        |o: &peerconnect::node::api::Overview| o.texts.iter().any(|t| t.has_come()).then_some(());
    site.until(came).await;
    assert_eq!(site.handle.overview().borrow().texts.len(), 1);
}
