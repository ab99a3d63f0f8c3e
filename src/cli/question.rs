//! Questions to a person at the terminal: shall these files or this text be taken, and what shall
//! become of a file whose name is taken?

use std::collections::HashSet;
use std::io::BufRead;
use std::path::Path;

use peerconnect::config::ConflictAnswer;
use peerconnect::node::api::{Command, Decision, NodeHandle, Overview, Reply, TextSnapshot};
use peerconnect::protocol::message::{FileIndex, Scope, TransferId};
use peerconnect::text::{Shown, bytes, count};
use peerconnect::transfer::bookkeeper::unix_now;
use peerconnect::transfer::status::{
    Conflict, FileQuery, ROWS_MAX, TOP_NAMES_MAX, TransferSnapshot,
};
use tokio::sync::mpsc;

use super::human::{claimed, top_names};
use super::output::{Event, Output};

mod texts;

/// Lines of the person that may wait.
const LINES_MAX: usize = 4;

/// Asks, one question at a time.
#[derive(Debug)]
pub(crate) struct Questions {
    lines: Lines,
    open: Option<Open>,
    answered: HashSet<TransferId>,
    /// Conflicts that were answered and may still be in the next picture; `None` for all of a
    /// transfer.
    settled: HashSet<(TransferId, Option<FileIndex>)>,
}

/// What the person types.
#[derive(Debug)]
enum Lines {
    /// Nothing was asked yet. Who reads without need stops a program in the background.
    NotYet,
    Come(mpsc::Receiver<String>),
    /// The terminal is gone.
    Ended,
}

/// The question that waits for a line.
#[derive(Debug)]
enum Open {
    Text(Box<TextSnapshot>),
    Offer(Box<TransferSnapshot>),
    Conflict(Box<TransferSnapshot>, Conflict),
}

impl Open {
    fn prompt(&self) -> String {
        match self {
            Self::Text(t) => texts::prompt(t).to_owned(),
            Self::Offer(t) => prompt(t).to_owned(),
            Self::Conflict(t, _) => conflict_prompt(t.conflicts),
        }
    }
}

impl Questions {
    /// Reads the answers from stdin, from the first question on.
    pub(crate) fn from_stdin() -> Self {
        Self {
            lines: Lines::NotYet,
            open: None,
            answered: HashSet::new(),
            settled: HashSet::new(),
        }
    }

    /// Whether a question can be asked now.
    fn is_free(&mut self) -> bool {
        if matches!(self.lines, Lines::NotYet) {
            self.lines = read_stdin();
        }
        self.open.is_none() && matches!(self.lines, Lines::Come(_))
    }

    /// Asks about an offer, again if it was asked before, unless another question is open. Whether
    /// it was asked.
    pub(crate) fn ask(&mut self, me: &Overview, t: &TransferSnapshot, out: &mut Output) -> bool {
        if let Some(Open::Offer(open)) = &self.open
            && open.id == t.id
        {
            self.open = None;
            out.unprompt();
            // Behind the prompt that waits.
            out.say("");
        }
        let free = self.is_free();
        if free {
            self.answered.remove(&t.id);
            self.put(Open::Offer(t.clone().into()), &question(me, t), out);
        }
        free
    }

    /// Asks about the first file of a transfer whose name is taken, unless another question is
    /// open. Takes a question back that was answered elsewhere.
    pub(crate) fn ask_about_name(&mut self, t: &TransferSnapshot, out: &mut Output) {
        if let Some(Open::Conflict(open, asked)) = &self.open
            && open.id == t.id
            && t.conflict.as_ref().map(|c| c.index) != Some(asked.index)
        {
            self.open = None;
            out.unprompt();
            out.say("\nNot needed any more.");
        }
        let Some(conflict) = &t.conflict else {
            return;
        };
        let known = |file| self.settled.contains(&(t.id, file));
        if known(None) || known(Some(conflict.index)) || !self.is_free() {
            return;
        }
        let text = conflict_question(conflict, unix_now());
        self.put(
            Open::Conflict(t.clone().into(), conflict.clone()),
            &text,
            out,
        );
    }

    fn put(&mut self, question: Open, text: &str, out: &mut Output) {
        out.say(text);
        out.prompt(&question.prompt());
        self.open = Some(question);
    }

    /// Takes a question back whose offer is gone.
    pub(crate) fn withdraw(&mut self, t: &TransferSnapshot, out: &mut Output) {
        if let Some(Open::Offer(open)) = &self.open
            && open.id == t.id
        {
            self.open = None;
            out.unprompt();
            if !self.answered.contains(&t.id) {
                out.say("\nThe offer was taken back, or nobody answered in time.");
            }
        }
    }

