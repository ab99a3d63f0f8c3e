//! Words about texts.

use peerconnect::node::api::{TextSnapshot, TextState};
use peerconnect::text::{Shown, ShownText, bytes};

use super::NOT_ENCRYPTED;
use crate::cli::progress::Symbols;

/// Who sent a text or gets it; one that proved nothing, with what that means.
pub(crate) fn claimed_text(t: &TextSnapshot) -> String {
    match t.is_legacy() {
        true => format!("\"{}\" ({NOT_ENCRYPTED})", Shown(&t.peer_name)),
        false => Shown(&t.peer_name).to_string(),
    }
}

pub(super) fn head(t: &TextSnapshot) -> String {
    format!("Text from {}:", claimed_text(t))
}

/// What each line of a text begins with on a terminal, so that none looks as if this program said
/// it.
const MARGIN: &str = "| ";
/// Columns between two tab stops.
const TAB: usize = 8;

/// A text as a result. On a terminal, which has lines of `width` characters, each line has a
/// margin, and so has what does not fit and would go on below.
pub(super) fn shown(text: &str, width: Option<usize>) -> String {
    let shown = ShownText(text).to_string();
    let Some(width) = width else {
        return shown;
    };
    let room = width.saturating_sub(MARGIN.len());
    let lines = shown.lines().flat_map(|line| folded(line, room));
    let lines: Vec<String> = lines.map(|line| format!("{MARGIN}{line}")).collect();
    lines.join("\n")
}

/// A line as pieces of at most `room` columns, between words where that can be.
fn folded(line: &str, room: usize) -> Vec<String> {
    let (mut pieces, mut piece, mut used) = (Vec::new(), String::new(), 0);
    for c in expanded(line).chars() {
        while used + columns(c) > room && !piece.is_empty() {
            let end = match piece.rfind(' ') {
                Some(space) if c != ' ' => space + 1,
                Some(_) | None => piece.len(),
            };
            let rest = piece.split_off(end);
            used = rest.chars().map(columns).sum();
            pieces.push(std::mem::replace(&mut piece, rest));
        }
        piece.push(c);
        used += columns(c);
    }
    pieces.push(piece);
    pieces
}

/// With spaces instead of tabs: how far those reach is the terminal's affair.
fn expanded(line: &str) -> String {
    let (mut expanded, mut used) = (String::new(), 0);
    for c in line.chars() {
        let (c, times) = match c {
            '\t' => (' ', TAB - used % TAB),
            c => (c, 1),
        };
        expanded.extend(std::iter::repeat_n(c, times));
        used += columns(c) * times;
    }
    expanded
}

/// At most so many columns of a terminal: no character takes more than two.
fn columns(c: char) -> usize {
    match c.is_ascii() {
        true => 1,
        false => 2,
    }
}

/// What is new about a text that is sent, where that is worth a line.
pub(super) fn state(t: &TextSnapshot) -> Option<String> {
    if t.state != TextState::Asking {
        return None;
    }
    let peer = Shown(&t.peer_name);
    let mut text = format!("Waiting for {peer} to accept.");
    if let Some(words) = &t.words {
        text.push_str(&format!(" New device: both screens show {}.", Shown(words)));
    }
    Some(text)
}

pub(super) fn summary(t: &TextSnapshot, symbols: Symbols) -> Option<String> {
    let (who, size) = (claimed_text(t), bytes(t.bytes.into()));
    match t.state {
        TextState::Delivered => Some(format!("{} Text delivered to {who}, {size}", symbols.ok)),
        TextState::HandedOver => Some(format!(
            "{} Text handed to {who}, {size}. Old versions do not say whether anybody sees it.",
            symbols.ok
        )),
        // The fault has said it.
        TextState::Failed | TextState::Moving | TextState::Asking => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::text;

    #[test]
    fn a_text_cannot_pretend_to_be_something_else() {
        let evil = "hi\n\u{2713} 3 files in /srv, verified\u{1b}[2J\r\n\u{202e}gnp";
        let on_terminal = shown(evil, Some(79));
        assert!(on_terminal.lines().all(|line| line.starts_with("| ")));
        for shown in [on_terminal, shown(evil, None)] {
            assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown:?}");
            assert_eq!(shown.lines().count(), 3);
        }
        let mut t = text(TextState::Asking);
        t.peer_name = evil.into();
        t.words = Some(evil.into());
        for state_now in [
            TextState::Asking,
            TextState::Delivered,
            TextState::HandedOver,
        ] {
            t.state = state_now;
            let said = [Some(head(&t)), state(&t), summary(&t, Symbols::ASCII)];
            for said in said.into_iter().flatten() {
                assert!(!said.contains(['\u{1b}', '\n', '\u{202e}']), "{said:?}");
            }
        }
    }

    #[test]
    fn a_text_cannot_leave_its_margin_by_long_lines() {
        let verified = "\u{2713} 3 files in /srv, verified";
        let padded = |with: &str| format!("{}{verified}", with.repeat(80 / with.len()));
        for evil in [" ", "x", "\u{4e2d}", "\t", "x ", " x\t", "\u{1b}"].map(padded) {
            for width in [1, 2, 3, 4, 7, 20, 79, 80, 81] {
                let lines = shown(&evil, Some(width));
                for line in lines.lines() {
                    assert!(line.starts_with("| "), "{width}: {lines}");
                    assert!(!line.contains('\t'), "{width}: {lines}");
                    // Nothing is narrower than one character.
                    let used: usize = line.chars().map(columns).sum();
                    assert!(used <= width.max(4), "{width}: {lines}");
                }
            }
        }
    }

    #[test]
    fn a_text_is_folded_between_words_and_loses_nothing() {
        let text = "See https://example.org/a/long/way, then\n\n  come here.\tNow";
        assert_eq!(
            shown(text, Some(22)),
            "| See \n| https://example.org/\n| a/long/way, then\n| \n|   come here.    Now"
        );
        assert_eq!(shown(text, None), text);
    }

    #[test]
    fn the_longest_text_is_folded_at_once() {
        let most = "\t".repeat(peerconnect::protocol::texts::TEXT_LEN_MAX);
        let lines = shown(&most, Some(1000));
        assert_eq!(lines.lines().count(), most.len() * TAB / 998 + 1);
    }

    #[test]
    fn what_is_known_about_delivery_is_said_and_no_more() {
        let mut t = text(TextState::Delivered);
        assert_eq!(
            summary(&t, Symbols::UNICODE),
            Some("\u{2713} Text delivered to kitchen, 5 B".into())
        );
        t.state = TextState::HandedOver;
        let said = summary(&t, Symbols::UNICODE).unwrap_or_default();
        assert!(said.contains("do not say whether"), "{said}");
        t.state = TextState::Failed;
        assert_eq!(summary(&t, Symbols::UNICODE), None);
    }
}
