//! The question to a person at the terminal: shall these files be taken?

use std::collections::HashSet;
use std::io::BufRead;

use peerconnect::node::api::{Command, Decision, NodeHandle, Overview, Reply};
use peerconnect::protocol::message::TransferId;
use peerconnect::text::{Shown, bytes, count};
use peerconnect::transfer::status::{FileQuery, ROWS_MAX, TOP_NAMES_MAX, TransferSnapshot};
use tokio::sync::mpsc;

use super::human::top_names;
use super::output::{Event, Output};

/// Lines of the person that may wait.
const LINES_MAX: usize = 4;

/// Asks, one question at a time.
#[derive(Debug)]
pub(crate) struct Questions {
    lines: Option<mpsc::Receiver<String>>,
    open: Option<TransferSnapshot>,
    answered: HashSet<TransferId>,
}

impl Questions {
    /// Reads the answers from stdin.
    pub(crate) fn from_stdin() -> Self {
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
        Self {
            lines: reader.is_ok().then_some(lines),
            open: None,
            answered: HashSet::new(),
        }
    }

    /// Asks about an offer, again if it was asked before, unless the question about another one is
    /// open. Whether it was asked.
    pub(crate) fn ask(&mut self, me: &Overview, t: &TransferSnapshot, out: &mut Output) -> bool {
        let other = self.open.as_ref().is_some_and(|open| open.id != t.id);
        if other || self.lines.is_none() {
            return false;
        }
        if self.open.is_some() {
            // Behind the prompt that waits.
            out.say("");
        }
        self.answered.remove(&t.id);
        out.say(&question(me, t));
        out.prompt(PROMPT);
        self.open = Some(t.clone());
        true
    }

    /// Takes a question back whose offer is gone.
    pub(crate) fn withdraw(&mut self, t: &TransferSnapshot, out: &mut Output) {
        if self.open.as_ref().is_some_and(|open| open.id == t.id) {
            self.open = None;
            if !self.answered.contains(&t.id) {
                out.say("\nThe offer was taken back, or nobody answered in time.");
            }
        }
    }

    /// The next line; `None` when there will be no more. Cancel-safe.
    pub(crate) async fn line(&mut self) -> Option<String> {
        match &mut self.lines {
            Some(lines) => lines.recv().await,
            None => std::future::pending().await,
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
            // No terminal any more: questions stay open until they count as not answered.
            self.lines = None;
            return;
        };
        let Some(t) = &self.open else {
            return;
        };
        let decision = match line.trim().to_lowercase().as_str() {
            "" | "y" | "yes" => Decision::Accept {
                folder: None,
                only: None,
            },
            "n" | "no" => Decision::Decline,
            "l" | "list" => {
                list(t, node, out).await;
                out.prompt(PROMPT);
                return;
            }
            _ => {
                out.prompt(PROMPT);
                return;
            }
        };
        let declined = decision == Decision::Decline;
        let transfer = t.id;
        match node.call(Command::Answer { transfer, decision }).await {
            Ok(_) => {
                self.answered.insert(transfer);
                self.open = None;
                if declined {
                    out.say("Declined. Still waiting; Ctrl-C ends.");
                }
            }
            Err(fault) => {
                out.emit(Event::Error(Some(t), None, &fault)).await;
                out.prompt(PROMPT);
            }
        }
    }
}

const PROMPT: &str = "Accept? [Y/n/list] ";

fn question(me: &Overview, t: &TransferSnapshot) -> String {
    let folder = t.folder.as_deref().unwrap_or(&me.me.folder);
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
    use peerconnect::transfer::state::TransferState;
    use peerconnect::transfer::status::{Direction, Question, TopName};

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
}