    /// The next line; `None` when there will be no more. Cancel-safe.
    pub(crate) async fn line(&mut self) -> Option<String> {
        match &mut self.lines {
            Lines::Come(lines) => lines.recv().await,
            Lines::NotYet | Lines::Ended => std::future::pending().await,
        }
    }

    /// Takes a line as the answer to the open question.
    pub(crate) async fn answer(
        &mut self,
        line: Option<String>,
        node: &NodeHandle,
        out: &mut Output,
    ) {
        let Some(line) = line else {
            // No terminal any more: questions stay open until they are answered elsewhere.
            self.lines = Lines::Ended;
            return;
        };
        let Some(open) = self.open.take() else {
            return;
        };
        out.unprompt();
        let done = match &open {
            Open::Text(t) => self.take_text(&line, t, node, out).await,
            Open::Offer(t) => self.take_offer(&line, t, node, out).await,
            Open::Conflict(t, conflict) => self.take_name(&line, t, conflict, node, out).await,
        };
        if !done {
            out.prompt(&open.prompt());
            self.open = Some(open);
        }
    }

    /// Whether the line was an answer that was taken.
    async fn take_offer(
        &mut self,
        line: &str,
        t: &TransferSnapshot,
        node: &NodeHandle,
        out: &mut Output,
    ) -> bool {
        let decision = match line.trim().to_lowercase().as_str() {
            "" if t.is_legacy() => Decision::Decline,
            "" | "y" | "yes" => Decision::Accept {
                folder: None,
                only: None,
            },
            "n" | "no" => Decision::Decline,
            "l" | "list" => {
                list(t, node, out).await;
                return false;
            }
            _ => return false,
        };
        let declined = decision == Decision::Decline;
        let transfer = t.id;
        if let Err(fault) = node.call(Command::Answer { transfer, decision }).await {
            out.emit(Event::Error(Some(t), None, &fault)).await;
            return false;
        }
        self.answered.insert(transfer);
        if declined {
            out.say("Declined. Still waiting; Ctrl-C ends.");
        }
        true
    }

    /// Whether the line was an answer that was taken.
    async fn take_name(
        &mut self,
        line: &str,
        t: &TransferSnapshot,
        conflict: &Conflict,
        node: &NodeHandle,
        out: &mut Output,
    ) -> bool {
        let Some((answer, all)) = parse_answer(line) else {
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

fn read_stdin() -> Lines {
    let (to, lines) = mpsc::channel(LINES_MAX);
    // Ends with the process: a read from a terminal cannot be called off.
    let reader = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                if to.blocking_send(line).is_err() {
                    break;
                }
            }
        });
    match reader {
        Ok(_) => Lines::Come(lines),
        Err(_) => Lines::Ended,
    }
}

const PROMPT: &str = "Accept? [Y/n/list] ";
/// Where a careless Enter must not be a yes.
const PROMPT_OF_ORIGINAL: &str = "Accept? [y/N/list] ";

fn prompt(t: &TransferSnapshot) -> &'static str {
    match t.is_legacy() {
        true => PROMPT_OF_ORIGINAL,
        false => PROMPT,
    }
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
        "" | "k" | "keep" | "both" | "keep both" => ConflictAnswer::KeepBoth,
        "r" | "replace" => ConflictAnswer::Replace,
        "s" | "skip" => ConflictAnswer::Skip,
        _ => return None,
    };
    Some((answer, all))
}

fn question(me: &Overview, t: &TransferSnapshot) -> String {
    let folder = t.folder.as_deref().unwrap_or(&me.me.folder);
    if t.is_legacy() {
        return question_of_original(t, folder);
    }
    let mut text = format!(
        "{} wants to send {}, {}, into {}\n  {}",
        Shown(&t.peer_name),
        count(t.files.into(), "file", "files"),
        bytes(t.bytes),
        Shown(&folder.to_string_lossy()),
        top_names(t, TOP_NAMES_MAX),
    );
    if let Some(question) = &t.question {
        text.push_str(&format!("  ({} free)", bytes(question.free)));
        if let Some(obstacle) = &question.obstacle {
            text.push_str(&format!("\n  {obstacle}"));
        }
    }
    if let (false, Some(words)) = (t.trusted, &t.words) {
        text.push_str(&format!(
            "\n  New device. Both screens show: {}",
            Shown(words)
        ));
    }
    text
}

