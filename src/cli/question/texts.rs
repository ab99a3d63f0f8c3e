//! The question about a text that somebody wants to send.

use peerconnect::node::api::{Command, NodeHandle, Overview, TextCommand, TextSnapshot};
use peerconnect::text::{Shown, bytes};

use super::{Open, Questions, no_answer};
use crate::cli::human::claimed_text;
use crate::cli::output::{Event, Output};

impl Questions {
    /// Asks about a text, unless another question is open. Whether it was asked.
    pub(crate) async fn ask_text(
        &mut self,
        me: &Overview,
        t: &TextSnapshot,
        out: &mut Output,
    ) -> bool {
        let free = self.is_free();
        if free {
            self.put(Open::Text(t.clone().into()), me, out).await;
        }
        free
    }

    /// Takes a question back whose text is none of `open` any more.
    pub(crate) async fn withdraw_texts<'a>(
        &mut self,
        mut open: impl Iterator<Item = &'a TextSnapshot>,
        out: &mut Output,
    ) {
        if let Some(Open::Text(asked)) = &self.open
            && !open.any(|t| t.id == asked.id)
        {
            let why = "\nThe text was taken back, or nobody answered in time.";
            self.take_back(Some(why), out).await;
        }
    }

    /// Whether the line was an answer that was taken.
    pub(super) async fn take_text(
        &mut self,
        line: &str,
        t: &TextSnapshot,
        node: &NodeHandle,
        out: &mut Output,
    ) -> bool {
        let take = match line.trim().to_lowercase().as_str() {
            "" => !t.is_legacy(),
            "y" | "yes" => true,
            "n" | "no" => false,
            _ => {
                self.refuse(no_answer(line), None, out).await;
                return false;
            }
        };
        let answer = TextCommand::Answer { text: t.id, take };
        if let Err(fault) = node.call(Command::Text(answer)).await {
            // It is over: another question may have its turn.
            out.emit(Event::Error(None, None, &fault)).await;
        } else if take {
            self.taken.insert(t.id);
        } else {
            out.say("Declined. Still waiting; Ctrl-C ends.");
        }
        true
    }
}

/// A careless Enter must not be a yes to somebody who has proven nothing.
pub(super) fn prompt(t: &TextSnapshot) -> &'static str {
    match t.is_legacy() {
        true => "Show it? [y/N] ",
        false => "Show it? [Y/n] ",
    }
}

/// Nothing of the text itself: that is what is asked about.
pub(super) fn question(t: &TextSnapshot) -> String {
    let size = bytes(t.bytes.into());
    if t.is_legacy() {
        return format!(
            "{} has sent a text, {size}\n  Nobody can check who that is, and others in the \
             network can read along.",
            claimed_text(t)
        );
    }
    let mut text = format!("{} wants to send a text, {size}", claimed_text(t));
    if let (false, Some(words)) = (t.trusted, &t.words) {
        text.push_str(&format!(
            "\n  New device. Both screens show: {}",
            Shown(words)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::text;
    use peerconnect::node::api::TextState;

    #[test]
    fn the_question_says_who_and_how_much_and_nothing_raw() {
        let mut t = text(TextState::Asking);
        t.words = Some("river copper nine".into());
        assert_eq!(
            question(&t),
            "kitchen wants to send a text, 5 B\n  New device. Both screens show: river copper nine"
        );
        t.trusted = true;
        assert!(!question(&t).contains("river"));
        t.peer_name = "evil\u{1b}[2J\n".into();
        assert!(!question(&t).contains(['\u{1b}', '\n']));
    }
}
