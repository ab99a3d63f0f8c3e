//! Questions to a person at the terminal, or to the program at the other end of our JSON lines:
//! shall these files or this text be taken, and what shall become of a file whose name is taken?

use std::collections::HashSet;

use peerconnect::config::ConflictAnswer;
use peerconnect::fault::Fault;
use peerconnect::node::api::{Command, NodeHandle, Overview, TextSnapshot};
use peerconnect::protocol::message::{FileIndex, Scope, TransferId};
use peerconnect::text::Shown;
use peerconnect::transfer::bookkeeper::unix_now;
use peerconnect::transfer::status::{Conflict, TransferSnapshot};

use super::json_ask;
use super::lines::{Line, Lines};
use super::output::{Event, Output};

mod offers;
mod texts;

use self::offers::{prompt, question};

/// Asks, one question at a time.
#[derive(Debug)]
pub(crate) struct Questions {
    how: How,
    lines: Lines,
    open: Option<Open>,
    answered: HashSet<TransferId>,
    /// What was answered with yes: the next picture may still ask.
    taken: HashSet<TransferId>,
    /// A question was taken back, and the answer to it may be on its way.
    swapped: bool,
    /// Conflicts that were answered and may still be in the next picture; `None` for all of a
    /// transfer.
    settled: HashSet<(TransferId, Option<FileIndex>)>,
}

/// How questions are put.
#[derive(Debug, Clone, Copy)]
enum How {
    /// In words.
    Words,
    /// As JSON lines; so many have been asked.
    Json(u64),
}

/// The question that waits for a line.
#[derive(Debug)]
enum Open {
    Text(Box<TextSnapshot>),
    Offer(Box<TransferSnapshot>),
    Conflict(Box<TransferSnapshot>, Conflict),
}

impl Open {
    fn transfer(&self) -> Option<&TransferSnapshot> {
        match self {
            Self::Text(_) => None,
            Self::Offer(t) | Self::Conflict(t, _) => Some(t),
        }
    }

    fn text(&self, me: &Overview) -> String {
        match self {
            Self::Text(t) => texts::question(t),
            Self::Offer(t) => question(me, t),
            Self::Conflict(_, conflict) => conflict_question(conflict, unix_now()),
        }
    }

    fn json(&self, number: u64, me: &Overview) -> serde_json::Value {
        match self {
            Self::Text(t) => json_ask::text(number, t),
            Self::Offer(t) => json_ask::offer(number, me, t),
            Self::Conflict(t, conflict) => json_ask::name(number, t, conflict),
        }
    }

    fn prompt(&self) -> String {
        match self {
            Self::Text(t) => texts::prompt(t).to_owned(),
            Self::Offer(t) => prompt(t).to_owned(),
            Self::Conflict(t, _) => conflict_prompt(t.conflicts),
        }
    }
}

impl Questions {
    /// Asks a person, who types the answers.
    pub(crate) fn in_words() -> Self {
        Self::new(How::Words)
    }

    /// Asks in JSON lines, and reads such as answers.
    pub(crate) fn in_json() -> Self {
        Self::new(How::Json(0))
    }

    /// Answers are these.
    #[cfg(test)]
    pub(crate) fn with_lines(self, lines: tokio::sync::mpsc::Receiver<Line>) -> Self {
        let lines = Lines::Come(lines);
        Self { lines, ..self }
    }

    /// Answers come from stdin, from the first question on.
    fn new(how: How) -> Self {
        Self {
            how,
            lines: Lines::NotYet,
            open: None,
            answered: HashSet::new(),
            taken: HashSet::new(),
            swapped: false,
            settled: HashSet::new(),
        }
    }

    /// Whether a question can be asked now.
    fn is_free(&mut self) -> bool {
        self.lines.begin() && self.open.is_none()
    }

    /// Whether a question is where a key would answer it.
    pub(crate) fn is_on_screen(&self) -> bool {
        let asked = self.open.is_some() && matches!(self.lines, Lines::Come(_));
        asked && matches!(self.how, How::Words)
    }

    /// Whether this was answered with yes here.
    pub(crate) fn has_taken(&self, id: TransferId) -> bool {
        self.taken.contains(&id)
    }