/// An original says little, and proves nothing of it.
fn question_of_original(t: &TransferSnapshot, folder: &Path) -> String {
    let mut text = format!("{} wants to send files", claimed(t));
    if t.files > 0 {
        let files = count(t.files.into(), "file", "files");
        let names = top_names(t, TOP_NAMES_MAX);
        text.push_str(&format!(", {files} so far ({names})"));
    }
    text.push_str(&format!(", into {}", Shown(&folder.to_string_lossy())));
    if let Some(question) = &t.question {
        text.push_str(&format!("\n  ({} free)", bytes(question.free)));
        if let Some(obstacle) = &question.obstacle {
            text.push_str(&format!("\n  {obstacle}"));
        }
    }
    text.push_str(
        "\n  Nobody can check who that is, and others in the network can read along. It says \
         what it sends only while it sends.",
    );
    text
}

async fn list(t: &TransferSnapshot, node: &NodeHandle, out: &mut Output) {
    let mut from = 0;
    loop {
        let query = FileQuery::Range {
            from,
            count: ROWS_MAX,
        };
        let transfer = t.id;
        let rows = match node.call(Command::Files { transfer, query }).await {
            Ok(Reply::Files(rows)) if !rows.is_empty() => rows,
            Ok(_) => return,
            Err(fault) => {
                out.emit(Event::Error(Some(t), None, &fault)).await;
                return;
            }
        };
        from += rows.len() as u32;
        for row in &rows {
            out.say(&format!("{:>9}  {}", bytes(row.bytes), Shown(&row.path)));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::cli::testing::{overview, snapshot};
    use peerconnect::protocol::message::Timestamp;
    use peerconnect::transfer::state::TransferState;
    use peerconnect::transfer::status::{Direction, Question, TopName, Version};

    #[test]
    fn the_question_says_who_what_where_and_whether_it_fits() {
        let mut t = snapshot(TransferState::AwaitingAnswer);
        t.direction = Direction::Receiving;
        (t.files, t.bytes, t.top_count) = (41, 1_200_000_000, 2);
        let name = |name: &str, files| TopName {
            name: name.into(),
            files,
            bytes: 1,
        };
        t.top_names = vec![name("holiday", Some(40)), name("a.pdf", None)];
        t.folder = Some("/home/x".into());
        t.words = Some("river copper nine".into());
        t.question = Some(Question {
            free: 212_000_000_000,
            obstacle: None,
            seconds_left: 300,
            round: 1,
        });
        let text = question(&overview(vec![]), &t);
        assert_eq!(
            text,
            "kitchen wants to send 41 files, 1.20 GB, into /home/x\n  \
             holiday/ (40 files), a.pdf  (212 GB free)\n  \
             New device. Both screens show: river copper nine"
        );
        t.trusted = true;
        assert!(!question(&overview(vec![]), &t).contains("river"));
    }

    fn conflict() -> Conflict {
        Conflict {
            index: 3,
            path: "docs/report.pdf".into(),
            old: Version {
                bytes: 2_000_000,
                modified: Timestamp(0),
            },
            new: Version {
                bytes: 2_100_000,
                modified: Timestamp(0),
            },
            keep_both_as: "docs/report (1).pdf".into(),
        }
    }

    #[test]
    fn a_taken_name_is_asked_about_with_both_sizes_and_dates() {
        let text = conflict_question(&conflict(), 2_000_000_000);
        assert!(
            text.starts_with("\"docs/report.pdf\" is already there and differs.\n"),
            "{text}"
        );
        for part in ["Yours: 2.00 MB, ", "New:   2.10 MB, ", "\"report (1).pdf\""] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!conflict_prompt(1).contains("all"));
        assert!(conflict_prompt(15).contains("for the other 14"));
    }

    #[test]
    fn answers_about_names_are_letters_or_words_and_count_for_all_if_that_is_said() {
        use ConflictAnswer::{KeepBoth, Replace, Skip};
        for (line, answer) in [
            ("", Some((KeepBoth, false))),
            ("k", Some((KeepBoth, false))),
            ("Keep both", Some((KeepBoth, false))),
            ("R", Some((Replace, false))),
            ("r all", Some((Replace, true))),
            ("sall", Some((Skip, true))),
            ("skip all ", Some((Skip, true))),
            ("all", None),
            ("what?", None),
            ("y", None),
        ] {
            assert_eq!(parse_answer(line), answer, "{line:?}");
        }
    }
}
