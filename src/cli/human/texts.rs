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

/// A text as a result. On a terminal each line has a margin, so that none looks as if this program
/// said it.
pub(super) fn shown(text: &str, terminal: bool) -> String {
    let shown = ShownText(text).to_string();
    if !terminal {
        return shown;
    }
    let lines: Vec<String> = shown.lines().map(|line| format!("| {line}")).collect();
    lines.join("\n")
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
        let on_terminal = shown(evil, true);
        assert!(on_terminal.lines().all(|line| line.starts_with("| ")));
        for shown in [on_terminal, shown(evil, false)] {
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
