//! Texts that come while questions are open, and after the answer.

use peerconnect::node::api::{TextSnapshot, TextState};

use super::*;
use crate::cli::testing::text;

fn coming(state: TextState) -> TextSnapshot {
    TextSnapshot {
        direction: Direction::Receiving,
        ..text(state)
    }
}

fn picture(transfers: &[TransferSnapshot], text: Option<&TextSnapshot>) -> Arc<Overview> {
    let mut picture = overview(transfers.to_vec());
    picture.texts = text.cloned().into_iter().collect();
    Arc::new(picture)
}

fn offered() -> TransferSnapshot {
    let mut t = snapshot(TransferState::AwaitingAnswer);
    t.direction = Direction::Receiving;
    t.question = Some(Question {
        free: 1,
        obstacle: None,
        seconds_left: 9,
        until: 0,
        round: 1,
    });
    t
}

async fn a_while() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_text_is_not_shown_over_a_question_that_a_key_would_answer() {
    let t = offered();
    let node = FakeNode::start(vec![t.clone()]);
    let paper = Paper::default();
    let (_report, mut signals) = Signals::none();
    let mut out = Output::words_into(Box::new(paper.clone()));
    let (lines, from) = mpsc::channel(1);
    let mut face = Face::new(&node.handle, true, &mut out, &mut signals, next());
    face.answers = Answers::Person;
    face.person = Some(Questions::in_words().with_lines(from));
    let script = async {
        a_while().await;
        let came = coming(TextState::Delivered);
        node.pictures.send_replace(picture(&[t], Some(&came)));
        a_while().await;
        assert!(paper.text.lock().unwrap().is_empty(), "shown over a prompt");
        lines.send(Line::Text(String::new())).await.unwrap();
    };
    let (exit, ()) = tokio::join!(face.run(), script);
    assert_eq!(exit, Exit::OK);
    out.finish().await;
    let shown = String::from_utf8(paper.text.lock().unwrap().clone()).unwrap();
    assert_eq!(shown, "hi\n");
}

/// A face that is asked in JSON about a text, says yes, and leaves; then the pictures are these.
async fn after_a_yes(pictures: &[Arc<Overview>]) -> (Exit, Vec<Value>) {
    let node = FakeNode::start(vec![]);
    let asks = picture(&[], Some(&coming(TextState::Asking)));
    node.pictures.send_replace(asks);
    let (lines, from) = mpsc::channel(1);
    let (commands, shown) = (Arc::clone(&node.commands), node.pictures.clone());
    let script = async {
        let yes = Line::Text(r#"{"answer":"yes"}"#.into());
        lines.send(yes).await.unwrap();
        drop(lines);
        let left = |commands: &[Command]| commands.contains(&Command::Leave);
        while !left(&commands.lock().unwrap()) {
            tokio::task::yield_now().await;
        }
        for picture in pictures {
            a_while().await;
            shown.send_replace(Arc::clone(picture));
        }
    };
    let setup = |face: &mut Face<'_>| {
        face.answers = Answers::Person;
        face.person = Some(Questions::in_json().with_lines(from));
    };
    let (ended, ()) = tokio::join!(node.run(next(), setup), script);
    ended
}

#[tokio::test]
async fn who_says_yes_and_leaves_still_gets_the_text() {
    let there = |state| picture(&[], Some(&coming(state)));
    let pictures = [there(TextState::Moving), there(TextState::Delivered)];
    let (exit, lines) = after_a_yes(&pictures).await;
    assert_eq!(exit, Exit::OK, "{lines:?}");
    assert_eq!(of_kind(&lines, "text")[0]["text"], "hi");
}

#[tokio::test]
async fn when_a_text_that_was_accepted_does_not_come_there_is_nobody_left_to_ask() {
    let pictures = [
        picture(&[], Some(&coming(TextState::Moving))),
        picture(&[], None),
    ];
    let (exit, lines) = after_a_yes(&pictures).await;
    assert_eq!(exit, Exit(2), "{lines:?}");
}

#[tokio::test]
async fn who_says_yes_to_files_and_leaves_still_gets_them() {
    let mut t = offered();
    let node = FakeNode::start(vec![t.clone()]);
    let (lines, from) = mpsc::channel(1);
    let (commands, pictures) = (Arc::clone(&node.commands), node.pictures.clone());
    let script = async {
        let yes = Line::Text(r#"{"answer":"yes"}"#.into());
        lines.send(yes).await.unwrap();
        drop(lines);
        while !commands.lock().unwrap().contains(&Command::Leave) {
            tokio::task::yield_now().await;
        }
        a_while().await;
        (t.state, t.question) = (TransferState::Completed, None);
        pictures.send_replace(picture(&[t], None));
    };
    let setup = |face: &mut Face<'_>| {
        face.answers = Answers::Person;
        face.person = Some(Questions::in_json().with_lines(from));
    };
    let ((exit, lines), ()) = tokio::join!(node.run(next(), setup), script);
    assert_eq!(exit, Exit::OK, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_text_on_its_way_is_in_time() {
    let node = FakeNode::start(vec![]);
    let there = |state| picture(&[], Some(&coming(state)));
    node.pictures.send_replace(there(TextState::Moving));
    let pictures = node.pictures.clone();
    let goal = Goal::Next {
        not: HashSet::new(),
        until: Some(Instant::now() + Duration::from_secs(5)),
        declinable: false,
    };
    let late = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        pictures.send_replace(there(TextState::Delivered));
    };
    let ((exit, lines), ()) = tokio::join!(node.run(goal, |_| {}), late);
    assert_eq!(exit, Exit::OK);
    assert_eq!(of_kind(&lines, "text").len(), 1);
}