    /// Whether there will be no answers any more, and the rule for where nobody can be asked
    /// counts. A terminal that is gone is something else: people answer elsewhere.
    pub(crate) fn has_left(&self) -> bool {
        matches!((&self.lines, self.how), (Lines::Ended, How::Json(_)))
    }

    /// Asks about an offer, again if it was asked before, unless another question is open. Whether
    /// it was asked.
    pub(crate) async fn ask(
        &mut self,
        me: &Overview,
        t: &TransferSnapshot,
        out: &mut Output,
    ) -> bool {
        if let Some(Open::Offer(open)) = &self.open
            && open.id == t.id
        {
            // Behind the prompt that waits.
            self.take_back(Some(""), out).await;
        }
        self.taken.remove(&t.id);
        let free = self.is_free();
        if free {
            self.answered.remove(&t.id);
            self.put(Open::Offer(t.clone().into()), me, out).await;
        }
        free
    }

    /// Asks about the first file of a transfer whose name is taken, unless another question is
    /// open. Takes a question back that was answered elsewhere.
    pub(crate) async fn ask_about_name(
        &mut self,
        me: &Overview,
        t: &TransferSnapshot,
        node: &NodeHandle,
        out: &mut Output,
    ) {
        if let Some(Open::Conflict(open, asked)) = &self.open
            && open.id == t.id
            && t.conflict.as_ref().map(|c| c.index) != Some(asked.index)
        {
            self.take_back(Some("\nNot needed any more."), out).await;
        }
        let Some(conflict) = &t.conflict else {
            return;
        };
        let known = |file| self.settled.contains(&(t.id, file));
        if known(None) || known(Some(conflict.index)) {
            return;
        }
        if self.has_left() {
            // As where nobody could be asked from the start.
            let all = Some((ConflictAnswer::KeepBoth, true));
            self.answer_name(all, t, conflict, node, out).await;
        } else if self.is_free() {
            let question = Open::Conflict(t.clone().into(), conflict.clone());
            self.put(question, me, out).await;
        }
    }

    async fn put(&mut self, question: Open, me: &Overview, out: &mut Output) {
        match &mut self.how {
            How::Words => {
                out.say(&question.text(me));
                out.prompt(&question.prompt());
            }
            How::Json(asked) => {
                *asked += 1;
                out.object("ask", question.json(*asked, me)).await;
            }
        }
        self.open = Some(question);
    }

    /// Closes the open question without an answer.
    async fn take_back(&mut self, why: Option<&str>, out: &mut Output) {
        self.open = None;
        out.unprompt();
        if let Some(why) = why {
            out.say(why);
        }
        if let How::Json(asked) = self.how {
            out.object("withdrawn", json_ask::withdrawn(asked)).await;
            self.swapped = true;
        }
    }

    /// Takes a question back whose offer is gone.
    pub(crate) async fn withdraw(&mut self, t: &TransferSnapshot, out: &mut Output) {
        if let Some(Open::Offer(open)) = &self.open
            && open.id == t.id
        {
            let told = self.answered.contains(&t.id);
            let why = "\nThe offer was taken back, or nobody answered in time.";
            let why = (!told).then_some(why);
            self.take_back(why, out).await;
        }
    }

    /// The next line; `None` when there will be no more. Cancel-safe.
    pub(crate) async fn line(&mut self) -> Option<Line> {
        self.lines.next().await
    }

    /// Takes a line as the answer to the open question.
    pub(crate) async fn answer(&mut self, line: Option<Line>, node: &NodeHandle, out: &mut Output) {
        let Some(line) = line else {
            return self.leave(node, out).await;
        };
        let swapped = std::mem::take(&mut self.swapped);
        let Some(open) = self.open.take() else {
            return self.refuse("No question is open".into(), None, out).await;
        };
        out.unprompt();
        let text = match (self.how, line) {
            (How::Words, Line::Text(text)) => Ok(text),
            (How::Words, Line::TooLong) => Err("Too long".into()),
            (How::Json(asked), line) => json_ask::answer(line, asked, swapped),
        };
        let done = match (text, &open) {
            (Ok(text), Open::Text(t)) => self.take_text(&text, t, node, out).await,
            (Ok(text), Open::Offer(t)) => self.take_offer(&text, t, node, out).await,
            (Ok(text), Open::Conflict(t, conflict)) => {
                let answer = parse_answer(&text);
                if answer.is_none() {
                    self.refuse(no_answer(&text), Some(t), out).await;
                }
                self.answer_name(answer, t, conflict, node, out).await
            }
            (Err(why), open) => {
                self.refuse(why, open.transfer(), out).await;
                false
            }
        };
        if !done {
            match self.how {
                How::Words => out.prompt(&open.prompt()),
                How::Json(asked) => {
                    let me = node.overview().borrow().clone();
                    out.object("ask", open.json(asked, &me)).await;
                }
            }
            self.open = Some(open);
        }
    }

