//! Questions as JSON lines, and the lines that answer them.
//!
//! `{"v":1,"t":"ask","ask":1,"kind":"offer","answers":["yes","no","list"],…}` is answered by
//! `{"answer":"yes"}` on stdin, with `"ask":1` too if it shall count for that question only. What
//! is no answer is an `error` line, and the question comes again with the same number. A question
//! that is not open any more, though nobody here answered it, is `withdrawn`: the next line might
//! still be meant for it, and counts for another question only if it has the number of that.

use peerconnect::node::api::{Overview, TextSnapshot, Who};
use peerconnect::transfer::status::{Conflict, TransferSnapshot};
use serde::Deserialize;
use serde_json::{Value, json};

use super::json;
use super::lines::{LINE_MAX, Line};

/// What can be answered to an offer; the last one only if others may have something of it.
const TO_OFFER: [&str; 4] = ["yes", "no", "list", "alone"];
/// What can be answered to a text that is offered.
pub(crate) const TO_TEXT: [&str; 2] = ["yes", "no"];
/// What can be answered where a name is taken.
pub(crate) const TO_NAME: [&str; 6] = [
    "keep-both",
    "replace",
    "skip",
    "keep-both all",
    "replace all",
    "skip all",
];

/// A line on stdin.
#[derive(Deserialize)]
struct Answer {
    answer: String,
    ask: Option<u64>,
}

/// The answer in a line to the question with this number; else what is wrong with the line. Where
/// the question before was just taken back (`swapped`), the line must say which one it means.
pub(crate) fn answer(line: Line, open: u64, swapped: bool) -> Result<String, String> {
    let text = match line {
        Line::Text(text) => text,
        Line::TooLong => return Err(format!("A line has at most {LINE_MAX} bytes")),
    };
    let Ok(Answer { answer, ask }) = serde_json::from_str(&text) else {
        return Err(r#"An answer is a line such as {"answer":"yes"}"#.into());
    };
    match ask {
        Some(other) if other != open => Err(format!("Question {other} is not open")),
        None if swapped => Err(format!(
            "The question before was taken back; if this one is meant, say so: \"ask\":{open}"
        )),
        // At a terminal Enter has a meaning; a program says what it means.
        Some(_) | None if answer.trim().is_empty() => Err("An answer is never empty".into()),
        Some(_) | None => Ok(answer),
    }
}

/// Shall these files be taken?
pub(crate) fn offer(number: u64, me: &Overview, t: &TransferSnapshot) -> Value {
    let folder = t.folder.as_deref().unwrap_or(&me.me.folder);
    let others = usize::from(t.passing.passes_on);
    let answers: Vec<&str> = TO_OFFER.into_iter().take(3 + others).collect();
    let question = t.question.as_ref();
    let obstacle = question.and_then(|question| question.obstacle.as_ref());
    let mut body = json::offer(t);
    add(
        &mut body,
        json!({
            "ask": number, "kind": "offer", "answers": answers,
            "folder": folder.to_string_lossy(),
            "free": question.map(|question| question.free),
            "seconds_left": question.map(|question| question.seconds_left),
            "obstacle": obstacle.map(|fault| json!({
                "code": fault.slug(), "message": fault.to_string(),
            })),
        }),
    );
    body
}

/// Shall this text be shown?
pub(crate) fn text(number: u64, t: &TextSnapshot) -> Value {
    let mut body = json::text(t);
    add(
        &mut body,
        json!({ "ask": number, "kind": "text", "answers": TO_TEXT }),
    );
    body
}

/// What shall become of a file whose name is taken?
pub(crate) fn name(number: u64, t: &TransferSnapshot, conflict: &Conflict) -> Value {
    let mut body = json::conflict(t, conflict);
    add(
        &mut body,
        json!({ "ask": number, "kind": "name", "answers": TO_NAME }),
    );
    body
}

/// Somebody to send to, as one of the answers.
pub(crate) fn choice(answer: usize, who: Who, name: &str, nearby: bool, trusted: bool) -> Value {
    let (id, addr) = match who {
        Who::Key(id) => (Some(id.to_string()), None),
        Who::Original(id) => (None, Some(id.address().to_string())),
    };
    json!({
        "answer": answer.to_string(), "name": name, "id": id, "addr": addr,
        "nearby": nearby, "trusted": trusted, "encrypted": id.is_some(),
    })
}

/// A question that is not open any more.
pub(crate) fn withdrawn(number: u64) -> Value {
    json!({ "ask": number })
}

fn add(body: &mut Value, more: Value) {
    if let (Value::Object(body), Value::Object(more)) = (body, more) {
        body.extend(more);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_the_open_question_is_one() {
        let text = |text: &str| answer(Line::Text(text.into()), 7, false);
        let swapped = |text: &str| answer(Line::Text(text.into()), 7, true);
        assert_eq!(text(r#"{"answer":"yes"}"#), Ok("yes".into()));
        assert_eq!(text(r#"{"answer":"no","ask":7,"x":1}"#), Ok("no".into()));
        for wrong in [
            r#"{"answer":"yes","ask":6}"#,
            r#"{"answer":true}"#,
            r#"{"answer":" "}"#,
            "yes",
            "",
            "[",
        ] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        assert!(answer(Line::TooLong, 7, false).is_err());
        assert!(swapped(r#"{"answer":"yes"}"#).is_err());
        assert_eq!(swapped(r#"{"answer":"yes","ask":7}"#), Ok("yes".into()));
    }
}
