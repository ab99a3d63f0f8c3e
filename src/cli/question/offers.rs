//! The question about files that somebody offers.

use std::path::Path;

use peerconnect::node::api::{Command, Decision, NodeHandle, Overview, Reply};
use peerconnect::text::{Shown, bytes, count};
use peerconnect::transfer::status::{FileQuery, ROWS_MAX, TOP_NAMES_MAX, TransferSnapshot};

use super::{Questions, no_answer};
use crate::cli::human::{claimed, top_names};
use crate::cli::json;
use crate::cli::output::{Event, Output};

impl Questions {
    /// Whether the line was an answer that was taken.
    pub(super) async fn take_offer(
        &mut self,
        line: &str,
        t: &TransferSnapshot,
        node: &NodeHandle,
        out: &mut Output,
    ) -> bool {
        let decision = match line.trim().to_lowercase().as_str() {
            "" if t.is_legacy() => Decision::Decline,
            "" | "y" | "yes" => accept(true),
            "a" | "alone" if t.passing.passes_on => accept(false),
            "n" | "no" => Decision::Decline,
            "l" | "list" => {
                list(t, node, out).await;
                return false;
            }
            _ => {
                self.refuse(no_answer(line), Some(t), out).await;
                return false;
            }
        };
        let declined = decision == Decision::Decline;
        let transfer = t.id;
        if let Err(fault) = node.call(Command::Answer { transfer, decision }).await {
            out.emit(Event::Error(Some(t), None, &fault)).await;
            return false;
        }
        self.answered.insert(transfer);
        match declined {
            true => out.say("Declined. Still waiting; Ctrl-C ends."),
            false => {
                self.taken.insert(transfer);
            }
        }
        true
    }
}

/// `pass_on` as the settings say, or nothing of it.
fn accept(pass_on: bool) -> Decision {
    Decision::Accept {
        folder: None,
        only: None,
        pass_on,
    }
}

const PROMPT: &str = "Accept? [Y/n/list] ";
/// Where others may have something of it from here.
const PROMPT_OF_SESSION: &str = "Accept? [Y/n/list/alone] ";
/// Where a careless Enter must not be a yes.
const PROMPT_OF_ORIGINAL: &str = "Accept? [y/N/list] ";

pub(super) fn prompt(t: &TransferSnapshot) -> &'static str {
    match (t.is_legacy(), t.passing.passes_on) {
        (true, _) => PROMPT_OF_ORIGINAL,
        (false, true) => PROMPT_OF_SESSION,
        (false, false) => PROMPT,
    }
}

pub(super) fn question(me: &Overview, t: &TransferSnapshot) -> String {
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
    if let Some(invitation) = t.passing.invitation() {
        text.push_str(&format!("\n  {invitation}"));
        if t.passing.passes_on {
            text.push_str(" Answer \"alone\" to pass nothing on.");
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
            if out.is_json() {
                out.object("listed", json::file(t, row)).await;
            }
            out.say(&format!("{:>9}  {}", bytes(row.bytes), Shown(&row.path)));
        }
    }
}