    /// There will be no lines any more.
    async fn leave(&mut self, node: &NodeHandle, out: &mut Output) {
        self.lines = Lines::Ended;
        if !self.has_left() {
            // The terminal is gone: questions stay open until they are answered elsewhere. No key
            // can answer them here, and what was held back is not held back for ever.
            if self.open.is_some() {
                out.unprompt();
            }
            return;
        }
        if let Err(fault) = node.call(Command::Leave).await {
            // The end of the node is noticed by its pictures.
            tracing::debug!(%fault, "the node thinks that somebody is there");
        }
        if self.open.is_some() {
            self.take_back(None, out).await;
        }
    }

    /// Says why a line is no answer; a person sees that from the prompt that comes again.
    async fn refuse(&mut self, why: String, t: Option<&TransferSnapshot>, out: &mut Output) {
        if let How::Json(_) = self.how {
            out.emit(Event::Error(t, None, &Fault::Invalid { why }))
                .await;
        }
    }

    /// Whether there was an answer, and it was taken.
    async fn answer_name(
        &mut self,
        answer: Option<(ConflictAnswer, bool)>,
        t: &TransferSnapshot,
        conflict: &Conflict,
        node: &NodeHandle,
        out: &mut Output,
    ) -> bool {
        let Some((answer, all)) = answer else {
            return false;
        };
        let transfer = t.id;
        let (scope, settled) = match all {
            true => (Scope::Transfer, None),
            false => (Scope::File(conflict.index), Some(conflict.index)),
        };
        let command = Command::AnswerConflict {
            transfer,
            scope,
            answer,
        };
        if let Err(fault) = node.call(command).await {
            out.emit(Event::Error(Some(t), Some(conflict.index), &fault))
                .await;
            return false;
        }
        self.settled.insert((transfer, settled));
        true
    }
}

fn no_answer(text: &str) -> String {
    format!("\"{text}\" is no answer to this question")
}

fn conflict_question(conflict: &Conflict, now: u64) -> String {
    let name = |path: &str| Shown(path.rsplit('/').next().unwrap_or(path)).to_string();
    format!(
        "\"{}\" is already there and differs.\n  Yours: {}\n  New:   {}; beside yours it \
         would be \"{}\"",
        Shown(&conflict.path),
        conflict.old.words(now),
        conflict.new.words(now),
        name(&conflict.keep_both_as),
    )
}

fn conflict_prompt(conflicts: u32) -> String {
    match conflicts {
        0 | 1 => "Keep both, replace yours, skip the new one? [K/r/s] ".into(),
        n => format!(
            "Keep both, replace yours, skip the new one? [K/r/s; \"k all\" for the other {} too] ",
            n - 1
        ),
    }
}

/// `k`, `r`, `s`, or the whole words; with `all` behind it for all others too.
fn parse_answer(line: &str) -> Option<(ConflictAnswer, bool)> {
    let line = line.trim().to_lowercase();
    let (line, all) = match line.strip_suffix("all") {
        // What shall become of all must be said.
        Some("") => return None,
        Some(rest) => (rest.trim(), true),
        None => (line.as_str(), false),
    };
    let answer = match line {
        "" | "k" | "keep" | "both" | "keep both" | "keep-both" => ConflictAnswer::KeepBoth,
        "r" | "replace" => ConflictAnswer::Replace,
        "s" | "skip" => ConflictAnswer::Skip,
        _ => return None,
    };
    Some((answer, all))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
